"""Comparison: intervals hold what they should, agreement is shown where it is, and not where it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.simulate.agreement import Gap, Observed, calibrate, compare, draw_agreement, predict
from windtunnel.simulate.agreement.compare import LEAST_REQUESTS, ratio_interval, waiting
from windtunnel.simulate.agreement.predict import stations_at, told_afterwards

from .conftest import MACHINE, drive, poisson

if TYPE_CHECKING:
    from windtunnel.road import Road


@pytest.fixture(scope="module")
def held_out() -> Observed:
    """A run at half of capacity that no calibration saw, in bursts."""
    rng = np.random.default_rng(31)
    calm_s = poisson(120.0, 14000, 32)
    # the clock runs faster and slower by a third, every two seconds or so
    return drive(
        np.cumsum(np.diff(calm_s, prepend=0.0) / np.repeat(rng.uniform(0.67, 1.33, 70), 200)), 33, stretch=1.05
    )


def test_calibrated_stations_agree_with_the_road(road: Road, held_out: Observed) -> None:
    """On arrivals it never saw the tunnel is shown to be right within 10%, throughput within 2%, batches within 3%."""
    found = compare(road, predict(road, held_out.scheduled_s, seed=1), held_out, within=0.1)
    assert found.verdict.outcome == "go"
    assert max(abs(each.gap) for each in found.gaps[:3]) < 0.1
    assert abs(found.gaps[3].gap) < 0.02
    assert abs(found.gaps[4].gap) < 0.03
    assert [each.quantity for each in found.gaps] == ["p50", "p90", "p99", "throughput", "mean_batch"]


@pytest.mark.parametrize("rate_per_s", [60.0, 110.0])
def test_batches_of_one_agree_with_the_road(rate_per_s: float) -> None:
    """No batch is shared: what the loop takes is what the model leaves of a busy server's time, and p50 and p99 are within 10%."""
    alone = BatchPolicy(1, 0.0)
    flood = drive(poisson(500.0, 1500, 40), 41, batch=alone)
    capacity = 1000.0 / float(flood.finished_s[1200] - flood.finished_s[200])
    runs = [drive(poisson(share * capacity, 2000, 42), 43, batch=alone) for share in (0.2, 0.5, 0.8)]
    found = calibrate(
        runs, variant="m", sha256="", hardware=MACHINE, ray="2.60.0", ingress="", batch=alone, replicas=1, capacity_per_s=capacity
    )  # fmt: skip
    seen = drive(poisson(rate_per_s, 12_000, 44), 45, batch=alone)
    gaps = compare(found, predict(found, seen.scheduled_s, seed=1), seen, within=0.1).gaps
    assert capacity < 200.0  # the model alone would answer 217
    assert max(abs(each.gap) for each in gaps[:3]) < 0.1


def test_a_wrong_model_is_found_out(road: Road, held_out: Observed) -> None:
    """Isolated service times, a fifth too short: the tunnel is shown to be wrong, and the blame lies with loop or service."""
    wrong = replace(road, service_s=road.service_s * 0.8)
    found = compare(wrong, predict(wrong, held_out.scheduled_s, seed=1), held_out, within=0.1)
    assert found.verdict.outcome == "no-go"
    assert found.verdict.exit_code == 1
    assert found.verdict.evidence["largest_part"] in {"loop", "service"}
    assert found.gaps[0].high < 0.0


def test_parts_add_up_to_the_difference(road: Road, held_out: Observed) -> None:
    """Where the mean latency differs: the parts' differences are the whole."""
    told = predict(road, held_out.scheduled_s, seed=1, runs=4)
    found = compare(road, told, held_out, within=0.1)
    whole_s = float(told.latency_s.mean() - held_out.latency_s.mean())
    assert sum(each.gap_s for each in found.parts) == pytest.approx(whole_s, abs=1e-9)


