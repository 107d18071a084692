"""Requests that know nothing of each other, at a constant rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.simulate.chance import mix

from .elementary import minus_log
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 256


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: the running sum of `unit_exponential(start, i) · mean gap`.

    Three plain loops over a block that stays in the nearest cache, of which the first two have no order and so run on
    whole vectors.
    """
    counter, now_s, mean_s = int(state[2]), state[3], settings[0]
    at = chance_of(state) + np.uint64(counter + 1) * _WEYL
    block = np.empty(_BLOCK)
    for first in range(0, len(out), _BLOCK):
        many = min(_BLOCK, len(out) - first)
        for i in range(many):
            block[i] = 1.0 - float(mix(at) >> np.uint64(11)) * 2.0**-53
            at += _WEYL
        for i in range(many):
            block[i] = minus_log(block[i])
        for i in range(many):
            now_s += block[i] * mean_s
            out[first + i] = now_s
    state[2], state[3] = counter + len(out), now_s


@dataclass(frozen=True)
class Poisson(Generator):
    """A Poisson process.

    Args:
        rate_per_s: its rate.

    Raises:
        ConfigError: a rate that is not above zero.

    Example:
        >>> round(Poisson(100.0).arrivals(requests=50_000, seed=1).rate_per_s)
        100
    """

    rate_per_s: float

    code: ClassVar[int] = 0
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        above_zero(rate=self.rate_per_s)

    def settings(self) -> Floats:
        """The mean gap in seconds."""
        return np.array([1.0 / self.rate_per_s])

    @property
    def mean_rate_per_s(self) -> float:
        """The rate."""
        return self.rate_per_s

    def __str__(self) -> str:
        return f"poisson(rate={self.rate_per_s:g})"
