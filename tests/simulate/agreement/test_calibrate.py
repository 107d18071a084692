"""Calibration: stations that are known are found again, from nothing but what answers tell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import DataError
from windtunnel.simulate.agreement import Observed, calibrate, predict
from windtunnel.simulate.agreement.calibrate import warm

from .conftest import BATCH, MACHINE, SERVICE_S, drive, poisson

if TYPE_CHECKING:
    from windtunnel.road import Road

COLUMNS = "scheduled_s", "finished_s", "queue_s", "model_s", "batch_size", "replica", "number"

PLACE = {
    "variant": "m", "sha256": "", "hardware": MACHINE, "ray": "2.60.0", "ingress": "", "batch": BATCH, "replicas": 1, "capacity_per_s": 240.0,
}  # fmt: skip


def test_service_is_found_by_size_and_by_load(road: Road) -> None:
    """The time of each size at each load is within 3%, though no size stands alone."""
    found = [road.service_s[1:] * each.stretch for each in road.loads]
    assert np.allclose(found, [SERVICE_S[1:] * stretch for stretch in (1.0, 1.04, 1.1)], rtol=0.03)


def test_a_loop_that_was_idle_is_colder() -> None:
    """Batches take a tenth longer for every factor of four that the loop was idle: found within 2%, and within 4% where few began so soon."""

    def warmth(idle_s: float) -> float:
        return 1.1 ** float(np.clip(np.log2(idle_s / 0.002) / 2.0, 0.0, 2.0)) if idle_s > 0.0 else 1.0

    seen = [
        drive(poisson(rate, count, 70), 71, warmth=warmth)
        for rate, count in ((40.0, 3000), (120.0, 6000), (215.0, 9000))
    ]
    found = calibrate(seen, **PLACE)  # type: ignore[arg-type]  # by name
    steps_s = np.array([0.002, 0.004, 0.008, 0.016, 0.032])
    told = warm(found.warmth, steps_s)
    off = told / told[2] / [warmth(each) / warmth(0.008) for each in steps_s] - 1.0
    assert np.all(np.abs(off) < [0.04, 0.02, 0.02, 0.02, 0.02])
    assert [each.stretch for each in found.loads] == pytest.approx([1.0] * 3, abs=0.02)


def test_the_way_outside_is_that_of_those_who_met_nobody(road: Road) -> None:
    """The median way of a lone request is within 0.2 ms of the truth at every load, waits in front of the loop left out."""
    truth_s = float(np.median(np.random.default_rng(0).gamma(6.0, 0.0002, 100_000))) + 0.0001
    assert [float(np.median(each.outside_s)) for each in road.loads] == pytest.approx([truth_s] * 3, abs=2e-4)


def test_a_shared_batch_costs_what_it_costs(road: Road) -> None:
    """The mean delay of answers in a batch of eight, by company and by rank together, is within a third of the truth."""
    assert 7 * road.company_s + 3.5 * road.rank_s == pytest.approx(7 * 0.00015 + 3.5 * 0.0001, rel=0.34)


def test_the_timer_is_as_late_as_it_is(road: Road) -> None:
    """By how much batches leave later than their timer says: within 0.1 ms at the median."""
    truth_s = float(np.median(np.maximum(np.random.default_rng(0).gamma(3.0, 0.0001, 100_000), 0.0001)))
    assert [float(np.median(each.timer_s)) for each in road.loads] == pytest.approx([truth_s] * 3, abs=1e-4)


def test_what_the_loop_takes_is_found(road: Road) -> None:
    """Of each request and of each batch, a tenth of a millisecond; after a batch of four, with two at the door, 1.4 ms."""
    assert [road.entry_s, road.dispatch_s] == pytest.approx([0.0001, 0.0001], abs=5e-5)
    assert road.resume_s[4] + 2 * road.knock_s == pytest.approx(0.0014, abs=3e-4)


def test_the_loop_of_a_fast_model_is_found_where_lines_form() -> None:
    """A model of 0.1 ms in a loop of 2.2 ms, three times as long after every tenth batch: found within 3%, and a load in between is told within 5%."""
    fast_s, rng = np.concatenate([[0.0], np.full(8, 0.0001)]), np.random.default_rng(90)

    def seen_at(rate_per_s: float, count: int, seed: int) -> Observed:
        loop = np.where(rng.uniform(size=count) < 0.1, 3.0, 7.0 / 9.0)
        return drive(poisson(rate_per_s, count, seed), seed + 1, service_s=fast_s, knock_s=0.0, loop=loop)

    runs = [seen_at(rate, count, 91) for rate, count in ((640.0, 6000), (1600.0, 16_000), (2500.0, 24_000))]
    found = calibrate(runs, **PLACE)  # type: ignore[arg-type]  # by name
    between_s = found.resume_s[8] + 8 * (found.entry_s + found.knock_s)
    loop = found.loads[2].loop
    assert between_s * np.mean(loop) == pytest.approx(0.0014 + 8 * 0.0001, rel=0.03)
    assert np.mean(loop > 2.0) == pytest.approx(0.1, rel=0.33)
    held_out = seen_at(2100.0, 40_000, 95)
    told_s = predict(found, held_out.scheduled_s, seed=1, runs=8).latency_s
    for quantile in (0.5, 0.9, 0.99):
        assert np.quantile(told_s, quantile) == pytest.approx(np.quantile(held_out.latency_s, quantile), rel=0.05)


def test_loads_come_out_in_order(road: Road) -> None:
    """However the runs were given, loads rise."""
    rates = [each.rate_per_s for each in road.loads]
    assert rates == sorted(rates)


def test_too_few_answers_are_refused(runs: list[Observed]) -> None:
    """A load with a handful of answers is no load."""
    few = replace(runs[0], **{name: getattr(runs[0], name)[:50] for name in COLUMNS})
    with pytest.raises(DataError, match="50 answers"):
        calibrate([few], **PLACE)  # type: ignore[arg-type]  # by name


def test_a_load_without_answers_is_refused(runs: list[Observed]) -> None:
    """A server that died while it was calibrated: what is missing is said."""
    none = replace(runs[2], **{name: getattr(runs[2], name)[:0] for name in COLUMNS})
    with pytest.raises(DataError, match="0 answers"):
        calibrate([*runs[:2], none], **PLACE)  # type: ignore[arg-type]  # by name


def test_sizes_that_were_hardly_seen_are_refused(runs: list[Observed]) -> None:
    """Batches of which every size came less than five times say nothing of service, and that is said."""
    sizes = np.repeat(np.arange(2, 9), np.arange(2, 9) * 4)
    times_s = np.arange(float(len(sizes)))
    ended_s = np.repeat(np.cumsum(np.full(28, 1.0)), np.repeat(np.arange(2, 9), 4))
    zero_s = np.zeros(len(sizes))
    rare = Observed(
        times_s, times_s[-1] + ended_s, zero_s + 0.006, zero_s + 0.01, sizes, zero_s.astype(np.int64), np.arange(len(sizes)),
        len(sizes),
    )  # fmt: skip
    with pytest.raises(DataError, match="no size of batch that it saw 5 times"):
        calibrate([runs[0], rare], **PLACE)  # type: ignore[arg-type]  # by name


def test_batches_that_no_timer_closed_are_calibrated(runs: list[Observed]) -> None:
    """Where the timer is so long that every batch is full, or only lone requests ran out of it, nothing is known of who joins."""
    long = BatchPolicy(8, 10.0)
    assert calibrate(runs, **{**PLACE, "batch": long}).join_s == 0.0  # type: ignore[arg-type]  # by name
    alone = drive(np.arange(150.0), 9)
    assert calibrate([alone], **PLACE).join_s == 0.0  # type: ignore[arg-type]  # by name


def test_batches_are_told_apart(runs: list[Observed]) -> None:
    """Every batch is found once, with as many requests as it says, in the order in which batches ended."""
    batches = runs[2].batches
    assert np.bincount(batches.of).tolist() == batches.size.tolist()
    assert np.all(np.diff(batches.ended_s) >= 0.0)
    assert len(batches.size) == round(float(np.sum(1.0 / runs[2].batch_size)))


def test_a_busy_loop_of_batches_of_one_is_warm() -> None:
    """Where batches are of one the loop's share is what a busy, warm model leaves of the time between two answers: capacity comes out within 1%."""
    alone = BatchPolicy(1, 0.0)
    seen = [
        drive(poisson(rate, count, 80), 81, batch=alone, warmth=lambda idle_s: 1.1 if idle_s > 0.003 else 1.0)
        for rate, count in ((35.0, 2000), (85.0, 3000), (140.0, 4000))
    ]
    # as where the loop lets in several before it serves the first
    seen[-1] = replace(seen[-1], queue_s=seen[-1].queue_s + 0.02)
    busy = drive(np.arange(2000) / 400.0, 82, batch=alone)
    capacity = 1000.0 / float(busy.finished_s[1500] - busy.finished_s[500])
    found = calibrate(seen, **{**PLACE, "batch": alone, "capacity_per_s": capacity})  # type: ignore[arg-type]  # by name
    told = 1.0 / (
        found.service_s[1] * found.warmth[0] * found.loads[-1].stretch * float(np.mean(found.loads[-1].residuals))
        + found.entry_s + found.resume_s[1] + found.dispatch_s
    )  # fmt: skip

    assert told == pytest.approx(capacity, rel=0.01)
    assert found.service_s[1] * found.warmth[0] == pytest.approx(SERVICE_S[1], rel=0.03)
