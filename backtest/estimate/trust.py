"""Earned trust: an estimate made before the labels is believed while its own past says that it may be.

Once a period settles, the estimate made on its last day meets what came. Beside it stands the dummy that anyone has for
nothing: the latest value known on that day. An estimate is shown as reliable only while its errors have been smaller than
the dummy's, shown by a paired interval; and its own past errors make the interval around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats import series_mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .periods import Periods

    Floats = NDArray[np.float64]

LEAST_PERIODS = 20
"""Fewer settled estimates than that earn no trust."""

MEMORY = 60
"""Over how many of the latest settled estimates trust is earned, so that it can be lost."""


@dataclass(frozen=True)
class Estimated:
    """A metric of each period, estimated at the look that ends it.

    Args:
        metric: its name.
        periods: the grid.
        estimate: float64 [looks], NaN where there was nothing to learn from.
        realised: what it turned out to be, float64 [looks]; known `periods.settle` looks later, NaN where that is not yet.
    """

    metric: str
    periods: Periods
    estimate: Floats
    realised: Floats

    @cached_property
    def last_known(self) -> Floats:
        """The dummy: the latest realised value known at each look, float64 [looks]."""
        known = _delayed(self.realised, self.periods.settle)
        place = np.maximum.accumulate(np.where(np.isnan(known), -1, np.arange(len(known))))
        return np.where(place >= 0, known[place], np.nan)

    def errors_at(self, look: int) -> tuple[Floats, Floats]:
        """The errors known at a look, realised − estimate, of the estimate and of the dummy, latest last."""
        settled = slice(0, max(0, look - self.periods.settle + 1))
        pair = (self.realised - self.estimate)[settled], (self.realised - self.last_known)[settled]
        both = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
        return pair[0][both], pair[1][both]

    def trust(self, confidence: float = 0.9) -> Trust:
        """What each estimate may be believed, by what was known when it was made.

        Args:
            confidence: of the interval around the estimate, and (one-sided) of the claim that it beats the dummy.
        """
        looks = self.periods.looks
        reach, skill = np.full(looks, np.inf), np.full(looks, np.nan)
        reliable = np.zeros(looks, dtype=bool)
        for look in range(looks):
            ours, dummy = (np.abs(each[-MEMORY:]) for each in self.errors_at(look))
            reach[look] = conformal_reach(ours, confidence)
            if len(ours) and dummy.sum() > 0.0:
                skill[look] = 1.0 - float(ours.sum() / dummy.sum())
            if len(ours) >= LEAST_PERIODS:
                # one-sided: both tails of 2c − 1 hold 1 − c each
                gain = series_mean_interval(dummy - ours, 2.0 * confidence - 1.0, rounds=len(ours))
                reliable[look] = gain.low > 0.0
        return Trust(self, self.estimate - reach, self.estimate + reach, reliable, skill, confidence)


@dataclass(frozen=True)
class Trust:
    """How far each estimate may be believed, [looks] each.

    Args:
        of: the estimate.
        low: lower end of its interval, from its own past errors; −∞ while they are too few.
        high: upper end.
        reliable: whether its past errors were shown to be smaller than the dummy's, bool.
        skill: 1 − (its mean error over the dummy's); NaN before any is known.
        confidence: of the interval.
    """

    of: Estimated
    low: Floats
    high: Floats
    reliable: NDArray[np.bool_]
    skill: Floats
    confidence: float

    @property
    def covered(self) -> float:
        """In what share of the settled periods with a finite interval the interval held what came; NaN without one."""
        told = np.isfinite(self.low) & ~np.isnan(self.of.realised)
        inside = (self.low <= self.of.realised) & (self.of.realised <= self.high)
        return float(inside[told].mean()) if told.any() else math.nan

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a look, as JSON values; what is not known is null."""
        of = self.of
        series = (of.estimate, self.low, self.high, of.last_known, of.realised, self.skill)
        names = ("estimate", "low", "high", "last_known", "realised", "skill")
        return [
            {name: float(values[look]) if math.isfinite(values[look]) else None for name, values in zip(names, series, strict=True)}
            | {"reliable": bool(self.reliable[look])}
            for look in range(of.periods.looks)
        ]  # fmt: skip


def conformal_reach(errors: Floats, confidence: float) -> float:
    """How far from a new estimate what comes will lie at most, by the ranks of past absolute errors; ∞ if too few.

    Covers a further error that is exchangeable with the past ones at least as often as `confidence` says, whatever its
    distribution (split conformal prediction: Vovk et al., *Algorithmic Learning in a Random World*, 2005).

    Example:
        >>> conformal_reach(np.arange(1.0, 10.0), 0.9), conformal_reach(np.arange(1.0, 9.0), 0.9)
        (9.0, inf)
    """
    rank = math.ceil((len(errors) + 1) * confidence - 1e-9)
    return float(np.partition(errors, rank - 1)[rank - 1]) if rank <= len(errors) else math.inf


def _delayed(values: Floats, by: int) -> Floats:
    return np.concatenate([np.full(min(by, len(values)), np.nan), values[: max(0, len(values) - by)]])
