"""Prediction: a trace through the stations of a road, several times with new luck."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.road import SLACK
from windtunnel.simulate.batching import RayServeBatching

from .observed import Observed
from .stations import Passed, Stations, pass_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.road import Road

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

RUNS = 32
"""How often a trace is sent through with new luck: what the tunnel says is their mean, with little luck left in it."""

AFTERWARDS = 8
"""How often it is sent through with batches as long as they were on the road: nothing but ways, timers and event loops is left to luck."""

PIECES = 12
"""Of a calibrating run: a slow moment lasts no longer than one."""

AROUND_S, AROUND_REQUESTS = 0.5, 25
"""Load is what comes this long before and after, or long enough for so many requests at the highest load that was measured: where
one comes a second, a second around a request holds that one and tells no load."""

WHILE_S, WHILE_REQUESTS = 2.5, 300
"""A trace asks for more than the road was measured at where so much comes this long, or long enough for so many requests at the
highest load that was measured, before and after: a shorter burst is only a queue."""

MOST_BEYOND = 0.01
"""So many requests of a trace may come in such a while; more of them are its p99."""

POINTS = 2048
"""Quantiles of a way or a timer."""


@dataclass(frozen=True)
class Prediction:
    """What the tunnel says of a trace, run by run.

    Args:
        scheduled_s: float64 `[requests]`.
        runs: what became of the requests in each run.
        redrawn_s: float64 `[runs, requests]`, latencies of as many more runs, each with a calibration of its own, see `predict`.
        beyond: the share of requests in whiles in which the trace asks for more than the road was measured at; all of them
            where it asks for less than that in the mean.
    """

    scheduled_s: Floats
    runs: tuple[Passed, ...]
    redrawn_s: Floats
    beyond: float

    @property
    def extrapolated(self) -> bool:
        """Whether the trace asks for more, or less, than the road was measured at."""
        return self.beyond > MOST_BEYOND

    @property
    def latency_s(self) -> Floats:
        """float64 `[runs, requests]`, from when a request should be sent to its answer."""
        return np.stack([run.finished_s - self.scheduled_s for run in self.runs])

    def observed(self, run: int) -> Observed:
        """A run as its answers would tell of it."""
        each, count = self.runs[run], len(self.scheduled_s)
        return Observed(
            self.scheduled_s, each.finished_s, each.started_s - each.entered_s, each.ended_s - each.started_s,
            each.batch_size, each.replica, np.arange(count), count,
        )  # fmt: skip


def predict(road: Road, scheduled_s: Floats, *, seed: int, runs: int = RUNS) -> Prediction:
    """Send a trace down the road in the tunnel.

    Each run has luck of its own. As many more have a calibration of their own: the batches that were measured, drawn again in pieces
    (moving blocks: Künsch, Ann. Statist. 17, 1989). By so much as these differ nobody can know the road who measured it for so short a
    time.

    Args:
        road: the stations.
        scheduled_s: float64, sorted: when each request should be sent.
        seed: of all chance; zero or more.
        runs: how often.
    """
    stations, rng = stations_at(road, scheduled_s), np.random.default_rng(seed)
    series, loops = [each.residuals for each in road.loads], [each.loop for each in road.loads]
    seeds = range(seed * runs, (seed + 1) * runs)
    passed = tuple(pass_through(scheduled_s, stations, each) for each in seeds)
    others = [stations._replace(residuals=redrawn(series, rng), loop=redrawn(loops, rng)) for _ in seeds]
    redrawn_s = [pass_through(scheduled_s, *each).finished_s - scheduled_s for each in zip(others, seeds, strict=True)]
    calm = mean_rate_per_s(scheduled_s) * SLACK < road.loads[0].rate_per_s
    most_per_s = road.loads[-1].rate_per_s
    above = rates_around(scheduled_s, max(WHILE_S, WHILE_REQUESTS / most_per_s)) > most_per_s * SLACK
    return Prediction(scheduled_s, passed, np.stack(redrawn_s), 1.0 if calm else float(np.mean(above)))


def told_afterwards(road: Road, scheduled_s: Floats, seen: Observed, *, seed: int, runs: int = AFTERWARDS) -> Floats:
    """Send a trace down the road once it has been driven, with batches that take as long as those of the same requests took there.

    No prediction, as it knows what was to be told: how far it lies from the road is what the stations have wrong besides the model's own
    times. Those change with whatever else the machine, and the host below it, has to do; or they were calibrated wrong.

    Args:
        road: the stations.
        scheduled_s: float64, sorted: when each request should have been sent.
        seen: what happened to them.
        seed: of all other chance.
        runs: how often.

    Returns:
        Latencies; float64 `[runs, requests]`.
    """
    batches = seen.batches
    found = (batches.model_s / road.service_s[np.minimum(batches.size, road.batch.max_batch)])[batches.of]
    pace = np.interp(np.arange(len(scheduled_s)), seen.number, found)  # who had no answer is as who had one
    calm = stations_at(road, scheduled_s)
    calm = calm._replace(
        warmth=np.ones_like(calm.warmth),
        stretch=np.ones_like(calm.stretch),
        residuals=np.ones((len(calm.stretch), 1)),
        pace=pace,
    )
    each = (pass_through(scheduled_s, calm, seed * runs + run) for run in range(runs))
    return np.stack([passed.finished_s - scheduled_s for passed in each])


def redrawn(series: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Each load's series put together anew from pieces of it that begin anywhere; float64 `[loads, batches]`, all as long as the longest.

    Example:
        >>> redrawn([np.arange(48.0)], np.random.default_rng(3))[0, :6]
        array([38., 39., 40., 41.,  4.,  5.])
    """
    return _as_long_as_each_other([_redrawn(each, rng) for each in series])


