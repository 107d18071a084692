"""The batcher that nobody sells: it closes a batch only at the moment at which something can serve it.

So the queue grows while everything is busy, and the next batch with it: no server that closes batches ahead does better at the
same settings. It is what `windtunnel` simulated first, and the yardstick for the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from .batcher import Decision, as_they_are, check_count, check_duration, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batcher import Floats


@dataclass(frozen=True)
class IdealBatching:
    """A batch leaves when an executor is idle and `max_batch` wait, or the oldest has waited `max_wait_s`.

    Args:
        max_batch: the largest batch.
        max_wait_s: how long the oldest waits for company while something is idle.

    Raises:
        ConfigError: a batch below one or a wait that is no duration.

    Example:
        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> batches = timetable(IdealBatching(max_batch=2, max_wait_s=0.5), [0.0, 0.25, 2.0], lambda size: 1.0)
        >>> [(batch.started_s, batch.requests) for batch in batches]
        [(0.25, (0, 1)), (2.5, (2,))]
    """

    code: ClassVar[int] = 0
    memo: ClassVar[int] = 0

    max_batch: int = 1
    max_wait_s: float = 0.0

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        check_duration("max_wait", self.max_wait_s)

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
        """What is closed is what is run."""
        return as_they_are(max_batch)

    def twin(self) -> IdealTwin:
        """The same in plain Python."""
        return IdealTwin(self.max_batch, self.max_wait_s)


@njit(nogil=True, cache=True)
def close(now_s: float, idle: int, waiting: int, oldest_s: float, settings: Floats) -> tuple[int, int, float]:
    """Decide for an ideal station; it needs no memory."""
    if idle <= 0 or waiting <= 0:
        return 0, 0, np.inf
    max_batch, due_s = int(settings[0]), oldest_s + settings[1]
    if waiting >= max_batch or now_s >= due_s:
        return min(waiting, max_batch), 0, np.inf
    return 0, 0, due_s


class IdealTwin:
    """`close` once more, in plain Python."""

    def __init__(self, max_batch: int, max_wait_s: float) -> None:
        self.max_batch, self.max_wait_s = max_batch, max_wait_s

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:  # noqa: ARG002
        """Nothing idle: nothing leaves. Else the full batch, else whoever waited long enough."""
        if not (idle and waiting):
            return 0, 0, math.inf
        full, late = waiting >= self.max_batch, oldest_s + self.max_wait_s <= now_s
        return (min(self.max_batch, waiting), 0, math.inf) if full or late else (0, 0, oldest_s + self.max_wait_s)

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """It does not."""
