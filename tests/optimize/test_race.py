from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.optimize import race as racing
from windtunnel.optimize.race import Cell, race
from windtunnel.session import NullSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.session import Feeds
    from windtunnel.variant import Variant

WAYS = {
    "usual": Execution(),
    "two": Execution(threads=2),
    "other": Execution("openvino"),
    "short": Execution("openvino-bf16"),
}


class _Paced(NullSession):
    """Answers nothing; how long it takes is planted, so that no clock is in any assertion."""

    def __init__(self, variant: Variant, call_s: float) -> None:
        super().__init__(variant.signature)
        self.call_s = call_s

    def ready(self, feeds: Feeds) -> Callable[[], object]:
        call_s = self.call_s * len(next(iter(feeds.values())))
        return lambda: call_s


@pytest.fixture
def cells(rows: dict[str, NDArray[Any]]) -> list[Cell]:
    return [Cell(batch, "", {"x": rows["x"][:batch]}) for batch in (1, 4)]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let each way of running take so many seconds a row."""

    def planted(**call_s: float) -> None:
        def opened(variant: Variant) -> _Paced:
            name = next(name for name, way in WAYS.items() if way == variant.execution)
            if call_s[name] < 0.0:
                raise ModelError("has an operator that nobody knows", fix="leave it")
            return _Paced(variant, call_s[name])

        monkeypatch.setattr(racing, "open_session", opened)
        monkeypatch.setattr(racing, "time_calls", lambda call, calls: np.full(calls, call()))

    return planted


def _ways(mlp: Variant) -> list[Variant]:
    return [mlp.run_by(way) for way in WAYS.values()]


def test_the_order(mlp: Variant, cells: list[Cell], plant: Callable[..., None]) -> None:
    """The fastest comes first, with its speed-up over the parent, its times and the cell where it is worst."""
    plant(usual=1e-3, two=0.9e-3, other=0.8e-3, short=0.5e-3)
    finishes, refused = race(mlp, _ways(mlp), cells)

    assert refused == []
    assert [f.variant.name for f in finishes] == ["mlp-on-openvino-bf16", "mlp-on-openvino", "mlp-on-ort-2t", "mlp"]
    assert pytest.approx([each.speedup for each in finishes]) == [2.0, 1.25, 1 / 0.9, 1.0]
    assert pytest.approx(finishes[0].p50_s) == {"1": 0.5e-3, "4": 2e-3}
    assert [each.worst for each in finishes] == pytest.approx([each.speedup for each in finishes])


def test_who_is_far_behind_leaves(mlp: Variant, cells: list[Cell], plant: Callable[..., None]) -> None:
    """Who is far slower than the parent, or than the same runtime on other threads, leaves; another runtime is no reason."""
    plant(usual=1e-3, two=0.5e-3, other=2e-3, short=0.1e-3)
    left = {each.variant.name: each.left for each in race(mlp, _ways(mlp), cells)[0]}

    assert left["mlp"] == "2 × slower than the same file run in another way"
    assert left["mlp-on-openvino"] == "2 × slower than the parent"
    assert (left["mlp-on-ort-2t"], left["mlp-on-openvino-bf16"]) == ("", "")


def test_to_the_end(mlp: Variant, cells: list[Cell], plant: Callable[..., None]) -> None:
    """Where nothing may be missed nobody leaves."""
    plant(usual=1e-3, two=0.5e-3, other=5e-3, short=0.1e-3)

    assert {""} == {each.left for each in race(mlp, _ways(mlp), cells, to_the_end=True)[0]}


def test_a_refusal(mlp: Variant, cells: list[Cell], plant: Callable[..., None]) -> None:
    """A way of running that a runtime refuses is told with its words, and the others race on."""
    plant(usual=1e-3, two=1e-3, other=-1.0, short=1e-3)
    finishes, refused = race(mlp, _ways(mlp), cells)

    assert [(each.variant.name, each.reason) for each in refused] == [
        ("mlp-on-openvino", "has an operator that nobody knows; leave it")
    ]
    assert len(finishes) == 3


def test_who_takes_forever_is_not_called_again(
    mlp: Variant, cells: list[Cell], plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first call that takes a thousand times as long as the parent's ends the race for that way."""
    plant(usual=1e-3, two=1e-3, other=1e-3, short=1e-3)
    clock = iter(range(0, 10_000, 100))  # every look at the clock is 100 s after the last
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(racing, "GIVE_UP", 0.5)
    finishes, refused = race(mlp, [mlp.run_by(WAYS["other"])], cells)

    assert finishes == []
    assert "first call" in refused[0].reason


def test_slow_calls_are_few(
    mlp: Variant, cells: list[Cell], plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of a second is timed once a lap, after one that is not counted; one of a millisecond many times."""
    asked: dict[float, int] = {}

    def count(call: Callable[[], float], calls: int) -> NDArray[np.float64]:
        asked[call()] = asked.get(call(), 0) + calls
        return np.full(calls, call())

    plant(usual=1.0, two=1e-4, other=1.0, short=1.0)
    monkeypatch.setattr(racing, "time_calls", count)
    race(mlp, [mlp.run_by(WAYS["two"])], cells, to_the_end=True)

    assert asked[1.0] == racing.LAPS * 2
    assert asked[1e-4] > racing.LAPS * 100


def test_real_sessions(mlp: Variant, cells: list[Cell]) -> None:
    """With nothing planted every way that can run here finishes with times above zero."""
    finishes, _ = race(mlp, [mlp, mlp.run_by(WAYS["two"])], cells, to_the_end=True)

    assert {"mlp", "mlp-on-ort-2t"} >= {each.variant.name for each in finishes} - {"fp32"}
    assert all(time_s > 0.0 for each in finishes for time_s in each.p50_s.values())
