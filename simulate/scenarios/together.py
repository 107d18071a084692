"""Together: several scenarios on one day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .scenario import Scenario

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True)
class Together(Scenario):
    """Several scenarios on one day, spelled with plus signs between: `flash-crowd + replica-loss(lost=2)`.

    They strike in the order in which they are named. What each adds depends on what was recorded and on its own stream alone,
    so the order matters only to those that look for the peak of what comes: `replica-loss` named after a crowd strikes in it.

    Args:
        several: two at least.
    """

    several: tuple[Scenario, ...]

    @property
    def name(self) -> str:
        """All names, with plus signs between."""
        return "+".join(each.name for each in self.several)

    @property
    def parts(self) -> tuple[Scenario, ...]:
        """All of them."""
        return self.several

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with all of them on it."""
        for each in self.several:
            day = each.strike(day, seeds)
        return day
