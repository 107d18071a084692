"""Spared: what honest requests felt of the adversary: latencies with and without it, and by what factor they grew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import hypergeom

from windtunnel.request_log import COMPLETED
from windtunnel.stats import unpaired_ratio_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog
    from windtunnel.stats import Interval

    Floats = NDArray[np.float64]

QUANTILES = {"p50": 0.5, "p99": 0.99}

STRETCHES = 8
"""Into so many parts each side is cut, whose quantiles' spread tells how sure the factor is."""

GUARD_S = 0.5
"""What falls due so shortly after the adversary began or ended is left out of the factor: whose it is is not sure."""

BEGIN, UNTIL = 0.25, 0.75
"""From which share of a run to which the adversary is there; the rest is without it, before and after, so that drift is in both."""


CHANCE = 0.01
"""Where so many requests as were lost are lost by chance less often than this, they are the adversary's doing."""


@dataclass(frozen=True)
class Spared:
    """Honest requests with and without the adversary.

    Args:
        calm: how many fell due without it,
        under: and with it.
        calm_lost: of the first, how many were not answered,
        under_lost: and of the others.
        before: how many of the first fell due before it came: later ones may still suffer from it,
        before_lost: and how many of these were not answered.
        calm_s: their latency's quantiles by name,
        under_s: and the others'.
        factor: by how much a stretch's quantile grew, geometric mean with its interval; None where a side has no requests.
    """

    calm: int
    under: int
    calm_lost: int
    under_lost: int
    before: int
    before_lost: int
    calm_s: dict[str, float]
    under_s: dict[str, float]
    factor: dict[str, Interval | None]

    @property
    def lost_more(self) -> bool:
        """Whether more were lost with it than before it came, by more than chance: Fisher's exact test, one-sided."""
        lost, asked = self.under_lost + self.before_lost, self.under + self.before
        return bool(hypergeom.sf(self.under_lost - 1, asked, lost, self.under) < CHANCE)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        told: dict[str, Any] = {
            "honest_calm": self.calm, "honest_under": self.under, "honest_calm_lost": self.calm_lost,
            "honest_under_lost": self.under_lost,
        }  # fmt: skip
        for name in QUANTILES:
            told |= {f"calm_{name}_s": self.calm_s.get(name), f"under_{name}_s": self.under_s.get(name)}
            factor = self.factor[name]
            told |= factor.to_dict(f"factor_{name}") if factor is not None else {f"factor_{name}": None}
        return told


def spared(log: RequestLog, begin_s: float, until_s: float) -> Spared:
    """Compare what fell due while the adversary was there with what did before and after.

    Source: the ratio of the mean logarithms of stretches' quantiles, by Welch's interval (`stats.unpaired_ratio_interval`); stretches of
    hundreds of requests are nearly independent (batch means, Law, *Simulation Modeling and Analysis*, section 9.5.3).

    Args:
        log: of the honest requests.
        begin_s: when the adversary began, on the log's clock.
        until_s: when it was over.
    """
    due_s, answered, latency_s = log.scheduled_s, log.status == COMPLETED, log.latency_s
    under = (due_s >= begin_s + GUARD_S) & (due_s < until_s)
    before, after = due_s < begin_s, due_s >= until_s + GUARD_S
    calm = before | after
    sides = {"calm": calm & answered, "under": under & answered}
    quantiles = {
        side: {name: float(np.quantile(latency_s[mask], share)) for name, share in QUANTILES.items()}
        if mask.any()
        else {}
        for side, mask in sides.items()
    }
    half = STRETCHES // 2
    quiet = [*_stretches(latency_s[before & answered], half), *_stretches(latency_s[after & answered], half)]
    hostile = _stretches(latency_s[under & answered], STRETCHES)
    return Spared(
        int(calm.sum()), int(under.sum()), int((calm & ~answered).sum()), int((under & ~answered).sum()),
        int(before.sum()), int((before & ~answered).sum()), quantiles["calm"], quantiles["under"], {name: _factor(hostile, quiet, share) for name, share in QUANTILES.items()},
    )  # fmt: skip


def _stretches(latency_s: Floats, count: int) -> list[Floats]:
    return [each for each in np.array_split(latency_s, count) if len(each)]


def _factor(hostile: list[Floats], quiet: list[Floats], share: float) -> Interval | None:
    if not hostile or not quiet:
        return None
    over, under = (np.array([np.quantile(each, share) for each in side]) for side in (hostile, quiet))
    return unpaired_ratio_interval(over, under)