def test_a_run_that_does_not_count_decides_nothing(road: Road, held_out: Observed) -> None:
    """Doubts about the driver leave the verdict inconclusive, with exit code 3."""
    told = predict(road, held_out.scheduled_s, seed=1, runs=2)
    verdict = compare(road, told, held_out, within=0.1, doubts=("The generators were late.",)).verdict
    assert (verdict.outcome, verdict.exit_code, verdict.reasons) == ("inconclusive", 3, ("The generators were late.",))


def test_a_rate_that_was_never_calibrated_decides_nothing(road: Road) -> None:
    """Beyond the loads that were measured the tunnel guesses, and says so."""
    beyond = drive(poisson(215.0, 2000, 5), 6, stretch=1.1)
    verdict = compare(road, predict(road, beyond.scheduled_s, seed=1, runs=2), beyond, within=0.1).verdict
    assert verdict.outcome == "inconclusive"
    assert "never measured" in verdict.reasons[0]


def test_a_while_beyond_what_was_calibrated_decides_nothing(road: Road) -> None:
    """Half of capacity in the mean, and nine tenths of it for a while: how many came then is told, and nothing is decided."""
    calm_s, busy_s = poisson(100.0, 3000, 5), poisson(215.0, 2000, 6)
    both = drive(np.concatenate([calm_s, calm_s[-1] + busy_s]), 7, stretch=1.1)
    told = predict(road, both.scheduled_s, seed=1, runs=2)
    verdict = compare(road, told, both, within=0.1).verdict
    assert not predict(road, calm_s, seed=1, runs=1).extrapolated
    assert 0.2 < told.beyond < 0.41
    assert verdict.outcome == "inconclusive"
    assert f"{told.beyond:.0%} of the requests" in verdict.reasons[0]


def test_a_slow_server_is_told_at_the_load_that_it_has(made_up: Road) -> None:
    """Of a server that was measured at 0.3 and 1 requests a second, 0.4 come: it is told near the lower load, not at the higher."""
    loads = tuple(replace(each, rate_per_s=rate) for each, rate in zip(made_up.loads, (0.3, 1.0), strict=True))
    stations = stations_at(replace(made_up, loads=loads), poisson(0.4, 2000, 3))
    assert stations.shares.mean() == pytest.approx((0.4 - 0.3) / 0.7, abs=0.1)


def test_lost_answers_count_as_late(road: Road, held_out: Observed) -> None:
    """Three in a hundred without an answer: the road's p99 is infinite, and throughput is shown to be off."""
    kept = np.random.default_rng(1).random(len(held_out)) > 0.03
    names = "scheduled_s", "finished_s", "queue_s", "model_s", "batch_size", "replica", "number"
    lossy = replace(held_out, **{name: getattr(held_out, name)[kept] for name in names})
    found = compare(road, predict(road, held_out.scheduled_s, seed=1, runs=2), lossy, within=0.1)
    assert found.gaps[2].road == np.inf
    assert found.gaps[2].to_dict()["road"] is None
    assert found.verdict.outcome == "no-go"
    assert f"{len(held_out) - len(lossy):,} of 14,000 requests had no answer" in " ".join(found.verdict.reasons)


def test_intervals_hold_the_truth(made_up: Road) -> None:
    """Where the stations are true, the intervals of all five figures hold zero in 57 of 60 runs, give or take chance."""
    held = np.zeros(5)
    for repeat in range(60):
        scheduled_s = poisson(140.0, 3000, 100 + repeat)
        told = predict(made_up, scheduled_s, seed=repeat, runs=8)
        seen = predict(made_up, scheduled_s, seed=5000 + repeat, runs=1).observed(0)
        held += [each.low <= 0.0 <= each.high for each in compare(made_up, told, seen, within=0.1).gaps]
    assert held.min() >= 52


def test_few_requests_carry_no_interval() -> None:
    """Below the least number of requests nothing is known."""
    times_s = np.random.default_rng(0).exponential(size=LEAST_REQUESTS - 1)
    assert ratio_interval(times_s[None], times_s, 0.5, 0.95)[:2] == (-1.0, np.inf)


