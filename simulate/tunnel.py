"""The tunnel: a trace meets a deployment, and every request is written down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.request_log import COMPLETED, RequestLog
from windtunnel.stats import Interval, mean_interval

from .kernel import serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.trace import Trace

    Floats = NDArray[np.float64]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
"""The quantiles of a summary, by the name they have in it."""

BLOCKS = 30
"""Into how many blocks of consecutive requests a log is cut for its intervals: few enough for long blocks, many enough
that Student's quantile (2.05 at 95%) has almost come down to the normal one."""

LEAST_BLOCK = 30
"""A block of fewer requests carries no interval."""

LARGEST_DOUBT = 0.5
"""By how much of itself the share of requests beyond a quantile may be off before its interval is refused."""


def simulate(trace: Trace, table: Floats, batch: BatchPolicy, replicas: int, *, seed: int) -> RequestLog:
    """Fly a trace through replicas behind one shared queue.

    Args:
        trace: when requests arrive.
        table: service times in seconds, float64 `[at least max_batch + 1, points]`, as `LatencyProfile.service_table`
            gives them: each point of the row of a batch's size is as likely.
        batch: when a batch leaves.
        replicas: how many servers.
        seed: of the service times; zero or more.

    Returns:
        One row a request, in order of arrival. Nothing is lost or retried: every status is `COMPLETED`.

    Raises:
        ConfigError: no replica.
        DataError: a table that does not reach `max_batch`, or with times that are not finite and above zero.

    Example:
        >>> from windtunnel.deployment import BatchPolicy
        >>> from windtunnel.trace import Trace
        >>> table = np.array([[0.0], [1.0], [1.5]])
        >>> simulate(Trace("t", np.array([0.0, 0.5, 0.5])), table, BatchPolicy(2), 1, seed=1).finished_s
        array([1. , 2.5, 2.5])
    """
    if replicas < 1:
        raise ConfigError("must be at least 1", field="replicas", value=replicas)
    _check_table(table, batch.max_batch)
    requests = len(trace)
    started_s, finished_s = np.empty(requests), np.empty(requests)
    replica, batch_size = np.empty(requests, dtype=np.int32), np.empty(requests, dtype=np.int32)
    serve(
        trace.arrivals_s, table, batch.max_batch, batch.max_wait_s, replicas, np.uint64(seed),
        started_s, finished_s, replica, batch_size,
    )  # fmt: skip
    zeros = np.zeros(requests, dtype=np.int32)
    return RequestLog(
        trace.arrivals_s, trace.arrivals_s, started_s, finished_s, replica, batch_size, zeros, zeros + COMPLETED
    )


def _check_table(table: Floats, max_batch: int) -> None:
    if len(table) <= max_batch:
        raise DataError(
            "is larger than the largest batch in the service table",
            field="max_batch",
            value=max_batch,
            fix=f"ask for batches of up to {len(table) - 1}, or profile larger ones",
        )
    rows = table[1 : max_batch + 1]
    if rows.size == 0 or not np.all(np.isfinite(rows)) or np.min(rows) <= 0.0:
        raise DataError("has times that are missing, not finite, or not above zero", field="service table")


@dataclass(frozen=True)
class Spread:
    """How a time is spread over the requests.

    Args:
        mean: its mean.
        quantiles: one interval for each of `QUANTILES`, in their order.
    """

    mean: Interval
    quantiles: tuple[Interval, ...]

    def __getitem__(self, name: str) -> Interval:
        return self.quantiles[list(QUANTILES).index(name)]

    def to_dict(self) -> dict[str, float | None]:
        """The figures in seconds, as `mean_s`, `mean_s_low`, `mean_s_high`, `p50_s`, …; null where a log is too short."""
        named = {"mean_s": self.mean, **{f"{name}_s": self[name] for name in QUANTILES}}
        figures = {key: figure for name, each in named.items() for key, figure in each.to_dict(name).items()}
        return {key: figure if math.isfinite(figure) else None for key, figure in figures.items()}


