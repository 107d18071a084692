"""How much traffic servers can carry and still keep the promise: the figure that cost is divided by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError
from windtunnel.stats import Interval, mean_interval
from windtunnel.trace import Trace

from .tunnel import simulate

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

WARM_UP = 0.1
"""The share of requests at the start that is left out, while the queue that was empty fills."""


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

    The interval holds both doubts. The search is repeated on resampled service times (each batch size's samples drawn with
    repetition, as if measured again) and with fresh arrivals and luck; its reach is Student's quantile times the standard
    deviation of these repetitions.

    Args:
        profile: the service times. With more than one server each is slowed by `1 / profile.parallel_efficiency`.
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
    scale = 1.0 / profile.parallel_efficiency if servers > 1 else 1.0
    search = _Search(slo, BatchPolicy(max_batch, max_wait_s), servers, seeds, requests)
    value = search.highest_rate(profile.service_table(max_batch, scale=scale), 0)
    again = [
        search.highest_rate(_resampled(profile, seeds, item).service_table(max_batch, scale=scale), item)
        for item in range(1, resamples + 1)
    ]
    # the interval of one more repetition's value, not of the repetitions' mean
    spread = mean_interval(np.array(again))
    reach = (spread.high - spread.value) * math.sqrt(resamples)
    fewest = min(len(samples) for samples in profile.samples_s)
    return Interval(value, max(0.0, value - reach), value + reach, fewest, spread.confidence)


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


def _resampled(profile: LatencyProfile, seeds: Seeds, item: int) -> LatencyProfile:
    """The profile as it might have been measured another time."""
    rng = seeds.stream("bootstrap", item)
    return replace(profile, samples_s=tuple(rng.choice(samples, size=len(samples)) for samples in profile.samples_s))


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
        log = simulate(Trace("Poisson", arrivals / rate_per_s), table, self.batch, self.servers, seed=luck)
        settled = log.latency_s[int(WARM_UP * self.requests) :]
        return float(np.quantile(settled, self.slo.quantile)) <= self.slo.latency_s
