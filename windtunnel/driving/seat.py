"""A Seat: the core with the least to do, where a generator that goes before all others disturbs the fewest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WORK = slice(0, 3)
"""Columns of /proc/stat that are work: user, nice, system."""

WORTH_IT = 0.2
"""By so much of a core others must do less elsewhere for it to be worth a move."""


class Seat:
    """Keeps this process on one core, and changes it where others have less to do on another.

    A thread that goes first (`SCHED_RR`) wakes on the core where it was and stays there: it interrupts whoever runs there although
    another core is free, which the kernel mends for nobody. On two cores a model that shared its core with the generator took 7%
    longer a batch, for whole runs, as chance would have it. For Linux, as is `SCHED_RR`.

    Args:
        proc: where the kernel shows its counters.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.proc, self.core, self.allowed = proc, -1, os.sched_getaffinity(0)
        self.before, self.own_before_s = self.busy_s(), own_s()

    def busy_s(self) -> dict[int, float]:
        """What each core that we may run on has worked so far; nothing where no kernel shows it."""
        try:
            lines = (self.proc / "stat").read_text().split("\n")
        except OSError:
            return {}
        cores, tick_s = {}, 1.0 / os.sysconf("SC_CLK_TCK")
        for name, *columns in (line.split() for line in lines if line.startswith("cpu")):
            if name != "cpu" and int(name[3:]) in self.allowed:
                cores[int(name[3:])] = sum(map(int, columns[WORK])) * tick_s
        return cores

    def change(self, span_s: float) -> None:
        """Sit where others did the least in the time since the last call.

        Args:
            span_s: that time.
        """
        now, own = self.busy_s(), own_s()
        others = {core: (now[core] - self.before.get(core, now[core])) / span_s for core in now}
        if self.core in others:
            others[self.core] -= (own - self.own_before_s) / span_s
        self.before, self.own_before_s = now, own
        best = best_of(others, self.core)
        if best != self.core:
            with contextlib.suppress(OSError):  # a core that was taken from us, or from the machine
                os.sched_setaffinity(0, {best})
                self.core = best


def best_of(others: Mapping[int, float], core: int) -> int:
    """The core on which others do least; the one we are on unless that is worth a move.

    Args:
        others: by core, the share of it that others used.
        core: where we are; −1 where we have none.

    Example:
        >>> best_of({0: 0.9, 1: 0.2}, -1), best_of({0: 0.25, 1: 0.2}, 0), best_of({}, -1)
        (1, 0, -1)
    """
    if not others:
        return core
    best = min(others, key=lambda each: others[each])
    return core if core in others and others[core] - others[best] < WORTH_IT else best


def own_s() -> float:
    """What this process has worked so far."""
    times = os.times()
    return times.user + times.system
