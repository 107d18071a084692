"""What a million requests cost: price ÷ the throughput at which the promise is still kept, never ÷ the peak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from windtunnel.price import unmeasured
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price

Basis = Literal["measured", "projected", "not measured"]


class Capacity(Protocol):
    """The highest rate at which some servers keep a promise; the simulating stage's, handed over by the composition."""

    def __call__(self, profile: LatencyProfile, slo: Slo, *, servers: int) -> Interval:
        """Requests a second, with an interval."""
        ...


@dataclass(frozen=True)
class Cost:
    """One variant on one kind of machine.

    Args:
        variant: its name.
        price: the machine.
        basis: `measured` (as many cores as here), `projected` (linear in cores), or `not measured` (no figure is given).
        throughput_at_slo_per_s: requests a second at which the promise is still kept; None where not measured.
        note: what the basis rests on, or what would measure it.
    """

    variant: str
    price: Price
    basis: Basis
    throughput_at_slo_per_s: Interval | None
    note: str

    def usd_per_million(self) -> Interval | None:
        """US dollars per million requests; None where nothing was measured or the promise cannot be kept at any rate.

        Example:
            >>> from windtunnel.price import find_price
            >>> rate = Interval(1000.0, 900.0, 1100.0, 12, 0.95)
            >>> cost = Cost("m", find_price("azure:D2s_v5"), "measured", rate, "").usd_per_million()
            >>> round(cost.value, 6)     # 0.096 USD an hour ÷ 3.6 million requests an hour
            0.026667
        """
        rate = self.throughput_at_slo_per_s
        if rate is None or rate.value <= 0.0:
            return None
        value, low, high = (self._usd(each) for each in (rate.value, rate.high, rate.low))
        return Interval(value, low, high, rate.samples, rate.confidence)

    def _usd(self, rate_per_s: float) -> float:
        return self.price.usd_per_hour / (rate_per_s * 3600.0) * 1e6 if rate_per_s > 0.0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """The cost as JSON values."""
        usd, rate = self.usd_per_million(), self.throughput_at_slo_per_s
        nothing = {"usd_per_million": None, "usd_per_million_low": None, "usd_per_million_high": None}
        unknown = {f"throughput_at_slo_per_s{end}": None for end in ("", "_low", "_high")}
        return {
            "variant": self.variant, "hardware": self.price.name, "usd_per_hour": self.price.usd_per_hour, "currency": "USD",
            "price_date": self.price.date, "price_source": self.price.source, "basis": self.basis, "note": self.note,
            **(rate.to_dict("throughput_at_slo_per_s") if rate else unknown),
            **(usd.to_dict("usd_per_million") if usd else nothing),
        }  # fmt: skip


def cost_table(
    profiles: Sequence[LatencyProfile], prices: Sequence[Price], slo: Slo, capacity: Capacity
) -> tuple[Cost, ...]:
    """Price every variant on every kind of machine.

    A machine without an accelerator, of the architecture measured on, is priced with the cores measured here; where it
    has another number of them the figure is a projection, linear in cores. Accelerators and other architectures were
    not measured, and no figure is made up for them.
    """
    known: dict[tuple[str, int], Interval] = {}
    costs = []
    for price in prices:
        for profile in profiles:
            basis, note = _basis(profile, price)
            rate = None
            if basis != "not measured":
                key = (profile.variant, price.vcpu)
                if key not in known:
                    known[key] = capacity(profile, slo, servers=price.vcpu)
                rate = known[key]
            costs.append(Cost(profile.variant, price, basis, rate, note))
    return tuple(costs)


def _basis(profile: LatencyProfile, price: Price) -> tuple[Basis, str]:
    here = profile.hardware
    reason = unmeasured(price, here.architecture)
    if reason:
        return "not measured", reason
    if price.vcpu == int(here.cores):
        return "measured", f"on {here.cpu} with {here.cores:g} cores, priced as {price.name}"
    return "projected", f"from {here.cores:g} cores of {here.cpu}, linear to {price.vcpu} vCPU"
