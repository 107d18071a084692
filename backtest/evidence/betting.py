"""The betting confidence sequence: what a gambler would have won against a claim about bounded differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from .bounded import Bounded, before
from .sequence import as_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FRACTIONS = 2.0 ** -np.arange(1.0, 11.0)
"""Of what may be lost at most: the stakes of the gamblers who always wager the same, from a half to a thousandth."""

POINTS = 200
"""On how many points either side of the middle of the range a claim is tried; bounds are rounded outwards to them."""


@dataclass(frozen=True)
class Betting:
    """A capital that is spread over gamblers, none of whom can profit if the claim is true.

    Against a mean of m or less each wagers `1 + λ(x − m)` on every difference x, in units of the range, with 0 ≤ λ < 1/m
    settled before x was seen. Half of the capital follows the predictable plug-in
    `λ = √(2 ln(2/level) / (σ̂² t ln(t + 1)))`, cut off at ½/m; the other half is spread over constant fractions of 1/m, one
    of which is close to the best. Their sum is a martingale, so it exceeds 1/level with no greater chance than the level
    (Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting*, arXiv 2010.09686: hedged
    capital, theorem 3; predictable plug-in; diversified Kelly). Each falls as m rises, so what they do not refute is an interval.

    It is exact from the first difference on, but only of a mean that stays what it is; see `Bernstein` for one that drifts.

    Args:
        range: what no difference can leave.
        level: the chance that the bounds ever leave the mean, over all looks.

    Example: 60 rows on which the candidate was never wrong alone, and right alone on 12.

        >>> x = np.tile([0.0, 0.0, 0.0, 0.0, -1.0], 12)
        >>> bool(Betting(Bounded(-1.0, 1.0)).below(x, 0.0)[-1] > 20.0)
        True
    """

    range: Bounded
    level: float = 0.05

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The lower and upper bound of the mean after each value, within the range, float64 [..., blocks]."""
        unit = self.range.unit(values)
        claims = _claims()
        low = self._least_standing(unit, claims)
        high = 1.0 - self._least_standing(1.0 - unit, claims)
        return self.range.low + self.range.width * low, self.range.low + self.range.width * high

    def above(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or less, after each value, float64 [..., blocks]."""
        claim = (than - self.range.low) / self.range.width
        unit = self.range.unit(values)
        return as_evidence(_log_capital(unit, claim, self._plug_in(unit)))

    def below(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or more, after each value."""
        return Betting(self.range.mirrored, self.level).above(-values, -than)

    def _least_standing(self, unit: Floats, claims: Floats) -> Floats:
        """The greatest claim below which all are refuted, after each value."""
        wanted, stakes = math.log(2.0 / self.level), self._plug_in(unit)
        least = np.zeros(unit.shape)
        for claim in claims:
            refuted = _log_capital(unit, float(claim), stakes) >= wanted
            if not refuted.any():
                break
            least[refuted] = claim
        return least

    def _plug_in(self, unit: Floats) -> Floats:
        """The predictable plug-in wager on each value, before it is cut off; ¼ is the variance before any was seen."""
        t = np.arange(1, unit.shape[-1] + 1)
        mean = (np.cumsum(unit, axis=-1) + 0.5) / (t + 1.0)
        variance = before((np.cumsum((unit - mean) ** 2, axis=-1) + 0.25) / (t + 1.0), 0.25)
        stakes: Floats = np.sqrt(2.0 * math.log(2.0 / self.level) / (variance * t * np.log(t + 1.0)))
        return stakes


def _claims() -> Floats:
    """Means to try, in units of the range, rising: the closer to the middle, where differences vanish, the denser."""
    steps = np.geomspace(1e-4, 1.0, POINTS) / 2.0
    return np.concatenate([0.5 - steps[::-1], [0.5], 0.5 + steps])


def _log_capital(unit: Floats, claim: float, stakes: Floats) -> Floats:
    """The logarithm of the capital after each value, against a mean of `claim` or less."""
    # against a claim of zero or less anything may be staked, for nothing can be lost
    most = 1.0 / max(claim, 1e-12)
    gain = unit - claim
    plugged = np.cumsum(np.log1p(np.minimum(stakes, most / 2.0) * gain), axis=-1)
    constant = [np.cumsum(np.log1p(fraction * most * gain), axis=-1) for fraction in FRACTIONS]
    weights = np.append(0.5, np.full(len(FRACTIONS), 0.5 / len(FRACTIONS)))
    stacked = np.stack([plugged, *constant], axis=-1)
    return np.asarray(logsumexp(stacked, axis=-1, b=weights), dtype=np.float64)
