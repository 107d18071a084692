"""How latency rises with the load: Poisson traffic at rates from little to almost too much, and the knee between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError
from windtunnel.load_curve import LoadCurve, LoadPoint
from windtunnel.trace import Trace

from .capacity import slowed_by
from .histogram import Histogram
from .spread import LEAST_REQUESTS, Spread
from .tunnel import batches, busy_s, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.request_log import RequestLog
    from windtunnel.seeds import Seeds

    Floats = NDArray[np.float64]

LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97)
"""The offered rates, as shares of saturation."""

NEAR_KNEE = 0.75
"""Points whose power is at least this share of the greatest tell where the top is."""

WARM_UP = 0.1
"""The share of requests at the start that is left out, while the queue that was empty fills."""


def load_curve(
    profile: LatencyProfile,
    *,
    max_batch: int,
    max_wait_s: float,
    servers: int,
    seeds: Seeds,
    loads: Sequence[float] = LOADS,
    requests: int = 100_000,
) -> LoadCurve:
    """Fly servers at rising rates of Poisson traffic and find the knee.

    Every rate is flown with the same arrivals, only faster, and the same luck, so that neighbouring points differ by the load
    alone. Intervals are `Spread.of`'s: of the simulated time, given the service times. The knee is where throughput ÷ mean
    latency is greatest: found as the vertex of a parabola through the logarithm of that power at the loads around its top,
    then flown as a point of its own.

    Args:
        profile: the service times; slowed where several servers share a machine, as in `capacity`.
        max_batch: the largest batch.
        max_wait_s: how long the oldest request waits for company.
        servers: replicas behind one queue.
        seeds: streams `arrivals` and `service` are used.
        loads: shares of saturation, rising, above 0 and below 1.
        requests: how many each rate is flown with.

    Raises:
        ConfigError: no server, loads that do not rise between 0 and 1, or too few requests for an interval.
        DataError: `max_batch` was not profiled.
    """
    _check(servers, loads, requests)
    tunnel = _Tunnel.build(profile, max_batch, max_wait_s, servers, seeds, requests)
    points = [tunnel.fly(load * tunnel.saturation_per_s) for load in loads]
    knee = tunnel.fly(_top(points))
    flown = {point.offered_per_s: point for point in (*points, knee)}
    return LoadCurve(
        profile.name, profile.basis, profile.band, servers, max_batch, max_wait_s, tunnel.saturation_per_s,
        tuple(flown[rate] for rate in sorted(flown)), knee.offered_per_s,
    )  # fmt: skip


def fly(
    profile: LatencyProfile,
    rate_per_s: float,
    *,
    max_batch: int,
    max_wait_s: float,
    servers: int,
    seeds: Seeds,
    requests: int = 100_000,
) -> LoadPoint:
    """Fly servers at one rate of Poisson traffic: one point of `load_curve`, at any rate.

    Raises:
        ConfigError: no server, a rate that is not above zero, or too few requests for an interval.
        DataError: `max_batch` was not profiled.
    """
    _check(servers, LOADS, requests)
    if not 0.0 < rate_per_s < float("inf"):
        raise ConfigError("must be above zero", field="rate_per_s", value=rate_per_s)
    return _Tunnel.build(profile, max_batch, max_wait_s, servers, seeds, requests).fly(rate_per_s)


def _check(servers: int, loads: Sequence[float], requests: int) -> None:
    if servers < 1:
        raise ConfigError("must be at least 1", field="servers", value=servers)
    if len(loads) < 3 or list(loads) != sorted(set(loads)) or not 0.0 < loads[0] <= loads[-1] < 1.0:
        raise ConfigError(
            "must be at least three shares of saturation that rise", field="loads", value=tuple(loads),
            fix="give shares above 0 and below 1",
        )  # fmt: skip
    least = int(LEAST_REQUESTS / (1.0 - WARM_UP)) + 1
    if requests < least:
        raise ConfigError("is too few for an interval", field="requests", value=requests, fix=f"give at least {least}")


@dataclass(frozen=True)
class _Tunnel:
    """Servers, and the traffic that is offered to them at any speed."""

    table: Floats
    batch: BatchPolicy
    servers: int
    arrivals: Floats
    luck: int

    @staticmethod
    def build(
        profile: LatencyProfile, max_batch: int, max_wait_s: float, servers: int, seeds: Seeds, requests: int
    ) -> _Tunnel:
        return _Tunnel(
            profile.service_table(max_batch, scale=slowed_by(profile, servers)),
            BatchPolicy(max_batch, max_wait_s),
            servers,
            np.cumsum(seeds.stream("arrivals").exponential(size=requests)),
            seeds.number("service"),
        )

    @property
    def saturation_per_s(self) -> float:
        return self.servers * self.batch.max_batch / float(np.mean(self.table[self.batch.max_batch]))

    def fly(self, rate_per_s: float) -> LoadPoint:
        log = simulate(
            Trace("Poisson", self.arrivals / rate_per_s), self.table, self.batch, self.servers, seed=self.luck
        )
        settled = _settled(log, int(WARM_UP * len(log)))
        latency = Spread.of(Histogram.of_series(settled.latency_s))
        seconds = float(np.max(settled.finished_s) - settled.scheduled_s[0])
        return LoadPoint(
            rate_per_s, rate_per_s / self.saturation_per_s, len(settled) / seconds,
            min(1.0, busy_s(settled) / (self.servers * seconds)), len(settled) / batches(settled),
            latency.mean, latency["p50"], latency["p99"],
        )  # fmt: skip


def _settled(log: RequestLog, first: int) -> RequestLog:
    """The log from one request on."""
    return replace(log, **{name: getattr(log, name)[first:] for name in log.__dataclass_fields__})


def _top(points: Sequence[LoadPoint]) -> float:
    """The offered rate at which power is greatest, between the points."""
    rates, power = (np.array([getattr(p, name) for p in points]) for name in ("offered_per_s", "power"))
    best = int(np.argmax(power))
    near = power >= NEAR_KNEE * power[best]
    # at least the top's neighbours
    near[max(0, best - 1) : best + 2] = True
    if np.count_nonzero(near) < 3:
        return float(rates[best])  # at an end: no parabola goes through two points alone
    curvature, slope, _ = np.polyfit(rates[near] / rates[best], np.log(power[near]), 2)
    if curvature >= 0.0:
        return float(rates[best])
    top = float(rates[best] * -slope / (2.0 * curvature))
    return float(np.clip(top, rates[max(0, best - 1)], rates[min(len(rates) - 1, best + 1)]))
