from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from windtunnel.benchmarks.cost import cost_table
from windtunnel.benchmarks.cost_section import CostReport, figures, notes, sentences, tables
from windtunnel.benchmarks.frontier import frontier
from windtunnel.benchmarks.power import Power
from windtunnel.benchmarks.ways_to_pay import by_machine, by_request, elsewhere, weigh
from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.price import find_price
from windtunnel.seeds import Seeds
from windtunnel.simulate import capacity
from windtunnel.simulate.load_curve import fly, load_curve
from windtunnel.tariff import Instance, Serverless

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price

    Make = Callable[..., LatencyProfile]

SLO = Slo.parse("p99<=50ms")
MACHINES = ("aws:m7i.large", "azure:D2s_v5", "aws:c7g.large")


def _project(profile: LatencyProfile, price: Price) -> LatencyProfile | str:
    if price.architecture == "arm64":
        return "nothing follows for arm64"
    there = replace(profile.hardware, instance=price.name)
    return replace(profile, hardware=there, basis="projected", band=1.3)


def _report(profile: LatencyProfile) -> CostReport:
    """Everything that a report may hold, from the real simulating stage."""
    prices = [find_price(name) for name in MACHINES]
    here = replace(profile, hardware=replace(profile.hardware, instance="aws:m7i.large"))
    carry = partial(capacity, max_batch=8, max_wait_s=0.0, seeds=Seeds(1), requests=4000, resamples=3)
    curve = partial(load_curve, max_wait_s=0.0, seeds=Seeds(1), requests=4000)
    costs = cost_table(
        [here], prices, SLO, carry, project=_project, powers={"aws:m7i.large": Power(40.0, "specified", "the machine")},
        fly=partial(fly, max_batch=8, max_wait_s=0.0, seeds=Seeds(1), requests=4000), grid_g_per_kwh=380.0,
    )  # fmt: skip
    function = Serverless(usd_per_request=0.2e-6, usd_per_gb_s=16e-6, memory_gb=2.0, name="a function")
    ways = [
        *((cost.price.name, by_machine(Instance(cost.price), cost.throughput_at_slo_per_s)) for cost in costs),
        (function.name, by_request(function, elsewhere(here, 1.3), SLO)),
    ]
    return CostReport(
        costs, SLO, frontier([here], prices, curve, max_batches=(1, 8), project=_project), weigh(ways, 20.0),
    )  # fmt: skip


def test_first_table_answers_the_planner(make_profile: Make) -> None:
    """A row a machine, the cheapest first, with basis and the price's date; last what is not known, with no figure."""
    first = tables(_report(make_profile()))[0]

    assert first.caption == "Cheapest way to keep p99 ≤ 50 ms, machine by machine"
    assert {row[0] for row in first.rows} == set(MACHINES)
    assert first.rows[-1][0] == "aws:c7g.large"
    assert first.rows[-1][3:7] == ("—", "not measured", "—", "—")
    assert first.rows[-1][-1] == "nothing follows for arm64"
    assert {row[4] for row in first.rows} == {"measured", "projected", "not measured"}
    assert "note" not in (first.brief or ())


def test_tables_are_whole_and_brief(make_profile: Make) -> None:
    """Each row has a text a column; what is to be looked up stays off the terminal."""
    drawn = tables(_report(make_profile()))

    for table in drawn:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert set(table.brief or ()) <= set(table.columns)
    assert [table.caption.split()[0] for table in drawn if table.brief == ()] == ["Cost", "Energy"]


def test_figures_name_their_units(make_profile: Make) -> None:
    """Frontier and months; every axis has a title, and no trace has more than a few hundred points."""
    drawn = figures(_report(make_profile()))

    assert len(drawn) == 2
    for figure in drawn:
        layout = figure.plotly["layout"]
        assert all(
            "(" in layout[axis]["title"]["text"] or "dollars" in layout[axis]["title"]["text"]
            for axis in ("xaxis", "yaxis")
        )
        assert all(len(trace["x"]) == len(trace["y"]) <= 300 for trace in figure.plotly["data"])
        assert canonical_json(figure.plotly)


def test_sentences_say_what_to_buy(make_profile: Make) -> None:
    """The cheapest machine with its figure, basis and date; what is cheapest to pay, and what twice the load costs."""
    first, second = sentences(_report(make_profile()))

    assert first.startswith("Cheapest way to keep p99 ≤ 50 ms: fp32 on ")
    assert "US dollars per million requests" in first
    assert "At 20 requests/s" in second
    assert "twice the load costs ×" in second


def test_only_what_was_asked_for_is_drawn(make_profile: Make) -> None:
    """Costs alone give the first table and the one to look up, no figure, and no note of what is not there."""
    report = CostReport(_report(make_profile()).costs[-1:], SLO)

    assert [table.brief for table in tables(report)][1:] == [()]
    assert figures(report) == ()
    assert sentences(report) == ("No machine that was asked about is known to keep p99 ≤ 50 ms at any rate.",)
    assert not any("knee" in note or "Energy" in note for note in notes(report))
    assert report.to_dict()["break_even"] is None


def test_report_is_json(make_profile: Make) -> None:
    """The report is JSON values, every cost with its price's date."""
    document = _report(make_profile()).to_dict()

    assert canonical_json(document)
    assert all(cost["price_date"] for cost in document["costs"])
    assert document["frontier"]["doublings"]
