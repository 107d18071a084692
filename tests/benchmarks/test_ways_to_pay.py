from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.break_even import SECONDS_A_MONTH, Pattern
from windtunnel.benchmarks.ways_to_pay import Way, by_machine, by_request, elsewhere, weigh
from windtunnel.deployment import Slo
from windtunnel.footprint import Footprint
from windtunnel.price import find_price
from windtunnel.stats import Interval
from windtunnel.tariff import Edge, Instance, Serverless

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile

    Make = Callable[..., LatencyProfile]

SLO = Slo.parse("p99<=50ms")
RATE = Interval(100.0, 80.0, 125.0, 9, 0.95)
FUNCTION = Serverless(usd_per_request=0.2e-6, usd_per_gb_s=16e-6, memory_gb=2.0, name="f")


def _steady(profile: LatencyProfile, seconds: float = 0.010) -> LatencyProfile:
    """A profile whose every call takes as long, projected without doubt."""
    return elsewhere(replace(profile, samples_s=tuple(np.full(2000, seconds) for _ in profile.batch_sizes)), 1.0)


def _way(way: Way | str) -> Way:
    assert isinstance(way, Way), way
    return way


def test_serverless_by_hand(make_profile: Make) -> None:
    """10 ms on 2 GB at 16 USD a million GB-seconds are 0.32 USD a million, and 0.20 for the requests."""
    way = _way(by_request(FUNCTION, _steady(make_profile()), SLO))

    assert way.expected.usd_per_request == pytest.approx(0.52e-6)
    assert way.expected.usd_per_month(10.0) == pytest.approx(5.2e-6 * SECONDS_A_MONTH)
    assert way.dear == way.cheap == way.expected


def test_serverless_cold_starts_and_shares_of_a_processor(make_profile: Make) -> None:
    """By hand: a tenth of requests wait a second more; half a processor takes twice as long."""
    profile = replace(_steady(make_profile()), footprint=Footprint(2**29, 2**27, 1.0, 0.2, 3))
    p80 = Slo(0.8, 0.05)
    cold = _way(by_request(FUNCTION, profile, p80, cold_share=0.1))
    half = _way(by_request(replace(FUNCTION, vcpu=0.5), profile, SLO))

    assert cold.expected.usd_per_request == pytest.approx(0.2e-6 + 32e-6 * (0.010 + 0.1 * 1.0))
    assert half.expected.usd_per_request == pytest.approx(0.2e-6 + 32e-6 * 0.020)


def test_serverless_band(make_profile: Make) -> None:
    """Times that may be twice or half are billed twice or half."""
    way = _way(by_request(FUNCTION, elsewhere(_steady(make_profile()), 2.0), SLO))

    assert way.dear.usd_per_request == pytest.approx(0.2e-6 + 0.64e-6)
    assert way.cheap.usd_per_request == pytest.approx(0.2e-6 + 0.16e-6)


@pytest.mark.parametrize(
    ("seconds", "rss", "cold_share", "words"),
    [
        (0.010, 3 * 2**30, 0.0, "a process takes 3072 MiB, and it has 2048"),
        (0.060, 2**28, 0.0, "a call alone takes longer than the promise allows"),
        (0.010, 2**28, 0.05, "5.00% of requests meet a cold start, more than the promise allows"),
    ],
    ids=["memory", "slow", "cold"],
)
def test_serverless_that_will_not_do(
    make_profile: Make, seconds: float, rss: int, cold_share: float, words: str
) -> None:
    """A function too small, too slow or too often cold is no way to pay, and says why."""
    profile = replace(_steady(make_profile(), seconds), footprint=Footprint(rss, rss // 2, 1.0, 0.2, 3))

    assert by_request(FUNCTION, profile, SLO, cold_share=cold_share) == words


def test_a_measured_profile_is_of_another_processor(make_profile: Make) -> None:
    """What was measured here is not called measured on a function's processor."""
    assert by_request(FUNCTION, make_profile(), SLO) == "nothing was measured on it, and fp32 is no projection"


def test_edge_by_hand() -> None:
    """A box of 263 USD over three years is a cent an hour; at 15 W and 0.40 a kWh 0.6 more; 250 a second need three."""
    box = Edge(purchase_usd=262.98, lifetime_years=3.0, power_w=15.0, usd_per_kwh=0.40, name="box")
    way = _way(by_machine(box, RATE))

    assert way.expected.usd_per_hour == pytest.approx(0.016)
    assert way.expected.usd_per_month(250.0) == pytest.approx(3 * 0.016 * 730.0)


def test_dear_machines_are_slow_ones_at_the_highest_price() -> None:
    """Spot: the dear end is the lowest rate at the dearest zone's price, the cheap end the other two."""
    price = replace(find_price("aws:m5.xlarge"), spot_usd_per_hour=0.2, spot_min_usd=0.1, spot_max_usd=0.3)
    way = _way(by_machine(Instance(price, spot=True), RATE))

    assert [(each.usd_per_hour, each.per_s) for each in (way.expected, way.dear, way.cheap)] == [
        (0.2, 100.0), (0.3, 80.0), (0.1, 125.0),
    ]  # fmt: skip


def test_machines_of_which_nothing_is_known() -> None:
    """No rate, no way."""
    machine = Instance(find_price("aws:m5.xlarge"))

    assert by_machine(machine, None) == "nothing is known of what it carries"
    assert by_machine(machine, Interval(0.0, 0.0, 5.0, 9, 0.95)) == "it keeps the promise at no rate"


def test_weighed(make_profile: Make) -> None:
    """Dear machines take over from calls at a higher load than cheap ones; what will not do is named with its reason."""
    calls = by_request(FUNCTION, _steady(make_profile()), SLO)
    boxes = by_machine(Edge(1314.9, 5.0, 0.0, 0.0, name="boxes"), RATE)
    found = weigh([("f", calls), ("boxes", boxes), ("g", "it is not sold")], 5.0, up_to_per_s=80.0)

    assert found is not None
    turns = [each.segments[0].high_per_s for each in (found.expected, found.dear, found.cheap)]
    assert turns == pytest.approx([0.03 / 3600 / 0.52e-6] * 3)
    document = found.to_dict()
    assert document["refused"] == {"g": "it is not sold"}
    assert document["currency"] == "USD"
    assert len(document["segments_if_dear"]) == 2


def test_what_carries_nothing_is_put_aside() -> None:
    """A machine that may carry a request in 16 seconds is no way to pay for a quarter of a million a second: told, not refused whole."""
    boxes, crawls = (
        Way(*(Pattern(name, 0.0, 1.0, per_s) for per_s in (fast, slow, fast)))
        for name, fast, slow in (("boxes", 1e4, 1e4), ("crawls", 1e4, 0.0625))
    )
    found = weigh([("boxes", boxes), ("crawls", crawls)], 25_000.0)

    assert found is not None
    assert [segment.pattern for segment in found.dear.segments] == ["boxes"]
    assert found.refused == (
        ("crawls", "it would take 4,000,000 machines for 250,000 requests a second, if it is as slow as it may be"),
    )


def test_nothing_to_weigh() -> None:
    """Without any way to pay there is no comparison."""
    assert weigh([("f", "it is not sold")], 5.0) is None
