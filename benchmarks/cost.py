"""What a million requests cost: price ÷ the throughput at which the promise is still kept, never ÷ the peak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from windtunnel.errors import DataError
from windtunnel.stats import Interval

from .servers import Servers, servers_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.load_curve import LoadPoint
    from windtunnel.price import Price
    from windtunnel.server_cost import ServerCost

    from .power import EnergyUse, Power

Basis = Literal["measured", "projected", "not measured"]

SECONDS_AN_HOUR = 3600.0
MILLION = 1e6


class Capacity(Protocol):
    """The highest rate at which some servers keep a promise; the simulating stage's, handed over by the composition."""

    def __call__(self, profile: LatencyProfile, slo: Slo, *, servers: int) -> Interval:
        """Requests a second, with an interval that holds the band of a projected profile."""
        ...


class Project(Protocol):
    """What a profile measured here would be on a machine that nobody measured."""

    def __call__(self, profile: LatencyProfile, price: Price) -> LatencyProfile | str:
        """A profile whose basis is `projected`, with its band; or the reason why there can be none, as a clause."""
        ...


class Fly(Protocol):
    """What one load does to some servers; the simulating stage's, handed over by the composition."""

    def __call__(self, profile: LatencyProfile, rate_per_s: float, *, servers: int) -> LoadPoint:
        """Latency and utilization at a rate."""
        ...


@dataclass(frozen=True)
class Cost:
    """One variant on one kind of machine.

    Args:
        variant: the profile's name.
        price: the machine.
        basis: `measured` (on this very instance type), `projected` (from another machine, with a band), or `not
            measured` (no figure is given).
        throughput_at_slo_per_s: requests a second at which the promise is still kept; None where nothing can be said.
        note: what the basis rests on, or why there is no figure.
        servers: how many serve at once on the machine, and by what count; None where nothing can be said.
        band: the factor by which every time of a projection may be longer or shorter; 1 where measured.
        energy: at that throughput; None where no power is known.
        server: what a server costs beside the model; None where none was measured, and then it is not in the throughput.
    """

    variant: str
    price: Price
    basis: Basis
    throughput_at_slo_per_s: Interval | None
    note: str
    servers: Servers | None = None
    band: float = 1.0
    energy: EnergyUse | None = None
    server: ServerCost | None = None

    def usd_per_million(self) -> Interval | None:
        """US dollars per million requests; None where nothing can be said or the promise cannot be kept at any rate.

        The ends change places: the most that can be carried is the least that it costs.

        Example:
            >>> from windtunnel.price import find_price
            >>> rate = Interval(1000.0, 900.0, 1100.0, 12, 0.95)
            >>> cost = Cost("m", find_price("azure:D2s_v5"), "measured", rate, "").usd_per_million()
            >>> round(cost.value, 6)     # 0.096 USD an hour ÷ 3.6 million requests an hour
            0.026667
        """
        usd = self.price.usd_per_hour
        return usd_per_million(self.throughput_at_slo_per_s, usd, usd, usd)

    def spot_usd_per_million(self) -> Interval | None:
        """As `usd_per_million`, for spot capacity: its ends hold the range of the spot price too. None where none is known."""
        usd = self.price.spot_usd_per_hour
        if usd is None:
            return None
        low, high = self.price.spot_min_usd, self.price.spot_max_usd
        return usd_per_million(
            self.throughput_at_slo_per_s, usd, usd if low is None else low, usd if high is None else high
        )

    def to_dict(self) -> dict[str, Any]:
        """The cost as JSON values; null where nothing can be said, and `note` says why."""
        return {
            "variant": self.variant, "basis": self.basis, "band": self.band, "note": self.note,
            **_price_to_dict(self.price),
            "servers": self.servers.count if self.servers else None,
            "servers_of": self.servers.of if self.servers else None,
            **_ends("throughput_at_slo_per_s", self.throughput_at_slo_per_s),
            **_ends("usd_per_million", self.usd_per_million()),
            **_ends("spot_usd_per_million", self.spot_usd_per_million()),
            "energy": self.energy.to_dict() if self.energy else None,
            "server": self.server.to_dict() if self.server else None,
        }  # fmt: skip


def usd_per_million(
    rate_per_s: Interval | None, usd_per_hour: float, least_usd: float, most_usd: float
) -> Interval | None:
    """A price an hour, between its least and its most, over the requests that are served in it.

    Example:
        >>> usd_per_million(Interval(100.0, 50.0, 200.0, 9, 0.95), 0.36, 0.18, 0.72)
        Interval(value=1.0, low=0.25, high=4.0, samples=9, confidence=0.95)
    """
    rate = rate_per_s
    if rate is None or rate.value <= 0.0:
        return None
    ends = ((usd_per_hour, rate.value), (least_usd, rate.high), (most_usd, rate.low))
    value, low, high = (usd / (each * SECONDS_AN_HOUR) * MILLION if each > 0.0 else math.inf for usd, each in ends)
    return Interval(value, low, high, rate.samples, rate.confidence)


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {key: figure if math.isfinite(figure) else None for key, figure in interval.to_dict(name).items()}


