"""Does a fitted process make traffic like the recorded one? Asked at every scale, and answered plainly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from windtunnel.stats import autocorrelation

from .burstiness import residuals

if TYPE_CHECKING:
    from .curve import RateCurve
    from .generator import Floats
    from .hawkes import Hawkes

SAMPLES = 39
"""How often the fitted process is sampled to see where its own figures lie."""

_LAGS = (1, 2, 5)


@dataclass(frozen=True)
class Check:
    """One figure of the recording beside the band in which the fitted process has it.

    Args:
        what: `dispersion` (variance over mean of counts; 1 for Poisson) or `autocorrelation` (of counts).
        scale_s: how long the intervals are in which arrivals are counted.
        lag: in intervals; 0 for a dispersion.
        recorded: the recording's figure.
        low: lower end of the process's band.
        high: upper end.
    """

    what: str
    scale_s: float
    lag: int
    recorded: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """The recorded figure lies in the band."""
        return self.low <= self.recorded <= self.high


@dataclass(frozen=True)
class Goodness:
    """What a fit is worth.

    Args:
        ks: the largest distance between the distribution of the residuals and the uniform one.
        ks_p: the chance of so large a distance if the process were right; as its parameters come from the same
            recording, a little too high.
        neighbours: rank correlation of neighbouring residuals: 0 if nothing of the order in time is left.
        checks: dispersion at several scales, autocorrelation of counts.

    The bands hold together with 95% (Bonferroni).
    """

    ks: float
    ks_p: float
    neighbours: float
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not fit, each as a clause; empty where all fits."""
        found = [_told(check) for check in self.checks if not check.holds]
        if self.ks_p < 0.01:
            far = "far" if self.ks > 0.05 else "a little"
            found.insert(0, f"gaps are {far} off: KS distance {self.ks:.3f}, p = {self.ks_p:.2g}")
        return tuple(found)

    @property
    def fits(self) -> bool:
        """Nothing was found that does not fit."""
        return not self.failures


def _told(check: Check) -> str:
    at = f"{check.what} at {check.scale_s:.3g} s" + (f", lag {check.lag}" if check.lag else "")
    return f"{at} is {check.recorded:.3g}, the fit's {check.low:.3g} to {check.high:.3g}"


def examine(process: RateCurve | Hawkes, times_s: Floats, duration_s: float, seed: int) -> Goodness:
    """Hold a process against the recording it was fitted to.

    Source: KS on residuals, Brown et al. 2002 (see `burstiness.residuals`); bands are prediction intervals from
    `SAMPLES` sampled recordings (Student's, dispersion on the logarithm).

    Args:
        process: the fitted one.
        times_s: sorted arrivals from zero on.
        duration_s: how long was recorded.
        seed: of the samples.
    """
    uniform = residuals(process, times_s)
    test = distributions.kstest(uniform, "uniform")
    neighbours = float(distributions.spearmanr(uniform[1:], uniform[:-1]).statistic)
    scales = _scales(len(times_s), duration_s)
    drawn = np.array([_figures(_sampled(process, duration_s, seed + i), duration_s, scales) for i in range(SAMPLES)])
    recorded = _figures(times_s, duration_s, scales)
    lows, highs = _bands(drawn)
    names = [("dispersion", scale_s, 0) for scale_s in scales]
    names += [("autocorrelation", _slow(duration_s), lag) for lag in _LAGS]
    values = zip(names, recorded, lows, highs, strict=True)
    checks = [Check(*name, *_shown(name[0], [float(each) for each in figures])) for name, *figures in values]
    return Goodness(float(test.statistic), float(test.pvalue), neighbours, tuple(checks))


def _scales(requests: int, duration_s: float) -> list[float]:
    """From two requests an interval up to twenty intervals, a factor of eight at most between neighbours."""
    least, most = 2.0 * duration_s / requests, duration_s / 20.0
    if most <= least:
        return [most]
    many = 1 + max(1, math.ceil(math.log(most / least) / math.log(8.0)))
    return [float(each) for each in np.geomspace(least, most, many)]


def _slow(duration_s: float) -> float:
    return duration_s / 200.0


def _sampled(process: RateCurve | Hawkes, duration_s: float, seed: int) -> Floats:
    return process.until(duration_s, seed)


def _counts(times_s: Floats, duration_s: float, scale_s: float) -> Floats:
    bins = max(1, int(duration_s / scale_s))
    inside = times_s[: np.searchsorted(times_s, bins * scale_s)]
    return np.bincount(np.minimum((inside / scale_s).astype(np.int64), bins - 1), minlength=bins).astype(np.float64)


def _figures(times_s: Floats, duration_s: float, scales: list[float]) -> list[float]:
    """Logarithms of dispersions, then autocorrelations."""
    found: list[float] = []
    for scale_s in scales:
        counts = _counts(times_s, duration_s, scale_s)
        found.append(math.log(max(float(np.var(counts)) / max(float(np.mean(counts)), 1e-9), 1e-9)))
    slow = _counts(times_s, duration_s, _slow(duration_s))
    return found + [autocorrelation(slow, lag) for lag in _LAGS]


def _bands(drawn: Floats) -> tuple[Floats, Floats]:
    samples, figures = drawn.shape
    quantile = float(distributions.t.ppf(1.0 - 0.025 / figures, samples - 1))
    reach = quantile * np.std(drawn, axis=0, ddof=1) * math.sqrt(1.0 + 1.0 / samples)
    middle = np.mean(drawn, axis=0)
    return middle - reach, middle + reach


def _shown(what: str, figures: list[float]) -> list[float]:
    return [math.exp(each) for each in figures] if what == "dispersion" else figures
