"""A LoadCurve: how long requests take as the load rises, up to where servers are saturated, and where the knee is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.errors import DataError
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class LoadPoint:
    """What one load does.

    Args:
        offered_per_s: requests a second that come.
        load: that as a share of saturation.
        achieved_per_s: requests a second that are answered.
        utilization: the share of time in which a server serves, over all servers.
        mean_batch: requests a batch.
        mean: latency in seconds, from when a request comes to its answer.
        p50: as `mean`, its median.
        p99: as `mean`, its 99th percentile; an infinite interval where the run cannot carry one.
    """

    offered_per_s: float
    load: float
    achieved_per_s: float
    utilization: float
    mean_batch: float
    mean: Interval
    p50: Interval
    p99: Interval

    @property
    def power(self) -> float:
        """Throughput ÷ mean latency: what is got over what is paid for it."""
        return self.achieved_per_s / self.mean.value

    def to_dict(self) -> dict[str, Any]:
        """The point as JSON values; null where an interval has no end."""
        figures = {
            "offered_per_s": self.offered_per_s, "load": self.load, "achieved_per_s": self.achieved_per_s,
            "utilization": self.utilization, "mean_batch": self.mean_batch,
            **self.mean.to_dict("mean_s"), **self.p50.to_dict("p50_s"), **self.p99.to_dict("p99_s"),
        }  # fmt: skip
        return {key: figure if math.isfinite(figure) else None for key, figure in figures.items()}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> LoadPoint:
        """Read what `to_dict` wrote; the intervals are at 95%, and how many blocks carried them is not kept."""
        return LoadPoint(
            value["offered_per_s"], value["load"], value["achieved_per_s"], value["utilization"], value["mean_batch"],
            _interval(value, "mean_s"), _interval(value, "p50_s"), _interval(value, "p99_s"),
        )  # fmt: skip


def _interval(value: Mapping[str, Any], name: str) -> Interval:
    low, high = value[f"{name}_low"], value[f"{name}_high"]
    return Interval(value[name], -math.inf if low is None else low, math.inf if high is None else high, 0, 0.95)


@dataclass(frozen=True)
class LoadCurve:
    """Latency over throughput for servers behind one queue, under Poisson traffic.

    Args:
        variant: the profile's name.
        basis: what the service times are; the waiting is simulated in either case.
        band: the factor by which every time of a projected profile may be longer or shorter; 1 where measured.
        servers: how many.
        max_batch: the largest batch.
        max_wait_s: how long the oldest request waits for company.
        saturation_per_s: requests a second with full batches, one after the other: no higher rate is ever worked off.
        points: by rising load.
        knee_per_s: the offered load of the knee: that of the points where throughput ÷ mean latency ("power") is
            greatest. Below it throughput is bought with little latency, beyond it latency rises faster than throughput.

    Source: Kleinrock, *Power and deterministic rules of thumb for probabilistic problems in computer communications*, ICC
    1979: for M/M/1 the knee is at half of saturation.

    Raises:
        DataError: points that do not rise, or no point at the knee.
    """

    variant: str
    basis: Literal["measured", "projected"]
    band: float
    servers: int
    max_batch: int
    max_wait_s: float
    saturation_per_s: float
    points: tuple[LoadPoint, ...]
    knee_per_s: float

    def __post_init__(self) -> None:
        offered = [point.offered_per_s for point in self.points]
        if offered != sorted(set(offered)):
            raise DataError("must rise from point to point", field="offered_per_s", value=offered)
        if self.knee_per_s not in offered:
            raise DataError("is no point of the curve", field="knee_per_s", value=self.knee_per_s)

    @property
    def knee(self) -> LoadPoint:
        """The point at the knee."""
        return next(point for point in self.points if point.offered_per_s == self.knee_per_s)

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON values, units in the key names."""
        return {
            "variant": self.variant, "basis": "simulated", "service_basis": self.basis, "band": self.band, "servers": self.servers,
            "max_batch": self.max_batch, "max_wait_s": self.max_wait_s, "saturation_per_s": self.saturation_per_s,
            "knee_per_s": self.knee_per_s, "points": [point.to_dict() for point in self.points],
        }  # fmt: skip

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> LoadCurve:
        """Read what `to_dict` wrote."""
        points = tuple(LoadPoint.from_dict(point) for point in value["points"])
        return LoadCurve(
            value["variant"], value["service_basis"], value["band"], value["servers"], value["max_batch"], value["max_wait_s"],
            value["saturation_per_s"], points, value["knee_per_s"],
        )  # fmt: skip
