from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.fanout import Workers
from windtunnel.report.section import Section
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan, rehearse
from windtunnel.simulate.planning import Offer, Space
from windtunnel.simulate.section import INTERVALS, ROWS, draw
from windtunnel.simulate.traffic import flash_crowd, poisson

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price


def drawn(profile: LatencyProfile, price: Price, bound_s: float, *, log: bool = True) -> tuple[Plan, Section]:
    recorded = poisson(1200.0, 6000, np.random.default_rng(0))
    traces = {"recorded": recorded, "flash-crowd": flash_crowd(recorded, rng=np.random.default_rng(1))}
    space = Space((Offer(profile, price),), (1, 2, 4, 6), (1, 2, 4, 8), (0.0, 0.002))
    result = plan(traces, space, slo=Slo(0.99, bound_s), seeds=Seeds(1), repeats=3, workers=Workers(1))
    return result, draw(result, rehearse(traces, space, result.shown.deployment, seeds=Seeds(1), log=log))


@pytest.mark.parametrize(("bound_s", "outcome"), [(0.05, "go"), (0.0022, "no-go")])
def test_section_carries_the_verdict(profile: LatencyProfile, price: Price, bound_s: float, outcome: str) -> None:
    """The section says what the plan says, and then how long it stands, also where there is nothing to recommend."""
    result, section = drawn(profile, price, bound_s)

    assert ("Simulate", outcome) == (section.title, section.outcome)
    assert result.verdict.reasons == section.sentences[: len(result.verdict.reasons)]
    assert str(result.shown.deployment) in section.tables[1].caption


def test_every_deployment_is_on_the_figure(profile: LatencyProfile, price: Price) -> None:
    """Each that was flown is drawn once at its cost and latency; the bound is a line; the cheapest is marked."""
    result, section = drawn(profile, price, 0.05)
    keeps, misses, bound, cheapest = section.figures[0].plotly["data"]

    expected = sorted((e.deployment.usd_per_hour, e.worst.latency_s * 1e3) for e in result.evaluations)
    assert expected == sorted(zip(keeps["x"] + misses["x"], keeps["y"] + misses["y"], strict=True))
    assert bound["y"] == [50.0, 50.0]
    assert result.cheapest is not None
    assert [result.cheapest.deployment.usd_per_hour] == cheapest["x"]


def test_time_is_drawn_for_each_trace(profile: LatencyProfile, price: Price) -> None:
    """Load and latency over time, for the recording and for the crowd; the crowd's peak is the higher one."""
    _, section = drawn(profile, price, 0.05)
    series = {line["name"]: line for line in section.figures[1].plotly["data"]}

    assert list(series) == ["recorded: arrivals", "recorded: p99", "flash-crowd: arrivals", "flash-crowd: p99"]
    assert {INTERVALS} == {len(line["y"]) for line in series.values()}
    assert max(series["flash-crowd: arrivals"]["y"]) > 2 * max(series["recorded: arrivals"]["y"])


def test_tables_put_the_chosen_first(profile: LatencyProfile, price: Price) -> None:
    """The first row is the cheapest that surely keeps the promise; there are no more rows than a person reads."""
    result, section = drawn(profile, price, 0.05)
    deployments, traces, frontier = section.tables

    assert str(result.shown.deployment) == deployments.rows[0][0]
    assert deployments.rows[0][-1] == "surely"
    assert 1 < len(deployments.rows) <= ROWS
    assert [row[0] for row in traces.rows] == ["recorded", "flash-crowd"]
    assert [row[0] for row in frontier.rows] == [f"{each.deployment.usd_per_hour:.4g}" for each in result.frontier]


def test_availability_is_the_third_axis(profile: LatencyProfile, price: Price) -> None:
    """Each that was flown is drawn once at its cost and availability; the frontier's are joined."""
    result, section = drawn(profile, price, 0.05)
    frontier, others = section.figures[2].plotly["data"]

    assert frontier["y"] == [each.availability * 100.0 for each in result.frontier]
    assert len(frontier["x"]) + len(others["x"]) == len(result.evaluations)


def test_section_is_plain_json_and_says_what_is_missing(profile: LatencyProfile, price: Price) -> None:
    """It survives JSON without NaN, and its notes own up to what is not simulated."""
    _, section = drawn(profile, price, 0.05)
    text = json.dumps(section.to_dict(), allow_nan=False)

    assert section == Section.from_dict(json.loads(text))
    assert any("network" in note for note in section.notes)


def test_without_a_log_the_longest_is_drawn(profile: LatencyProfile, price: Price) -> None:
    """A trace too long to write every request down is drawn all the same: its rate, and the longest latency in each interval."""
    _, section = drawn(profile, price, 0.05, log=False)
    rate, longest = section.figures[1].plotly["data"][:2]

    assert (rate["name"], longest["name"]) == ("recorded: arrivals", "recorded: longest")
    assert len(rate["y"]) == len(longest["y"]) <= 480
    assert np.mean(rate["y"]) == pytest.approx(1200.0, rel=0.05)
