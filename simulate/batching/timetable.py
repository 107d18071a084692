"""One station and its batcher, and nothing else: who shares a batch with whom, and when.

Plain Python, no chance, no router: to look at a batcher, to check it against a timetable worked out by hand, and to hold it
against the real server.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .batcher import Decision, Twin


class Batch(NamedTuple):
    """A batch that ran: when it was closed, when it ran, and the indices of its requests."""

    closed_s: float
    started_s: float
    finished_s: float
    requests: tuple[int, ...]


class Compiled:
    """The compiled functions behind the face of a twin."""

    def __init__(self, batcher: Batcher) -> None:
        self.code, self.settings, self.memo = batcher.code, batcher.settings(), np.zeros(max(batcher.memo, 1))

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """Ask the compiled function."""
        from . import close

        return close(self.code, now_s, idle, waiting, oldest_s, newest_s, self.settings, self.memo)

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """Tell the compiled function."""
        from . import learn

        learn(self.code, now_s, batch, service_s, wait_s, self.settings, self.memo)


class _Station:
    """The mutable state of one run."""

    def __init__(
        self, decide: Twin, arrivals_s: Sequence[float], service_s: Callable[[int], float], executors: int
    ) -> None:
        self.decide, self.arrivals_s, self.service_s, self.idle = decide, arrivals_s, service_s, executors
        self.waiting: deque[int] = deque()
        self.closed: deque[tuple[float, tuple[int, ...]]] = deque()
        self.running: list[tuple[float, int, Batch]] = []
        self.ran: list[Batch] = []
        self.wake_s = math.inf

    def finish(self, now_s: float) -> None:
        while self.running and self.running[0][0] <= now_s:
            batch = heapq.heappop(self.running)[2]
            self.idle += 1
            wait_s = batch.started_s - self.arrivals_s[batch.requests[0]]
            self.decide.learn(now_s, len(batch.requests), batch.finished_s - batch.started_s, wait_s)

    def start(self, now_s: float) -> None:
        while self.closed and self.idle:
            closed_s, requests = self.closed.popleft()
            batch = Batch(closed_s, now_s, now_s + self.service_s(len(requests)), requests)
            heapq.heappush(self.running, (batch.finished_s, len(self.ran), batch))
            self.ran.append(batch)
            self.idle -= 1

    def look(self, now_s: float) -> None:
        while True:
            self.start(now_s)
            idle, waiting = (0 if self.closed else self.idle), self.waiting
            oldest_s = self.arrivals_s[waiting[0]] if waiting else math.inf
            newest_s = self.arrivals_s[waiting[-1]] if waiting else -math.inf
            count, drop, self.wake_s = self.decide.close(now_s, idle, len(waiting), oldest_s, newest_s)
            if not (count or drop):
                return
            requests = tuple(self.waiting.popleft() for _ in range(count + drop))
            if count:
                self.closed.append((now_s, requests))


def timetable(
    batcher: Batcher | Twin, arrivals_s: Sequence[float], service_s: Callable[[int], float], executors: int = 1
) -> list[Batch]:
    """Serve `arrivals_s` at one station, and list the batches in the order in which they started.

    Within one instant batches end, requests arrive, and only then the batcher is asked. Requests that a batcher drops, or
    never closes, are in no batch.

    Args:
        batcher: settings, which are run compiled, or a twin.
        arrivals_s: sorted seconds.
        service_s: how long a batch of that size takes; asked once a batch, in the order of starting.
        executors: how many batches run at once.
    """
    decide = Compiled(batcher) if isinstance(batcher, Batcher) else batcher
    station = _Station(decide, arrivals_s, service_s, executors)
    arrived = 0
    while True:
        next_s = arrivals_s[arrived] if arrived < len(arrivals_s) else math.inf
        now_s = min(next_s, station.running[0][0] if station.running else math.inf, station.wake_s)
        if math.isinf(now_s):
            return station.ran
        station.finish(now_s)
        while arrived < len(arrivals_s) and arrivals_s[arrived] <= now_s:
            station.waiting.append(arrived)
            arrived += 1
        station.look(now_s)
