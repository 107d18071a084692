from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks import footprint as module
from windtunnel.benchmarks.footprint import Start, Starts, measure_footprints, start_once
from windtunnel.benchmarks.process import Process
from windtunnel.errors import ModelError
from windtunnel.footprint import Footprint
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable

FEEDS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
STARTS = Starts(
    "m",
    (
        Start(100, 150, 160, 200, 0.5, 0.1),
        Start(100, 150, 160, 240, 0.9, 0.2),
        Start(130, 150, 160, 220, 0.6, 0.4),
    ),
)


def test_medians() -> None:
    """Each figure is the median of its own; what an instance adds is told start by start, before the median."""
    assert STARTS.footprint == Footprint(220, 100, 0.6, 0.2, 3)


def test_ranges() -> None:
    """The least and the most are told beside the medians, the stages of memory too, and that the page cache was warm."""
    told = json.loads(json.dumps(STARTS.to_dict()))

    assert (told["process_start_s_least"], told["process_start_s"], told["process_start_s_most"]) == (0.5, 0.6, 0.9)
    assert (told["load_s_least"], told["load_s_most"]) == (0.1, 0.4)
    assert (told["imported_bytes"], told["loaded_bytes"], told["answered_bytes"]) == (100, 150, 160)
    assert (told["rss_bytes"], told["starts"], told["page_cache"]) == (220, 3, "warm")


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """A clock that goes on only when a start is made."""
    own = _Clock()
    monkeypatch.setattr(module, "time", own)
    return own


def _starter(clock: _Clock, took_s: dict[str, float], log: list[tuple[Any, ...]]) -> Callable[..., Start]:
    def start(source: str, small: Any, large: Any, *, runtime: str, threads: int, home: Path) -> Start:
        clock.now_s += took_s[source]
        log.append((source, len(small["x"]), len(large["x"]), runtime, threads, str(home)))
        return Start(1, 2, 3, 4, took_s[source], 0.1)

    return start


def test_starts_are_interleaved(clock: _Clock) -> None:
    """Each round starts every model once, in changing order; first answers are to the smallest batch, peaks of the largest."""
    log: list[tuple[Any, ...]] = []
    sources = [f"f.py:{letter}" for letter in "abcd"]
    found = measure_footprints(
        sources, FEEDS, (8, 1, 2), threads=2, home=Path("models"), rng=np.random.default_rng(1), budget_s=1e9,
        start=_starter(clock, dict.fromkeys(sources, 1.0), log),
    )  # fmt: skip

    rounds = [tuple(entry[0] for entry in log[start : start + 4]) for start in (0, 4, 8)]
    assert all(sorted(each) == sources for each in rounds)
    assert len(set(rounds)) > 1
    assert {entry[1:] for entry in log} == {(1, 8, "onnxruntime-cpu", 2, "models")}
    assert [each.footprint.starts for each in found.values()] == [3] * 4


def test_the_budget_is_kept(clock: _Clock) -> None:
    """A model whose starts are slow is started once; another start is made only where one like the slowest still fits."""
    took_s = {"slow": 9.0, "middling": 0.6, "fast": 0.5, "faster": 0.1}
    found = measure_footprints(
        list(took_s), FEEDS, (1,), rng=np.random.default_rng(1), budget_s=1.5, start=_starter(clock, took_s, []),
    )  # fmt: skip

    assert {name: len(each.starts) for name, each in found.items()} == {
        "slow": 1,
        "middling": 2,
        "fast": 3,
        "faster": 3,
    }


def test_a_real_start(tiny_model: Path) -> None:
    """A process that holds a model has more memory at its peak than at any stage, and loads within the time it takes."""
    rows = {"x": FEEDS["x"][:1]}
    start = start_once(Variant.from_file(tiny_model), rows, FEEDS)

    assert 2**20 < start.imported_bytes < start.peak_bytes
    assert max(start.loaded_bytes, start.answered_bytes) <= start.peak_bytes
    assert 0.0 < start.load_s < start.process_start_s


def test_large_batches_are_in_the_peak(tiny_model: Path) -> None:
    """The rows of the largest batch, which a server would hold too, are in the peak."""
    large = {"x": np.ones((2**21, 4), np.float32)}
    start = start_once(Variant.from_file(tiny_model), FEEDS, large)

    assert start.peak_bytes - start.imported_bytes >= large["x"].nbytes


def test_the_process_ends_after_a_failure(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model cannot be loaded the refusal is raised, and the process is ended."""
    variant, closed = Variant.from_file(tiny_model), list[int]()
    tiny_model.write_bytes(b"no model")

    class Watched(Process):
        def close(self, grace_s: float = 2.0) -> None:
            closed.append(self.pid)
            super().close(grace_s)

    monkeypatch.setattr(module, "Process", Watched)
    with pytest.raises(ModelError, match="cannot be loaded by ONNX Runtime"):
        start_once(variant, FEEDS, FEEDS)
    assert len(closed) == 1


def test_each_runtime_is_imported_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the runtime itself takes is there before the model is loaded, so that it is not counted as the instance's."""
    asked = []

    class Stub:
        def ask(self, head: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
            asked.append(head)
            return {"resident_bytes": 1, "peak_bytes": 1, "load_s": 0.1, "service_s": 0.2}

        def close(self) -> None:
            asked.append({"order": "end"})

    monkeypatch.setattr(module, "Process", Stub)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    start = start_once("f.py:make", FEEDS, FEEDS, runtime="torch-eager", threads=3, home=tmp_path)

    assert [head["order"] for head in asked] == ["import", "open", "rows", "answer", "rows", "answer", "end"]
    assert asked[0]["modules"][0] == "torch"
    assert asked[1]["threads"] == 3
    assert (asked[1]["source"], asked[1]["runtime"], asked[1]["home"]) == ("f.py:make", "torch-eager", str(tmp_path))
    assert start.load_s == pytest.approx(0.3)
