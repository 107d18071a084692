from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.optimize.choose import choose, verdict_on
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.invariance import Dependence
from windtunnel.optimize.judged import Judged
from windtunnel.optimize.quality import Quality
from windtunnel.optimize.speed import Speed
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.optimize.judged import Status
    from windtunnel.variant import Variant

GOAL = Goal("agreement", 0.02, (1, 8), batching=False)
CALM = Dependence(0.0, 0.0, 0.0, None, 48)


def _interval(value: float, reach: float = 0.01) -> Interval:
    return Interval(value, value - reach, value + reach, 100, 0.95)


def _speed(overall: float, *cells: float, reach: float = 0.01) -> Speed:
    ratios = {str(place): _interval(each) for place, each in enumerate(cells or (overall,))}
    return Speed(_interval(overall, reach), ratios, dict.fromkeys(ratios, 0.001), dict.fromkeys(ratios, 0.001))


@pytest.fixture
def judged(mlp: Variant) -> Callable[..., Judged]:
    """A variant with a judgement made by hand."""

    def make(name: str, status: Status = "on-frontier", speed: float = 1.0, drop: float = 0.0, **more: Any) -> Judged:
        quality = Quality("agreement", 1 - drop, _interval(drop))
        variant = replace(mlp, name=name, bytes=more.pop("bytes", mlp.bytes))
        return Judged(variant, status, "why", quality, _speed(speed), CALM, (1, 2), **more)

    return make


def _statuses(marked: Sequence[Judged]) -> dict[str, str]:
    return {each.variant.name: each.status for each in marked}


def test_the_fastest_proven_child_is_chosen(judged: Callable[..., Judged]) -> None:
    """Of the proven the fastest is chosen; one that is slower and loses more is dominated, one that loses less is not."""
    marked = choose([
        judged("parent"), judged("fast", speed=3.0, drop=0.01), judged("slower", speed=2.0, drop=0.015),
        judged("gentle", speed=1.5, drop=0.001),
    ], GOAL)  # fmt: skip

    assert _statuses(marked) == {
        "parent": "on-frontier",
        "fast": "chosen",
        "slower": "dominated",
        "gentle": "on-frontier",
    }
    assert marked[2].reason.startswith("fast is as good and as fast")


@pytest.mark.parametrize("status", ["not-proven", "worse", "slower", "batch-dependent"])
def test_never_ship_worse(judged: Callable[..., Judged], status: Status) -> None:
    """However fast a child is, it is not chosen unless everything is proven; the parent is, and a proven child before it."""
    parent, child = judged("parent"), judged("child", status, speed=100.0)

    assert {"parent": "chosen", "child": status} == _statuses(choose([parent, child], GOAL))
    assert _statuses(choose([parent, child, judged("proven", speed=1.1)], GOAL))["proven"] == "chosen"


def test_the_parent_alone(judged: Callable[..., Judged]) -> None:
    """Where every step failed the parent is chosen, and the reason is said."""
    (only,) = choose([judged("parent")], GOAL)

    assert (only.status, only.reason) == ("chosen", "no child is both proven and better")


def test_what_is_best_is_asked_for(judged: Callable[..., Judged]) -> None:
    """The smallest file is chosen where size is asked for, the smallest process where memory is."""
    marked = [
        judged("parent", bytes=100),
        judged("small", speed=1.1, bytes=10, memory_bytes=90),
        judged("lean", speed=1.2, bytes=50, memory_bytes=20),
        judged("fast", speed=3.0, bytes=60, memory_bytes=80),
    ]
    chosen = {
        objective: next(
            e.variant.name for e in choose(marked, replace(GOAL, objective=objective)) if e.status == "chosen"
        )
        for objective in ("p50", "size", "memory")
    }

    assert chosen == {"p50": "fast", "size": "small", "memory": "lean"}


PROVEN, WORSE, OPEN = (
    Quality("mae", 0.5, _interval(0.0, 0.01)),
    Quality("mae", 0.5, _interval(0.1)),
    Quality("mae", 0.5, _interval(0.02)),
)
MOVES = "a row’s answer moves"


@pytest.mark.parametrize(
    ("quality", "speed", "objection", "batching", "status", "words"),
    [
        (PROVEN, _speed(2.0), "", True, "on-frontier", "proven: loses at most 0.0100 mae; allowed 0.02"),
        (WORSE, _speed(2.0), "", True, "worse", "loses at least 0.0900 mae; allowed 0.02"),
        (
            OPEN,
            _speed(2.0),
            "",
            True,
            "not-proven",
            "may lose up to 0.0300 mae; allowed 0.02; more rows are not likely",
        ),
        (PROVEN, _speed(2.0), MOVES, True, "batch-dependent", "a row’s answer moves, and requests will share batches"),
        (PROVEN, _speed(2.0), MOVES, False, "on-frontier", "proven"),
        (PROVEN, _speed(1.5, 3.0, 0.9), "", True, "slower", "slower than the parent at batch 1"),
        (PROVEN, _speed(0.5, 0.5, 0.5), "", True, "slower", "slower than the parent at batch 0, 1"),
        (PROVEN, _speed(1.0), "", True, "slower", "not shown to be faster: 1.00 × (0.99 to 1.01)"),
        (WORSE, _speed(0.5), MOVES, True, "worse", "loses at least"),
    ],
)
def test_what_keeps_a_child_out(
    quality: Quality, speed: Speed, objection: str, batching: bool, status: str, words: str
) -> None:
    """Quality first, then the batch, where batches are shared, then speed at each size and overall."""
    found = verdict_on(quality, speed, objection, Goal("mae", 0.02, (1, 8), batching))

    assert status == found[0]
    assert words in found[1]


@pytest.mark.parametrize(
    ("objective", "speed", "status"),
    [
        ("throughput", _speed(2.0, 0.5), "on-frontier"),  # slow where it is not used
        ("throughput", _speed(1.0), "slower"),
        ("size", _speed(1.0), "on-frontier"),  # as fast is enough
        ("size", _speed(0.97), "slower"),
        ("memory", _speed(0.5), "slower"),
        ("p99", _speed(1.0), "slower"),
    ],
)
def test_what_is_slow_depends_on_what_is_asked(objective: Any, speed: Speed, status: str) -> None:
    """A small file may be as fast as its parent; throughput counts at its best batch only; else all must be faster."""
    assert status == verdict_on(PROVEN, speed, "", Goal("mae", 0.02, (1,), objective=objective))[0]


def test_rows_that_would_tell_are_said() -> None:
    """Where more rows would prove a child, it is said how many."""
    quality = Quality("mae", 0.5, _interval(0.0, 0.04))

    assert verdict_on(quality, _speed(2.0), "", GOAL)[1].endswith("about 400 held-out rows would tell")
