"""Prediction: a trace through the stations of a road, several times with new luck."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.simulate.batching import RayServeBatching

from .observed import Observed
from .stations import Passed, Stations, pass_through

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.road import Road

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

RUNS = 32
"""How often a trace is sent through with new luck: what the tunnel says is their mean, with little luck left in it."""

SLACK = 1.1
"""A rate may lie so far beyond those that the road was measured at."""

AROUND_S = 0.5
"""Load is what comes this long before and after."""

POINTS = 2048
"""Quantiles of a way or a timer."""


@dataclass(frozen=True)
class Prediction:
    """What the tunnel says of a trace, run by run.

    Args:
        scheduled_s: float64 `[requests]`.
        runs: what became of the requests in each run.
        extrapolated: whether the trace asks for more, or less, than the road was measured at.
    """

    scheduled_s: Floats
    runs: tuple[Passed, ...]
    extrapolated: bool

    @property
    def latency_s(self) -> Floats:
        """float64 `[runs, requests]`, from when a request should be sent to its answer."""
        return np.stack([run.finished_s - self.scheduled_s for run in self.runs])

    def observed(self, run: int) -> Observed:
        """A run as its answers would tell of it."""
        each, count = self.runs[run], len(self.scheduled_s)
        handler_s = each.ended_s - each.entered_s
        return Observed(
            self.scheduled_s, each.finished_s, handler_s, each.started_s - each.entered_s, each.ended_s - each.started_s,
            each.batch_size, each.replica, np.arange(count), count,
        )  # fmt: skip


def predict(road: Road, scheduled_s: Floats, *, seed: int, runs: int = RUNS) -> Prediction:
    """Send a trace down the road in the tunnel.

    Args:
        road: the stations.
        scheduled_s: float64, sorted: when each request should be sent.
        seed: of all chance; zero or more.
        runs: how often.
    """
    passed = tuple(
        pass_through(scheduled_s, stations_at(road, scheduled_s), seed * runs + each) for each in range(runs)
    )
    rate_per_s = mean_rate_per_s(scheduled_s)
    outside = not road.loads[0].rate_per_s / SLACK <= rate_per_s <= road.loads[-1].rate_per_s * SLACK
    return Prediction(scheduled_s, passed, outside)


def mean_rate_per_s(scheduled_s: Floats) -> float:
    """Requests a second from the first to the last."""
    return (len(scheduled_s) - 1) / float(scheduled_s[-1] - scheduled_s[0])


def rates_around(scheduled_s: Floats) -> Floats:
    """Requests a second in the second around each request; less of it where the trace begins or ends.

    Example:
        >>> rates_around(np.arange(0.0, 4.0, 0.25))[[0, 8]].tolist()
        [6.0, 5.0]
    """
    first, last = scheduled_s[0], scheduled_s[-1]
    begin_s, end_s = np.maximum(scheduled_s - AROUND_S, first), np.minimum(scheduled_s + AROUND_S, last)
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
    lowers, shares = between_loads(road, rates_around(scheduled_s))
    batching = RayServeBatching(
        road.batch.max_batch, road.batch.max_wait_s, blocking=True, python=(sys.version_info.major, sys.version_info.minor)
    )  # fmt: skip
    longest = max(len(each.residuals) for each in road.loads)
    at = (np.arange(POINTS) + 0.5) / POINTS
    return Stations(
        batching.settings(), road.replicas, road.service_s, np.array([each.stretch for each in road.loads]),
        np.stack([np.resize(each.residuals, longest) for each in road.loads]),
        np.stack([np.quantile(each.outside_s, at) for each in road.loads]),
        np.stack([np.quantile(each.timer_s, at) for each in road.loads]),
        road.entry_s, road.dispatch_s, road.join_s, road.resume_s, road.answer_s, road.knock_s, road.company_s, road.rank_s, int(lower[0]), float(share[0]), lowers, shares,
    )  # fmt: skip
