from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.cost import Cost, cost_table
from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.price import Price, find_price
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile

SLO = Slo.parse("p99<=50ms")


def _price(
    name: str = "x:two", *, vcpu: int = 2, architecture: str = "x86_64", accelerators: int = 0, usd: float = 0.36
) -> Price:
    return Price(
        name, "here", architecture, vcpu, 8.0, "T4" if accelerators else "", accelerators, usd, "2026-01-01", "a list"
    )


class _Capacity:
    """A hundred requests a second a core, and a note of who asked."""

    def __init__(self, per_core: float = 100.0) -> None:
        self.per_core, self.asked = per_core, list[tuple[str, int]]()

    def __call__(self, profile: LatencyProfile, slo: Slo, *, servers: int) -> Interval:
        assert slo == SLO
        self.asked.append((profile.variant, servers))
        rate = self.per_core * servers
        return Interval(rate, 0.9 * rate, 1.2 * rate, 12, 0.95)


def test_by_hand(make_profile: Callable[..., LatencyProfile]) -> None:
    """0.36 USD an hour at 200 requests a second is 720,000 requests: half a dollar a million; the ends change places."""
    (cost,) = cost_table([make_profile()], [_price()], SLO, _Capacity())
    usd = cost.usd_per_million()

    assert usd is not None
    assert (usd.value, usd.low, usd.high) == pytest.approx((0.5, 0.5 / 1.2, 0.5 / 0.9))
    assert (cost.basis, cost.variant) == ("measured", "fp32")
    assert cost.throughput_at_slo_per_s == Interval(200.0, 180.0, 240.0, 12, 0.95)


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (_price(accelerators=2), "run windtunnel benchmark on a machine with 2 × T4"),
        (_price(architecture="arm64"), "run windtunnel benchmark on arm64; this was x86_64"),
    ],
    ids=["gpu", "arm"],
)
def test_what_was_not_measured_has_no_figure(
    make_profile: Callable[..., LatencyProfile], price: Price, words: str
) -> None:
    """An accelerator or another architecture is listed with its price and what would measure it, and with no figure."""
    capacity = _Capacity()
    (cost,) = cost_table([make_profile()], [price], SLO, capacity)
    document = cost.to_dict()

    assert (cost.basis, cost.note) == ("not measured", words)
    assert capacity.asked == []
    assert cost.usd_per_million() is None
    assert {name for name, value in document.items() if value is None} == {
        f"{figure}{end}" for figure in ("usd_per_million", "throughput_at_slo_per_s") for end in ("", "_low", "_high")
    }


@pytest.mark.parametrize("name", ["aws:g4dn.xlarge", "aws:c7g.large"])
def test_machines_of_the_catalogue_that_were_not_measured(
    make_profile: Callable[..., LatencyProfile], name: str
) -> None:
    """The catalogue's own GPU and ARM machines are told from what was measured on x86."""
    (cost,) = cost_table([make_profile()], [find_price(name)], SLO, _Capacity())

    assert cost.basis == "not measured"


def test_arm_by_its_other_name(make_profile: Callable[..., LatencyProfile]) -> None:
    """Linux says aarch64 where the catalogue says arm64; both are the same, and not x86."""
    costs = cost_table(
        [make_profile(architecture="aarch64")], [_price(architecture="arm64"), _price()], SLO, _Capacity()
    )

    assert [cost.basis for cost in costs] == ["measured", "not measured"]


@pytest.mark.parametrize(("vcpu", "basis"), [(1, "projected"), (2, "measured"), (8, "projected")])
def test_other_numbers_of_cores_are_projected(
    make_profile: Callable[..., LatencyProfile], vcpu: int, basis: str
) -> None:
    """A machine with another number of cores is a projection, and says from what."""
    (cost,) = cost_table([make_profile()], [_price(vcpu=vcpu)], SLO, _Capacity())

    assert cost.basis == basis
    assert ("linear to" in cost.note) == (basis == "projected")


def test_each_capacity_is_asked_for_once(make_profile: Callable[..., LatencyProfile]) -> None:
    """Machines with as many cores share one simulation a variant."""
    capacity = _Capacity()
    prices = [_price("a:2"), _price("b:2", usd=1.0), _price("c:4", vcpu=4), _price("d:gpu", accelerators=1)]
    costs = cost_table([make_profile("fp32"), make_profile("int8")], prices, SLO, capacity)

    assert len(costs) == 8
    assert sorted(capacity.asked) == [("fp32", 2), ("fp32", 4), ("int8", 2), ("int8", 4)]
    assert [(cost.price.name, cost.variant) for cost in costs[:2]] == [("a:2", "fp32"), ("a:2", "int8")]


def test_a_promise_that_cannot_be_kept(make_profile: Callable[..., LatencyProfile]) -> None:
    """Where no rate keeps the promise there is no cost, and not an infinite one."""
    (cost,) = cost_table([make_profile()], [_price()], SLO, _Capacity(0.0))

    assert cost.usd_per_million() is None
    assert (cost.to_dict()["throughput_at_slo_per_s"], cost.to_dict()["usd_per_million"]) == (0.0, None)


def test_a_rate_that_may_be_zero() -> None:
    """Where the rate may be zero the cost has no upper end, and the document says so with null."""
    cost = Cost("fp32", _price(), "measured", Interval(10.0, 0.0, 20.0, 12, 0.95), "")
    usd = cost.usd_per_million()

    assert usd is not None
    assert (usd.value, usd.high) == (10.0, math.inf)
    assert json.loads(canonical_json(cost.to_dict()))["usd_per_million_high"] is None
