"""Time is told by a clock that is set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.optimize.budget import Budget, Costs, timing_s
from windtunnel.optimize.race import Finish

if TYPE_CHECKING:
    from windtunnel.variant import Variant


class _Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def pace(mlp: Variant) -> Finish:
    """A parent that takes 20 ms a call, and no time to load."""
    return Finish(mlp, 1.0, {"1": 1.0}, {"1": 0.02}, 0.0)


def _child(mlp: Variant, speed: float, open_s: float = 0.0) -> Finish:
    return Finish(mlp, speed, {"1": speed}, {"1": 0.02 / speed}, open_s)


@pytest.mark.parametrize(
    ("spent_s", "exploring", "over"), [(10.0, False, False), (70.0, True, False), (120.0, True, True)]
)
def test_time_is_told(clock: _Clock, spent_s: float, exploring: bool, over: bool) -> None:
    """Exploring ends before the whole does, and what is left goes below zero when it is over."""
    budget = Budget(100.0, clock=clock)
    clock.now_s += spent_s

    assert (budget.spent_s, budget.left_s) == (spent_s, 100.0 - spent_s)
    assert (budget.exploring_is_over, budget.is_over) == (exploring, over)


def test_endless(clock: _Clock, pace: Finish) -> None:
    """An exhaustive search is never out of time, and stops nothing."""
    budget = Budget(1.0, endless=True, clock=clock, costs=Costs(pace, 10.0, 10.0, 10.0))
    clock.now_s += 100.0

    assert not budget.exploring_is_over
    assert not budget.is_over
    assert budget.may_make(1e9, None)
    assert budget.may_prove([pace] * 99)
    assert not budget.is_spent


def test_a_child_costs_less_by_as_much_as_it_is_faster(mlp: Variant, pace: Finish) -> None:
    """Asking and judging a child takes the parent's time over its speed, and its loading; timing loads it anew each round."""
    costs, child = Costs(pace, 4.0, 8.0, 1.0), _child(mlp, 4.0, open_s=0.5)

    assert (costs.ask_s(child), costs.judge_s(child)) == pytest.approx((1.5, 2.5))
    assert timing_s(child) == pytest.approx(10 * (0.5 + 10 * 0.005))
    assert costs.parent_s == pytest.approx(2.0)
    assert costs.first_s(child) == pytest.approx(1.5 + 2.0 + 5.5 + 2.5 + 1.0)
    assert costs.first_s(None) == pytest.approx(2.0 + 1.0 + 0.25 * (4.0 + 2.0 + 8.0))
    assert Costs().first_s(None) == Costs().parent_s == 0.0


def test_what_the_end_needs_is_kept(clock: _Clock, mlp: Variant, pace: Finish) -> None:
    """Nothing is begun that is expected to leave too little for asking, proving and looking at the best so far."""
    budget = Budget(100.0, clock=clock, costs=Costs(pace, 10.0, 30.0, 6.0))
    child = _child(mlp, 4.0)
    clock.now_s += 20.0

    assert (budget.making_s(None), budget.making_s(child)) == pytest.approx((61.5, 61.5))
    assert [budget.may_make(expected_s, None) for expected_s in (0.0, 61.0, 62.0)] == [True, True, False]
    assert budget.may_make(61.0, child)

    clock.now_s += 45.0
    assert not budget.may_make(1.0, child)
    assert budget.may_make(1.0, child, late=True)


def test_the_first_may_overrun_a_little(clock: _Clock, mlp: Variant, pace: Finish) -> None:
    """Where nothing would be proven otherwise, half of what the promise allows may be expected to be needed; else nothing."""
    budget, child = Budget(100.0, clock=clock, costs=Costs(pace, 10.0, 30.0, 6.0)), _child(mlp, 4.0)
    clock.now_s += 100.0 - budget.costs.first_s(child) + 4.0
    assert [budget.may_ask(child, first=first) for first in (True, False)] == [True, False]

    clock.now_s += budget.costs.ask_s(child)
    assert [budget.may_prove([child] * count) for count in (1, 2)] == [True, False]

    clock.now_s += 2.0
    assert not budget.may_prove([child])


def test_timing_leaves_time_for_judging(clock: _Clock, mlp: Variant, pace: Finish) -> None:
    """A wave is timed for most of what is left, less where judging its members and a closer look need more."""
    budget, child = Budget(100.0, clock=clock, costs=Costs(pace, 0.0, 40.0, 6.0)), _child(mlp, 2.0)

    assert budget.timing_s([child]) == pytest.approx(70.0)
    assert budget.timing_s([child] * 3) == pytest.approx(100.0 - 3 * 20.0 - 6.0)
    assert budget.timing_s([child] * 5) == 0.0

    clock.now_s += 95.0
    assert [budget.may_look(first=first) for first in (True, False)] == [True, False]


def test_what_time_was_spent_on(clock: _Clock) -> None:
    """Time is told by phase, all together; the next of a kind is expected to take as long as the latest."""
    budget = Budget(100.0, clock=clock)
    for kind, took_s in (("static", 3.0), ("nncf", 9.0), ("static", 4.0)):
        with budget.spending("making", kind):
            clock.now_s += took_s

    assert budget.phases_s == {"making": 16.0}
    assert (budget.expected_s("static"), budget.expected_s("static", "nncf"), budget.expected_s("new")) == (
        4.0,
        13.0,
        0.0,
    )


@pytest.mark.parametrize(
    ("spent_s", "over", "spent"), [(99.0, False, False), (101.0, True, False), (106.0, True, True)]
)
def test_a_first_proof_may_overrun_a_little(clock: _Clock, spent_s: float, over: bool, spent: bool) -> None:
    """A budget that is over is not spent before the share by which a first proof may overrun it is gone too."""
    budget = Budget(100.0, clock=clock)
    clock.now_s += spent_s

    assert (budget.is_over, budget.is_spent) == (over, spent)
