"""The router: it finds a station for each attempt, and keeps those for which there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.request_log import SHED
from windtunnel.simulate.routing import Ask

from .luck import uniform

if TYPE_CHECKING:
    from .flight import SlowFlight
    from .request import Attempt


class SlowRouter:
    """A queue by priority in front of the stations."""

    def __init__(self, flight: SlowFlight, seed: int) -> None:
        self.flight, self.seed = flight, seed
        self.twin = flight.system.router.twin()
        self.waiting: list[Attempt] = []

    @property
    def accepting(self) -> list[int]:
        """The stations that take an attempt now."""
        return [station.index for station in self.flight.stations if station.accepts]

    def take_in(self, attempt: Attempt) -> None:
        """An attempt comes: to a station, into the queue, or back."""
        admission = self.flight.system.admission
        if attempt.is_abandoned and admission.drops_abandoned:
            return
        if self.accepting and not self.waiting:
            self.flight.count_inside(1)
            self.place(attempt)
        elif 0 <= admission.max_queued <= len(self.waiting):
            self.flight.clients.refuse(attempt, SHED)
        else:
            self.flight.count_inside(1)
            self.waiting.append(attempt)
            self.waiting.sort(key=lambda each: each.request.priority)

    def offer(self) -> None:
        """What waits goes to stations that accept, in order."""
        while self.waiting and self.accepting:
            attempt = self.waiting.pop(0)
            if attempt.is_abandoned and self.flight.system.admission.drops_abandoned:
                self.flight.count_inside(-1)
            else:
                self.place(attempt)

    def place(self, attempt: Attempt) -> None:
        """To the station that the policy says."""
        stations, counter = self.flight.stations, 2 * (attempt.request.index + (attempt.number << 44))
        chosen = 0
        if len(stations) > 1:
            draw = uniform(self.seed, counter), uniform(self.seed, counter + 1)
            ongoing = [station.ongoing for station in stations]
            models = {station.index: station.models for station in stations}
            ask = Ask(draw, attempt.request.key, models)
            chosen = self.twin.route(self.flight.calendar.now_s, self.accepting, ongoing, ask)
        stations[chosen].take_in(attempt)
