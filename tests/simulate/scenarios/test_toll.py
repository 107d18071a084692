"""What is said of several lucks, and how often it is true."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.scenarios import ReplicaLoss
from windtunnel.simulate.scenarios.harm import Harm
from windtunnel.simulate.scenarios.run_through import Course, fly_run
from windtunnel.simulate.scenarios.toll import Toll, share_of
from windtunnel.simulate.scenarios.tried import prevention
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


def a_harm(*, hurt: int, recovery_s: float | None = 1.0, metastable: bool | None = False) -> Harm:
    return Harm(recovery_s is not None, recovery_s, hurt, metastable, 0)


def test_what_runs_disagree_about_is_not_known() -> None:
    """Two of three recover: no answer, a share with its interval, and the mean time of the two."""
    toll = Toll((a_harm(hurt=10, recovery_s=2.0), a_harm(hurt=20, recovery_s=4.0), a_harm(hurt=60, recovery_s=None)))

    told = toll.to_dict()
    assert (told["recovered"], told["recovered_share"], told["recovery_s"], told["requests_hurt"]) == (
        None,
        2 / 3,
        3.0,
        30.0,
    )
    assert told["recovered_share_low"] < 2 / 3 < told["recovered_share_high"]
    assert told["requests_hurt_low"] == 0.0


def test_one_run_has_no_interval() -> None:
    """A single luck tells figures and not how sure they are."""
    told = Toll((a_harm(hurt=10),)).to_dict()

    assert (told["recovered"], told["requests_hurt"], told["recovery_s"]) == (True, 10.0, 1.0)
    assert [told[f"{name}_{end}"] for name in ("requests_hurt", "recovery_s") for end in ("low", "high")] == [None] * 4


def test_nobody_recovers() -> None:
    """No time of recovery where there was none; what no run can say of staying is not known."""
    told = Toll((a_harm(hurt=10, recovery_s=None, metastable=None),) * 3).to_dict()

    assert (told["recovered"], told["recovery_s"], told["metastable"], told["metastable_share"]) == (
        False,
        None,
        None,
        None,
    )


def test_wilson_covers() -> None:
    """Eight tries of any share: Wilson's 95% interval holds it nearly as often as it says, worked out over all counts."""
    from scipy.stats import binom

    intervals = [share_of([True] * count + [False] * (8 - count)) for count in range(9)]
    for truth in (0.1, 0.3, 0.5, 0.8, 0.95):
        held = [each.low <= truth <= each.high for each in intervals]

        assert float(np.sum(binom.pmf(np.arange(9)[held], 8, truth))) > 0.89


@pytest.mark.parametrize(
    ("without", "after", "expected"),
    [
        ((1000, 1010, 1020), (10, 12, 11), True), ((1000, 1010, 1020), (500, 520, 510), False),
        ((1000, 1000, 1000), (10, 300, 20), None), ((0, 0, 0), (0, 0, 0), False), ((1000,), (100,), True), ((1000,), (101,), False),
    ],
)  # fmt: skip
def test_prevention_is_shown_not_guessed(
    without: tuple[int, ...], after: tuple[int, ...], expected: bool | None
) -> None:
    """Nine tenths must be spared beyond what chance explains; where chance could, nobody knows; nothing needs no prevention."""
    tolls = (Toll(tuple(a_harm(hurt=each) for each in runs)) for runs in (without, after))

    assert prevention(*tolls) is expected


@pytest.mark.parametrize(
    ("before", "now", "expected"), [("nnn", "yyy", True), ("nyn", "yyy", True), ("nnn", "nnn", False), ("nnn", "yny", None)]
)  # fmt: skip
def test_a_collapse_that_ends_is_prevented(before: str, now: str, expected: bool | None) -> None:
    """What recovers in every run, and did not without, was prevented; what recovers in some is unclear."""
    tolls = (
        Toll(tuple(a_harm(hurt=100, recovery_s=1.0 if each == "y" else None) for each in runs))
        for runs in (before, now)
    )

    assert prevention(*tolls) is expected


def test_intervals_cover() -> None:
    """A small system that loses one of two stations: of 40 intervals from 6 lucks each, most hold the mean of all 240.

    At 95% fewer than 33 of 40 would happen once in 300 times; the means of recovery and hurt are of skewed figures, for which
    Student's interval of six holds a little less than it says.
    """
    trace = Trace("small", np.cumsum(np.random.default_rng(5).exponential(0.01, size=400)))
    system = System(np.random.default_rng(6).exponential(0.012, size=(2, 64)) + 0.001, stations=2)
    course = Course(trace, system, (ReplicaLoss(lasts_s=0.4),), (), Seeds(1), 0.06)
    harms = [fly_run(course, run).worst[0].harm for run in range(1, 241)]
    tolls = [Toll(tuple(harms[at : at + 6])) for at in range(0, 240, 6)]

    hurt = float(np.mean([each.requests_hurt for each in harms]))
    recovery_s = float(np.mean([each.recovery_s for each in harms if each.recovery_s is not None]))
    timed = [each.recovery_s for each in tolls if each.recovery_s is not None]

    assert np.std([each.requests_hurt for each in harms]) > 0.0
    assert sum(each.requests_hurt.low <= hurt <= each.requests_hurt.high for each in tolls) >= 33
    assert sum(each.low <= recovery_s <= each.high for each in timed) >= 0.8 * len(timed)
