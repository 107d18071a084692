"""A Day: traffic and the system that meets it, calm or made worse, and when the worst of it began and ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.simulate.fault import Fault
    from windtunnel.simulate.system import System

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Day:
    """Traffic, the system that meets it, and the time in which something is wrong.

    Args:
        trace: everything that comes.
        system: what serves, and who asks.
        recorded: int64, the rows of the trace that were there before anything was made worse, in their order.
        from_s: when the trouble begins, in the trace's own time; infinite where there is none.
        until_s: when all of it is over.
        longest_s: how long the longest of what is wrong lasts.
    """

    trace: Trace
    system: System
    recorded: Ints
    from_s: float = math.inf
    until_s: float = -math.inf
    longest_s: float = 0.0

    @staticmethod
    def calm(trace: Trace, system: System) -> Day:
        """A day on which nothing happens."""
        return Day(trace, system, np.arange(len(trace)))

    @property
    def first_s(self) -> float:
        """When the first request comes."""
        return float(self.trace.arrivals_s[0])

    @property
    def last_s(self) -> float:
        """When the last one does."""
        return float(self.trace.arrivals_s[-1])

    @property
    def added(self) -> int:
        """Requests that were not recorded."""
        return len(self.trace) - len(self.recorded)

    def between(self, from_s: float, until_s: float) -> slice:
        """The rows of the requests that come from then on and before then."""
        first, end = np.searchsorted(self.trace.arrivals_s, [from_s, until_s])
        return slice(int(first), int(end))

    def recorded_between(self, from_s: float, until_s: float) -> Ints:
        """The rows of the recorded requests that come from then on and before then; int64."""
        rows = self.between(from_s, until_s)
        first, end = np.searchsorted(self.recorded, [rows.start, rows.stop])
        return self.recorded[first:end]

    def during(self, from_s: float, until_s: float) -> Day:
        """The same day with trouble in that time too."""
        longest_s = max(self.longest_s, until_s - from_s)
        return replace(self, from_s=min(self.from_s, from_s), until_s=max(self.until_s, until_s), longest_s=longest_s)

    def befallen(self, *faults: Fault) -> Day:
        """The same day with more that befalls the system."""
        return replace(self, system=replace(self.system, faults=(*self.system.faults, *faults)))

    def joined(self, name: str, arrivals_s: Floats, like: Ints, **columns: NDArray[Any]) -> Day:
        """The same day with more requests; those of the same instant as others come after them.

        Args:
            name: what they are.
            arrivals_s: when they come, in any order.
            like: int64, the row of the trace from which each takes its columns.
            columns: their own, which every request of the trace has.
        """
        own = {column: values[like] for column, values in self.trace.columns.items()} | columns
        worse, place = joined(self.trace, name, arrivals_s, own)
        return replace(self, trace=worse, recorded=place[self.recorded])


def joined(trace: Trace, name: str, arrivals_s: Floats, columns: Mapping[str, NDArray[Any]]) -> tuple[Trace, Ints]:
    """A trace with more requests, after those of the same instant, and where each of the old ones is in it.

    Args:
        trace: any.
        name: what the others are.
        arrivals_s: when they come, in any order.
        columns: theirs, the same as the trace's.
    """
    both_s = np.concatenate([trace.arrivals_s, arrivals_s])
    order = np.argsort(both_s, kind="stable")
    both = {column: np.concatenate([trace.columns[column], values])[order] for column, values in columns.items()}
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Trace(f"{trace.name} with {name}", both_s[order], both), place[: len(trace)]
