"""How bursty arrivals are beyond their rate curve: not at all, in their gaps, or in clusters; chosen by likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from scipy import special
from scipy import stats as distributions
from scipy.optimize import brentq, minimize

from windtunnel.stats import Interval

from .elementary import e_to, minus_log
from .hawkes import Hawkes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .curve import RateCurve
    from .generator import Floats


@dataclass(frozen=True)
class Burstiness:
    """One way to be bursty around a curve.

    Args:
        name: `poisson`, `gamma` (gaps in expected arrivals are Gamma) or `hawkes` (arrivals bring arrivals).
        process: what generates it.
        log_likelihood: of all arrivals, beyond that of Poisson arrivals on the same curve.
        parameters: by name, with intervals.
    """

    name: str
    process: RateCurve | Hawkes
    log_likelihood: float
    parameters: tuple[tuple[str, Interval], ...] = ()

    @property
    def aic(self) -> float:
        """Akaike's criterion, beyond Poisson's: lower is better (Akaike, IEEE Transactions on Automatic Control 19, 1974)."""
        return 2.0 * len(self.parameters) - 2.0 * self.log_likelihood


def fit_burstiness(curve: RateCurve, times_s: Floats, confidence: float = 0.95) -> tuple[Burstiness, ...]:
    """All three ways, fitted by maximum likelihood; the best by AIC first.

    Intervals are Wald's, on the logarithm (the logit for a branching ratio), and take the curve as known.

    Args:
        curve: the rate curve.
        times_s: sorted arrivals.
        confidence: of the intervals.

    Example:
        >>> from windtunnel.simulate.arrivals.gamma import Gamma
        >>> from windtunnel.simulate.arrivals.curve import RateCurve
        >>> bursts = Gamma(100.0, cv=2.0).arrivals(requests=20_000, seed=1).arrivals_s
        >>> best = fit_burstiness(RateCurve.constant(100.0), bursts)[0]
        >>> best.name, round(best.parameters[0][1].value, 1)
        ('gamma', 2.0)
    """
    found = [Burstiness("poisson", curve, 0.0), _gamma(curve, times_s, confidence), _hawkes(curve, times_s, confidence)]
    return tuple(sorted(found, key=lambda each: each.aic))


def residuals(process: RateCurve | Hawkes, times_s: Floats) -> Floats:
    """What should be independent uniform numbers if the arrivals came from the process, `[n − 1]`.

    The compensator between neighbours is the amount of ∫ rate dt that passed, which by the time-rescaling theorem is
    exponential (for Gamma gaps: Gamma); its distribution function makes it uniform.

    Source: Brown et al., *The time-rescaling theorem and its application to neural spike train data analysis*, Neural
    Computation 14 (2002); Ogata, *Statistical models for earthquake occurrences*, JASA 83 (1988).
    """
    if isinstance(process, Hawkes):
        masses = np.diff(process.base.masses(times_s))
        passed, rates = np.empty(len(masses)), np.ones(len(masses))
        _walk(masses, np.diff(times_s), rates, 1.0, process.branching, process.decay_per_s, passed)
        return np.asarray(-np.expm1(-passed), dtype=np.float64)
    gaps = np.diff(process.masses(times_s))
    shape = process.cv**-2.0
    return np.asarray(distributions.gamma.cdf(gaps * shape, shape), dtype=np.float64)


def _gamma(curve: RateCurve, times_s: Floats, confidence: float) -> Burstiness:
    gaps = np.diff(curve.masses(times_s))
    # a gap of nothing, from clocks that are too coarse, would be infinitely likely
    least = float(np.min(gaps[gaps > 0.0]))
    gaps = np.maximum(gaps, 0.5 * least)
    mean_log, mean = float(np.mean(np.log(gaps))), float(np.mean(gaps))

    def slope(shape: float) -> float:
        return math.log(shape) + 1.0 - float(special.digamma(shape)) + mean_log - mean

    shape = _root(slope, 1.0 / 900.0, 1e4)
    each = shape * math.log(shape) + (shape - 1.0) * mean_log - shape * mean - math.lgamma(shape)
    information = len(gaps) * (float(special.polygamma(1, shape)) - 1.0 / shape)
    reach = _normal(confidence) * 0.5 / (shape * math.sqrt(information))
    cv = shape**-0.5
    interval = Interval(cv, cv * math.exp(-reach), cv * math.exp(reach), len(gaps), confidence)
    cv = min(max(cv, 0.01), 30.0)
    return Burstiness("gamma", replace(curve, cv=cv), len(gaps) * (each + mean), (("cv", interval),))


def _root(slope: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling slope is zero, or the end that it does not reach zero before."""
    if slope(low) <= 0.0:
        return low
    return high if slope(high) >= 0.0 else float(brentq(slope, low, high))


