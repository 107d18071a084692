"""The asymptotic confidence sequence: for blocks of many rows, of any loss, bounded or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_ndtr

from windtunnel.stats import ConfidenceSequence

from .carry_over import carry_over
from .sequence import as_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asymptotic:
    """Robbins' normal mixture with the deviation measured so far, stretched by what blocks carry over.

    The two-sided bounds are those of `windtunnel.stats.ConfidenceSequence` (Waudby-Smith et al., arXiv 2103.06476,
    theorem 2.2). Evidence for one side mixes over that side alone (a half normal): two of them, half each, make the
    two-sided. By the Lyapunov version of the same paper it stays true of the blocks' average so far where their means and
    deviations drift. The deviation is measured about the mean, so a drift only widens it.

    Args:
        level: the chance that the bounds ever leave the mean, over all looks, approached as blocks become many.
        tightest_at: the number of blocks at which it is narrowest; not to be tuned on what it judges.
        burn_in: below so many blocks' worth of independent ones it says nothing.
        stretched: widen by `carry_over`; without it, blocks are taken for independent.

    Example:
        >>> x = np.random.default_rng(0).normal(-0.5, 1.0, size=100)
        >>> low, high = Asymptotic().bounds(x)
        >>> bool(high[-1] < 0.0), bool(Asymptotic().below(x, 0.0)[-1] >= 40.0), bool(Asymptotic().above(x, 0.0)[-1] < 1.0)
        (True, True, True)
    """

    level: float = 0.05
    tightest_at: int = 100
    burn_in: int = 20
    stretched: bool = True

    @property
    def sequence(self) -> ConfidenceSequence:
        """The bare sequence, of which this is the stretched one."""
        return ConfidenceSequence(self.level, self.tightest_at, burn_in=1)

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The lower and upper bound of the mean after each value, float64 [..., blocks]; infinite during burn-in."""
        n, mean, _ = ConfidenceSequence.running(values)
        low, high = self.sequence.bounds(values)
        stretch = self._stretch(values)
        reach = np.where(n / stretch**2 < self.burn_in, np.inf, (high - low) / 2.0 * stretch)
        return mean - reach, mean + reach

    def above(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or less, after each value, float64 [..., blocks]; 1 during burn-in."""
        n, mean, deviation = ConfidenceSequence.running(values)
        stretch = self._stretch(values)
        scale = n * self.sequence.rho**2 + 1.0
        error = deviation * stretch * np.sqrt(scale)
        gap = n * (mean - than) * self.sequence.rho
        # no deviation at all: certain, unless there is no difference either
        certain = np.where(gap == 0.0, 0.0, np.copysign(np.inf, gap))
        z = np.divide(gap, error, out=certain, where=error > 0.0)
        z = np.clip(z, -1e6, 1e6)
        log_e = np.log(2.0) - np.log(scale) / 2.0 + z**2 / 2.0 + log_ndtr(z)
        return np.where(n / stretch**2 < self.burn_in, 1.0, as_evidence(log_e))

    def below(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or more, after each value."""
        return self.above(-values, -than)

    def _stretch(self, values: Floats) -> Floats:
        return carry_over(values) if self.stretched else np.ones(values.shape)
