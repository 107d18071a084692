"""Times are planted; answers are the models' own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.optimize import proof
from windtunnel.optimize.budget import Budget, Costs
from windtunnel.optimize.explore import Candidate
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.proof import Prover, next_wave, subjects
from windtunnel.optimize.quality import Holdout
from windtunnel.optimize.race import Finish
from windtunnel.optimize.witness import Witness
from windtunnel.runtime import open_session
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Variant

GOAL = Goal("agreement", 0.02, (1, 8))
AMPLE = Budget(1e6)


class _Clock:
    """In place of the measuring stage: each model is so many times as fast as is planted; what was asked is noted."""

    def __init__(self, **speeds: float) -> None:
        self.speeds, self.asked = speeds, list[tuple[list[str], int, tuple[int, ...], float]]()

    def __call__(
        self,
        openers: Mapping[str, Callable[[], Session]],
        feeds: Mapping[str, NDArray[Any]],
        batch_sizes: Sequence[int],
        *,
        budget_s: float,
    ) -> Timings:
        self.asked.append((list(openers), len(feeds["x"]), tuple(batch_sizes), budget_s))
        rng = np.random.default_rng(1)
        blocks = {
            (name, batch): tuple(1e-3 / self.speeds.get(name, 1.0) * rng.uniform(0.99, 1.01, 20) for _ in range(12))
            for name in openers
            for batch in batch_sizes
        }
        return Timings(blocks, dict.fromkeys(blocks, True))


@pytest.fixture
def witness(mlp: Variant, rows: dict[str, NDArray[Any]]) -> Witness:
    held, learning = Holdout({"x": rows["x"][:400]}, None), Holdout({"x": rows["x"][400:]}, None)
    return Witness.of(open_session(mlp), "fp32", GOAL, held, learning, untaught=50, seed=1)


def _prover(
    mlp: Variant,
    witness: Witness,
    clock: _Clock,
    sizes: tuple[str, ...] = ("",),
    goal: Goal = GOAL,
    weigh: Any = None,
    budget: Budget = AMPLE,
) -> Prover:
    pace = Finish(mlp, 1.0, {"1": 1.0, "8": 1.0}, {"1": 1e-3, "8": 2e-3}, 0.0)
    return Prover(mlp, witness, dict.fromkeys(sizes, witness.holdout.feeds), goal, clock, pace, budget, weigh)


def _raced(*children: Variant) -> list[Finish]:
    """As they did in a race: as fast as the parent."""
    return [Finish(each, 1.0, {"1": 1.0, "8": 1.0}, {"1": 1e-3, "8": 2e-3}, 0.0) for each in children]


def _timed(_members: Sequence[Finish]) -> float:
    return 1.0


def test_parent_first(mlp: Variant, witness: Witness) -> None:
    """The parent is judged beside itself, as the first; a child as good and twice as fast is on the frontier."""
    child = replace(mlp.run_by(Execution(threads=2)), name="two")
    judged = _prover(mlp, witness, _Clock(two=2.0)).prove(0, _raced(child), _timed)

    assert [(each.variant, each.status) for each in judged] == [(mlp, "on-frontier"), (child, "on-frontier")]
    assert (judged[0].reason, judged[0].quality.drop.value, judged[0].quantized) == ("the parent", 0.0, (0, 2))
    assert judged[0].speedup.value == 1.0
    assert judged[1].speedup.value == pytest.approx(2.0, rel=0.01)
    assert judged[1].reason.startswith("proven")


def test_all_are_timed_side_by_side(mlp: Variant, witness: Witness) -> None:
    """Parent and children are timed together at every batch size of every size class, which share the time."""
    clock = _Clock()
    children = [replace(mlp, name=name) for name in ("a", "b")]
    _prover(mlp, witness, clock, ("n=1", "n=2")).prove(0, _raced(*children), lambda _members: 6.0)

    assert clock.asked == [(["fp32", "a", "b"], 400, (1, 8), 3.0)] * 2


def test_slower_is_not_chosen(mlp: Variant, witness: Witness) -> None:
    """A child that is as good and slower is said to be slower."""
    judged = _prover(mlp, witness, _Clock(child=0.5)).prove(0, _raced(replace(mlp, name="child")), _timed)

    assert (judged[1].status, judged[1].reason) == ("slower", "slower than the parent at batch 1, 8")


@pytest.mark.parametrize(
    ("wave", "children", "confidence"), [(0, 1, 0.975), (0, 2, 0.9875), (1, 1, 0.9875), (2, 2, 0.996875)]
)
def test_intervals_hold_together(mlp: Variant, witness: Witness, wave: int, children: int, confidence: float) -> None:
    """Each wave spends half of what is left of the chance to err, and its children share it."""
    variants = [replace(mlp, name=f"child-{place}") for place in range(children)]
    judged = _prover(mlp, witness, _Clock()).prove(wave, _raced(*variants), _timed)
    levels = {each.quality.drop.confidence for each in judged} | {each.speedup.confidence for each in judged}

    assert list(levels) == pytest.approx([confidence])


def test_a_child_that_fails_its_proof(mlp: Variant, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that cannot answer the rows held out is a failure with its reason; the others are judged."""
    judge = Witness.quality

    def broken(self: Witness, session: Session, name: str, confidence: float) -> Any:
        if name == "broken":
            raise ModelError("gives NaN", field=name, fix="leave it")
        return judge(self, session, name, confidence)

    monkeypatch.setattr(Witness, "quality", broken)
    prover = _prover(mlp, witness, _Clock())
    judged = prover.prove(0, _raced(replace(mlp, name="broken"), replace(mlp, name="child")), _timed)

    assert [each.variant.name for each in judged] == ["fp32", "child"]
    assert [(each.name, each.reason) for each in prover.failures] == [("broken", "gives NaN; leave it")]