@dataclass(frozen=True)
class Simulation:
    """What a log says in a few figures.

    Args:
        requests: how many were sent.
        completed: how many were answered; the figures below are about these.
        seconds_simulated: from the first request to the last answer.
        throughput_per_s: answers a second over that time.
        mean_batch: requests a batch.
        utilization: the share of that time in which a replica served, over all replicas.
        latency: from when a request should have been sent to its answer.
        wait: from when a request should have been sent to the start of its batch.
    """

    requests: int
    completed: int
    seconds_simulated: float
    throughput_per_s: float
    mean_batch: float
    utilization: float
    latency: Spread
    wait: Spread

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values, units in the key names."""
        return {
            "basis": "simulated", "requests": self.requests, "completed": self.completed,
            "seconds_simulated": self.seconds_simulated, "throughput_per_s": self.throughput_per_s,
            "mean_batch": self.mean_batch, "utilization": self.utilization,
            "latency": self.latency.to_dict(), "wait": self.wait.to_dict(),
        }  # fmt: skip


def busy_s(log: RequestLog) -> float:
    """The seconds that replicas spent serving, added up: each batch once."""
    return float(np.sum((log.finished_s - log.started_s) / log.batch_size))


def batches(log: RequestLog) -> int:
    """How many batches were served."""
    return round(float(np.sum(1.0 / log.batch_size)))


def summarise(log: RequestLog, replicas: int, *, confidence: float = 0.95) -> Simulation:
    """Say in a few figures what happened to the requests of a log.

    Args:
        log: one row a request, in order of arrival.
        replicas: how many served.
        confidence: of the intervals, which are `spread`'s.

    Raises:
        DataError: no request was answered.
    """
    answered = log.status == COMPLETED
    if not np.any(answered):
        raise DataError("holds no request that was answered", field="log", value=len(log))
    seconds = float(np.max(log.finished_s[answered]) - log.scheduled_s[0])
    completed = int(np.sum(answered))
    return Simulation(
        requests=len(log),
        completed=completed,
        seconds_simulated=seconds,
        throughput_per_s=completed / seconds,
        mean_batch=completed / batches(log),
        utilization=busy_s(log) / (replicas * seconds),
        latency=spread(log.latency_s[answered], confidence),
        wait=spread(log.wait_s[answered], confidence),
    )


def spread(series: Floats, confidence: float = 0.95) -> Spread:
    """The mean and the quantiles of an autocorrelated series, with intervals that know that it is.

    Neighbouring requests share queues and batches, so they are not independent observations; long blocks of them nearly
    are. The mean's interval is Student's over the means of `BLOCKS` blocks (batch means: Law, *Simulation Modeling and
    Analysis*, section 9.5.3). A quantile's is found on the other axis (Woodruff, *Confidence intervals for medians and
    other position measures*, JASA 1952): the share of requests at or below it is a mean, whose interval comes from the
    blocks alike, and the quantiles at its two ends are the ends. A quantile taken in each block would be biased instead:
    slow requests come in clusters, and most blocks have none.

    Where the blocks are shorter than `LEAST_BLOCK`, or the tail beyond a quantile is not known to within
    `LARGEST_DOUBT`, the figure stands and its interval is the whole line.

    The intervals are about a load that goes on like this. Where the rate drifts over the trace, as by night and day, the
    blocks scatter with it and the intervals are wider than chance alone would make them, or refused.

    Args:
        series: float64 `[n]`, in order of arrival.
        confidence: of the intervals.

    Example:
        >>> steady = spread(np.random.default_rng(0).exponential(size=3000))
        >>> steady.mean.low < 1.0 < steady.mean.high, steady["p999"].high
        (True, inf)
    """
    mean, reach = float(np.mean(series)), _reach(series, confidence)
    ordered = np.sort(series)
    quantiles = [_quantile(series, ordered, share, confidence) for share in QUANTILES.values()]
    return Spread(Interval(mean, mean - reach, mean + reach, BLOCKS, confidence), tuple(quantiles))


def _quantile(series: Floats, ordered: Floats, share: float, confidence: float) -> Interval:
    value = float(np.quantile(ordered, share))
    reach = _reach(series <= value, confidence)
    if reach > LARGEST_DOUBT * min(share, 1.0 - share):
        return Interval(value, -math.inf, math.inf, BLOCKS, confidence)
    low, high = np.quantile(ordered, [share - reach, share + reach])
    return Interval(value, float(low), float(high), BLOCKS, confidence)


def _reach(series: NDArray[Any], confidence: float) -> float:
    """Half the width of the interval of a series' mean, from the means of its blocks."""
    length = len(series) // BLOCKS
    if length < LEAST_BLOCK:
        return math.inf
    means = np.mean(series[: length * BLOCKS].reshape(BLOCKS, length), axis=1)
    interval = mean_interval(means, confidence)
    return interval.high - interval.value
