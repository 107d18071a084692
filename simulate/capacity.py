"""How much traffic servers can carry and still keep the promise: the figure that cost is divided by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm, t

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError
from windtunnel.stats import Interval, mean_interval

from .shared_queue import serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.seeds import Seeds

    Floats = NDArray[np.float64]

HALVINGS = 12
"""How often the rate is halved from saturation in search of one that keeps the promise; none found is a rate of zero."""

STEPS = 10
"""How often the gap is bisected then: to a thousandth of the rate."""

NORMAL_95 = 1.96
LEAST_EFFICIENCY = 0.05

WARM_UP = 0.1
"""The share of requests at the start that is left out, while the queue that was empty fills."""

POINTS = 2048
"""Of how many quantiles a row of the service table is made: two beyond p99.9."""

BLOCKS = 20
"""Into how many blocks of consecutive measurements a profile is cut to be resampled, and no more than it has rounds: few
enough for blocks that outlast what makes neighbours alike, many enough to see how unlike blocks are."""


def capacity(
    profile: LatencyProfile,
    slo: Slo,
    *,
    max_batch: int,
    max_wait_s: float,
    servers: int,
    seeds: Seeds,
    requests: int = 20_000,
    resamples: int = 12,
) -> Interval:
    """The highest rate of Poisson traffic, in requests a second, at which servers still keep the promise.

    Found by bisection between a rate that keeps it and one that does not, each tried on the same arrivals, only faster,
    and the same luck. The rate stays below saturation (full batches, one after the other) whatever the bound allows: above
    it no queue is ever worked off. Where a lone request waits longer for company than the bound allows, slow traffic
    breaks a promise that faster traffic keeps; the rate is then one that keeps it, with one that breaks it just above.

    The interval holds four doubts. The search is repeated on resampled service times, with another parallel efficiency from
    its interval, and with fresh arrivals and luck; its
    reach is Student's quantile times the standard deviation of these repetitions, and more where few blocks stand for it. Service times are resampled in blocks of
    consecutive ones, at the same moments of the measurement for every batch size, because a slow moment of the machine slows
    many calls in a row, of all sizes (circular blocks: Politis & Romano, *A circular block-resampling procedure for
    stationary data*, 1992). Drawn one by one they would seem to be more observations than they are. The band of a projected
    profile comes on top: the ends are those of a machine that is slower and faster by it.

    Args:
        profile: the service times. With more than one server each is slowed by `1 / profile.parallel_efficiency`, unless
            they were measured with several instances busy at once (`profile.concurrency`) and are slow already.
        slo: the promise.
        max_batch: the largest batch.
        max_wait_s: how long the oldest request waits for company.
        servers: replicas behind one queue.
        seeds: streams `arrivals`, `service` and `bootstrap` are used.
        requests: how many requests each rate is tried with.
        resamples: how often it is repeated for the interval; at least 2.

    Returns:
        Requests a second, at 95% confidence; 0 where even a lone request is served too slowly. `samples` is the smallest
        number of service times behind a batch size.

    Raises:
        ConfigError: no server, or too few resamples or requests to say anything.
        DataError: `max_batch` was not profiled.
    """
    _check(slo, servers, requests, resamples)
    search = _Search(slo, BatchPolicy(max_batch, max_wait_s), servers, seeds, requests)
    scale = slowed_by(profile, servers)
    table = profile.service_table(max_batch, points=POINTS, scale=scale)
    value = search.highest_rate(table, 0)
    again = []
    for item in range(1, resamples + 1):
        other = resampled(profile, seeds, item)
        slowed = other.service_table(max_batch, points=POINTS, scale=slowed_by(other, servers))
        again.append(search.highest_rate(slowed, item))
    # the interval of one more repetition's value, not of the repetitions' mean
    spread = mean_interval(np.array(again))
    reach = (spread.high - spread.value) * math.sqrt(resamples) * _doubt(_block_count(profile), spread.confidence)
    fewest = min(len(samples) for samples in profile.samples_s)
    if profile.band == 1.0:
        return Interval(value, max(0.0, value - reach), value + reach, fewest, spread.confidence)
    slow, fast = (search.highest_rate(table * factor, 0) for factor in (profile.band, 1.0 / profile.band))
    share = reach / value if value > 0.0 else 0.0
    return Interval(value, max(0.0, slow * (1.0 - share)), fast * (1.0 + share), fewest, spread.confidence)


def slowed_by(profile: LatencyProfile, servers: int) -> float:
    """How many times as long a service takes beside others than it was measured to take, beside fewer or none."""
    return 1.0 / profile.parallel_efficiency if servers > profile.concurrency else 1.0


def _check(slo: Slo, servers: int, requests: int, resamples: int) -> None:
    if servers < 1:
        raise ConfigError("must be at least 1", field="servers", value=servers)
    if resamples < 2:
        raise ConfigError("must be at least 2", field="resamples", value=resamples)
    least = math.ceil(10.0 / (1.0 - slo.quantile) / (1.0 - WARM_UP))
    if requests < least:
        raise ConfigError(
            f"is too few to see p{slo.quantile * 100:g}", field="requests", value=requests, fix=f"give at least {least}"
        )


def resampled(profile: LatencyProfile, seeds: Seeds, item: int) -> LatencyProfile:
    """The profile as it might have been measured another time, by a circular block bootstrap.

    Each block is a stretch of the measurement, as long for every batch size and at the same place: what was measured side
    by side is resampled side by side. How much instances slow each other is drawn within its own interval.
    """
    rng = seeds.stream("bootstrap", item)
    starts = rng.uniform(size=_block_count(profile))
    drawn = rng.normal(profile.parallel_efficiency, profile.efficiency_reach / NORMAL_95)
    return replace(
        profile,
        samples_s=tuple(_blocks(samples, starts) for samples in profile.samples_s),
        parallel_efficiency=float(np.clip(drawn, LEAST_EFFICIENCY, 1.0)),
    )


def _block_count(profile: LatencyProfile) -> int:
    return max(2, min(BLOCKS, profile.rounds))


def _doubt(blocks: int, confidence: float) -> float:
    """By how much a deviation seen among a few blocks is to be widened: for what it misses, and for not knowing it well."""
    upper = 0.5 + confidence / 2.0
    return math.sqrt(blocks / (blocks - 1.0)) * float(t.ppf(upper, blocks - 1) / norm.ppf(upper))


def _blocks(series: Floats, starts: Floats) -> Floats:
    """As many values as the series has, in stretches that start at shares of its length; its end is followed by its start.

    Example:
        >>> _blocks(np.arange(6.0), np.array([0.5, 0.9]))
        array([3., 4., 5., 5., 0., 1.])
    """
    length = math.ceil(len(series) / len(starts))
    index = (starts * len(series)).astype(np.int64)[:, None] + np.arange(length)
    again: Floats = series[index.ravel()[: len(series)] % len(series)]
    return again


@dataclass(frozen=True)
class _Search:
    slo: Slo
    batch: BatchPolicy
    servers: int
    seeds: Seeds
    requests: int

    def highest_rate(self, table: Floats, item: int) -> float:
        if float(np.quantile(table[1], self.slo.quantile)) > self.slo.latency_s:
            return 0.0
        arrivals = np.cumsum(self.seeds.stream("arrivals", item).exponential(size=self.requests))
        luck = self.seeds.number("service", item)
        fails = self.servers * self.batch.max_batch / float(np.mean(table[self.batch.max_batch]))
        for _ in range(HALVINGS):
            if self._keeps(fails / 2.0, arrivals, table, luck):
                return self._bisect(fails / 2.0, fails, arrivals, table, luck)
            fails /= 2.0
        return 0.0

    def _bisect(self, keeps: float, fails: float, arrivals: Floats, table: Floats, luck: int) -> float:
        for _ in range(STEPS):
            middle = (keeps + fails) / 2.0
            if self._keeps(middle, arrivals, table, luck):
                keeps = middle
            else:
                fails = middle
        return keeps

    def _keeps(self, rate_per_s: float, arrivals: Floats, table: Floats, luck: int) -> bool:
        """Whether few enough of the settled requests are late; the kernel is asked directly, some hundred times a capacity."""
        due_s, count = arrivals / rate_per_s, self.requests
        started_s, finished_s = np.empty(count), np.empty(count)
        replica, batch_size = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
        serve(
            due_s, table, self.batch.max_batch, self.batch.max_wait_s, self.servers, np.uint64(luck),
            started_s, finished_s, replica, batch_size,
        )  # fmt: skip
        first = int(WARM_UP * count)
        late = int(np.count_nonzero(finished_s[first:] - due_s[first:] > self.slo.latency_s))
        return late <= (1.0 - self.slo.quantile) * (count - first)
