"""From tariffs and measured figures to patterns that can be weighed: machines that carry a rate, calls that take a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .break_even import PIECES, BreakEven, Pattern, break_even

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.stats import Interval
    from windtunnel.tariff import Edge, Instance, Serverless

LEAST_SHARE = 1e-3
"""A rate whose interval reaches down to zero is taken as this share of its estimate at its low end."""


@dataclass(frozen=True)
class Way:
    """A way to pay, with how sure its figures are.

    Args:
        expected: by the estimates.
        dear: by the ends of their intervals that cost most.
        cheap: by those that cost least.
    """

    expected: Pattern
    dear: Pattern
    cheap: Pattern


def by_machine(tariff: Instance | Edge, rate_per_s: Interval | None, *, least: int = 1, note: str = "") -> Way | str:
    """Machines paid by the hour, as many as the load needs, each of which carries a rate.

    Args:
        tariff: what an hour costs.
        rate_per_s: the throughput at which one machine keeps the promise.
        least: machines that run however low the load is.
        note: what the rate rests on.

    Returns:
        A way, or why there is none.

    Example:
        >>> from windtunnel.price import find_price
        >>> from windtunnel.stats import Interval
        >>> from windtunnel.tariff import Instance
        >>> way = by_machine(Instance(find_price("azure:D2s_v5")), Interval(100.0, 50.0, 200.0, 9, 0.95))
        >>> [round(each.usd_per_month(100.0), 2) for each in (way.cheap, way.expected, way.dear)]     # 1, 1, 2 × 0.096 × 730
        [70.08, 70.08, 140.16]
    """
    if rate_per_s is None:
        return "nothing is known of what it carries"
    if rate_per_s.value <= 0.0:
        return "it keeps the promise at no rate"
    low_usd, high_usd = tariff.usd_per_hour_range
    slow = max(rate_per_s.low, LEAST_SHARE * rate_per_s.value)
    return Way(
        Pattern(tariff.name, 0.0, tariff.usd_per_hour, rate_per_s.value, least, note),
        Pattern(tariff.name, 0.0, high_usd, slow, least, note),
        Pattern(tariff.name, 0.0, low_usd, rate_per_s.high, least, note),
    )


def by_request(tariff: Serverless, profile: LatencyProfile, slo: Slo, *, cold_share: float = 0.0) -> Way | str:
    """Calls paid one by one, each alone on its instance: no queue, no batch.

    A function that has fewer vCPUs than the session has threads takes longer by their ratio. Nobody measured its processor,
    so that the profile must be a projection: `elsewhere` makes one of a measured profile and the band of this machine's
    projections. The ends hold that band.

    Args:
        tariff: what a call and a second cost, and the memory.
        profile: the projected service times of batch 1, and the footprint, which says whether the memory does and how
            long a cold start takes.
        slo: the promise.
        cold_share: of requests that find no instance ready.

    Returns:
        A way, or why there is none.
    """
    footprint = profile.footprint
    if profile.basis == "measured":
        return f"nothing was measured on it, and {profile.name} is no projection"
    if footprint is not None and footprint.rss_bytes > tariff.memory_gb * 2**30:
        return f"a process takes {footprint.rss_bytes / 2**20:.0f} MiB, and it has {tariff.memory_gb * 1024:.0f}"
    if profile.batch_sizes[0] != 1:
        return "batch 1 was not measured"
    slower = max(1.0, profile.threads / tariff.vcpu)
    if float(np.quantile(profile.samples_s[0], slo.quantile)) * slower > slo.latency_s:
        return "a call alone takes longer than the promise allows"
    cold_s = footprint.process_start_s if footprint is not None else 0.0
    # a cold start that the promise does not allow must be rarer than the requests that it lets pass
    if cold_s * slower > slo.latency_s and cold_share > 1.0 - slo.quantile:
        return f"{cold_share:.2%} of requests meet a cold start, more than the promise allows"
    usd = [
        tariff.usd_per_million(
            profile.samples_s[0] * slower * band, cold_share=cold_share, cold_start_s=cold_s * slower * band
        ) / 1e6
        for band in (1.0, profile.band, 1.0 / profile.band)
    ]  # fmt: skip
    note = (
        f"projected from {profile.hardware.cpu}, every time within × or ÷ {profile.band:.2g}; {tariff.memory_gb * 1024:.0f} MB, "
        f"{tariff.vcpu:.2g} vCPU, {cold_share:.2%} cold starts; prices of {tariff.date}"
    )
    expected, dear, cheap = (Pattern(tariff.name, each, note=note) for each in usd)
    return Way(expected, dear, cheap)


def elsewhere(profile: LatencyProfile, band: float) -> LatencyProfile:
    """A measured profile as a projection to a processor of which nothing is known but that it may be so much unlike.

    Args:
        profile: measured here.
        band: the factor by which projections between configurations of this machine were off, at 95%.
    """
    return replace(profile, basis="projected", band=band)


@dataclass(frozen=True)
class AskedWay:
    """One way to pay that was asked about, as a cost.

    Args:
        name: as it was asked.
        price_date: of its price; empty where it has none.
        basis: `measured` or `projected`.
        way: what came of it, or why nothing did.
    """

    name: str
    price_date: str
    basis: str
    way: Way | str

    def to_dict(self) -> dict[str, Any]:
        """The way as an entry among the costs: what is paid a request and what is paid an hour, together per million.

        Example:
            >>> calls = Pattern("calls", usd_per_request=2e-7, note="1 vCPU")
            >>> AskedWay("calls", "2026-09-06", "projected", Way(calls, calls, calls)).to_dict()["usd_per_million"]
            0.2
        """
        head = {"hardware": self.name, "currency": "USD", "price_date": self.price_date}
        if isinstance(self.way, str):
            nothing = {f"{key}{end}": None for key in ("throughput_at_slo_per_s", "usd_per_million") for end in ENDS}
            return {
                **head,
                "basis": "not measured",
                "usd_per_hour": None,
                "usd_per_request": None,
                **nothing,
                "note": self.way,
            }
        expected, dear, cheap = self.way.expected, self.way.dear, self.way.cheap
        ends = dict(zip(ENDS, (expected, dear, cheap), strict=True))
        return {
            **head, "basis": self.basis,
            "usd_per_hour": expected.usd_per_hour or None, "usd_per_request": expected.usd_per_request or None,
            **{f"throughput_at_slo_per_s{end}": p.per_s if math.isfinite(p.per_s) else None for end, p in ends.items()},
            **{f"usd_per_million{end}": _usd_per_million(p) for end, p in zip(ENDS, (expected, cheap, dear), strict=True)},
            "note": expected.note,
        }  # fmt: skip


ENDS = ("", "_low", "_high")


def _usd_per_million(pattern: Pattern) -> float:
    """What a million requests cost where the machines are as busy as the promise allows."""
    return 1e6 * (pattern.usd_per_request + pattern.usd_per_hour / (3600.0 * pattern.per_s))


@dataclass(frozen=True)
class Weighing:
    """Which way to pay is cheapest at which load: by the estimates, and by either end of their intervals.

    Args:
        expected: by the estimates.
        dear: if everything turns out as dear as its interval allows.
        cheap: if everything turns out as cheap.
        refused: by name, why a way to pay is not weighed.
    """

    expected: BreakEven
    dear: BreakEven
    cheap: BreakEven
    refused: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The weighing as JSON values."""
        return {
            **self.expected.to_dict(),
            "segments_if_dear": [segment.to_dict() for segment in self.dear.segments],
            "segments_if_cheap": [segment.to_dict() for segment in self.cheap.segments],
            "refused": dict(self.refused), "currency": "USD",
        }  # fmt: skip