def _as_long_as_each_other(series: Sequence[Floats]) -> Floats:
    """Each as a row, again from its beginning where another is longer."""
    longest = max(len(each) for each in series)
    return np.stack([np.resize(each, longest) for each in series])


def _redrawn(residuals: Floats, rng: np.random.Generator) -> Floats:
    batches = len(residuals)
    length = max(batches // PIECES, 1)
    begins = rng.integers(0, batches, -(-batches // length))
    at = (begins[:, None] + np.arange(length)).reshape(-1)[:batches] % batches
    return np.asarray(residuals[at])


def mean_rate_per_s(scheduled_s: Floats) -> float:
    """Requests a second from the first to the last."""
    return (len(scheduled_s) - 1) / float(scheduled_s[-1] - scheduled_s[0])


def rates_around(scheduled_s: Floats, around_s: float = AROUND_S) -> Floats:
    """Requests a second in the time around each request, a second of it; less where the trace begins or ends.

    Example:
        >>> rates_around(np.arange(0.0, 4.0, 0.25))[[0, 8]].tolist()
        [6.0, 5.0]
    """
    first, last = scheduled_s[0], scheduled_s[-1]
    begin_s, end_s = np.maximum(scheduled_s - around_s, first), np.minimum(scheduled_s + around_s, last)
    counts = np.searchsorted(scheduled_s, end_s, side="right") - np.searchsorted(scheduled_s, begin_s)
    return np.asarray(counts / np.maximum(end_s - begin_s, 1e-9))


def between_loads(road: Road, rates_per_s: Floats) -> tuple[Ints, Floats]:
    """Between which of the loads each rate lies, and how far from the lower one; outside of them it lies at the nearest."""
    rates = [each.rate_per_s for each in road.loads]
    at = np.interp(rates_per_s, rates, np.arange(len(rates)))
    lower = np.minimum(at.astype(np.int64), max(len(rates) - 2, 0))
    return lower, at - lower


def stations_at(road: Road, scheduled_s: Floats) -> Stations:
    """The stations as the compiled loop takes them: at the load of each moment."""
    lower, share = between_loads(road, np.array([mean_rate_per_s(scheduled_s)]))
    around_s = max(AROUND_S, AROUND_REQUESTS / road.loads[-1].rate_per_s)
    lowers, shares = between_loads(road, rates_around(scheduled_s, around_s))
    batching = RayServeBatching(
        road.batch.max_batch, road.batch.max_wait_s, blocking=True, python=(sys.version_info.major, sys.version_info.minor)
    )  # fmt: skip
    residuals, loop = (
        _as_long_as_each_other([getattr(each, name) for each in road.loads]) for name in ("residuals", "loop")
    )
    at = (np.arange(POINTS) + 0.5) / POINTS
    return Stations(
        batching.settings(), road.replicas, road.service_s, road.warmth, np.array([each.stretch for each in road.loads]),
        residuals,
        np.stack([np.quantile(each.outside_s, at) for each in road.loads]),
        np.stack([np.quantile(each.timer_s, at) for each in road.loads]),
        road.entry_s, road.dispatch_s, road.join_s, road.batch.ongoing, road.resume_s, road.knock_s, loop, road.company_s, road.rank_s, int(lower[0]), float(share[0]), lowers, shares,
        np.ones(len(scheduled_s)),
    )  # fmt: skip
