"""Replica loss at peak: a machine dies when it is needed most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.simulate.fault import Crash

from .scenario import Named, check, ending, usual_s

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class ReplicaLoss(Named):
    """Stations crash at the start of the busiest stretch of the trace, and are back at its end.

    The busiest stretch is the one of that length in which most requests come, the first of them where several are alike.
    A station that serves several batches at once is lost with all of them.

    Args:
        lost: how many stations; the first ones.
        lasts_s: how long until they are back; where zero, `LASTS_SHARE` of the trace and at most `LONGEST_S`.

    Raises:
        ConfigError: none lost, or a negative time.
    """

    lost: int = 1
    lasts_s: float = 0.0

    name: ClassVar[str] = "replica-loss"

    def __post_init__(self) -> None:
        check(self, "lost", least=1)
        check(self, "lasts_s", least=0.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:  # noqa: ARG002  # nothing is left to chance
        """The day without these stations at its peak."""
        if self.lost > day.system.most:
            raise ConfigError(
                f"is more than the {day.system.most} stations that there are",
                field=f"{self.name} (lost)",
                value=self.lost,
            )
        lasts_s = self.lasts_s or usual_s(day)
        from_s, until_s = ending(day, peak_s(day, lasts_s), lasts_s, self.name)
        crashes = [Crash(each, from_s - day.first_s, until_s - from_s) for each in range(self.lost)]
        return day.befallen(*crashes).during(from_s, until_s)


def peak_s(day: Day, lasts_s: float) -> float:
    """When the busiest stretch of that length begins, among those that end before the trace does."""
    times_s = day.trace.arrivals_s
    starts_s = times_s[times_s + lasts_s < times_s[-1]]
    if not len(starts_s):
        return float(times_s[0])
    counts = np.searchsorted(times_s, starts_s + lasts_s) - np.arange(len(starts_s))
    return float(starts_s[np.argmax(counts)])
