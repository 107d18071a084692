"""A shelf: the models that a station has at hand, and the one lock under which others are loaded."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from .calendar import Kind
from .luck import uniform

if TYPE_CHECKING:
    from windtunnel.simulate.multiplex import Multiplex

    from .request import Attempt
    from .station import Station


class Job:
    """A closed batch in the hands of an executor, part by part.

    Args:
        executor: whose.
        batch: all of it.
        now_s: when it was begun.
    """

    def __init__(self, executor: int, batch: list[Attempt], now_s: float) -> None:
        self.executor, self.begun_s, self.size = executor, now_s, len(batch)
        self.oldest_s = min(attempt.queued_s for attempt in batch)
        # the sort is stable, and models come in the order in which they first appear
        models = list(dict.fromkeys(attempt.request.key for attempt in batch))
        batch = sorted(batch, key=lambda attempt: models.index(attempt.request.key))
        self.parts = deque(list(part) for _, part in groupby(batch, key=lambda attempt: attempt.request.key))

    @property
    def model(self) -> int:
        """Of the part whose turn it is."""
        return self.parts[0][0].request.key


class Shelf:
    """Ray Serve's `_ModelMultiplexWrapper`: a dictionary in order of use, and a lock."""

    def __init__(self, station: Station, asked: Multiplex) -> None:
        self.station, self.asked, self.flight, self.calendar = station, asked, station.flight, station.calendar
        self.at_hand: OrderedDict[int, None] = OrderedDict()
        self.loader: Job | None = None
        self.waiting: deque[Job] = deque()

    def take(self, batch: list[Attempt]) -> None:
        """The idle executor with the lowest index takes a batch on."""
        job = Job(self.station.executing.index(None), batch, self.calendar.now_s)
        self.station.executing[job.executor] = [attempt for part in job.parts for attempt in part]
        self.turn_to_next(job)

    def turn_to_next(self, job: Job) -> None:
        """The next part: its model is at hand, or the lock is asked for."""
        self.flight.parts += 1
        if job.model in self.at_hand:
            self.at_hand.move_to_end(job.model)
            self.serve(job)
            return
        self.flight.misses += 1
        self.waiting.append(job)
        self.give_lock()

    def give_lock(self) -> None:
        """As long as nobody has the lock, the next in turn gets it, and needs it only if nobody has loaded the model meanwhile."""
        while self.loader is None and self.waiting:
            job = self.waiting.popleft()
            if job.model in self.at_hand:
                self.serve(job)
            else:
                self.load(job)

    def load(self, job: Job) -> None:
        """Make room, and load."""
        if len(self.at_hand) >= self.asked.models_per_replica:
            self.at_hand.popitem(last=False)
        first, load_s = job.parts[0][0], self.asked.load_s
        if self.asked.law == "exponential":
            counter = (1 << 61) + first.request.index + (first.number << 44)
            load_s *= -math.log(1.0 - uniform(self.station.seed, counter))
        self.loader = job
        self.flight.loads += 1
        self.flight.loading_s += load_s
        self.calendar.at(self.calendar.now_s + load_s, Kind.LOADED, partial(self.loaded, self.station.life))

    def loaded(self, life: int) -> None:
        """A model is at hand, if the station did not crash meanwhile."""
        if life != self.station.life:
            return
        job, self.loader = self.loader, None
        assert job is not None, "what is loaded is for somebody"
        self.at_hand[job.model] = None
        self.serve(job)
        self.give_lock()

    def serve(self, job: Job) -> None:
        """A part is served."""
        service_s = self.station.begin(job.parts[0], job.executor)
        self.calendar.at(self.calendar.now_s + service_s, Kind.FINISH, partial(self.finish, job, self.station.life))

    def finish(self, job: Job, life: int) -> None:
        """A part ends: the next one's turn, or the batch is over."""
        station, now_s = self.station, self.calendar.now_s
        if life != station.life:
            return
        part = job.parts.popleft()
        rest = [attempt for each in job.parts for attempt in each]
        station.executing[job.executor] = rest or None
        station.lose(len(part))
        if not rest:
            station.twin.learn(now_s, job.size, now_s - job.begun_s, job.begun_s - job.oldest_s)
        for attempt in part:
            self.flight.clients.answer(attempt)
        if rest:
            self.turn_to_next(job)
