"""A RequestLog: one row a request, written alike by the simulator and by a live run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COMPLETED, TIMED_OUT, SHED, FAILED, LEFT = range(5)
"""The status of a request: answered; given up by its client or too late; turned away; lost with its server; its client left."""


@dataclass(frozen=True)
class RequestLog:
    """What happened to each request, as columns of equal length.

    Args:
        scheduled_s: when it should have been sent. Beside `sent_s` it keeps coordinated omission visible.
        sent_s: when it was sent.
        started_s: when its batch began to be served.
        finished_s: when it was answered.
        replica: int32, which replica served it.
        batch_size: int32, how many shared its batch.
        attempt: int32, 0 for the first.
        status: int32, `COMPLETED`, `TIMED_OUT`, `SHED`, `FAILED` or `LEFT`.
    """

    scheduled_s: Floats
    sent_s: Floats
    started_s: Floats
    finished_s: Floats
    replica: NDArray[np.int32]
    batch_size: NDArray[np.int32]
    attempt: NDArray[np.int32]
    status: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def latency_s(self) -> Floats:
        """From when it should have been sent to the answer."""
        return np.asarray(self.finished_s - self.scheduled_s)

    @property
    def wait_s(self) -> Floats:
        """From when it should have been sent to the start of its batch."""
        return np.asarray(self.started_s - self.scheduled_s)

    def to_frame(self) -> pl.DataFrame:
        """The log as a table."""
        return pl.DataFrame({name: getattr(self, name) for name in self.__dataclass_fields__})
