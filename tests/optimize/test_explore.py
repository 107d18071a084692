"""One decision of exploring at a time, with planted races; the whole of it is walked in the tests of the search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.optimize import explore
from windtunnel.optimize.budget import Budget, Costs
from windtunnel.optimize.explore import Candidate, Explorer, narrowed
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.race import Cell, Finish, Refused
from windtunnel.optimize.space import SPINNING
from windtunnel.progress import SILENT
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.variant import Variant

GOAL = Goal("agreement", 0.02, (1,))
ORT, TWO = Execution(), Execution(threads=2)
EXACT, SHORT = Execution("openvino"), Execution("openvino-bf16")


def _drop(value: float) -> Interval:
    """What was lost, known to a hundredth."""
    return Interval(value, value - 0.01, value + 0.01, 200, 0.95)


class _Learning:
    """What is lost on the learning rows, by the name of the variant; a name that is not known does not run."""

    def __init__(self) -> None:
        self.lost: dict[str, float] = {}
        self.asked: list[str] = []
        self.held_rows = 10**9

    def lost_on_learning(self, variant: Variant, *, taught: bool) -> Interval:
        del taught
        self.asked.append(variant.name)
        if variant.name not in self.lost:
            raise ModelError("does not run on the rows", field=variant.name)
        return _drop(self.lost[variant.name])


@pytest.fixture
def learning() -> _Learning:
    return _Learning()


@pytest.fixture
def explorer(mlp: Variant, learning: _Learning) -> Callable[..., Explorer]:
    """An explorer whose candidates have these speeds, and lose nothing."""

    def made(goal: Goal = GOAL, *, budget: Budget | None = None, **speeds: float) -> Explorer:
        given: Any = learning
        nowhere: Any = None
        found = Explorer(mlp, [ORT], [], nowhere, given, [], goal, budget or Budget(1e6), SILENT)
        for name, speed in speeds.items():
            found.found.candidates.append(Candidate(_finish(replace(mlp, name=name), speed), None))
            learning.lost[name] = 0.0
        return found

    return made


def _finish(variant: Variant, speed: float, worst: float | None = None, left: str = "") -> Finish:
    return Finish(variant, speed, {"1": speed if worst is None else worst}, {"1": 1e-3 / speed}, 0.0, left)


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [each.variant.name for each in candidates]


def test_children_run_where_the_parent_ran_well(mlp: Variant) -> None:
    """Numbers of threads that cost the parent time, and a precision that is slow for it, are left out and said so."""
    speeds = {ORT: 1.0, TWO: 0.7, EXACT: 1.5, SHORT: 1.0}
    ways, skipped = narrowed([_finish(mlp.run_by(way), speed) for way, speed in speeds.items()])

    assert ways == [ORT, EXACT]
    assert {each.name: each.reason for each in skipped} == {
        "children on ort-2t": "1.4 × slower than other threads for the parent",
        "children on openvino-bf16": "1.5 × slower than float32 for the parent",
    }


@pytest.mark.parametrize("speeds", [(1.0, 0.9, 1.0, 1.2), (1.0, 1.0, 0.2, 0.5)])
def test_ways_that_may_be_good_are_kept(mlp: Variant, speeds: tuple[float, ...]) -> None:
    """What is hardly slower is kept; and a runtime that is slow for the parent in all its ways may be fast for children."""
    finishes = [_finish(mlp.run_by(way), speed) for way, speed in zip((ORT, TWO, EXACT, SHORT), speeds, strict=True)]

    assert narrowed(finishes) == ([ORT, TWO, EXACT, SHORT], [])


def test_the_best_way_of_each_runtime_goes_on(
    mlp: Variant, explorer: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several ways of running one file the fastest of each runtime is a candidate; the others are left, with the reason."""
    finishes = [
        _finish(mlp.run_by(SHORT), 3.0), _finish(mlp.run_by(TWO), 2.0), _finish(mlp.run_by(ORT), 1.5),
        _finish(mlp.run_by(EXACT), 0.4, left="2.5 × slower than the parent"),
    ]  # fmt: skip
    monkeypatch.setattr(explore, "race", lambda *_given, **_more: (finishes, []))
    tried = explorer()
    tried._enter(mlp, None, [])

    assert _names(tried.found.candidates) == ["mlp-on-openvino-bf16", "mlp-on-ort-2t"]
    assert [(each.variant.name, each.status, each.reason) for each in tried.found.raced] == [
        ("mlp", "dominated", "another way of running the same file in that runtime is better"),
        ("mlp-on-openvino", "slower", "2.5 × slower than the parent"),
    ]


