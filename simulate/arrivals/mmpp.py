"""A Poisson process whose rate is set by a hidden state that comes and goes: calm, then a burst, then calm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError
from windtunnel.simulate.chance import uniform_from

from .elementary import unit_exponential
from .generator import COUNTER, OWN, Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: an exponential amount of ∫ rate dt passes between two of them."""
    start, counter, now_s = chance_of(state), int(state[2]), state[3]
    place, leave_s = int(state[4]), state[5]
    states = int(settings[0])
    for i in range(len(out)):
        left = unit_exponential(start, counter)
        counter += 1
        while left >= (leave_s - now_s) * settings[1 + place]:
            left -= (leave_s - now_s) * settings[1 + place]
            now_s = leave_s
            place = (place + 1) % states
            leave_s += unit_exponential(start, counter) * settings[1 + states + place]
            counter += 1
        now_s += left / settings[1 + place]
        out[i] = now_s
    state[2], state[3], state[4], state[5] = counter, now_s, place, leave_s


@dataclass(frozen=True)
class Mmpp(Generator):
    """A Markov-modulated Poisson process that goes through its states in a ring.

    It begins in a state drawn by the states' long-run shares, so it is stationary from zero on.

    Args:
        rates_per_s: the rate of each state; zero where nothing comes.
        mean_stays_s: how long it stays in each, on average; each stay is exponential.

    Raises:
        ConfigError: lists of different length or of one state, stays that are not above zero, or no rate above zero.

    Source: Fischer & Meier-Hellstern, *The Markov-modulated Poisson process (MMPP) cookbook*, Performance Evaluation 18 (1993).

    Example:
        >>> Mmpp((100.0, 900.0), (60.0, 5.0)).mean_rate_per_s  # 100 · 60/65 + 900 · 5/65
        161.53846153846155
    """

    rates_per_s: tuple[float, ...]
    mean_stays_s: tuple[float, ...]

    code: ClassVar[int] = 3
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        if len(self.rates_per_s) != len(self.mean_stays_s) or len(self.rates_per_s) < 2:
            raise ConfigError(
                "need one stay a rate, two states at least",
                field="rates and stays",
                value=(len(self.rates_per_s), len(self.mean_stays_s)),
                fix="write mmpp(rates=[100, 900], stays=[60s, 5s])",
            )
        above_zero(**{f"stays[{i}]": stay_s for i, stay_s in enumerate(self.mean_stays_s)})
        above_zero(rates=max(self.rates_per_s))
        if min(self.rates_per_s) < 0.0:
            raise ConfigError("holds a rate below zero", field="rates", value=self.rates_per_s)

    def settings(self) -> Floats:
        """The number of states, their rates, their mean stays."""
        return np.array([len(self.rates_per_s), *self.rates_per_s, *self.mean_stays_s])

    def begin(self, state: Floats) -> None:
        """Draw the state at zero and when it is left."""
        start = np.uint64(chance_of(state))
        shares = np.cumsum(self.mean_stays_s) / np.sum(self.mean_stays_s)
        place = min(int(np.searchsorted(shares, uniform_from(start, 0), side="right")), len(shares) - 1)
        state[OWN] = place
        state[OWN + 1] = unit_exponential(start, 1) * self.mean_stays_s[place]
        state[COUNTER] = 2

    @property
    def mean_rate_per_s(self) -> float:
        """The states' rates, weighted by their stays."""
        return float(np.dot(self.rates_per_s, self.mean_stays_s) / np.sum(self.mean_stays_s))

    def __str__(self) -> str:
        rates = ", ".join(f"{rate:g}" for rate in self.rates_per_s)
        stays = ", ".join(f"{stay:g}s" for stay in self.mean_stays_s)
        return f"mmpp(rates=[{rates}], stays=[{stays}])"