def _normal(confidence: float) -> float:
    return float(distributions.norm.ppf(0.5 + confidence / 2.0))


@njit(nogil=True, cache=True, error_model="numpy")
def _walk(
    masses: Floats, gaps_s: Floats, rates: Floats, rest: float, branching: float, decay_per_s: float, passed: Floats
) -> float:
    """The Hawkes log-likelihood of arrivals beyond Poisson's on the same curve; `passed` gets the compensator of each gap.

    `rest` of the curve is the base; `rates` is the curve at the end of each gap. In one pass, as the kernel is exponential.
    """
    excitation, total = 0.0, 0.0
    for i in range(len(masses)):
        before = excitation + 1.0
        excitation = before * e_to(-decay_per_s * gaps_s[i])
        passed[i] = rest * masses[i] + branching * (before - excitation)
        total += masses[i] - passed[i] - minus_log(rest + branching * decay_per_s * excitation / rates[i])
    return total


def _hawkes(curve: RateCurve, times_s: Floats, confidence: float) -> Burstiness:
    """Immigrants are the share 1 − branching of the curve, so that the mean rate stays."""
    masses, gaps_s, rates = np.diff(curve.masses(times_s)), np.diff(times_s), curve.rates(times_s[1:])
    rates, passed = np.maximum(rates, 1e-9 * rates.max()), np.empty(len(masses))
    # clusters as long as a bin would make up for a curve that is too coarse
    bin_s = min(float(np.min(np.diff(curve.knots_s))) if len(curve.left_per_s) > 1 else np.inf, times_s[-1])
    slowest, fastest = math.log(10.0 / bin_s), math.log(100.0 * len(times_s) / times_s[-1])

    def loss(point: Floats) -> float:
        branching = float(special.expit(point[0]))
        decay = math.exp(min(max(point[1], slowest), fastest))
        return -float(_walk(masses, gaps_s, rates, 1.0 - branching, branching, decay, passed))

    starts = [np.array([-1.0, slowest + share * (fastest - slowest)]) for share in (0.3, 0.5, 0.7, 0.9)]
    begin = min(starts, key=loss)
    best = minimize(loss, begin, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3, "maxiter": 400})
    branching = min(float(special.expit(best.x[0])), 0.999)
    decay = math.exp(min(max(float(best.x[1]), slowest), fastest))
    errors = _standard_errors(loss, best.x)
    reach = _normal(confidence) * errors
    ends = special.expit(best.x[0] + reach[0] * np.array([-1.0, 1.0]))
    samples = len(gaps_s)
    parameters = (
        ("branching", Interval(branching, float(ends[0]), float(ends[1]), samples, confidence)),
        ("decay_per_s", _around(decay, float(reach[1]), samples, confidence)),
    )
    process = Hawkes(curve.scaled(1.0 - branching), branching, decay)
    return Burstiness("hawkes", process, -float(best.fun), parameters)


def _around(value: float, reach: float, samples: int, confidence: float) -> Interval:
    """An interval that is symmetric on the logarithm, and the whole half-line where nothing is known."""
    factor = math.exp(reach) if reach < 700.0 else math.inf
    return Interval(value, value / factor, value * factor, samples, confidence)


def _standard_errors(loss: Callable[[Floats], float], at: Floats, step: float = 0.02) -> Floats:
    """From the curvature at the optimum, by central differences; infinite where it is flat."""
    size = len(at)
    hessian, steps = np.empty((size, size)), step * np.eye(size)
    for i in range(size):
        for j in range(size):
            corners = [loss(at + a * steps[i] + b * steps[j]) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            hessian[i, j] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * step**2)
    if np.min(np.linalg.eigvalsh(0.5 * (hessian + hessian.T))) <= 1e-9:
        return np.full(size, np.inf)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(hessian))), dtype=np.float64)
