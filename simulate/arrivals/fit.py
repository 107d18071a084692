"""From a recording to a process that makes traffic like it, for longer, for more users, with a holiday in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.trace import Trace

from .burstiness import Burstiness, fit_burstiness
from .curve import RateCurve
from .generator import above_zero
from .goodness import Goodness, examine
from .hawkes import Hawkes
from .resolution import Resolution, choose_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .generator import Floats

LEAST_REQUESTS = 200
"""A recording shorter than this says too little about its own rhythm."""


@dataclass(frozen=True)
class Fit:
    """A process fitted to a recording, what it is worth, and the rows whose columns its requests will carry.

    Args:
        name: of the recording.
        process: what generates arrivals; its curve repeats by the day, by the week, or by the recording's own length.
        duration_s: how long was recorded.
        columns: the recording's, of which `sample` draws whole rows.
        resolutions: those that were tried for the curve, the chosen one first.
        burstiness: the ways to be bursty that were tried, the chosen one first.
        goodness: the process against the recording.
        warnings: what a reader must know, each as a sentence.
    """

    name: str
    process: RateCurve | Hawkes
    duration_s: float
    columns: Mapping[str, NDArray[Any]]
    resolutions: tuple[Resolution, ...]
    burstiness: tuple[Burstiness, ...]
    goodness: Goodness
    warnings: tuple[str, ...] = ()

    def scaled(self, times: float) -> Fit:
        """As many users times `times`: the rate is higher, the day keeps its length, and the burstiness its strength.

        Gaps keep their cv in expected arrivals, clusters their size; strangers who were added would be less bursty in sum.
        """
        return replace(self, name=f"{self.name} at {times:g} × its rate", process=self.process.scaled(times))

    def with_peak(self, times: float, start_s: float, length_s: float, horizon_s: float) -> Fit:
        """A holiday: the rate times `times` for a while, risen to and fallen from in straight lines of a quarter of it each.

        Args:
            times: above zero; below one a lull.
            start_s: when it begins to rise.
            length_s: how long the whole takes.
            horizon_s: for how long the curve is laid out; then it begins again, holiday and all.

        Raises:
            ConfigError: a factor that is not above zero, or a peak that does not lie within the horizon.
        """
        above_zero(times=times, length=length_s)
        if not 0.0 <= start_s < start_s + length_s <= horizon_s < float("inf"):
            fix = f"the horizon is {horizon_s:g} s"
            raise ConfigError("does not lie within it", field="peak", value=(start_s, length_s), fix=fix)
        rise_s = np.array([0.0, start_s, start_s + length_s / 4, start_s + 3 * length_s / 4, start_s + length_s])
        curve = _raised(self._curve, np.append(rise_s, horizon_s), np.array([1.0, 1.0, times, times, 1.0, 1.0]))
        process = replace(self.process, base=curve) if isinstance(self.process, Hawkes) else curve
        return replace(self, name=f"{self.name} with a peak × {times:g}", process=process)

    @property
    def _curve(self) -> RateCurve:
        return self.process.base if isinstance(self.process, Hawkes) else self.process

    def sample(self, seed: int, *, seconds: float = 0.0, requests: int = 0) -> Trace:
        """Make traffic: as long as was recorded, or so many seconds or requests.

        Each request carries the columns of one row of the recording, drawn evenly and for itself.

        Args:
            seed: of arrivals and rows.
            seconds: how long.
            requests: or how many.

        Raises:
            DataError: fewer than two requests came.
        """
        if not requests and not seconds:
            seconds = self.duration_s
        made = self.process.arrivals(requests=requests, seconds=seconds, seed=seed)
        rows = np.random.default_rng([seed, 4]).integers(0, self._rows, size=len(made)) if self.columns else None
        drawn = {} if rows is None else {key: column[rows] for key, column in self.columns.items()}
        return Trace(f"{self.name}, fitted and sampled", made.arrivals_s, drawn)

    @property
    def _rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def describe(self) -> dict[str, Any]:
        """The fit and its worth, for JSON, units in the key names."""
        chosen, best = self.resolutions[0], self.burstiness[0]
        return {
            "period_s": chosen.period_s,
            "bin_s": chosen.bin_s,
            "burstiness": best.name,
            **{name: value for key, interval in best.parameters for name, value in interval.to_dict(key).items()},
            "aic": {each.name: each.aic for each in self.burstiness},
            "fits": self.goodness.fits,
            "failures": list(self.goodness.failures),
            "ks": self.goodness.ks,
            "ks_p": self.goodness.ks_p,
            "warnings": list(self.warnings),
        }


def fit(trace: Trace, *, period_s: float = 0.0, seed: int = 1) -> Fit:
    """Fit rate curve, burstiness and the mix of columns to a recording, and say what the fit is worth.

    Where many arrivals share one instant the clock was coarse: they are spread evenly over the clock's step, which is said,
    for nothing below that step is known.

    Args:
        trace: the recording.
        period_s: after which the rate repeats, where it is known; see `choose_curve`.
        seed: of the spreading and of the samples that the fit is judged by.

    Raises:
        ConfigError: a period below zero.
        DataError: fewer than 200 requests.

    Example:
        >>> from windtunnel.simulate.arrivals.mmpp import Mmpp
        >>> recorded = Mmpp((20.0, 200.0), (5.0, 1.0)).arrivals(requests=20_000, seed=1)
        >>> fitted = fit(recorded)
        >>> fitted.burstiness[0].name, fitted.goodness.fits
        ('hawkes', False)
    """
    if len(trace) < LEAST_REQUESTS:
        fix = f"record {LEAST_REQUESTS} at least, or describe the traffic yourself: poisson(rate=…)"
        raise DataError("has too few requests to be fitted", field=trace.name, value=len(trace), fix=fix)
    if not 0.0 <= period_s < float("inf"):
        raise ConfigError("must be zero or more", field="period", value=period_s, fix="zero lets it be chosen")
    times_s, warnings = _spread(trace.arrivals_s - trace.arrivals_s[0], seed)
    # the recording ends one mean gap after its last request, not with it
    duration_s = float(times_s[-1]) * len(times_s) / (len(times_s) - 1)
    curve, resolutions = choose_curve(times_s, duration_s, period_s)
    burstiness = fit_burstiness(curve, times_s)
    process = burstiness[0].process
    goodness = examine(process, times_s, duration_s, seed)
    warnings += _of_columns(trace)
    return Fit(trace.name, process, duration_s, trace.columns, resolutions, burstiness, goodness, tuple(warnings))


def _spread(times_s: Floats, seed: int) -> tuple[Floats, list[str]]:
    """Spread what shares an instant over the step of the clock, where more than one in a hundred does."""
    steps_s = np.diff(times_s)
    if np.mean(steps_s == 0.0) <= 0.01:
        return times_s, []
    step_s = float(np.min(steps_s[steps_s > 0.0]))
    moved_s = np.sort(times_s + np.random.default_rng([seed, 5]).uniform(0.0, step_s, size=len(times_s)))
    share = float(np.mean(steps_s == 0.0))
    told = f"{share:.0%} of requests share an instant with another: spread over {step_s:g} s, below which nothing is known."
    return moved_s - moved_s[0], [told]


def _of_columns(trace: Trace) -> list[str]:
    """Say which columns are not drawn independently in the recording, as they will be in a sample."""
    found = []
    for name, column in trace.columns.items():
        if not np.issubdtype(column.dtype, np.number):
            continue
        values = column.astype(np.float64)
        known = values[np.isfinite(values)]
        ranks = np.argsort(np.argsort(known, kind="stable"), kind="stable").astype(np.float64)
        alike = float(np.corrcoef(ranks[1:], ranks[:-1])[0, 1]) if len(known) > 2 else 0.0
        if alike > max(0.05, 4.0 / len(known) ** 0.5):
            found.append(
                f"Neighbours are alike in `{name}` (rank correlation {alike:.2f}); samples draw rows independently."
            )
    return found


def _raised(curve: RateCurve, times_s: Floats, factors: Floats) -> RateCurve:
    """The curve laid out up to the last time, times a factor of straight pieces."""
    horizon_s, period_s = float(times_s[-1]), curve.knots_s[-1]
    cycles = np.arange(np.ceil(horizon_s / period_s)) if curve.repeats else np.zeros(1)
    knots_s = np.unique(np.concatenate([(cycles[:, None] * period_s + np.array(curve.knots_s)).ravel(), times_s]))
    knots_s = knots_s[knots_s <= horizon_s]
    # a hair inside each piece, so that a step belongs to one side
    inside_s = 1e-9 * np.diff(knots_s)
    begin_s, end_s = knots_s[:-1] + inside_s, knots_s[1:] - inside_s
    left, right = (curve.rates(at_s) * np.interp(at_s, times_s, factors) for at_s in (begin_s, end_s))
    return RateCurve(tuple(knots_s.tolist()), tuple(left.tolist()), tuple(right.tolist()), True, curve.cv)
