from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.cost import Cost, cost_table, on_machine, usd_per_million
from windtunnel.benchmarks.power import Power
from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.errors import DataError
from windtunnel.load_curve import LoadPoint
from windtunnel.price import Price
from windtunnel.server_cost import ServerCost
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile

    Make = Callable[..., LatencyProfile]

SLO = Slo.parse("p99<=50ms")


def _price(name: str = "x:two", *, usd: float = 0.36, accelerators: int = 0, cores: float | None = 2.0) -> Price:
    return Price(
        name, "here", "x86_64", 4, 8.0, "T4" if accelerators else "", accelerators, usd, "2026-01-01", "a list",
        physical_cores=cores, spot_usd_per_hour=0.18, spot_min_usd=0.09, spot_max_usd=0.27, flags=("stale",),
    )  # fmt: skip


def _on(profile: LatencyProfile, instance: str) -> LatencyProfile:
    return replace(profile, hardware=replace(profile.hardware, instance=instance))


class _Capacity:
    """A hundred requests a second a server, and a note of who asked."""

    def __init__(self, per_server: float = 100.0) -> None:
        self.per_server, self.asked = per_server, list[tuple[str, str, int]]()

    def __call__(self, profile: LatencyProfile, slo: Slo, *, servers: int) -> Interval:
        assert slo == SLO
        self.asked.append((profile.variant, profile.basis, servers))
        rate = self.per_server * servers
        return Interval(rate, 0.9 * rate / profile.band, 1.2 * rate * profile.band, 12, 0.95)


def _project(profile: LatencyProfile, price: Price) -> LatencyProfile | str:
    """Twice as fast, give or take a quarter; nothing is known of ARM."""
    if "arm" in price.name:
        return "nothing follows for arm64"
    return replace(_on(profile, price.name).scaled(0.5), basis="projected", band=1.25)


def test_by_hand(make_profile: Make) -> None:
    """0.36 USD an hour at 200 requests a second is 720,000 requests: half a dollar a million; the ends change places."""
    (cost,) = cost_table([_on(make_profile(), "x:two")], [_price()], SLO, _Capacity())
    usd = cost.usd_per_million()

    assert usd is not None
    assert (usd.value, usd.low, usd.high) == pytest.approx((0.5, 0.5 / 1.2, 0.5 / 0.9))
    assert (cost.basis, cost.variant, cost.band) == ("measured", "fp32", 1.0)
    assert cost.throughput_at_slo_per_s == Interval(200.0, 180.0, 240.0, 12, 0.95)


def test_spot_by_hand(make_profile: Make) -> None:
    """Spot at 0.18 USD, 0.09 to 0.27 over the zones: a quarter, and its ends hold the range of the price and of the rate."""
    (cost,) = cost_table([_on(make_profile(), "x:two")], [_price()], SLO, _Capacity())
    spot = cost.spot_usd_per_million()

    assert spot is not None
    assert (spot.value, spot.low, spot.high) == pytest.approx((0.25, 0.125 / 1.2, 0.375 / 0.9))


def test_no_spot_price_no_spot_cost(make_profile: Make) -> None:
    """Where no spot price is known, none is made up; a spot price without a range is its own range."""
    profile = _on(make_profile(), "x:two")
    prices = [replace(_price(), spot_usd_per_hour=None), replace(_price(), spot_min_usd=None, spot_max_usd=None)]
    none, plain = (cost.spot_usd_per_million() for cost in cost_table([profile], prices, SLO, _Capacity()))

    assert none is None
    assert plain is not None
    assert (plain.low, plain.high) == pytest.approx((0.25 / 1.2, 0.25 / 0.9))


def test_measured_is_said_of_that_very_machine_only(make_profile: Make) -> None:
    """As many cores and the same processor do not make another machine measured."""
    capacity = _Capacity()
    prices = [_price("x:two"), _price("y:two")]
    measured, projected = cost_table([_on(make_profile(), "x:two")], prices, SLO, capacity, project=_project)

    assert (measured.basis, projected.basis) == ("measured", "projected")
    assert capacity.asked == [("fp32", "measured", 2), ("fp32", "projected", 2)]
    assert projected.note == "projected from a processor, every time within × or ÷ 1.2"  # 1.25, two digits


def test_a_projection_is_as_unsure_as_its_band(make_profile: Make) -> None:
    """The band that capacity puts in the rate is in the cost, at its other end."""
    (cost,) = cost_table([make_profile()], [_price()], SLO, _Capacity(), project=_project)
    usd = cost.usd_per_million()

    assert usd is not None
    assert (usd.value, usd.low, usd.high) == pytest.approx((0.5, 0.5 / 1.2 / 1.25, 0.5 / 0.9 * 1.25))
    assert cost.to_dict()["band"] == 1.25