def _price_to_dict(price: Price) -> dict[str, Any]:
    return {
        "hardware": price.name, "region": price.region, "usd_per_hour": price.usd_per_hour,
        "spot_usd_per_hour": price.spot_usd_per_hour, "spot_usd_per_hour_low": price.spot_min_usd,
        "spot_usd_per_hour_high": price.spot_max_usd, "currency": price.currency, "price_date": price.date,
        "price_flags": list(price.flags), "price_source": price.source,
    }  # fmt: skip


def cost_table(
    profiles: Sequence[LatencyProfile],
    prices: Sequence[Price],
    slo: Slo,
    capacity: Capacity,
    *,
    project: Project | None = None,
    powers: Mapping[str, Power] | None = None,
    fly: Fly | None = None,
    grid_g_per_kwh: float | None = None,
) -> tuple[Cost, ...]:
    """Price every variant on every kind of machine.

    Args:
        profiles: what was measured.
        prices: the machines.
        slo: the promise at which throughput is counted.
        capacity: the highest rate that keeps it.
        project: how a machine that was not measured is told from one that was; such machines have no figure without it.
        powers: what machines draw, by the price's name; no energy is told of others.
        fly: tells how busy a machine is at that rate; needed for energy.
        grid_g_per_kwh: grams of CO₂ a kilowatt-hour; no CO₂ is told without it.

    Returns:
        One cost a price and profile, in that order.
    """
    costs = []
    for price in prices:
        power = (powers or {}).get(price.name)
        for given in profiles:
            profile = on_machine(given, price, project)
            if isinstance(profile, str):
                costs.append(Cost(given.name, price, "not measured", None, profile))
                continue
            cost = _cost(given, profile, price, slo, capacity)
            costs.append(_with_energy(cost, profile, power, fly, grid_g_per_kwh))
    return tuple(costs)


def on_machine(profile: LatencyProfile, price: Price, project: Project | None) -> LatencyProfile | str:
    """The profile as it is on a machine: itself where it was measured on that instance type, else its projection.

    Returns:
        A profile, or the reason why nothing can be said of the machine, as a clause.

    Raises:
        DataError: a projector that calls its result measured.
    """
    if profile.hardware.instance == price.name:
        return profile
    if profile.basis == "projected":
        return f"was itself projected, from {profile.hardware.cpu}; a projection is not projected again"
    if project is None:
        return f"run windtunnel benchmark on {price.name}; this was {profile.hardware.instance or profile.hardware.cpu}"
    projected = project(profile, price)
    if isinstance(projected, str):
        return projected
    if projected.basis != "projected":
        raise DataError(
            f"was measured on {profile.hardware} and cannot be called measured on {price.name}",
            field=profile.name, fix=f"run windtunnel benchmark on {price.name}",
        )  # fmt: skip
    return projected if projected.band > 1.0 else "its projection has no error band"


def _cost(given: LatencyProfile, profile: LatencyProfile, price: Price, slo: Slo, capacity: Capacity) -> Cost:
    servers = servers_on(profile, price)
    if servers.count == 0:
        return Cost(given.name, price, "not measured", None, servers.of, servers)
    rate = capacity(profile, slo, servers=servers.count)
    note = _note(given, profile, rate)
    return Cost(given.name, price, profile.basis, rate, note, servers, profile.band, server=profile.server)


def _note(given: LatencyProfile, profile: LatencyProfile, rate: Interval) -> str:
    parts = [f"measured on {given.hardware.cpu}"]
    if profile.basis == "projected":
        parts[0] = f"projected from {given.hardware.cpu}, every time within × or ÷ {profile.band:.2g}"
    if given.verdict.outcome != "go":
        parts.append("the measurement is INVALID: " + "; ".join(given.verdict.reasons))
    if profile.server is not None:
        parts.append(profile.server_told.removesuffix("."))
    if rate.value <= 0.0:
        parts.append("the promise is kept at no rate" + (", but may be" if rate.high > 0.0 else ""))
    return "; ".join(parts)


def _with_energy(
    cost: Cost, profile: LatencyProfile, power: Power | None, fly: Fly | None, grid_g_per_kwh: float | None
) -> Cost:
    from dataclasses import replace

    from .power import energy_use

    rate = cost.throughput_at_slo_per_s
    if power is None or fly is None or rate is None or cost.servers is None or rate.value <= 0.0:
        return cost
    point = fly(profile, rate.value, servers=cost.servers.count)
    busy_s = point.utilization / point.achieved_per_s
    return replace(cost, energy=energy_use(power, busy_s, band=profile.band, grid_g_per_kwh=grid_g_per_kwh))
