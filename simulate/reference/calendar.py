"""What will happen: a heap of (time, kind, sequence), as in simpy."""

from __future__ import annotations

import heapq
import math
from enum import IntEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(IntEnum):
    """What can happen, in the order in which it happens at one instant."""

    FINISH = auto()
    LOADED = auto()
    STATE = auto()
    ARRIVE = auto()
    ASK = auto()
    RESEND = auto()
    HEDGE = auto()
    PROXY = auto()
    TIMEOUT = auto()
    LEAVE = auto()
    SCALE = auto()
    LOOK = auto()


class Calendar:
    """The clock, and what is to happen when.

    Example:
        >>> calendar, told = Calendar(0.0), []
        >>> calendar.at(2.0, Kind.TIMEOUT, lambda: told.append("too late"))
        >>> calendar.at(2.0, Kind.FINISH, lambda: told.append("served"))
        >>> calendar.step(), calendar.step(), told, calendar.now_s
        (None, None, ['served', 'too late'], 2.0)
    """

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self.entries: list[tuple[float, Kind, int, Callable[[], None]]] = []
        self.scheduled = 0

    def at(self, time_s: float, kind: Kind, action: Callable[[], None]) -> None:
        """Let something happen at a time that is not past."""
        assert time_s >= self.now_s, f"{kind.name} at {time_s}, which is before {self.now_s}"
        heapq.heappush(self.entries, (time_s, kind, self.scheduled, action))
        self.scheduled += 1

    @property
    def next_s(self) -> float:
        """When the next thing happens; inf where nothing will."""
        return self.entries[0][0] if self.entries else math.inf

    def step(self) -> None:
        """Let the next thing happen."""
        self.now_s, _, _, action = heapq.heappop(self.entries)
        action()