@pytest.mark.parametrize(
    ("price", "project", "words"),
    [
        (_price("x:arm"), _project, "nothing follows for arm64"),
        (_price("x:two"), None, "run windtunnel benchmark on x:two; this was a processor"),
        (_price("x:two"), lambda p, _: replace(p, basis="projected"), "its projection has no error band"),
    ],
    ids=["refused", "no projector", "no band"],
)
def test_what_cannot_be_told_has_no_figure(
    make_profile: Make, price: Price, project: Callable[..., LatencyProfile | str] | None, words: str
) -> None:
    """A machine of which nothing is known is listed with its price and the reason, and with no figure."""
    capacity = _Capacity()
    (cost,) = cost_table([make_profile()], [price], SLO, capacity, project=project)
    document = cost.to_dict()

    assert (cost.basis, cost.note) == ("not measured", words)
    assert capacity.asked == []
    assert {name for name, value in document.items() if value is None} == {
        "servers", "servers_of", "energy", "server",
        *(
            f"{figure}{end}"
            for figure in ("usd_per_million", "spot_usd_per_million", "throughput_at_slo_per_s")
            for end in ("", "_low", "_high")
        ),
    }  # fmt: skip


def test_other_hardware_is_never_called_measured(make_profile: Make) -> None:
    """A projector that hands a measured profile over for another machine is refused, and so is a projected projection."""
    with pytest.raises(DataError, match="cannot be called measured on x:two; run windtunnel benchmark on x:two"):
        on_machine(make_profile(), _price(), lambda profile, _: profile)
    projected = _project(make_profile(), _price("x:else"))

    assert isinstance(projected, type(make_profile()))
    assert on_machine(projected, _price("x:two"), _project) == (
        "was itself projected, from a processor; a projection is not projected again"
    )


def test_every_price_tells_its_date_and_doubts(make_profile: Make) -> None:
    """Currency, date, source and flags stand beside every figure."""
    (cost,) = cost_table([_on(make_profile(), "x:two")], [_price()], SLO, _Capacity())
    document = cost.to_dict()

    assert (document["currency"], document["price_date"], document["price_source"]) == ("USD", "2026-01-01", "a list")
    assert document["price_flags"] == ["stale"]
    assert (document["spot_usd_per_hour_low"], document["spot_usd_per_hour_high"]) == (0.09, 0.27)


def test_an_invalid_measurement_is_said(make_profile: Make) -> None:
    """A cost that rests on an invalid measurement says so."""
    (cost,) = cost_table([_on(make_profile(valid=False), "x:two")], [_price()], SLO, _Capacity())

    assert "the measurement is INVALID: batch 1 drifted" in cost.note


def test_a_promise_that_cannot_be_kept(make_profile: Make) -> None:
    """Where no rate keeps the promise there is no cost, and not an infinite one."""
    (cost,) = cost_table([_on(make_profile(), "x:two")], [_price()], SLO, _Capacity(0.0))

    assert cost.usd_per_million() is None
    assert (cost.to_dict()["throughput_at_slo_per_s"], cost.to_dict()["usd_per_million"]) == (0.0, None)
    assert "the promise is kept at no rate" in cost.note


def test_a_rate_that_may_be_zero() -> None:
    """Where the rate may be zero the cost has no upper end, and the document says so with null."""
    cost = Cost("fp32", _price(), "measured", Interval(10.0, 0.0, 20.0, 12, 0.95), "")
    usd = cost.usd_per_million()

    assert usd is not None
    assert (usd.value, usd.high) == (10.0, math.inf)
    assert json.loads(canonical_json(cost.to_dict()))["usd_per_million_high"] is None


def test_usd_per_million_of_no_rate() -> None:
    """Nothing over nothing is no figure."""
    assert usd_per_million(None, 1.0, 1.0, 1.0) is None
    assert usd_per_million(Interval(0.0, 0.0, 1.0, 9, 0.95), 1.0, 1.0, 1.0) is None


def test_energy_by_hand(make_profile: Make) -> None:
    """100 W at 200 requests a second and half busy are 0.25 J a request; at 400 g a kilowatt-hour 27.8 g a million."""

    def fly(profile: LatencyProfile, rate_per_s: float, *, servers: int) -> LoadPoint:
        assert (profile.variant, rate_per_s, servers) == ("fp32", 200.0, 2)
        some = Interval(0.01, 0.01, 0.01, 9, 0.95)
        return LoadPoint(rate_per_s, 0.5, rate_per_s, 0.5, 1.0, some, some, some)

    powers = {"x:two": Power(100.0, "specified", "the machine")}
    (cost,) = cost_table(
        [_on(make_profile(), "x:two")], [_price()], SLO, _Capacity(), powers=powers, fly=fly, grid_g_per_kwh=400.0
    )

    assert cost.energy is not None
    assert cost.energy.joules_per_request == pytest.approx(0.25)
    assert cost.energy.co2_g_per_million == pytest.approx(0.25e6 / 3.6e6 * 400.0)
    assert cost.to_dict()["energy"]["basis"] == "specified"


def test_server_is_told(make_profile: Make) -> None:
    """What a server costs stands with the cost, in words and figures; and its core time is in the throughput where it is counted."""
    bare = make_profile()
    cost = ServerCost("a server", Interval(0.001, 0.0009, 0.0011, 8, 0.95), model_s=0.001)
    served = replace(bare, server=cost).served
    without, within = (
        cost_table([_on(each, "x:two")], [_price("x:two")], SLO, _Capacity())[0] for each in (bare, served)
    )

    assert within.server == cost.held()
    assert within.to_dict()["server"]["share"] == pytest.approx(0.5)
    assert "a server takes 1 ms of CPU a request (900 µs to 1.1 ms) beside the model: 50% of 2 ms" in within.note
    assert without.server is None
    assert "takes" not in without.note
