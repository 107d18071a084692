"""Who looks how much is going on, and says how many stations there shall be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calendar import Kind
from .station import State

if TYPE_CHECKING:
    from windtunnel.simulate.system import Scaling

    from .flight import SlowFlight

GIVES_UP_S = 3600.0
"""After the last arrival, nobody looks any more where nothing else has been about to happen for so long."""


class SlowScaling:
    """Looks at intervals; starts the lowest stations that are away, drains the highest."""

    def __init__(self, flight: SlowFlight, asked: Scaling) -> None:
        self.flight, self.calendar, self.asked = flight, flight.calendar, asked
        self.twin = asked.scaler.twin()
        self.looked_s = self.stirred_s = self.calendar.now_s

    def look_later(self) -> None:
        """Once more after the interval."""
        self.calendar.at(self.calendar.now_s + self.asked.scaler.interval_s, Kind.SCALE, self.look)

    def look(self) -> None:
        """Ask the policy, and do as it says."""
        running = [station for station in self.flight.stations if station.state in (State.UP, State.STARTING)]
        wanted = self.twin.desired(self.calendar.now_s, len(running), self.mean_inside())
        wanted = min(max(wanted, self.asked.least), self.asked.most)
        away = [each for each in self.flight.stations if each.state is State.DOWN and not each.is_broken]
        for station in away[: max(wanted - len(running), 0)]:
            station.start_up(self.asked.cold_start_s)
        for station in running[wanted:]:
            station.drain()
        if self.calendar.entries:
            self.stirred_s = self.calendar.now_s
        if self.calendar.now_s - self.stirred_s < GIVES_UP_S:
            self.look_later()

    def mean_inside(self) -> float:
        """Attempts at the router and in stations, on average since the last look."""
        inside, now_s = self.flight.inside, self.calendar.now_s
        area_s, elapsed_s = inside.read_s(now_s), now_s - self.looked_s
        inside.reset()
        self.looked_s = now_s
        return area_s / elapsed_s
