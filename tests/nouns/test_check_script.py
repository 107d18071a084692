from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel import check_script as script
from windtunnel.check_script import allowed, check_script, requirements, run_check
from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("runtime", ["onnxruntime-cpu", "openvino", "openvino-bf16", "xgboost", "lightgbm"])
def test_a_program_stands_alone(runtime: str) -> None:
    """It is Python, short enough to be read, and asks for its runtime only."""
    source = check_script(Execution(runtime))
    others = {"onnxruntime", "openvino", "xgboost", "lightgbm"} - {runtime.partition("-")[0]}

    compile(source, "check.py", "exec")
    assert len(source.splitlines()) < 50
    assert not any(other in source for other in others)
    needed = [each.partition("==")[0].removesuffix("-cpu") for each in requirements(Execution(runtime))]
    assert needed == ["numpy", runtime.partition("-")[0]]


@pytest.mark.parametrize(
    ("precision", "runtime", "exact"),
    [
        ("fp32", "onnxruntime-cpu", True),
        ("fp32", "openvino", True),
        ("fp32", "openvino-bf16", False),
        ("int8", "onnxruntime-cpu", False),
    ],
)
def test_what_may_differ(tiny_model: Path, precision: str, runtime: str, *, exact: bool) -> None:
    """Only float32 computed in float32 must decide as it did; anything less precise may move, and flip one in eight."""
    variant = replace(Variant.from_file(tiny_model, precision=precision), execution=Execution(runtime))

    assert allowed(variant) == (
        {"numbers": 1e-3, "decisions": 0.0} if exact else {"numbers": 1 / 64, "decisions": 1 / 8}
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import windtunnel", "import of windtunnel halted"),
        ("import sys; sys.exit('y differs')", "y differs"),
        ("import sys; sys.exit(3)", "exit code 3"),
        (
            "import os; assert not [key for key in os.environ if key.startswith('PYTHON')], 'ours'; raise OSError('none')",
            "none",
        ),
    ],
)
def test_a_clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str) -> None:
    """A program that needs windtunnel or ends in anything but 0 has failed, by its last words; it inherits no path of ours."""
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    (tmp_path / "check.py").write_text(source)
    with pytest.raises(
        ModelError, match=rf"the bundle does not pass its own check \(.*{words}.*\); nothing was written"
    ):
        run_check(tmp_path)


def test_what_it_printed(tmp_path: Path) -> None:
    """What a program that passes prints is given back."""
    (tmp_path / "check.py").write_text("print('well')")

    assert run_check(tmp_path) == "well\n"


def test_a_program_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not come to its end in time has failed."""
    monkeypatch.setattr(script, "TIMEOUT_S", 0.01)
    (tmp_path / "check.py").write_text("while True: pass")
    with pytest.raises(ModelError, match=r"the bundle took longer than 0\.01 s to check itself"):
        run_check(tmp_path)