def test_answers_of_one_stretch_carry_no_interval(road: Road) -> None:
    """All but one request in five seconds, and that an hour later: there is no stretch to compare throughput with, and no crash."""
    burst_s = np.append(np.sort(np.random.default_rng(1).uniform(0.0, 5.0, 1300)), 3600.0)
    seen = drive(burst_s, 2)
    found = compare(road, predict(road, burst_s, seed=1, runs=2), seen, within=0.1)
    assert (found.gaps[3].quantity, found.gaps[3].high) == ("throughput", np.inf)


def test_bounds_are_told_as_they_are(road: Road, held_out: Observed) -> None:
    """A bound of half a per cent is not told as none, and of an interval no end is told that is not known."""
    verdict = compare(road, predict(road, held_out.scheduled_s, seed=1, runs=2), held_out, within=0.005).verdict
    assert "0.5%" in verdict.reasons[0]
    ends = [
        Gap("p99", 1.0, 1.0, 0.0, low, high).ends
        for low, high in ((-0.1, 0.2), (-1.0, 0.2), (-0.1, np.inf), (-1.0, np.inf))
    ]
    assert ends == ["-10.0% to +20.0%", "up to +20.0%", "-10.0% or more", "not known"]


def test_how_many_wait_is_counted_alike() -> None:
    """At each sending: those sent before whose batch has not begun."""
    assert waiting(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.5, 1.5, 2.5, 4.0])).tolist() == [0, 1, 0, 0]


def test_the_section_says_what_was_found(road: Road, held_out: Observed) -> None:
    """The report has both distributions, the parts and the stations, and a verdict."""
    from types import SimpleNamespace

    told = predict(road, held_out.scheduled_s, seed=1, runs=2)
    done = SimpleNamespace(
        agreement=compare(road, told, held_out, within=0.1), road=road, told=told, load=0.5, calibrated=True
    )
    section = draw_agreement(done, name="t", server="1 × m")  # type: ignore[arg-type]  # as much of it as is drawn
    assert [table.caption for table in section.tables] == [
        "Tunnel and road", "Where the mean latency differs", "The stations as they were measured",
    ]  # fmt: skip
    assert [trace["name"] for trace in section.figures[0].plotly["data"]] == ["tunnel", "road"]
    assert "240 requests/s" in " ".join(section.sentences)


def test_a_machine_that_was_slow_for_a_while_is_told_apart_from_wrong_stations(road: Road) -> None:
    """Two seconds in which batches take half as long again: p99 is far off, and within 6% once batches are as long as they were there."""
    due_s = poisson(150.0, 9000, 51)
    stretch = np.ones(len(due_s))
    stretch[400:460] = 1.5
    seen = drive(due_s, 52, stretch=1.08 * stretch)
    told, at_pace_s = predict(road, due_s, seed=1, runs=8), told_afterwards(road, due_s, seen, seed=1)
    found = compare(road, told, seen, within=0.1, at_pace_s=at_pace_s)
    p50, p90, p99 = found.gaps[:3]

    assert p99.gap < -0.15
    assert [abs(each.at_pace) < 0.06 for each in (p50, p90, p99)] == [True] * 3
    assert p99.is_pace
    assert any(
        f"p99 {p99.at_pace:+.1%} off: what differs is how long batches took" in reason
        for reason in found.verdict.reasons
    )
    assert p99.to_dict()["gap_at_pace"] == p99.at_pace
    assert found.gaps[3].to_dict()["gap_at_pace"] is None


def test_a_wrong_loop_is_off_at_any_pace(road: Road) -> None:
    """A tunnel without what its loop takes is off, and no less so with the road's own batches: nothing is blamed on these."""
    due_s = poisson(165.0, 9000, 53)
    seen = drive(due_s, 54, stretch=1.1)
    bare = replace(road, entry_s=0.0, resume_s=np.zeros(9), knock_s=0.0)
    found = compare(
        bare,
        predict(bare, due_s, seed=1, runs=8),
        seen,
        within=0.1,
        at_pace_s=told_afterwards(bare, due_s, seen, seed=1),
    )

    assert found.gaps[2].gap < -0.1
    assert found.gaps[2].at_pace < -0.1
    assert not any("how long batches took" in reason for reason in found.verdict.reasons)
