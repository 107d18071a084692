from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.process import Process, _failure
from windtunnel.errors import MeasurementError, ModelError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_libraries_print_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules found here are found there, and what they print on stdout does not get among the answers."""
    (tmp_path / "a_chatty_module.py").write_text("import os\nprint('hello', flush=True)\nos.write(1, b'there')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    process = Process()
    try:
        answer = process.ask({"order": "import", "modules": ["a_chatty_module"]})
        assert "failed" not in answer
        assert process._last_words() == " (there)"
    finally:
        process.close()


def test_out_of_memory_is_told() -> None:
    """A process that the system kills is told by the signal, and memory is named as the likely cause."""
    process = Process()
    try:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(MeasurementError, match=r"ended by SIGKILL at `rest`; .*out of memory.*fewer instances"):
            process.ask({"order": "rest"})
    finally:
        process.close()


def test_a_process_that_ends_says_why() -> None:
    """A process that ends by itself is told by its exit code and the last line that it wrote."""
    process = Process(("-c", "import sys; sys.stdin.readline(); sys.exit('first\\nno room for x')"))
    try:
        with pytest.raises(MeasurementError, match=r"exit code 1 at `open` \(no room for x\); try the model alone"):
            process.ask({"order": "open"})
    finally:
        process.close()


def test_no_wait_is_without_an_end() -> None:
    """A process that never answers is ended, and the message says how long it was waited for."""
    process = Process(("-c", "import sys; sys.stdin.read()"), patience_s=0.2)
    try:
        with pytest.raises(MeasurementError, match=r"did not finish `block` within 200 ms and was ended; .*smaller"):
            process.ask({"order": "block"})
        assert process._process.wait(60.0) == -signal.SIGKILL
    finally:
        process.close()


def test_orders_that_are_not_taken() -> None:
    """A process that reads no orders, with a batch larger than any pipe holds, is not waited for without an end either."""
    process = Process(("-c", "import signal; signal.pause()"), patience_s=0.2)
    try:
        with pytest.raises(MeasurementError, match="did not finish `rows`"):
            process.tell({"order": "rows"}, {"x": np.zeros(2**22)})
    finally:
        process.close()


def test_an_answer_that_breaks_off() -> None:
    """A process that dies within an answer is told like one that dies before it."""
    process = Process(("-c", "import sys; sys.stdin.readline(); print('{\"n\": 1, \"arr', end='')"))
    try:
        with pytest.raises(MeasurementError, match="exit code 0 at `rest`"):
            process.ask({"order": "rest"})
    finally:
        process.close()


def test_what_does_not_end_is_killed() -> None:
    """A process that goes on after its orders have ended is killed."""
    process = Process(("-c", "import signal; signal.pause()"))
    process.close(grace_s=0.05)

    assert process._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "expected", "words"),
    [
        ("ModelError", ModelError, "reason"),
        ("MemoryError", MeasurementError, "out of memory; measure fewer"),
        ("KeyError", MeasurementError, r"\(KeyError: reason\); try the model alone"),
        ("InputError.__init__", MeasurementError, "reason"),
        ("naming", MeasurementError, "reason"),
    ],
)
def test_failures_are_raised_here(kind: str, expected: type[Exception], words: str) -> None:
    """Our own refusals keep their kind; a lack of memory is named; everything else is passed on with its words."""
    with pytest.raises(expected, match=words):
        raise _failure(kind, "reason")