def weigh(
    ways: Sequence[tuple[str, Way | str]], load_per_s: float, *, up_to_per_s: float | None = None
) -> Weighing | None:
    """Weigh ways to pay; put aside are those that are a reason, and those that carry next to nothing. None where nothing is left.

    Raises:
        ConfigError: as `break_even`.
    """
    limit = 10.0 * load_per_s if up_to_per_s is None else up_to_per_s
    told = [
        (name, way if isinstance(way, str) else _too_many(way, limit, PIECES // len(ways)) or way) for name, way in ways
    ]
    good = [way for _, way in told if isinstance(way, Way)]
    refused = tuple((name, way) for name, way in told if isinstance(way, str))
    if not good:
        return None
    expected, dear, cheap = (
        break_even(patterns, load_per_s, up_to_per_s=limit)
        for patterns in (
            [way.expected for way in good],
            [way.dear for way in good],
            [way.cheap for way in good],
        )
    )
    return Weighing(expected, dear, cheap, refused)


def _too_many(way: Way, limit: float, most: int) -> str:
    """Why a way is no way to carry a load: a machine on which the promise was hardly kept may carry a request a minute."""
    machines = limit / way.dear.per_s
    if machines <= most:
        return ""
    return f"it would take {machines:,.0f} machines for {limit:,.0f} requests a second, if it is as slow as it may be"
