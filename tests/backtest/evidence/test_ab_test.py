from __future__ import annotations

import json

import numpy as np
import pytest

from windtunnel.backtest.evidence import AbTest, Arms, Asymptotic, ab_test
from windtunnel.errors import DataError

NAMES = ("old", "new")


def trial(seed: int, effect: float, *, days: int = 60, per_day: int = 40, covariate: bool) -> AbTest:
    """An A/B test whose days differ among themselves, with a covariate that explains half of the noise of rows."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    new = rng.random(len(day)) < 0.5
    known = rng.normal(size=len(day))
    value = rng.normal(size=days)[day] + known + rng.normal(size=len(day)) + effect * new
    arm = np.where(new, "new", "old")
    return ab_test(Arms.of(NAMES, arm, day, value, known if covariate else None), Asymptotic())


@pytest.mark.parametrize("covariate", [False, True])
def test_arms_that_do_not_differ_are_seldom_said_to(covariate: bool) -> None:
    """Looked at daily, with and without a covariate, 200 A/A tests show a difference in no more than the level says."""
    shown = [trial(seed, 0.0, covariate=covariate) for seed in range(200)]
    alarms = np.mean([each.claims.superior.settled is not None for each in shown])

    assert alarms <= 0.05 + 3.0 * (0.05 * 0.95 / 200) ** 0.5


def test_a_covariate_finds_a_difference_sooner() -> None:
    """The covariate takes half of the variance of days away, and the difference is settled in fewer days."""
    plain, adjusted = (
        [trial(seed, -0.25, days=100, covariate=covariate) for seed in range(30)] for covariate in (False, True)
    )
    days = [[each.claims.superior.settled or 200 for each in tests] for tests in (plain, adjusted)]

    assert 0.35 < np.mean([each.reduction for each in adjusted]) < 0.6
    assert np.median(days[1]) < np.median(days[0])


def test_what_is_shown_is_told() -> None:
    """A treatment that lowers the loss is superior, with bounds around the truth, and all of it is JSON."""
    found = trial(1, -0.4, covariate=True)
    told = json.loads(json.dumps(found.to_dict()))

    assert (found.shown, found.trusted, told["shown"]) == ("superior", True, "superior")
    assert told["difference_low"] < -0.4 < told["difference_high"] < 0.0
    assert told["sample_ratio"]["mismatch"] is False


def test_a_broken_split_voids_the_comparison() -> None:
    """Where the arms did not get the traffic they were meant to get, nothing is shown, however great the difference."""
    day = np.repeat(np.arange(40), 100)
    arm = np.where(np.arange(len(day)) % 100 < 40, "new", "old")
    value = np.random.default_rng(2).normal(size=len(day)) - (arm == "new")
    found = ab_test(Arms.of(NAMES, arm, day, value), Asymptotic())

    assert (found.claims.settled, found.shown, found.trusted) == ("superior", None, False)
    assert "sample ratio mismatch" in found.doubts[0]
    assert "`new` got 40.00% of the traffic where 50.00% was meant" in found.doubts[0]
    assert ab_test(Arms.of(NAMES, arm, day, value), Asymptotic(), shares=(0.6, 0.4)).shown == "superior"


def test_assigned_units_decide_over_the_split() -> None:
    """Where assignment was even, unequal numbers of known outcomes alone raise no doubt about it; and the other way round."""
    day = np.repeat(np.arange(40), 100)
    arm = np.where(np.arange(len(day)) % 2 == 0, "new", "old")
    both = Arms.of(NAMES, arm, day, np.random.default_rng(3).normal(size=len(day)))

    assert ab_test(both, Asymptotic()).trusted
    assert not ab_test(both, Asymptotic(), units=np.tile([40, 60], (40, 1))).trusted


def test_arms_that_ran_one_after_the_other_are_not_compared() -> None:
    """Without a day in common there is nothing to compare; with hardly any, the comparison is doubted."""
    day = np.repeat(np.arange(20), 10)
    apart = np.where(day < 10, "old", "new")
    with pytest.raises(DataError, match="no day on which both had rows"):
        ab_test(Arms.of(NAMES, apart, day, np.ones(200)), Asymptotic())
    apart[:5] = "new"
    found = ab_test(Arms.of(NAMES, apart, day, np.ones(200)), Asymptotic())

    assert any("one arm had no rows" in doubt for doubt in found.doubts)


def test_an_arm_without_rows_is_refused() -> None:
    """Where no outcome of an arm is known there is nothing to compare, and the arm is named."""
    with pytest.raises(DataError, match=r"`arm`.*new.*without rows"):
        ab_test(Arms.of(NAMES, ["old", "old"], np.array([0, 1]), np.ones(2)), Asymptotic())


def test_an_aa_test_is_fooled_by_either_claim_no_more_often_than_the_level() -> None:
    """Superior and worse are both false of arms that do not differ: together they are shown no more often than the level."""
    shown = [trial(seed, 0.0, days=120, per_day=10, covariate=False).claims.settled is not None for seed in range(150)]

    assert np.mean(shown) <= 0.05 + 3.0 * (0.05 * 0.95 / 150) ** 0.5
