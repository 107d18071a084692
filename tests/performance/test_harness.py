"""The script that says what measuring costs runs, and its arithmetic is right."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.benchmarks import Effort, Extent
from windtunnel.stats import Interval

SCRIPT = Path(__file__).with_name("harness.py")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


class _Counting:
    """A session of the runtime's kind that counts its calls."""

    calls = 0

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, _names: list[str], _feeds: dict[str, Any]) -> None:
        self.calls += 1


@pytest.mark.parametrize("loop", ["bare_s", "clocked_s"])
def test_bare_loops(script: dict[str, Any], loop: str) -> None:
    """Both bare loops make as many calls of the runtime's session as asked for, and give seconds a call."""
    session = _Counting()

    assert script[loop](session, {}, 7) > 0.0
    assert session.calls == 7


def test_ours(script: dict[str, Any]) -> None:
    """Ours makes as many calls."""
    session = _Counting()

    assert script["ours_s"](lambda: session.run([], {}), 7) > 0.0
    assert session.calls == 7


def test_ratio(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio is ours ÷ the bare loop's, turn by turn: a loop planted a tenth slower is told as 1.1, the clocked one as 1.05."""
    rng = np.random.default_rng(1)
    levels = rng.uniform(1e-6, 2e-6, (12, 15))
    drawn = iter(levels)
    beside = script["beside"]
    planted = {
        "OnnxSession": lambda path: path,
        "_turns": lambda *_: [[level, level * 1.05, level * 1.1] for level in next(drawn)],
    }
    for name, value in planted.items():
        monkeypatch.setitem(beside.__globals__, name, value)
    found = beside(Path("m.onnx"), {}, 12, rng)

    assert found.bare_s == np.median(levels)
    assert found.ratio.value == pytest.approx(1.1)
    assert found.clocked.value == pytest.approx(1.05)


def test_five_variants(script: dict[str, Any], tmp_path: Path) -> None:
    """There are five variants of one signature, two of them quantized."""
    variants = script["make_variants"](tmp_path)

    assert [variant.precision for variant in variants] == ["fp32", "int8", "int8", "fp32", "fp32"]
    assert len({variant.name for variant in variants}) == 5
    assert {variant.signature.inputs for variant in variants} == {variants[0].signature.inputs}


def test_whole(script: dict[str, Any], tmp_path: Path) -> None:
    """A benchmark is told with its figures, and what is not as precise as asked is named."""
    variant = script["make_model"](64, tmp_path)
    whole = script["run_whole"]([variant], (1, 2), Effort(precision=1e-9, budget_s=0.0), Extent(False, False))
    told = script["tell_whole"](whole)

    assert set(whole.figures) == {"width64 batch 1", "width64 batch 2"}
    assert all(each is None or isinstance(each, Interval) for each in whole.figures.values())
    assert whole.imprecise == ("width64 batch 1", "width64 batch 2")
    assert re.match(r"1 variants, 2 figures, 8 rounds: \d+ s \(at most 180\)$", told[0])
    assert told[1].startswith("0 p50 within ± 0%")


def test_script() -> None:
    """The script prints what nothing costs and the ratios of three models; how fast this minute is, is not asked."""
    ran = subprocess.run([sys.executable, SCRIPT, "null", "ratio", "--sessions", "6"], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert re.search(r"a call that does nothing: \d+ ns as timed, \d+ ns with the loop \(at most 2000\)\n", ran.stdout)
    assert len(re.findall(r"in a bare loop takes .* times as long in ours \(at most 1\.01\)", ran.stdout)) == 3


def test_unknown_part() -> None:
    """A part that there is not is refused, with those that there are."""
    ran = subprocess.run([sys.executable, SCRIPT, "speed"], capture_output=True, text=True)

    assert ran.returncode == 2
    assert "no part is called speed; there are null, ratio, benchmark" in ran.stderr
