"""The rhythm of days and weeks: a sinusoid over the day, and quieter weekends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError
from windtunnel.simulate.chance import uniform_from

from .elementary import cosine_of_turns, unit_exponential
from .generator import Generator, above_zero, chance_of

if TYPE_CHECKING:
    from .generator import Floats

DAY_S, WEEK_S = 86_400.0, 604_800.0


@njit(nogil=True, cache=True, error_model="numpy")
def fill(state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next arrivals: candidates at the highest rate, of which each is kept with the chance rate ÷ highest.

    Source: thinning, Lewis & Shedler, Naval Research Logistics Quarterly 26 (1979).
    """
    start, counter, now_s = chance_of(state), int(state[2]), state[3]
    workday_per_s, weekend_per_s, swing, peak_s = settings[0], settings[1], settings[2], settings[3]
    highest_per_s = max(workday_per_s, weekend_per_s) * (1.0 + swing)
    for i in range(len(out)):
        while True:
            now_s += unit_exponential(start, counter) / highest_per_s
            in_week = now_s - np.floor(now_s / 604800.0) * 604800.0
            level = weekend_per_s if in_week >= 432000.0 else workday_per_s
            rate_per_s = level * (1.0 + swing * cosine_of_turns((now_s - peak_s) / 86400.0))
            counter += 2
            if uniform_from(start, counter - 1) * highest_per_s < rate_per_s:
                break
        out[i] = now_s
    state[2], state[3] = counter, now_s


@dataclass(frozen=True)
class Weekly(Generator):
    """A Poisson process with the rate level · (1 + swing · cos 2π(t − peak) ÷ day), its level lower at weekends.

    Zero is the midnight on which a Monday begins.

    Args:
        mean_per_s: the mean rate over a week.
        swing: 0 (none) to 1 (nothing comes at the quietest moment of the day).
        weekend: Saturday's and Sunday's level, over a workday's; 1 is a rhythm of days alone.
        peak_s: when in the day it is busiest.

    Raises:
        ConfigError: a mean that is not above zero, a swing outside 0 to 1, a weekend below zero, a peak outside the day.

    Example:
        >>> week = Weekly(70.0, swing=0.5, weekend=0.5)
        >>> [round(float(each), 1) for each in week.rates(np.array([14.0, 2.0, 5 * 24 + 14.0]) * 3600.0)]
        [122.5, 40.8, 61.2]
    """

    mean_per_s: float
    swing: float = 0.5
    weekend: float = 1.0
    peak_s: float = 50_400.0

    code: ClassVar[int] = 6
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]] = staticmethod(fill)

    def __post_init__(self) -> None:
        above_zero(mean=self.mean_per_s)
        if not 0.0 <= self.swing <= 1.0:
            raise ConfigError("is outside 0 to 1", field="swing", value=self.swing)
        if not 0.0 <= self.weekend < float("inf"):
            raise ConfigError("must be zero or more", field="weekend", value=self.weekend)
        if not 0.0 <= self.peak_s < DAY_S:
            raise ConfigError("is outside the day", field="peak", value=self.peak_s, fix="write peak=14h")

    @property
    def workday_per_s(self) -> float:
        """The mean rate of a workday."""
        return self.mean_per_s * 7.0 / (5.0 + 2.0 * self.weekend)

    def settings(self) -> Floats:
        """Level of workdays, of weekends, swing, peak."""
        return np.array([self.workday_per_s, self.workday_per_s * self.weekend, self.swing, self.peak_s])

    @property
    def mean_rate_per_s(self) -> float:
        """The mean over a week."""
        return self.mean_per_s

    def rates(self, times_s: Floats) -> Floats:
        """The rate at each time, `[n]`."""
        level = np.where(times_s % WEEK_S >= 5 * DAY_S, self.weekend, 1.0) * self.workday_per_s
        return np.asarray(level * (1.0 + self.swing * np.cos(2.0 * np.pi * (times_s - self.peak_s) / DAY_S)))

    def __str__(self) -> str:
        name, weekend = ("diurnal", "") if self.weekend == 1.0 else ("weekly", f", weekend={self.weekend:g}")
        return f"{name}(mean={self.mean_per_s:g}, swing={self.swing:g}{weekend}, peak={self.peak_s / 3600.0:g}h)"
