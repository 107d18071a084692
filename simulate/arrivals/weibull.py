"""A renewal process with Weibull gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit
from scipy.optimize import brentq

from .elementary import e_to, minus_log, unit_exponential
from .gamma import check_cv
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: gaps of scale · E^(1/shape) with E exponential."""
    start, counter, now_s = chance_of(state), int(state[2]), state[3]
    scale_s, power = settings[0], settings[1]
    for i in range(len(out)):
        now_s += scale_s * e_to(-minus_log(unit_exponential(start, counter + i)) * power)
        out[i] = now_s
    state[2], state[3] = counter + len(out), now_s


@dataclass(frozen=True)
class Weibull(Generator):
    """Independent Weibull gaps; the first is a gap as any other.

    Args:
        rate_per_s: the rate.
        cv: standard deviation of the gaps over their mean; 1 is Poisson.

    Raises:
        ConfigError: a rate or cv that is not above zero, or a cv above 30.

    Example:
        >>> round(Weibull(1.0, cv=1.0).shape, 6), round(Weibull(1.0, cv=5.0 ** 0.5).shape, 6)
        (1.0, 0.5)
    """

    rate_per_s: float
    cv: float

    code: ClassVar[int] = 2
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        above_zero(rate=self.rate_per_s, cv=self.cv)
        check_cv(self.cv)

    @property
    def shape(self) -> float:
        """The shape at which Γ(1 + 2/k) ÷ Γ(1 + 1/k)² is 1 + cv²."""
        target = math.log1p(self.cv**2)
        return float(brentq(lambda k: math.lgamma(1 + 2 / k) - 2 * math.lgamma(1 + 1 / k) - target, 0.1, 1000.0))

    def settings(self) -> Floats:
        """The scale in seconds and one over the shape."""
        power = 1.0 / self.shape
        return np.array([1.0 / (self.rate_per_s * math.gamma(1.0 + power)), power])

    @property
    def mean_rate_per_s(self) -> float:
        """The rate."""
        return self.rate_per_s

    def __str__(self) -> str:
        return f"weibull(rate={self.rate_per_s:g}, cv={self.cv:g})"
