"""Ray Serve's `@serve.batch`, for handlers that await and for handlers that block the event loop.

Read off `ray/serve/batching.py` of Ray 2.60 and held against it request by request in the tests. One coroutine gathers:
it dequeues a first request, *then* starts its timer, and closes the batch when it is full or the timer has run out; then it
begins the next. Closed batches wait for one of `max_concurrent_batches` permits, in order, and nobody joins them any more.

While a handler awaits, gathering goes on: under load, batches close at the rate of the timer, small, and pile up.
While a handler blocks (a plain call of a model inside `async def`), the event loop stands still: nothing is gathered, timers
that ran out meanwhile fire when it goes on, and take what came in the meantime. The two are different machines: with 200
requests a second, 50 ms a batch and a timeout of 10 ms the first serves 59 a second, the second 190.

Up to Python 3.11 a blocking handler has one quirk more. `asyncio.wait_for` makes a task even of a wait that is over, and
so gives way; a batch that was begun with requests left over from the one before sees the next handler block before it looks
into the queue, and if its timer runs out meanwhile it closes with those that were left over, not with those that came
since. From 3.12 on that happens with a timeout of zero only.
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

_GATHERING, _SINCE, _SEEN, _AWAKE, _CLOSED, _BURST = range(6)
"""What the memo holds: is a batch begun; since when; how many it may see (-1: all); when the event loop last ran; how many
batches are closed and not over; how many of them still run before the event loop does."""


@dataclass(frozen=True)
class RayServeBatching:
    """`@serve.batch(max_batch_size, batch_wait_timeout_s, max_concurrent_batches)` of Ray Serve 2.60.

    Not in it: `batch_size_fn`, multiplexed models (sub-batches), cancelled requests (they keep their place until the batch
    starts, as in Ray), and `max_ongoing_requests`, which is the router's.

    Args:
        max_batch: `max_batch_size`.
        max_wait_s: `batch_wait_timeout_s`.
        max_concurrent_batches: how many batches may run at once.
        blocking: the handler blocks the event loop while it serves, so that one batch runs at a time.
        python: the Python that Ray runs on; matters to blocking handlers only.

    Raises:
        ConfigError: a count below one or a wait that is no duration.

    Example:
        The second request comes 30 ms late for the first batch, and while that runs makes one of its own.

        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> batches = timetable(RayServeBatching(), [0.0, 0.04, 0.045], lambda size: 0.1)
        >>> [(round(batch.closed_s, 3), round(batch.started_s, 3), batch.requests) for batch in batches]
        [(0.01, 0.01, (0,)), (0.05, 0.11, (1, 2))]
    """

    code: ClassVar[int] = 1
    memo: ClassVar[int] = 6

    max_batch: int = 10
    max_wait_s: float = 0.01
    max_concurrent_batches: int = 1
    blocking: bool = False
    python: tuple[int, int] = (3, 12)

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        check_duration("max_wait", self.max_wait_s)
        check_count("max_concurrent_batches", self.max_concurrent_batches)

    @property
    def max_waiting(self) -> int:
        """As many as the router sends."""
        return -1

    @property
    def executors(self) -> int | None:
        """As many as may run at once; handlers that block run one after the other."""
        return 1 if self.blocking else self.max_concurrent_batches

    @property
    def gives_way(self) -> bool:
        """Whether a wait that is over lets the next handler block first."""
        return self.max_wait_s == 0.0 or self.python < (3, 12)

    def settings(self) -> Floats:
        """`max_batch`, `max_wait_s`, `blocking`, `gives_way`, `max_concurrent_batches`."""
        return vector(self.max_batch, self.max_wait_s, self.blocking, self.gives_way, self.max_concurrent_batches)

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """What is closed is what is run."""
        return as_they_are(max_batch)

    def twin(self) -> RayServeTwin | BlockedRayServeTwin:
        """The same in plain Python."""
        return BlockedRayServeTwin(self) if self.blocking else RayServeTwin(self)


@njit(nogil=True, cache=True)
def close(now_s: float, idle: int, waiting: int, settings: Floats, memo: Floats) -> tuple[int, int, float]:
    """Decide for a replica: gather as long as the event loop runs."""
    blocking, gives_way = settings[2] > 0.0, settings[3] > 0.0
    if blocking:
        if idle > 0:
            # also where a batch began with nobody left to serve, and hence never ended
            memo[_CLOSED], memo[_BURST] = 0.0, 0.0
        elif gives_way or (memo[_CLOSED] > 0.0 and memo[_AWAKE] != now_s):
            return 0, 0, np.inf
        memo[_AWAKE] = now_s
    if waiting <= 0:
        memo[_GATHERING] = 0.0
        return 0, 0, np.inf
    if memo[_GATHERING] == 0.0:
        memo[_GATHERING], memo[_SINCE], memo[_SEEN] = 1.0, now_s, -1.0
    max_batch, due_s = int(settings[0]), memo[_SINCE] + settings[1]
    seen = waiting
    if memo[_SEEN] >= 0.0:
        left_over = min(int(memo[_SEEN]), waiting)
        if left_over >= max_batch or now_s >= due_s:
            seen = left_over
        memo[_SEEN] = -1.0
    if seen < max_batch and now_s < due_s:
        return 0, 0, due_s
    count = min(seen, max_batch)
    memo[_GATHERING], memo[_SINCE] = 1.0 if waiting > count else 0.0, now_s
    if blocking and gives_way and seen > count:
        memo[_SEEN] = waiting - count
    memo[_CLOSED] += 1.0
    return count, 0, np.inf


@njit(nogil=True, cache=True)
def leave_over(now_s: float, waiting: int, settings: Floats, memo: Floats) -> None:
    """Note that somebody came after a batch was closed and before its handler blocks: the next batch is begun with them.

    The tunnel's own loop knows no time between the two; on the road there is one (`simulate/agreement/stations.py`).
    """
    if memo[_GATHERING] == 0.0:
        memo[_GATHERING], memo[_SINCE] = 1.0, now_s
    memo[_SEEN] = waiting if settings[3] > 0.0 else -1.0


@njit(nogil=True, cache=True)
def learn(now_s: float, settings: Floats, memo: Floats) -> None:
    """Note that a batch ended: the event loop runs again when all that held a permit have."""
    if memo[_BURST] == 0.0:
        memo[_BURST] = min(settings[4], memo[_CLOSED])
    memo[_BURST] -= 1.0
    memo[_CLOSED] -= 1.0
    if memo[_BURST] == 0.0:
        memo[_AWAKE] = now_s


class RayServeTwin:
    """Awaiting handlers: whoever finds the queue empty winds the clock."""

    def __init__(self, batching: RayServeBatching) -> None:
        self.batching = batching
        self.begun_s: float | None = None

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:  # noqa: ARG002
        """Close whatever is full or has run out of time, served or not."""
        if not waiting:
            self.begun_s = None
            return 0, 0, math.inf
        if self.begun_s is None:
            self.begun_s = now_s
        ends_s = self.begun_s + self.batching.max_wait_s
        if waiting < self.batching.max_batch and now_s < ends_s:
            return 0, 0, ends_s
        taken = min(waiting, self.batching.max_batch)
        self.begun_s = None if taken == waiting else now_s
        return taken, 0, math.inf

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """What awaits does not notice."""


class BlockedRayServeTwin:
    """Blocking handlers: the gathering coroutine, stopped by every handler that runs."""

    def __init__(self, batching: RayServeBatching) -> None:
        self.batching = batching
        self.gathering: RayServeTwin = RayServeTwin(batching)
        self.left_over: int | None = None
        self.queued: list[None] = []  # closed, no permit yet
        self.permitted: list[None] = []  # run one after the other, the event loop sees nothing in between
        self.went_on_s: float | None = None

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """Gather only at moments at which the event loop runs."""
        if idle:
            self.queued, self.permitted = [], []  # whatever was closed is over, or nobody was left in it
        if not idle and (self.batching.gives_way or self._stopped(now_s)):
            return 0, 0, math.inf
        self.went_on_s = now_s
        decision = self._early(now_s, waiting) or self._gather(now_s, idle, waiting, oldest_s, newest_s)
        if decision[0]:
            self.queued.append(None)
        return decision

    def _gather(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """As if nothing ever blocked; but the next batch may be begun with left-overs."""
        decision = self.gathering.close(now_s, idle, waiting, oldest_s, newest_s)
        if decision[0] and waiting > decision[0] and self.batching.gives_way:
            self.left_over = waiting - decision[0]
        return decision

    def _stopped(self, now_s: float) -> bool:
        return bool(self.queued or self.permitted) and self.went_on_s != now_s

    def _early(self, now_s: float, waiting: int) -> Decision | None:
        """The batch begun with left-overs looks into a queue in which those who came since are not yet."""
        seen, self.left_over = self.left_over, None
        begun_s = self.gathering.begun_s
        if seen is None or begun_s is None or not waiting:
            return None
        seen = min(seen, waiting)
        if seen < self.batching.max_batch and now_s < begun_s + self.batching.max_wait_s:
            return None
        taken = min(seen, self.batching.max_batch)
        self.gathering.begun_s = now_s if waiting > taken else None
        self.left_over = waiting - taken if seen > taken else None
        return taken, 0, math.inf

    def leave_over(self, now_s: float, waiting: int) -> None:
        """Somebody came between a batch's closing and its handler."""
        if self.gathering.begun_s is None:
            self.gathering.begun_s = now_s
        self.left_over = waiting if self.batching.gives_way else None

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:  # noqa: ARG002
        """A handler is through; the event loop goes on when those with a permit all are."""
        if not self.permitted:
            granted = min(self.batching.max_concurrent_batches, len(self.queued))
            self.permitted, self.queued = self.queued[:granted], self.queued[granted:]
        self.permitted.pop()
        if not self.permitted:
            self.went_on_s = now_s
