"""A rate that follows a curve of straight pieces: ramps, steps, and what was fitted to a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .elementary import unit_exponential
from .gamma import check_cv, unit_gamma
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .generator import Floats


@njit(nogil=True, cache=True, error_model="numpy")
def advance(settings: Floats, cycle: float, piece: int, within_s: float, mass: float) -> tuple[float, int, float]:
    """Walk on until ∫ rate dt has grown by `mass`.

    Settings are the number of pieces, the period (`inf`: the last rate is held for ever), the shape of the gaps, the knots
    (one more than pieces), the rate at the left end of each piece, and at its right end.

    Returns:
        The cycle, the piece, and the seconds since the cycle began; these are `inf` where nothing comes any more.
    """
    pieces, period_s = int(settings[0]), settings[1]
    lefts, rights = 4 + pieces, 4 + 2 * pieces
    while True:
        if piece == pieces:
            if period_s < np.inf:
                piece, within_s, cycle = 0, 0.0, cycle + 1.0
            else:
                rate = settings[rights + pieces - 1]
                return cycle, piece, within_s + mass / rate if rate > 0.0 else np.inf
        begin_s, end_s = settings[3 + piece], settings[4 + piece]
        left, right = settings[lefts + piece], settings[rights + piece]
        slope = (right - left) / (end_s - begin_s)
        rate = left + slope * (within_s - begin_s)
        whole = 0.5 * (rate + right) * (end_s - within_s)
        if mass < whole:
            # the root of slope/2 · d² + rate · d = mass in the form that does not cancel
            step_s = 2.0 * mass / (rate + np.sqrt(max(rate * rate + 2.0 * slope * mass, 0.0)))
            return cycle, piece, min(within_s + step_s, end_s)
        mass -= whole
        within_s = end_s
        piece += 1


@njit(nogil=True, cache=True, inline="always")
def clock_of(settings: Floats, cycle: float, within_s: float) -> float:
    """The time on the clock."""
    return within_s if cycle == 0.0 else cycle * settings[1] + within_s


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: gaps of mean one, stretched by the curve."""
    start, counter = chance_of(state), int(state[2])
    cycle, piece, within_s = state[4], int(state[5]), state[6]
    shape = settings[2]
    for i in range(len(out)):
        if shape == 1.0:
            gap, counter = unit_exponential(start, counter), counter + 1
        else:
            gap, counter = unit_gamma(start, counter, shape)
        if within_s < np.inf:
            cycle, piece, within_s = advance(settings, cycle, piece, within_s, gap)
        out[i] = clock_of(settings, cycle, within_s)
    state[2], state[4], state[5], state[6] = counter, cycle, piece, within_s


