"""The empirical Bernstein confidence sequence: exact for bounded differences, and true of a mean that drifts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammainc, gammaln, hyp1f1

from .bounded import Bounded, before
from .sequence import as_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HALVINGS = 45
"""How often the bracket of a bound is halved: of a million differences the bound is then told to a ten-millionth."""


@dataclass(frozen=True)
class Bernstein:
    """A gamma-exponential mixture over the squared misses of a prediction of each difference by those before it.

    `exp(λS − ψ(λ)V)` with `ψ(λ) = −ln(1 − λ) − λ`, S the sum of the differences less what is claimed of them and V that of
    the squared misses, both in units of the range, is a supermartingale for every λ in [0, 1), whatever the differences'
    own means do: so its mixture over λ bounds their *average so far* (Howard, Ramdas, McAuliffe & Sekhon, *Time-uniform,
    nonparametric, nonasymptotic confidence sequences*, Annals of Statistics 2021, theorem 4 and proposition 9; for paired
    scores Choe & Ramdas, arXiv 2110.00115). It needs no burn-in and no independence, only that nothing known before a
    value changes what is expected of it beyond the claim.

    Being exact it pays for the range: days whose differences lie far within it are judged much sooner by `Asymptotic`.

    Args:
        range: what no difference can leave.
        level: the chance that the bounds ever leave the average, over all looks.
        deviation: what a difference is expected to deviate by; a bad guess widens the bounds and breaks nothing.
        tightest_at: the number of differences at which the bounds are narrowest, if the deviation is as guessed.

    Example:
        >>> x = np.random.default_rng(0).uniform(-0.4, 0.0, size=400)
        >>> low, high = Bernstein(Bounded(-1.0, 1.0)).bounds(x)
        >>> bool(low[-1] < -0.2 < high[-1] < 0.0)
        True
    """

    range: Bounded
    level: float = 0.05
    deviation: float = 0.1
    tightest_at: int = 100

    @property
    def rho(self) -> float:
        """The mixture's scale: the V at which the bound is tightest, over what a normal mixture would make of it."""
        expected = self.tightest_at * (self.deviation / self.range.width) ** 2
        log_level = 2.0 * math.log(2.0 / self.level)
        return max(expected / (log_level + math.log(1.0 + log_level)), 1e-3)

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The lower and upper bound of the average so far after each value, within the range, float64 [..., blocks]."""
        unit = self.range.unit(values)
        n = np.arange(1, values.shape[-1] + 1)
        mean = np.cumsum(unit, axis=-1) / n
        reach = self._furthest(_misses(unit)) / n
        ends = np.clip(mean - reach, 0.0, 1.0), np.clip(mean + reach, 0.0, 1.0)
        return self.range.low + self.range.width * ends[0], self.range.low + self.range.width * ends[1]

    def above(self, values: Floats, than: float) -> Floats:
        """The e-value against an average of `than` or less at every look, after each value, float64 [..., blocks]."""
        unit = self.range.unit(values)
        claimed = (than - self.range.low) / self.range.width
        return as_evidence(self._log_mixture(np.cumsum(unit - claimed, axis=-1), _misses(unit)))

    def below(self, values: Floats, than: float) -> Floats:
        """The e-value against an average of `than` or more at every look, after each value."""
        return Bernstein(self.range.mirrored, self.level, self.deviation, self.tightest_at).above(-values, -than)

    def _log_mixture(self, total: Floats, misses: Floats) -> Floats:
        """The logarithm of ∫ exp(λS − ψ(λ)V) dF(λ), F proportional to exp(−ψ(λ)ρ) / (1 − λ): a ratio of Kummer functions."""
        return _log_kummer(misses + self.rho, total + misses + self.rho) - _log_kummer(
            np.array(self.rho), np.array(self.rho)
        )

    def _furthest(self, misses: Floats) -> Floats:
        """The sum at which the evidence reaches 2 / level, for each V."""
        wanted = math.log(2.0 / self.level)
        # no sum exceeds its number of differences; a bracket of the whole series' length would let later looks into the last bits
        low, high = np.zeros(misses.shape), np.zeros(misses.shape) + np.arange(2.0, misses.shape[-1] + 2.0)
        # the mixture grows with the sum; where even the greatest sum is too small the bound is the range's end
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            enough = self._log_mixture(middle, misses) >= wanted
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high


def _misses(unit: Floats) -> Floats:
    """The sum so far of the squared misses, each difference predicted by the mean of those before it, at first ½."""
    n = np.arange(1, unit.shape[-1] + 1)
    predicted = before((np.cumsum(unit, axis=-1) + 0.5) / (n + 1.0), 0.5)
    total: Floats = np.cumsum((unit - predicted) ** 2, axis=-1)
    return total


def _log_kummer(b: Floats, a: Floats) -> Floats:
    """ln(₁F₁(1; b + 1; a) / b), by the series where a < b and by the incomplete gamma function where it is not."""
    small = a < b
    series = np.log(hyp1f1(1.0, b + 1.0, np.where(small, a, 0.0)) / b)
    large = np.where(small, b, a)
    closed = gammaln(b) + np.log(gammainc(b, large)) - b * np.log(large) + large
    return np.where(small, series, closed)