def test_memory_is_weighed_where_it_counts(mlp: Variant, witness: Witness) -> None:
    """Where memory is asked for, parent and children are weighed at every size class, and the largest counts; else nobody is."""
    asked: list[tuple[str, tuple[int, ...]]] = []

    def weigh(variant: Variant, feeds: Mapping[str, NDArray[Any]], batch_sizes: Sequence[int]) -> int:
        assert len(feeds["x"]) == 400
        asked.append((variant.name, tuple(batch_sizes)))
        return 100 + len(asked)

    child, sizes = replace(mlp, name="child"), ("n=1", "n=2")
    assert [
        each.memory_bytes
        for each in _prover(mlp, witness, _Clock(), sizes, GOAL, weigh).prove(0, _raced(child), _timed)
    ] == [None] * 2
    assert asked == []

    lean = _prover(mlp, witness, _Clock(), sizes, replace(GOAL, objective="memory"), weigh)
    assert [each.memory_bytes for each in lean.prove(0, _raced(child), _timed)] == [102, 104]
    assert asked == [("fp32", (1, 8))] * 2 + [("child", (1, 8))] * 2


@pytest.mark.parametrize(
    ("p50_s", "budget", "rows"),
    [
        (1e-6, AMPLE, 48),
        (0.02, AMPLE, 16),
        (10.0, AMPLE, 8),
        (0.02, Budget(40.0), 11),
        (0.02, Budget(0.0, endless=True), 16),
    ],
)
def test_slow_models_are_asked_fewer_rows_in_company(mlp: Variant, p50_s: float, budget: Budget, rows: int) -> None:
    """How many rows are asked alone and in company follows from how long one takes and how much time there is, between bounds."""
    assert subjects(Finish(mlp, 1.0, {"1": 1.0}, {"1": p50_s, "8": 8 * p50_s}, 0.0), budget) == rows


def _candidate(mlp: Variant, p50_s: float, open_s: float = 0.0) -> Candidate:
    return Candidate(Finish(mlp, 1.0, {"1": 1.0}, {"1": p50_s}, open_s), None)


def _left(seconds: float, pace: Candidate) -> Budget:
    """So much time, of which a closer look takes 1 s; judging a child as fast as the parent takes 2 s."""
    return Budget(seconds, clock=lambda: 0.0, costs=Costs(pace.finish, 0.0, 2.0, 1.0))


