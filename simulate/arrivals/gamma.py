"""A renewal process with Gamma gaps: burstier than Poisson where their coefficient of variation is above one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.simulate.chance import uniform_from

from .elementary import e_to, minus_log, unit_exponential
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats


@njit(nogil=True, cache=True, error_model="numpy")
def normal(start: np.uint64, counter: int) -> tuple[float, int]:
    """A standard normal number and the counter after it, by Marsaglia's polar method (SIAM Review 6, 1964)."""
    while True:
        x, y = 2.0 * uniform_from(start, counter) - 1.0, 2.0 * uniform_from(start, counter + 1) - 1.0
        counter += 2
        square = x * x + y * y
        if 0.0 < square < 1.0:
            return x * np.sqrt(2.0 * minus_log(square) / square), counter


@njit(nogil=True, cache=True, error_model="numpy")
def unit_gamma(start: np.uint64, counter: int, shape: float) -> tuple[float, int]:
    """A Gamma number of mean one and the counter after it.

    By rejection from a cubed normal (Marsaglia & Tsang, *A simple method for generating gamma variables*, ACM TOMS 26,
    2000), and below a shape of one from the shape one higher times u^(1/shape) (there, section 6).
    """
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    while True:
        x, counter = normal(start, counter)
        v = (1.0 + c * x) ** 3
        if v <= 0.0:
            continue
        minus_log_u = unit_exponential(start, counter)
        counter += 1
        if -minus_log_u < 0.5 * x * x + d * (1.0 - v - minus_log(v)):
            break
    if shape >= 1.0:
        return d * v / shape, counter
    return d * v / shape * e_to(-unit_exponential(start, counter) / shape), counter + 1


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: a running sum of Gamma gaps."""
    start, counter, now_s = chance_of(state), int(state[2]), state[3]
    for i in range(len(out)):
        gap, counter = unit_gamma(start, counter, settings[1])
        now_s += gap * settings[0]
        out[i] = now_s
    state[2], state[3] = counter, now_s


@dataclass(frozen=True)
class Gamma(Generator):
    """Independent Gamma gaps; the first is a gap as any other.

    Args:
        rate_per_s: the rate.
        cv: standard deviation of the gaps over their mean; 1 is Poisson, 0.1 nearly regular.

    Raises:
        ConfigError: a rate or cv that is not above zero, or a cv above 30.

    Example:
        >>> gaps = np.diff(Gamma(100.0, cv=2.0).arrivals(requests=100_000, seed=1).arrivals_s)
        >>> round(float(np.std(gaps) / np.mean(gaps)), 1)
        2.0
    """

    rate_per_s: float
    cv: float

    code: ClassVar[int] = 1
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        above_zero(rate=self.rate_per_s, cv=self.cv)
        check_cv(self.cv)

    def settings(self) -> Floats:
        """The mean gap in seconds and the shape."""
        return np.array([1.0 / self.rate_per_s, self.cv**-2.0])

    @property
    def mean_rate_per_s(self) -> float:
        """The rate."""
        return self.rate_per_s

    def __str__(self) -> str:
        return f"gamma(rate={self.rate_per_s:g}, cv={self.cv:g})"


def check_cv(cv: float) -> None:
    """Refuse gaps so unequal that no stretch of traffic would show their mean.

    Raises:
        ConfigError: a cv below 0.01 or above 30.
    """
    from windtunnel.errors import ConfigError

    if not 0.01 <= cv <= 30.0:
        raise ConfigError(
            "is outside 0.01 to 30", field="cv", value=cv, fix="for long silences take mmpp(rates=[0, …], stays=[…])"
        )
