"""Strangers: what processes that are not ours, or other machines, took of this one while something was measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

MOST_SHARE = 0.05
"""Of all processors' time. What is measured beside more of it is not what would be without."""

USER, NICE, SYSTEM, STEAL = 0, 1, 2, 7
"""Columns of the first line of /proc/stat that are work; interrupts are nobody's."""

PARENT, FIRST_TIME, LAST_TIME = 1, 11, 15
"""Columns of /proc/PID/stat after the command: the parent, and the times, own and of children that have ended."""


class Look(NamedTuple):
    """What the kernel had counted at an instant, in ticks."""

    at_s: float
    all_ticks: int
    own_ticks: int


class Strangers:
    """Looks at the start, and again when asked.

    Args:
        proc: where the kernel shows its counters.
        root: the process that is ours, with all it started; this one where None.
    """

    def __init__(self, proc: Path = Path("/proc"), root: int | None = None) -> None:
        self.proc, self.root = proc, os.getpid() if root is None else root
        self.first = self.look()

    def look(self) -> Look | None:
        """What is counted now; None where no kernel shows it."""
        try:
            columns = [int(each) for each in (self.proc / "stat").read_text().split("\n", 1)[0].split()[1:]]
        except (OSError, ValueError):
            return None
        ticks = sum(columns[at] for at in (USER, NICE, SYSTEM, STEAL))
        return Look(time.monotonic(), ticks, self._own_ticks())

    def share(self) -> float | None:
        """The share of all processors' time since the start that was not ours; None where that is not known."""
        now = self.look()
        if self.first is None or now is None or now.at_s <= self.first.at_s:
            return None
        strange = (now.all_ticks - self.first.all_ticks) - (now.own_ticks - self.first.own_ticks)
        room = (now.at_s - self.first.at_s) * os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
        return max(0.0, strange / room)

    def _own_ticks(self) -> int:
        parents, ticks = {}, {}
        for place in self.proc.glob("[0-9]*"):
            try:
                columns = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended while we looked
                continue
            parents[int(place.name)] = int(columns[PARENT])
            ticks[int(place.name)] = sum(int(each) for each in columns[FIRST_TIME:LAST_TIME])
        own, new = {self.root}, {self.root}
        while new:
            new = {pid for pid, parent in parents.items() if parent in new} - own
            own |= new
        return sum(ticks.get(pid, 0) for pid in own)


def doubt(share: float | None, when: str) -> tuple[str, ...]:
    """Why what was measured beside others does not count; nothing where they hardly showed.

    Example:
        >>> doubt(0.3, "while the trace was driven")
        ('while the trace was driven others took 30% of the processors: what was seen is theirs too',)
        >>> doubt(0.01, "while the trace was driven"), doubt(None, "")
        ((), ())
    """
    if share is None or share <= MOST_SHARE:
        return ()
    return (f"{when} others took {share:.0%} of the processors: what was seen is theirs too",)
