"""What latency costs: every machine, variant, batch and load, and those of which none other is both cheaper and faster."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from windtunnel.stats import Interval

from .cost import on_machine, usd_per_million
from .servers import servers_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.load_curve import LoadCurve, LoadPoint
    from windtunnel.price import Price

    from .cost import Project


DOUBLED = 1e-9
"""Twice as much is not more than twice as much for the last bit of a logarithm."""


class Curve(Protocol):
    """Latency over load for some servers; the simulating stage's `load_curve`, handed over by the composition."""

    def __call__(self, profile: LatencyProfile, *, servers: int, max_batch: int) -> LoadCurve:
        """One point a load, and the knee."""
        ...


@dataclass(frozen=True)
class Choice:
    """One variant on one machine with one largest batch, loaded to one rate.

    Args:
        hardware: the price's name.
        variant: the profile's name.
        max_batch: the largest batch.
        servers: how many on the machine.
        basis: of the service times; the waiting is simulated.
        load: the rate as a share of saturation.
        rate_per_s: requests a second on one machine.
        p99: latency in seconds.
        usd_per_million: US dollars per million requests at that rate.
        at_knee: whether the load is that of the curve's knee.
        best: whether no other choice is both as cheap and as fast.
        price_date: of the machine's price.
    """

    hardware: str
    variant: str
    max_batch: int
    servers: int
    basis: Literal["measured", "projected"]
    load: float
    rate_per_s: float
    p99: Interval
    usd_per_million: Interval
    at_knee: bool
    best: bool = False
    price_date: str = ""

    def __str__(self) -> str:
        return f"{self.variant} on {self.hardware}, batches of up to {self.max_batch}, at {self.load:.0%} of saturation"

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return {
            "hardware": self.hardware, "currency": "USD", "price_date": self.price_date, "variant": self.variant, "max_batch": self.max_batch, "servers": self.servers,
            "basis": self.basis, "load": self.load, "rate_per_s": self.rate_per_s, **self.p99.to_dict("p99_s"),
            **self.usd_per_million.to_dict("usd_per_million"), "at_knee": self.at_knee, "best": self.best,
        }  # fmt: skip


@dataclass(frozen=True)
class Frontier:
    """Every choice, the best of them marked.

    Args:
        choices: by machine, variant, batch and load.
    """

    choices: tuple[Choice, ...]

    @property
    def best(self) -> tuple[Choice, ...]:
        """Those of which none other is both as cheap and as fast, from the cheapest on."""
        return tuple(sorted((c for c in self.choices if c.best), key=_by_cost))

    @property
    def doublings(self) -> tuple[Choice, ...]:
        """The cheapest choice, then the fastest for at most twice its cost, four times, and so on while it gets faster."""
        best = self.best
        if not best:
            return ()
        least = best[0].usd_per_million.value
        last = {math.ceil(math.log2(c.usd_per_million.value / least) - DOUBLED): c for c in best}
        return tuple(last.values())

    def to_dict(self) -> dict[str, Any]:
        """The best choices and the doublings as JSON values."""
        return {
            "frontier": [choice.to_dict() for choice in self.best], "choices": len(self.choices),
            "doublings": [choice.to_dict() for choice in self.doublings],
        }  # fmt: skip


def _by_cost(choice: Choice) -> tuple[float, float]:
    return choice.usd_per_million.value, choice.p99.value


def frontier(
    profiles: Sequence[LatencyProfile],
    prices: Sequence[Price],
    curve: Curve,
    *,
    max_batches: Sequence[int],
    project: Project | None = None,
) -> Frontier:
    """Weigh cost against latency over machines, variants, largest batches and loads.

    A machine that is left half idle answers faster and costs twice as much a request: every load of a curve is a choice of
    its own. Loads whose p99 the simulation cannot bound are left out. Where every time of a projection is longer by its
    band, a share of saturation is a lower rate by as much: its p99 and its cost rise together, by the band.

    Args:
        profiles: what was measured.
        prices: the machines; those of which nothing can be said are left out.
        curve: latency over load.
        max_batches: largest batches to try, as far as a profile reaches.
        project: tells a machine that was not measured.
    """
    choices = [
        choice
        for price in prices
        for given in profiles
        for choice in _choices(given, price, curve, max_batches, project)
    ]
    return Frontier(mark(choices))


def _choices(
    given: LatencyProfile, price: Price, curve: Curve, max_batches: Sequence[int], project: Project | None
) -> Iterator[Choice]:
    profile = on_machine(given, price, project)
    if isinstance(profile, str):
        return
    servers = servers_on(profile, price).count
    if servers == 0:
        return
    for max_batch in max_batches:
        if max_batch <= profile.batch_sizes[-1]:
            flown = curve(profile, servers=servers, max_batch=max_batch)
            for point in flown.points:
                if math.isfinite(point.p99.high):
                    yield _choice(given.name, price, flown, point)


def _choice(name: str, price: Price, flown: LoadCurve, point: LoadPoint) -> Choice:
    # by the load that is offered: what a run happens to draw is no property of the machine
    offered, band = point.offered_per_s, flown.band
    rate = Interval(offered, offered / band, offered * band, point.p99.samples, point.p99.confidence)
    usd = usd_per_million(rate, price.usd_per_hour, price.usd_per_hour, price.usd_per_hour)
    assert usd is not None, "a curve's loads lie above zero"
    p99 = replace(point.p99, low=point.p99.low / band, high=point.p99.high * band)
    return Choice(
        price.name, name, flown.max_batch, flown.servers, flown.basis, point.load, offered, p99, usd,
        offered == flown.knee_per_s, price_date=price.date,
    )  # fmt: skip


def mark(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Mark the choices of which none other is both as cheap and as fast; of two alike the first."""
    best: set[int] = set()
    fastest = math.inf
    for index in sorted(range(len(choices)), key=lambda index: _by_cost(choices[index])):
        if choices[index].p99.value < fastest:
            best.add(index)
            fastest = choices[index].p99.value
    return tuple(replace(choice, best=index in best) for index, choice in enumerate(choices))
