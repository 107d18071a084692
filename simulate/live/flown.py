"""A live run as a flight: what the tunnel's figures, intervals and pictures are made from, made from the road's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT
from windtunnel.simulate.flight import BINS, Flight
from windtunnel.simulate.histogram import Histogram
from windtunnel.simulate.kernel import OVER_TIME
from windtunnel.simulate.summary import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .live_run import LiveRun

    Floats = NDArray[np.float64]

BIN_S = 0.001
"""How long a bin of the timeline is at least; doubled until `BINS` are enough."""

BACKLOG_SHARE = 0.01
"""As in the tunnel: more than this share answered only after the last request was due is a queue that grew,"""

LEAST_BACKLOG = 64
"""if it is more than so many, which may be under way at any time."""


def flown(run: LiveRun, *, replicas: int = 0, slo_s: float = np.inf) -> Flight:
    """Put a live run into the tunnel's terms.

    `seconds_simulated` is what it took. Where the server does not say how it batched there are no batches, no waits and no
    utilization. What was served for nobody is not known to clients, so `wasted` is 0.

    Args:
        run: on the road.
        replicas: that served; 0 where that is not known.
        slo_s: what a good answer takes at most.

    Raises:
        MeasurementError: it ended before a request was sent.
    """
    if not len(run):
        raise MeasurementError("the run was over before a request was due, so nothing is known; let it run longer")
    first_s, last_s = float(run.log.scheduled_s[0]), float(run.log.scheduled_s[-1])
    behind = int(np.count_nonzero(run.log.finished_s > last_s))
    grew = behind > max(LEAST_BACKLOG, BACKLOG_SHARE * len(run)) and last_s > first_s
    bin_s, table = _over_time(run, replicas, slo_s)
    drift_per_s = behind / (last_s - first_s) if grew else 0.0
    return Flight(run.log, summarize(run, replicas), table, bin_s, first_s, last_s, drift_per_s, 0, overflowed=False)


def summarize(run: LiveRun, replicas: int = 0) -> Summary:
    """The figures of a live run, as the tunnel has them."""
    log = run.log
    count = np.bincount(log.status, minlength=LEFT + 1).tolist()
    answered = log.status == COMPLETED
    size = log.batch_size[answered]
    batched = size > 0
    busy_s = (run.model_s[answered] / np.where(batched, size, 1))[batched]
    seconds = run.wall_s
    return Summary(
        requests=len(log), completed=count[COMPLETED], shed=count[SHED], timed_out=count[TIMED_OUT], failed=count[FAILED],
        left=count[LEFT], attempts=int(run.attempts.sum()), served=int(np.count_nonzero(batched)),
        batches=round(float(np.sum(1.0 / size[batched]))), seconds_simulated=seconds, busy_s=float(np.nansum(busy_s)),
        replica_s=replicas * seconds if batched.any() else 0.0,
        latency_times=Histogram.of_series(np.where(answered, log.latency_s, np.nan)),
        wait_times=Histogram.of_series(np.where(answered, log.wait_s, np.nan)),
    )  # fmt: skip


def _over_time(run: LiveRun, replicas: int, slo_s: float) -> tuple[float, Floats]:
    """The timeline: how long a bin is, and `[BINS, len(OVER_TIME)]`."""
    log = run.log
    first_s, bin_s = float(log.scheduled_s[0]), BIN_S
    while run.wall_s / bin_s >= BINS:
        bin_s *= 2.0
    table = np.zeros((BINS, len(OVER_TIME)))
    answered = log.status == COMPLETED
    due = _bins(log.scheduled_s, first_s, bin_s)

    def put(name: str, at: NDArray[np.int64], weights: Floats | NDArray[np.bool_]) -> None:
        table[:, OVER_TIME.index(name)] += np.bincount(at, weights=weights, minlength=BINS)

    put("arrived", due, np.ones(len(log)))
    put("completed", due, answered)
    put("good", due, answered & (log.latency_s <= slo_s))
    for name, status in (("timed_out", TIMED_OUT), ("shed", SHED), ("failed", FAILED), ("left", LEFT)):
        put(name, due, log.status == status)
    put("attempts", due, run.attempts.astype(np.float64))
    put("latency_sum_s", due, np.where(answered, log.latency_s, 0.0))
    np.maximum.at(table[:, OVER_TIME.index("latency_max_s")], due[answered], log.latency_s[answered])
    put("wait_sum_s", due, np.nan_to_num(np.where(answered, log.wait_s, 0.0)))
    batched = answered & (log.batch_size > 0) & np.isfinite(log.started_s)
    began = _bins(log.started_s[batched], first_s, bin_s)
    put("batches", began, 1.0 / log.batch_size[batched])
    put("served", began, np.ones(len(began)))
    put("busy_s", began, run.model_s[batched] / log.batch_size[batched])
    if replicas:
        used = int(run.wall_s / bin_s) + 1
        table[:used, OVER_TIME.index("replica_s")] = replicas * bin_s
    return bin_s, table


def _bins(times_s: Floats, first_s: float, bin_s: float) -> NDArray[np.int64]:
    return np.clip(((times_s - first_s) / bin_s).astype(np.int64), 0, BINS - 1)
