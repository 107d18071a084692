"""A model of one shape: every batch is run at the full size, however many are in it.

So do engines that were compiled for one batch size (TensorRT without a profile, most NPUs, models traced with fixed shapes): the
server waits for exactly that many, and fills up with nonsense when it will wait no longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import ConfigError

from .batcher import check_count, vector
from .ideal import IdealTwin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batcher import Floats


@dataclass(frozen=True)
class FixedBatching:
    """A batch leaves when an executor is idle and `max_batch` wait; a smaller one after `max_wait_s`, padded to the same size.

    Args:
        max_batch: the one size that is run.
        max_wait_s: how long the oldest waits for the batch to fill; inf: until it does, if it takes for ever.

    Raises:
        ConfigError: a batch below one or a negative wait.

    Example:
        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> arrivals_s = [0.0, 0.25, 2.0, 2.25, 2.5]
        >>> [batch.requests for batch in timetable(FixedBatching(max_batch=2), arrivals_s, lambda size: 1.0)]
        [(0, 1), (2, 3)]
        >>> FixedBatching(max_batch=4).padded(4)
        array([0, 4, 4, 4, 4])
    """

    code: ClassVar[int] = 0  # decides as the ideal one does; only what is run differs
    memo: ClassVar[int] = 0

    max_batch: int = 1
    max_wait_s: float = math.inf

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        if not self.max_wait_s >= 0.0:
            raise ConfigError("must be zero or more", field="max_wait", value=self.max_wait_s)

    @property
    def max_waiting(self) -> int:
        """As many as come."""
        return -1

    @property
    def executors(self) -> int | None:
        """The deployment decides."""
        return None

    def settings(self) -> Floats:
        """`max_batch`, `max_wait_s`."""
        return vector(self.max_batch, self.max_wait_s)

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """The full size, always.

        Raises:
            ConfigError: a table of another size is asked for.
        """
        if max_batch > self.max_batch:
            raise ConfigError(
                f"is larger than the one size that is run, {self.max_batch}", field="max_batch", value=max_batch
            )
        sizes = np.full(max_batch + 1, self.max_batch, dtype=np.int64)
        sizes[0] = 0
        return sizes

    def twin(self) -> IdealTwin:
        """The same in plain Python."""
        return IdealTwin(self.max_batch, self.max_wait_s)