def test_a_run_off_asks_every_number_of_threads(
    mlp: Variant, explorer: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be proven is raced once more in longer laps, with each number of threads; the winner is proven in its place."""
    spun = Execution(threads=2, options=(SPINNING,))
    asked: list[tuple[list[Execution], float, int]] = []

    def raced(
        _parent: Variant, ways: list[Variant], _cells: object, *, lap_s: float, laps: int
    ) -> tuple[list[Finish], list[Refused]]:
        asked.append(([each.execution for each in ways], lap_s, laps))
        speeds = {ORT: 2.0, TWO: 1.5, spun: 3.0}
        finishes = [_finish(each, speeds[each.execution]) for each in ways]
        return sorted(finishes, key=lambda each: -each.speedup), []

    monkeypatch.setattr(explore, "race", raced)
    tried = explorer(replace(GOAL, threads=(1, 2)), budget=Budget(60.0), child=2.5)
    tried.cells = [Cell(1, "", {})]
    tried.found.leave(_finish(mlp.run_by(spun), 2.4), "dominated", "in the short race")
    tried.run_off(tried.ranked())

    assert asked == [([ORT, TWO, spun], 6.0 / (13 * 6), 3)]
    assert _names(tried.found.candidates) == ["mlp-on-ort-2t-allow_spinning=1"]
    assert [(each.variant.name, each.reason) for each in tried.found.raced] == [
        ("child", "in longer laps mlp-on-ort-2t-allow_spinning=1 is faster")
    ]


@pytest.mark.parametrize(
    ("goal", "seconds"),
    [(GOAL, 60.0), (replace(GOAL, threads=(1, 2)), 1e-9), (replace(GOAL, threads=(1, 2), exhaustive=True), 60.0)],
    ids=["one number of threads", "no time", "everything is proven anyway"],
)
def test_no_run_off(
    explorer: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch, goal: Goal, seconds: float
) -> None:
    """Where there is nothing to choose from, or no time to choose in, nothing is raced again."""

    def raced(*_given: object, **_more: object) -> None:
        pytest.fail("a race")

    monkeypatch.setattr(explore, "race", raced)
    tried = explorer(goal, budget=Budget(seconds), child=2.5)
    tried.cells = [Cell(1, "", {})]
    tried.run_off(tried.ranked())

    assert _names(tried.found.candidates) == ["child"]


def test_a_runtime_refuses_once(
    mlp: Variant, explorer: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a runtime refuses is one failure a runtime, not one a number of threads."""
    ways = (EXACT, replace(EXACT, threads=2), SHORT)
    refused = [Refused(mlp.run_by(way), "has an operator that nobody knows") for way in ways]
    monkeypatch.setattr(explore, "race", lambda *_given, **_more: ([], refused))
    tried = explorer()
    tried._enter(mlp, None, [])

    assert [each.name for each in tried.found.failures] == ["mlp-on-openvino", "mlp-on-openvino-bf16"]
    assert tried.found.candidates == []


def test_the_best_come_first(explorer: Callable[..., Explorer], mlp: Variant) -> None:
    """Candidates are ranked by speed; one that is slow in some cell comes last, however fast it is over all."""
    tried = explorer(a=1.5, b=3.0, c=0.5)
    tried.found.candidates.append(Candidate(_finish(replace(mlp, name="uneven"), 9.0, worst=0.5), None))

    assert _names(tried.ranked()) == ["b", "a", "uneven", "c"]


def test_throughput_is_that_of_the_best_batch(explorer: Callable[..., Explorer], mlp: Variant) -> None:
    """Where rows a second are asked for, a batch size at which a child is slow does not count, nor one at which nobody is best."""
    finish = Finish(mlp, 0.9, {"1": 0.5, "8": 1.6}, {"1": 2e-3, "8": 4e-3}, 0.0)
    median, throughput = explorer(), explorer(replace(GOAL, objective="throughput"))
    throughput.cells = [Cell(1, "", {}), Cell(8, "", {})]

    assert median.slow(finish)
    assert not throughput.slow(finish)
    # 8 rows in 4 ms beside the parent's 8 in 6.4 ms; both do fewer a second at batch 1
    assert throughput.score(Candidate(finish, None)) == pytest.approx(1.6)


def test_small_files_come_first_where_they_are_asked_for(explorer: Callable[..., Explorer], mlp: Variant) -> None:
    """Where size counts, the smaller of two files that are not slower is the better; a slow one gains nothing by it."""
    tried = explorer(replace(GOAL, objective="size"))
    small, large, slow = (
        Candidate(_finish(replace(mlp, name=name, bytes=size), speed), None)
        for name, size, speed in (("small", mlp.bytes // 4, 1.1), ("large", mlp.bytes // 2, 3.0), ("slow", 1, 0.5))
    )
    tried.found.candidates += [large, slow, small]

    assert _names(tried.ranked()) == ["small", "large", "slow"]
    assert tried.score(small) == pytest.approx(4.0, rel=0.01)


def test_enough_likely_ones_are_enough(explorer: Callable[..., Explorer], learning: _Learning) -> None:
    """The learning rows are asked about the fastest first, until four are likely to be good enough."""
    tried = explorer(**{f"v{place}": 10.0 - place for place in range(8)})
    learning.lost |= {"v0": 0.5, "v2": 0.021}
    tried.sift()

    assert learning.asked == ["v0", "v1", "v2", "v3", "v4", "v5"]
    assert [each.variant.name for each in tried.ranked() if tried.likely(each)] == ["v1", "v3", "v4", "v5"]


def test_nobody_is_asked_twice_nor_in_vain(explorer: Callable[..., Explorer], learning: _Learning) -> None:
    """Sifting again asks nobody again; a candidate that is slow is not asked at all."""
    tried = explorer(fast=2.0, slow=0.5)
    tried.sift()
    tried.sift()

    assert learning.asked == ["fast"]


@pytest.mark.parametrize(
    ("hurry", "spent_s", "asked"), [(True, 0.0, ["a", "b"]), (False, 70.0, ["a", "b", "c"])], ids=["hurry", "late"]
)
def test_in_a_hurry_few_are_enough(
    explorer: Callable[..., Explorer], learning: _Learning, hurry: bool, spent_s: float, asked: list[str]
) -> None:
    """Where it was stopped sifting ends with the first that is likely, where its time is over with the second; not before."""
    tried = explorer(budget=Budget(100.0, clock=lambda: spent_s, started_s=0.0), a=5.0, b=4.0, c=3.0, d=2.0)
    learning.lost["a"] = 0.5
    tried.sift(hurry=hurry)

    assert learning.asked == asked


def test_who_cannot_be_proven_in_time_gives_way(
    explorer: Callable[..., Explorer], learning: _Learning, mlp: Variant
) -> None:
    """The fastest takes so long to load that there is no time for its proof: the next is asked, and time kept for it."""
    budget = Budget(100.0, clock=lambda: 0.0, costs=Costs(_finish(mlp, 1.0), 10.0, 10.0, 1.0))
    tried = explorer(budget=budget, heavy=5.0, light=2.0)
    heavy, light = tried.found.candidates
    heavy.finish = replace(heavy.finish, open_s=30.0)
    tried.sift()

    assert learning.asked == ["light"]
    assert tried._best == light.finish


def test_everything_is_asked_where_nothing_may_be_missed(
    explorer: Callable[..., Explorer], learning: _Learning
) -> None:
    """An exhaustive search asks about all, the slow ones too."""
    tried = explorer(replace(GOAL, exhaustive=True), **{f"v{place}": 6.0 - place for place in range(6)}, slow=0.1)
    tried.sift()

    assert len(learning.asked) == 7


def test_who_does_not_run_is_a_failure(explorer: Callable[..., Explorer], learning: _Learning) -> None:
    """A candidate that does not run on the learning rows goes no further, and its reason is told."""
    tried = explorer(a=2.0, b=1.5)
    del learning.lost["a"]
    tried.sift()

    assert [(each.name, each.reason) for each in tried.found.failures] == [("a", "does not run on the rows")]
    assert _names(tried.found.candidates) == ["b"]


def test_who_was_not_asked_is_not_likely(explorer: Callable[..., Explorer]) -> None:
    """A candidate is good by the best guess of the learning rows, once they were asked; where they cannot tell it may be."""
    tried = explorer(a=2.0)
    (one,) = tried.found.candidates

    told = [
        replace(one, asked=True, lost=None if value is None else _drop(value)) for value in (None, 0.0, 0.02, 0.0201)
    ]
    assert [tried.good(each) for each in (one, *told)] == [False, True, True, True, False]
    assert not tried.likely(one)


def test_what_cannot_be_proven_is_not_likely(explorer: Callable[..., Explorer], learning: _Learning) -> None:
    """A candidate whose loss is known too badly for the rows held out to prove it goes beside a surer one only if it is faster."""
    tried = explorer(wide=3.0, narrow=2.0)
    wide, narrow = tried.found.candidates
    wide.asked = narrow.asked = True
    wide.lost, narrow.lost = Interval(0.0, -0.05, 0.05, 200, 0.95), Interval(0.01, 0.009, 0.011, 200, 0.95)
    learning.held_rows = 400

    assert (tried.good(wide), tried.likely(wide), tried.possible(wide)) == (True, False, True)
    assert _names(tried.waiting()) == ["narrow", "wide"]

    wide.finish = replace(wide.finish, speedup=1.5)
    assert _names(tried.waiting()) == ["narrow"]

    tried.found.candidates.remove(narrow)
    assert _names(tried.waiting()) == ["wide"]

    learning.held_rows = 40_000  # as many would tell
    assert tried.likely(wide)
