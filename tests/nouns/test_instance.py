from __future__ import annotations

import importlib
import io
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from windtunnel import instance as module
from windtunnel.instance import Worker, pack, resident_bytes, serve, unpack
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

DTYPES = st.sampled_from(["float32", "float64", "float16", "int8", "uint8", "int64", "bool", "<U3", ">i4"])


def _message(head: dict[str, Any], arrays: dict[str, NDArray[Any]] | None = None) -> bytes:
    return b"".join(pack(head, arrays or {}))


@given(DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))))
def test_arrays_come_through(array: NDArray[Any]) -> None:
    """Whatever its type and shape, empty ones too, an array is the same on the other side."""
    answer = unpack(io.BytesIO(_message({"order": "rows"}, {"x": array, "y": array[..., None]})))

    assert answer is not None
    np.testing.assert_array_equal(answer[1]["x"], array)
    assert [each.shape for each in answer[1].values()] == [array.shape, (*array.shape, 1)]
    assert answer[1]["x"].dtype == array.dtype


def test_text_in_objects_is_sent_as_text() -> None:
    """Arrays of Python's own strings, which have no bytes of their own, are sent as text, and nothing is pickled."""
    answer = unpack(io.BytesIO(_message({}, {"x": np.array(["a", "bc"], dtype=object)})))

    assert answer is not None
    assert answer[1]["x"].tolist() == ["a", "bc"]


def test_several_messages_in_a_row() -> None:
    """Each message ends where the next begins, and after the last there is none."""
    stream = io.BytesIO(_message({"n": 1}, {"x": np.arange(3)}) + _message({"n": 2}))

    first, second, end = unpack(stream), unpack(stream), unpack(stream)
    assert first is not None
    assert first[0] == {"n": 1}
    assert (second, end) == (({"n": 2}, {}), None)


def test_a_message_that_breaks_off() -> None:
    """A stream that ends within an array is told from one that ends between messages."""
    with pytest.raises(EOFError, match="x"):
        unpack(io.BytesIO(_message({}, {"x": np.arange(3)})[:-1]))


def test_memory_from_the_kernel(tmp_path: Path) -> None:
    """The resident set and its peak are read from the kernel's own account, in bytes."""
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t1\n")

    assert resident_bytes(tmp_path) == (1024 * 1024, 2048 * 1024)


def test_a_peak_that_lags(tmp_path: Path) -> None:
    """The kernel updates the peak late: it is never told to be less than what is resident."""
    (tmp_path / "status").write_text("VmHWM:\t 1000 kB\nVmRSS:\t 1024 kB\n")

    assert resident_bytes(tmp_path) == (1024 * 1024, 1024 * 1024)


def test_memory_without_the_kernels_account(tmp_path: Path) -> None:
    """Where there is no such account the process's own peak stands for both."""
    now, peak = resident_bytes(tmp_path)

    assert now == peak
    assert peak > 2**20


def test_peak_is_at_least_what_was_held() -> None:
    """Memory that was taken and given back is in the peak."""
    held = np.ones(2**25, np.uint8)
    now = resident_bytes()[0]
    size = held.nbytes
    del held

    assert now > size
    assert resident_bytes()[1] >= now - 2**22


class _Session:
    """Adds up, and knows how often it was called."""

    def __init__(self) -> None:
        self.calls: list[dict[str, NDArray[Any]]] = []

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.calls.append(feeds)
        return {"y": feeds["x"].sum(axis=1)}

    def ready(self, feeds: dict[str, NDArray[Any]]) -> Callable[[], object]:
        return lambda: self.run(feeds)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[_Session]:
    """Every session that is opened, in place of a runtime's."""
    opened: list[_Session] = []

    def open_session(source: object, runtime: str, *, threads: int, home: Path) -> _Session:
        if source == "broken.py:make":
            raise ValueError(f"{runtime} cannot load it from {home} with {threads} threads")
        opened.append(_Session())
        return opened[-1]

    monkeypatch.setattr(importlib.import_module("windtunnel.runtime"), "open_session", open_session)
    return opened


OPEN = {"order": "open", "model": "m", "source": "file.py:make", "runtime": "torch-eager", "threads": 1, "home": "."}
ROWS = {"order": "rows", "model": "m", "batch": 2}
TIMER = {"order": "timer", "timer": "windtunnel.timer:time_calls"}
BLOCK = {"order": "block", "model": "m", "batch": 2, "calls": 3, "at_s": 0.0}


