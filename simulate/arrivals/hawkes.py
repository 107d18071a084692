"""Arrivals that bring arrivals: each raises the rate for a while, so that they come in clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .curve import RateCurve, advance, clock_of
from .elementary import e_to, minus_log, unit_exponential
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: the first of the next immigrant and of the next descendant.

    What excitation e is left decays as e·exp(−decay·t), so that the next descendant comes where its integral, at most
    e ÷ decay, reaches an exponential number, and never where it does not: inverted, not thinned.
    """
    start, counter, now_s = chance_of(state), int(state[2]), state[3]
    cycle, piece, within_s = state[4], int(state[5]), state[6]
    immigrant_s, excitation = state[7], state[8]
    branching, decay_per_s, curve = settings[0], settings[1], settings[2:]
    for i in range(len(out)):
        if immigrant_s <= now_s and within_s < np.inf:
            cycle, piece, within_s = advance(curve, cycle, piece, within_s, unit_exponential(start, counter))
            counter += 1
            immigrant_s = clock_of(curve, cycle, within_s)
        share = 1.0 - unit_exponential(start, counter) * decay_per_s / excitation if excitation > 0.0 else 0.0
        counter += 1
        descendant_s = now_s + minus_log(share) / decay_per_s if share > 0.0 else np.inf
        next_s = min(immigrant_s, descendant_s)
        out[i] = next_s
        if next_s < np.inf:
            excitation = excitation * e_to(-decay_per_s * (next_s - now_s)) + branching * decay_per_s
            now_s = next_s
    state[2], state[3], state[4], state[5] = counter, now_s, cycle, piece
    state[6], state[7], state[8] = within_s, immigrant_s, excitation


@dataclass(frozen=True)
class Hawkes(Generator):
    """A Hawkes process with an exponential kernel: rate(t) = base(t) + Σ branching · decay · exp(−decay · (t − tᵢ)).

    It begins with no past, so that its rate grows to the mean within some 1 ÷ (decay · (1 − branching)).

    Args:
        base: the rate of those that nobody brought; may follow a curve.
        branching: how many each brings directly, on average; below one.
        decay_per_s: how fast its influence fades.

    Raises:
        ConfigError: a branching outside 0 to 1, or a decay that is not above zero.

    Source: Hawkes, Biometrika 58 (1971); drawn exactly, without thinning, as in Dassios & Zhao, *Exact simulation of Hawkes
    process with exponentially decaying intensity*, Electronic Communications in Probability 18 (2013).

    Example:
        >>> Hawkes(RateCurve.constant(50.0), branching=0.5, decay_per_s=2.0).mean_rate_per_s
        100.0
    """

    base: RateCurve
    branching: float
    decay_per_s: float

    code: ClassVar[int] = 5
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        above_zero(decay=self.decay_per_s)
        if not 0.0 <= self.branching < 1.0:
            fix = "at one or more each brings another for ever, and the rate grows without bound"
            raise ConfigError("is outside 0 to below 1", field="branching", value=self.branching, fix=fix)
        if self.base.cv != 1.0:
            raise ConfigError("must be 1: the clusters are the burstiness", field="base.cv", value=self.base.cv)

    def settings(self) -> Floats:
        """Branching, decay, and those of the base."""
        return np.concatenate([[self.branching, self.decay_per_s], self.base.settings()])

    @property
    def mean_rate_per_s(self) -> float:
        """The base's, over 1 − branching."""
        return self.base.mean_rate_per_s / (1.0 - self.branching)

    def scaled(self, factor: float) -> Hawkes:
        """`factor` times the immigrants, each with the same descendants: more clusters, not larger ones."""
        return Hawkes(self.base.scaled(factor), self.branching, self.decay_per_s)

    def __str__(self) -> str:
        base = f"{self.base.mean_rate_per_s:g}" if len(self.base.left_per_s) == 1 else f"[{self.base}]"
        return f"hawkes(base={base}, branching={self.branching:g}, decay={self.decay_per_s:g})"
