"""A Toll: what a worst day costs, over several lucks, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions

from windtunnel.stats import Interval, mean_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .harm import Harm

CONFIDENCE = 0.95
"""How sure all intervals of a worst day are, each by itself."""


@dataclass(frozen=True)
class Toll:
    """What the same worst day did under several lucks.

    What is true of all runs is called true, what is true of none false, and what they disagree about None: not known.

    Args:
        runs: what each did; one at least.
    """

    runs: tuple[Harm, ...]

    @property
    def recovered(self) -> bool | None:
        """Whether goodput came back before the trace ended."""
        return agreed(each.recovered for each in self.runs)

    @property
    def recoveries(self) -> int:
        """Runs that recovered."""
        return sum(each.recovered for each in self.runs)

    @property
    def metastable(self) -> bool | None:
        """Whether the collapse keeps itself alive; None also where the trace ends too soon to say."""
        return agreed(each.metastable for each in self.runs)

    @property
    def recovery_s(self) -> Interval | None:
        """From the end of the trouble until then, in the mean of the runs that recovered; None where none did."""
        found = [each.recovery_s for each in self.runs if each.recovery_s is not None]
        return above_zero(found) if found else None

    @property
    def requests_hurt(self) -> Interval:
        """Recorded requests that got a good answer on the calm day and none on this one, in the mean."""
        return above_zero([each.requests_hurt for each in self.runs])

    @property
    def requests_refused(self) -> Interval:
        """Recorded requests that were turned away, in the mean."""
        return above_zero([each.requests_refused for each in self.runs])

    @property
    def recovered_share(self) -> Interval:
        """The share of lucks under which it recovers."""
        return share_of([each.recovered for each in self.runs])

    @property
    def metastable_share(self) -> Interval | None:
        """The share of lucks under which it stays collapsed, among the runs that can tell; None where none can."""
        told = [each.metastable for each in self.runs if each.metastable is not None]
        return share_of(told) if told else None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values, units in the key names; ends of intervals that nobody knows are null."""
        return {
            "runs": len(self.runs), "recovered": self.recovered, **spelled("recovered_share", self.recovered_share),
            **spelled("recovery_s", self.recovery_s), **spelled("requests_hurt", self.requests_hurt),
            **spelled("requests_refused", self.requests_refused), "metastable": self.metastable,
            **spelled("metastable_share", self.metastable_share),
        }  # fmt: skip


def agreed(answers: Iterable[bool | None]) -> bool | None:
    """What all say; None where they disagree, or one does not know.

    Example:
        >>> agreed([True, True]), agreed([False]), agreed([True, False]), agreed([True, None])
        (True, False, None, None)
    """
    said = set(answers)
    return said.pop() if len(said) == 1 else None


def above_zero(values: Sequence[float]) -> Interval:
    """The mean of figures that are never below zero, with Student's interval cut there.

    Example:
        >>> found = above_zero([0, 0, 3])
        >>> found.low, round(found.high, 2)
        (0.0, 5.3)
    """
    found = mean_interval(np.array(values, dtype=np.float64), CONFIDENCE)
    return Interval(found.value, max(0.0, found.low), found.high, found.samples, CONFIDENCE)


def share_of(answers: Sequence[bool]) -> Interval:
    """A share with Wilson's interval.

    Source: Wilson, JASA 22 (1927), 209-212, as in `scipy.stats.binomtest`.

    Example:
        >>> found = share_of([True] * 8)
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.676, 1.0)
    """
    found = distributions.binomtest(sum(answers), len(answers))
    ends = found.proportion_ci(CONFIDENCE, method="wilson")
    return Interval(sum(answers) / len(answers), float(ends.low), float(ends.high), len(answers), CONFIDENCE)


def spelled(name: str, interval: Interval | None) -> dict[str, float | None]:
    """An interval as JSON values; null where there is none, or an end is not known.

    Example:
        >>> spelled("hurt", above_zero([2.0]))
        {'hurt': 2.0, 'hurt_low': None, 'hurt_high': None}
    """
    if interval is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    known = math.isfinite(interval.high)
    return {
        name: interval.value, f"{name}_low": interval.low if known else None,
        f"{name}_high": interval.high if known else None,
    }  # fmt: skip
