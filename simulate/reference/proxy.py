"""The front proxy: workers that take attempts on, first come first served."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from .calendar import Kind

if TYPE_CHECKING:
    from .flight import SlowFlight
    from .request import Attempt


class SlowProxy:
    """A queue and so many workers; without a proxy, attempts go straight to the router."""

    def __init__(self, flight: SlowFlight) -> None:
        self.flight, self.calendar, self.asked = flight, flight.calendar, flight.system.proxy
        self.waiting: deque[Attempt] = deque()
        self.busy = 0
        self.stalled_s = -float("inf")

    def take_in(self, attempt: Attempt) -> None:
        """An attempt comes from its client."""
        if self.asked is None:
            self.flight.router.take_in(attempt)
        else:
            self.waiting.append(attempt)
            self.work()

    def work(self) -> None:
        """Whoever is free begins with the next one, unless the proxy stalls."""
        assert self.asked is not None
        now_s = self.calendar.now_s
        while self.waiting and self.busy < self.asked.workers and now_s >= self.stalled_s:
            self.busy += 1
            through = partial(self.let_through, self.waiting.popleft())
            self.calendar.at(now_s + self.asked.service_s, Kind.PROXY, through)
        if self.waiting and now_s < self.stalled_s:
            self.calendar.at(self.stalled_s, Kind.PROXY, self.work)

    def let_through(self, attempt: Attempt) -> None:
        """A worker is through with an attempt, and takes the next."""
        self.busy -= 1
        self.work()
        self.flight.router.take_in(attempt)

    def stall(self, lasts_s: float) -> None:
        """Begin with nothing for a while; what was begun goes on."""
        if self.asked is not None:
            self.stalled_s = max(self.stalled_s, self.calendar.now_s + lasts_s)
            self.work()
