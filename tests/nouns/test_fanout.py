from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel import fanout
from windtunnel.errors import DataError, MissingError
from windtunnel.fanout import Workers, fan_out
from windtunnel.seeds import Seeds
from windtunnel.table import take_column

if TYPE_CHECKING:
    from collections.abc import Callable


JOIN: Callable[[str, Any], str] = os.path.join
"""A function that workers can import, as the tests themselves are no package."""


def test_in_process_order() -> None:
    """Small work stays in this process; results stand in the order of the items, and each is reported once."""
    done: list[int] = []
    result = fan_out(operator.sub, [3, 1, 2], shared=10, report=done.append)

    assert (result.results, result.where) == ([7, 9, 8], "in-process")
    assert done == [1, 2, 3]


def test_nothing_to_do() -> None:
    """No items have no results, and nobody is started for them."""
    assert (fan_out(operator.add, []).results, fan_out(operator.add, []).where) == ([], "in-process")


def test_items_are_taken_in_order() -> None:
    """In this process an item is worked on only when the one before it is done."""
    seen: list[tuple[int, int]] = []
    fan_out(lambda shared, item: seen.append((item, len(shared))), [5, 6, 7], shared=seen, workers=Workers(1))

    assert seen == [(5, 0), (6, 1), (7, 2)]


def test_error_in_process() -> None:
    """What the function raises is what the caller sees; nothing after it is done."""
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fan_out(operator.floordiv, [1, 0, 1], shared=4, workers=Workers(1), report=done.append)

    assert done == [1]


def test_large_work_moves_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is seen to take long moves to Ray with the items that are left; on one core it stays."""
    moved: list[int] = []

    def on_ray(function: object, items: list[int], *_rest: object) -> list[int]:
        assert function is operator.add
        moved.extend(items)
        return [10 + item for item in items]

    monkeypatch.setattr(fanout, "_on_ray", on_ray)
    monkeypatch.setattr(fanout, "WORTH_RAY_S", 0.0)
    monkeypatch.setattr(fanout, "_cores", lambda: 2)
    result = fan_out(operator.add, [1, 2, 3, 4, 5], shared=10)
    assert (result.results, result.where, moved) == ([11, 12, 13, 14, 15], "ray", [4, 5])

    monkeypatch.setattr(fanout, "_cores", lambda: 1)
    assert fan_out(operator.add, [1, 2, 3, 4, 5], shared=10).where == "in-process"
    monkeypatch.setattr(fanout, "_cores", lambda: 2)
    assert fan_out(operator.add, [1, 2, 3, 4, 5], shared=10, workers=Workers(1)).where == "in-process"


def test_results_are_handed_over_as_they_come() -> None:
    """Each result is handed over with its position before it is reported, so that what is finished outlives an interruption."""
    seen: list[tuple[int, int] | int] = []
    fan_out(
        operator.add, [1, 2], shared=10, workers=Workers(1), report=seen.append,
        keep=lambda position, result: seen.append((position, result)),
    )  # fmt: skip

    assert seen == [(0, 11), 1, (1, 12), 2]


def test_ray_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Ray the results, their order and the errors are those of this process, and Ray is gone afterwards.

    Work that takes its worker with it each time is given up with a sentence.
    """
    import ray

    items = [f"item {n}" for n in range(5)]
    done: list[int] = []
    here = fan_out(JOIN, items, shared="a", workers=Workers(1))
    kept: dict[int, str] = {}
    there = fan_out(JOIN, items, shared="a", workers=Workers(2), report=done.append, keep=kept.__setitem__)

    assert here.results == there.results
    assert [kept[position] for position in range(5)] == here.results
    assert (here.where, there.where) == ("in-process", "ray")
    assert done == [1, 2, 3, 4, 5]
    assert not ray.is_initialized()

    fanout._start_ray(Workers(2))
    try:
        numbers = [
            fan_out(Seeds.number, ["inputs", "service", "order"], shared=Seeds(7), workers=Workers(count)).results
            for count in (1, 2)
        ]
        assert numbers[0] == numbers[1]
        assert ray.is_initialized()
        with pytest.raises(TypeError, match=r"^join\(\) argument must be str") as caught:
            fan_out(JOIN, ["b", 3], shared="a", workers=Workers(2))
        assert type(caught.value) is TypeError

        import polars as pl

        with pytest.raises(DataError, match=r"^`c` is not a column; the columns are: a$") as refused:
            fan_out(take_column, ["c"], shared=pl.DataFrame({"a": [1]}), workers=Workers(2))
        assert refused.value.field == "c"

        monkeypatch.setattr(fanout, "RETRIES", 0)
        with pytest.raises(MissingError, match=r"Ray lost a piece of work and all 0 retries of it .*--workers 1"):
            fan_out(lambda _shared, _item: os._exit(1), [1], workers=Workers(2))
    finally:
        ray.shutdown()


def test_no_cluster() -> None:
    """An address at which there is no Ray is refused with the way out."""
    with pytest.raises(MissingError, match=r"Ray cannot be reached at nowhere .*--workers 1"):
        fan_out(operator.add, [1], shared=1, workers=Workers(ray_address="nowhere"))