def _told(*heads: dict[str, Any], idle: Callable[[], bool] = lambda: False) -> list[tuple[dict[str, Any], Any]]:
    """The answers to some orders; those that bring rows bring two of four."""
    orders = b"".join(_message(head, {"x": np.ones((2, 4))} if head["order"] == "rows" else None) for head in heads)
    answers = io.BytesIO()
    serve(io.BytesIO(orders), answers, idle)
    answers.seek(0)
    return [answer for answer in iter(lambda: unpack(answers), None) if answer is not None]


def test_each_order_has_an_answer(sessions: list[_Session]) -> None:
    """Every order is answered, in turn, with the memory that is held; and a block with a time for each call."""
    heads = (TIMER, ROWS, OPEN, {**ROWS, "order": "answer"}, BLOCK, {"order": "rest"}, {"order": "close", "model": "m"})
    answers = _told(*heads)

    assert len(answers) == len(heads)
    assert not any("failed" in head for head, _ in answers)
    assert all(0 < head["resident_bytes"] <= head["peak_bytes"] for head, _ in answers)
    block, arrays = answers[4]
    assert arrays["times_s"].shape == (3,)
    assert block["busy_from_s"] <= block["started_s"] <= block["ended_s"]
    assert len(sessions[0].calls) == 1 + 3


def test_busy_before_and_after(sessions: list[_Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made from the order to the moment at which counting begins, and on after it until the next order comes."""
    ticks = iter(range(100))
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)), process_time=lambda: 0.0)
    monkeypatch.setattr(module, "time", clock)
    left = iter([True, True, False])
    answers = _told(TIMER, ROWS, OPEN, {**BLOCK, "at_s": 6.5}, idle=lambda: next(left))

    # loading looks twice at the clock; busy from 2, then a call at each of 3 to 6
    assert answers[3][0]["busy_from_s"] == 2.0
    assert len(sessions[0].calls) == 4 + 3 + 2


def test_inputs_are_copied_once_a_loading(sessions: list[_Session]) -> None:
    """A session that is loaded anew gets its inputs at another place; between two loadings they stay where they are."""
    _told(TIMER, ROWS, OPEN, BLOCK, BLOCK, OPEN, BLOCK)

    places = [[id(feeds["x"]) for feeds in session.calls] for session in sessions]
    assert [len(each) for each in places] == [6, 3]
    assert len(set(places[0])) == len(set(places[1])) == 1


def test_a_failure_is_told_and_survived(sessions: list[_Session]) -> None:
    """What goes wrong with one order is told as its answer, by kind and words; the next is carried out."""
    answers = _told(
        {**OPEN, "source": "broken.py:make"}, ROWS, OPEN, {**ROWS, "order": "answer", "batch": 7}, {"order": "rest"}
    )

    assert answers[0][0] == {"failed": "ValueError", "reason": "torch-eager cannot load it from . with 1 threads"}
    assert answers[3][0]["failed"] == "KeyError"
    assert "resident_bytes" in answers[4][0]
    assert len(sessions) == 1


def test_a_call_before_loading(sessions: list[_Session]) -> None:
    """A model whose rows are there but that was not loaded, or is no longer, is not called."""
    answers = _told(
        ROWS, {**ROWS, "order": "answer"}, OPEN, {"order": "close", "model": "m"}, {**ROWS, "order": "answer"}
    )

    assert [head.get("failed") for head, _ in answers] == [None, "RuntimeError", None, None, "KeyError"]
    assert not sessions[0].calls


def test_a_variant_is_opened_with_its_signature(tiny_model: Path) -> None:
    """A variant comes over as values, and answers here as it would there; its file is not read twice."""
    variant = Variant.from_file(tiny_model)
    told = [
        variant.name,
        str(variant.path),
        variant.sha256,
        variant.precision,
        variant.bytes,
        variant.signature.to_dict(),
        variant.execution.to_dict(),
    ]
    worker = Worker(lambda: False)
    rows = {"x": np.ones((2, 4), np.float32)}
    worker.obey({"order": "rows", "model": "m", "batch": 2}, rows)
    answer, _ = worker.obey({**OPEN, "source": told, "runtime": "onnxruntime-cpu"}, {})

    assert answer["load_s"] > 0.0
    assert worker._models["m"].loaded().signature == variant.signature
    assert worker._models["m"].loaded().run(rows)["y"] == pytest.approx(1.0 / (1.0 + np.exp(-3.25)))


def test_modules_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that an order names are imported."""
    (tmp_path / "named_here.py").write_text("import os\nos.environ['NAMED_HERE'] = 'yes'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NAMED_HERE", "no")
    _told({"order": "import", "modules": ["named_here"]})

    assert os.environ["NAMED_HERE"] == "yes"
