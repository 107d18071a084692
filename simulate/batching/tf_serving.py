"""TensorFlow Serving's shared batch scheduler, for one model.

Read off `tensorflow/core/kernels/batching_util/shared_batch_scheduler.h` (of 2024, with `MaybeBatchDown`) and
`batch_scheduler_utils.cc`. Full batches are closed, behind them one is open; a free thread takes the oldest closed one, or the
open one when it is full or its first request has waited `batch_timeout_micros`. So with requests of one item the open batch is
topped up until a thread is free. What is taken is padded up to the next allowed size.

A thread that finds nothing to do looks again when a request makes a batch ready, and every millisecond; but nothing wakes it when
a timeout runs out: a batch that is not full leaves up to a millisecond after its time, at the thread's next look.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .batcher import Decision, check_count, check_duration, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batcher import Floats

_SINCE, _IDLE, _WAITING = range(3)
"""What the memo holds: when threads began to look around; how many were idle and how many waited when last asked."""


@dataclass(frozen=True)
class TFServingBatching:
    """`batching_parameters_file` of TensorFlow Serving, for requests of one item each.

    Not in it: several models taking turns on the threads, low priority queues, splitting of large requests, the padding
    policies other than `PAD_UP`. The threads of a station look around in step; the real ones each in their own.

    Args:
        max_batch: `max_batch_size`.
        max_wait_s: `batch_timeout_micros`, in seconds.
        max_enqueued_batches: a request that would need one more batch is refused (UNAVAILABLE).
        allowed_sizes: `allowed_batch_sizes`, rising, the last one `max_batch`; empty: any.
        look_s: how often an idle thread looks.

    Raises:
        ConfigError: a count below one, a wait that is no duration, sizes that do not rise to `max_batch`.

    Example:
        Three requests are run as four; the timeout ends at 2.5 ms, the thread looks at 3.

        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> batching = TFServingBatching(max_batch=8, max_wait_s=0.0025, allowed_sizes=(1, 4, 8))
        >>> batching.padded(8)
        array([0, 1, 4, 4, 4, 8, 8, 8, 8])
        >>> [(batch.started_s, batch.requests) for batch in timetable(batching, [0.0, 0.001, 0.002], lambda size: 0.01)]
        [(0.003, (0, 1, 2))]
    """

    code: ClassVar[int] = 3
    memo: ClassVar[int] = 3

    max_batch: int = 1000
    max_wait_s: float = 0.0
    max_enqueued_batches: int = 10
    allowed_sizes: tuple[int, ...] = ()
    look_s: float = 0.001

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        check_duration("max_wait", self.max_wait_s)
        check_count("max_enqueued_batches", self.max_enqueued_batches)
        check_duration("look", self.look_s)
        sizes = self.allowed_sizes
        if sizes and (sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes))):
            raise ConfigError("must rise, from 1 or more", field="allowed_sizes", value=sizes)
        if sizes and sizes[-1] != self.max_batch:
            raise ConfigError(
                f"must end with max_batch (={self.max_batch})", field="allowed_sizes", value=sizes,
                fix="TensorFlow Serving refuses to start otherwise",
            )  # fmt: skip

    @property
    def max_waiting(self) -> int:
        """`max_enqueued_batches`, all full."""
        return self.max_enqueued_batches * self.max_batch

    @property
    def executors(self) -> int | None:
        """`num_batch_threads`, which the deployment decides; by default one a core."""
        return None

    def settings(self) -> Floats:
        """`max_batch`, `max_wait_s`, `look_s`."""
        return vector(self.max_batch, self.max_wait_s, self.look_s)

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """The next allowed size up.

        Raises:
            ConfigError: a batch beyond the largest allowed size.
        """
        sizes = np.arange(max_batch + 1, dtype=np.int64)
        if not self.allowed_sizes:
            return sizes
        if max_batch > self.allowed_sizes[-1]:
            raise ConfigError("has no allowed size above it", field="max_batch", value=max_batch)
        allowed = np.array((0, *self.allowed_sizes), dtype=np.int64)
        return allowed[np.searchsorted(allowed, sizes)]

    def twin(self) -> TFServingTwin:
        """The same in plain Python."""
        return TFServingTwin(self)


@njit(nogil=True, cache=True)
def close(
    now_s: float, idle: int, waiting: int, oldest_s: float, settings: Floats, memo: Floats
) -> tuple[int, int, float]:
    """Decide for a model server: at once where something happens, else at a thread's next look."""
    woken = idle > memo[_IDLE] or waiting > memo[_WAITING]
    memo[_IDLE], memo[_WAITING] = idle, waiting
    if idle <= 0 or waiting <= 0:
        return 0, 0, np.inf
    max_batch, due_s, look_s = int(settings[0]), oldest_s + settings[1], settings[2]
    seen_s = due_s
    if look_s > 0.0:
        seen_s = memo[_SINCE] + np.ceil((due_s - memo[_SINCE]) / look_s) * look_s
        if seen_s < due_s:
            seen_s += look_s
    if waiting >= max_batch or now_s >= seen_s or (woken and now_s >= due_s):
        count = min(waiting, max_batch)
        # the thread that takes it is no longer idle, and they are gone
        memo[_IDLE], memo[_WAITING] = idle - 1, waiting - count
        return count, 0, np.inf
    return 0, 0, seen_s


@njit(nogil=True, cache=True)
def learn(now_s: float, memo: Floats) -> None:
    """Note when a thread became free: it looks around from then on."""
    memo[_SINCE] = now_s


class TFServingTwin:
    """A thread that looks, in plain Python."""

    def __init__(self, batching: TFServingBatching) -> None:
        self.batching = batching
        self.free_since_s = 0.0
        self.known = (0, 0)

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:  # noqa: ARG002
        """Full: at once. Late: at once if something happened just now, else at the next look."""
        before, self.known = self.known, (idle, waiting)
        if not idle or not waiting:
            return 0, 0, math.inf
        full, late_s = waiting >= self.batching.max_batch, oldest_s + self.batching.max_wait_s
        happened = idle > before[0] or waiting > before[1]
        if not full and not (late_s <= now_s and happened):
            look_s = self._look(late_s)
            if now_s < look_s:
                return 0, 0, look_s
        taken = min(waiting, self.batching.max_batch)
        self.known = (idle - 1, waiting - taken)
        return taken, 0, math.inf

    def _look(self, late_s: float) -> float:
        """When a thread looks first at or after `late_s`."""
        every_s = self.batching.look_s
        if not every_s:
            return late_s
        look_s = self.free_since_s + math.ceil((late_s - self.free_since_s) / every_s) * every_s
        return look_s if look_s >= late_s else look_s + every_s

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:  # noqa: ARG002
        """A thread is free and looks around from now on."""
        self.free_since_s = now_s