@pytest.mark.parametrize(
    ("left_s", "members"),
    [(1000.0, 5), (1.0 + 3 * 0.4 + 2 * 2.0, 2), (1.0 + 2 * 0.4 + 2.0, 1), (3.65, 1), (3.5, 0), (-5.0, 0)],
    ids=["plenty", "for two", "for one", "a little overrun", "too little", "overdrawn"],
)
def test_a_wave_fits_its_time(mlp: Variant, left_s: float, members: int) -> None:
    """As many of the best are proven at once as can be timed, judged and looked at in time, five at most, and none that does not fit."""
    ranked = [_candidate(mlp, 1e-6) for _ in range(7)]
    wave = next_wave(ranked, _left(left_s + 1e-9, ranked[0]), everything=False)

    assert [id(each) for each in wave] == [id(each) for each in ranked[:members]]


def test_slow_models_fill_a_wave(mlp: Variant) -> None:
    """A model counts by its service time and by how long it takes to load, which is done anew each round."""
    quick, slow, heavy = _candidate(mlp, 1e-3), _candidate(mlp, 0.02), _candidate(mlp, 1e-3, open_s=10.0)

    assert next_wave([quick, slow, quick], _left(20.0, quick), everything=False) == [quick, quick]
    assert next_wave([heavy, quick, quick], _left(50.0, quick), everything=False) == [quick, quick]
    assert len(next_wave([quick, slow, quick], _left(60.0, quick), everything=False)) == 3


def test_everything_is_proven_where_it_is_asked_for(mlp: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exhaustive proof takes all, whatever they cost; and none where there is none."""
    monkeypatch.setattr(proof, "WAVE", 2)
    ranked = [_candidate(mlp, 1.0) for _ in range(7)]

    assert next_wave(ranked, _left(-1.0, ranked[0]), everything=True) == ranked
    assert len(next_wave(ranked, _left(1e9, ranked[0]), everything=False)) == 2
    assert next_wave([], _left(10.0, ranked[0]), everything=False) == []


def test_who_comes_too_late_is_not_judged(mlp: Variant, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the budget is spent no further child is judged, which makes it neither bad nor a failure; who was begun is finished."""
    judge, now_s = Witness.quality, [0.0]

    def slow(self: Witness, session: Session, name: str, confidence: float) -> Any:
        now_s[0] += 100.0 if name == "slow" else 1.0
        return judge(self, session, name, confidence)

    monkeypatch.setattr(Witness, "quality", slow)
    prover = _prover(mlp, witness, _Clock(), budget=Budget(10.0, clock=lambda: now_s[0]))
    judged = prover.prove(0, _raced(*(replace(mlp, name=name) for name in ("first", "slow", "after"))), _timed)

    assert [each.variant.name for each in judged] == ["fp32", "first", "slow"]
    assert prover.failures == []


def test_who_is_not_good_enough_is_not_timed(mlp: Variant, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that fails on the rows held out has the speed of its race, without an interval; so has the parent where all fail."""
    judge = Witness.quality

    def harmed(self: Witness, session: Session, name: str, confidence: float) -> Any:
        quality = judge(self, session, name, confidence)
        return replace(quality, drop=replace(quality.drop, value=0.5, low=0.4, high=0.6)) if name == "bad" else quality

    monkeypatch.setattr(Witness, "quality", harmed)
    clock, (bad, child) = _Clock(child=2.0), (replace(mlp, name=name) for name in ("bad", "child"))
    both = _prover(mlp, witness, clock).prove(0, _raced(bad, child), _timed)
    alone = _prover(mlp, witness, clock).prove(0, _raced(bad), _timed)

    assert [members for members, *_ in clock.asked] == [["fp32", "child"]]
    assert [(each.variant.name, each.status, each.speed.raced) for each in both] == [
        ("fp32", "on-frontier", False), ("bad", "worse", True), ("child", "on-frontier", False),
    ]  # fmt: skip
    assert [each.speed.raced for each in alone] == [True, True]
    told = both[1].speed.to_dict()
    assert (told["speedup"], told["speedup_low"], told["basis"]) == (1.0, None, "raced")


def test_nobody_is_judged_when_it_is_over(mlp: Variant, witness: Witness) -> None:
    """When timing took all that was left the parent is told and no child is judged."""
    now_s = [0.0]
    prover = _prover(mlp, witness, _Clock(), budget=Budget(10.0, clock=lambda: now_s[0]))
    now_s[0] = 11.0

    assert [each.variant.name for each in prover.prove(0, _raced(replace(mlp, name="child")), _timed)] == ["fp32"]