@dataclass(frozen=True)
class RateCurve(Generator):
    """Arrivals whose expected number up to a time is the integral of a rate of straight pieces.

    With `cv` other than one their gaps, measured in expected arrivals, are Gamma gaps: a renewal process that the curve
    stretches and squeezes (time rescaling; Brown et al., *The time-rescaling theorem*, Neural Computation 14, 2002). Drawn by
    inversion, so that a curve with one high peak wastes no draws.

    Args:
        knots_s: rising, the first at zero; one more than there are pieces.
        left_per_s: the rate at the beginning of each piece.
        right_per_s: the rate at the end of each piece.
        repeats: begins again after the last knot; else the last rate is held for ever.
        cv: of the gaps in expected arrivals; 1 is Poisson.

    Raises:
        ConfigError: knots that do not rise from zero, rates below zero, or none above zero.

    Example:
        >>> RateCurve.ramp(100.0, 900.0, 600.0).expected(600.0)
        300000.0
        >>> RateCurve.steps((10.0, 30.0), (60.0, 60.0)).mean_rate_per_s
        20.0
    """

    knots_s: tuple[float, ...]
    left_per_s: tuple[float, ...]
    right_per_s: tuple[float, ...]
    repeats: bool = False
    cv: float = 1.0

    code: ClassVar[int] = 4
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        if not len(self.knots_s) - 1 == len(self.left_per_s) == len(self.right_per_s) >= 1:
            raise ConfigError("need a rate for each piece and one knot more", field="rates", value=len(self.left_per_s))
        if self.knots_s[0] != 0.0 or not np.all(np.diff(self.knots_s) > 0.0) or not np.isfinite(self.knots_s[-1]):
            raise ConfigError("must rise from zero", field="knots", value=self.knots_s)
        rates = (*self.left_per_s, *self.right_per_s)
        if not all(0.0 <= rate < float("inf") for rate in rates) or max(rates) <= 0.0:
            raise ConfigError("must be zero or more, and one of them above", field="rates", value=rates)
        check_cv(self.cv)

    @staticmethod
    def constant(rate_per_s: float) -> RateCurve:
        """One rate for ever."""
        above_zero(rate=rate_per_s)
        return RateCurve((0.0, 1.0), (rate_per_s,), (rate_per_s,))

    @staticmethod
    def ramp(from_per_s: float, to_per_s: float, over_s: float, cv: float = 1.0) -> RateCurve:
        """From one rate straight to another, which is then held."""
        above_zero(over=over_s)
        return RateCurve((0.0, over_s), (from_per_s,), (to_per_s,), cv=cv)

    @staticmethod
    def steps(rates_per_s: Sequence[float], stays_s: Sequence[float], cv: float = 1.0) -> RateCurve:
        """One rate after another, and from the first again."""
        if len(rates_per_s) != len(stays_s):
            value, fix = (len(rates_per_s), len(stays_s)), "write steps(rates=[100, 900], stays=[10m, 1m])"
            raise ConfigError("need one stay a rate", field="rates and stays", value=value, fix=fix)
        above_zero(**{f"stays[{i}]": stay_s for i, stay_s in enumerate(stays_s)})
        rates = tuple(rates_per_s)
        return RateCurve((0.0, *(float(each) for each in np.cumsum(stays_s))), rates, rates, repeats=True, cv=cv)

    def settings(self) -> Floats:
        """As `advance` reads them."""
        period_s = self.knots_s[-1] if self.repeats else np.inf
        head = (len(self.left_per_s), period_s, self.cv**-2.0)
        return np.array([*head, *self.knots_s, *self.left_per_s, *self.right_per_s])

    @property
    def mean_rate_per_s(self) -> float:
        """The mean over the period, or the rate that is held in the end."""
        return self.expected(self.knots_s[-1]) / self.knots_s[-1] if self.repeats else self.right_per_s[-1]

    def expected(self, time_s: float) -> float:
        """The expected number of arrivals up to a time."""
        return float(self.masses(np.array([time_s]))[0])

    def rates(self, times_s: Floats) -> Floats:
        """The rate at each time, `[n]`; at a knot that of the piece that begins there."""
        inside = np.mod(times_s, self.knots_s[-1]) if self.repeats else np.minimum(times_s, self.knots_s[-1])
        piece = np.clip(np.searchsorted(self.knots_s, inside, side="right") - 1, 0, len(self.left_per_s) - 1)
        knots, left, right = np.array(self.knots_s), np.array(self.left_per_s), np.array(self.right_per_s)
        share = (inside - knots[piece]) / (knots[piece + 1] - knots[piece])
        return np.asarray(left[piece] + (right[piece] - left[piece]) * share, dtype=np.float64)

    def masses(self, times_s: Floats) -> Floats:
        """∫ rate dt from zero up to each time, `[n]`: where the time-rescaling theorem looks at arrivals from."""
        knots, left, right = np.array(self.knots_s), np.array(self.left_per_s), np.array(self.right_per_s)
        upto = np.concatenate([[0.0], np.cumsum(0.5 * (left + right) * np.diff(knots))])
        cycles = np.floor(times_s / knots[-1]) if self.repeats else np.zeros(len(times_s))
        inside = times_s - cycles * knots[-1] if self.repeats else np.minimum(times_s, knots[-1])
        piece = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(left) - 1)
        step_s = inside - knots[piece]
        slope = (right - left)[piece] / np.diff(knots)[piece]
        beyond = 0.0 if self.repeats else np.maximum(times_s - knots[-1], 0.0) * right[-1]
        mass = cycles * upto[-1] + upto[piece] + step_s * (left[piece] + 0.5 * slope * step_s) + beyond
        return np.asarray(mass, dtype=np.float64)

    def scaled(self, factor: float) -> RateCurve:
        """The same shape, `factor` times as high."""
        above_zero(factor=factor)
        left, right = (tuple(factor * rate for rate in each) for each in (self.left_per_s, self.right_per_s))
        return RateCurve(self.knots_s, left, right, self.repeats, self.cv)

    def __str__(self) -> str:
        rates, again = (*self.left_per_s, *self.right_per_s), ", again and again" if self.repeats else ""
        burst = f", cv {self.cv:g}" if self.cv != 1.0 else ""
        return f"rate curve {min(rates):g} to {max(rates):g}/s over {self.knots_s[-1]:g} s{again}{burst}"
