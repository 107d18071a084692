"""The script that asks somebody else's measurement runs, shares nothing with ours, and counts rightly."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from windtunnel.stats import Interval

SCRIPT = Path(__file__).with_name("agreement.py")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


def _interval(low: float, value: float, high: float) -> Interval:
    return Interval(value, low, high, 100, 0.95)


def test_independent() -> None:
    """The two measurements beside ours name nothing of windtunnel's but the interval in which they state their own result."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    ours = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("windtunnel")
        for alias in node.names
    }
    theirs = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name in {"open_session", "bare_loop", "bind", "bound_runs", "Independent"}
    ]
    named = {node.id for each in theirs for node in ast.walk(each) if isinstance(node, ast.Name)}

    assert len(theirs) == 5
    assert named & ours == {"Interval"}


def test_same_work(script: dict[str, Any], tmp_path: Path) -> None:
    """Both ways of calling run the model on the same rows and give the same answers."""
    session = script["open_session"](script["make_model"](128, tmp_path))
    rows = script["make_rows"](128)
    binding = script["bind"](session, rows)
    session.run_with_iobinding(binding)

    assert isinstance(session, onnxruntime.InferenceSession)
    np.testing.assert_array_equal(binding.copy_outputs_to_cpu()[0], session.run(None, {"x": rows})[0])


def test_pairs(script: dict[str, Any]) -> None:
    """Within is their figure in our interval; alike lets their error count too; without an interval of ours neither holds."""
    ours = _interval(9.0, 10.0, 11.0)
    near = script["Pair"](ours, _interval(10.4, 10.5, 10.6))
    far = script["Pair"](ours, _interval(10.2, 11.2, 12.2))
    apart = script["Pair"](ours, _interval(11.4, 11.5, 11.6))
    refused = script["Pair"](None, _interval(9.0, 10.0, 11.0))

    assert [pair.within for pair in (near, far, apart, refused)] == [True, False, False, False]
    assert [pair.alike for pair in (near, far, apart, refused)] == [True, True, False, False]


def test_their_interval(script: dict[str, Any]) -> None:
    """Their median is of all calls; its interval covers the truth in 95 of 100 measurements whose rounds differ."""
    cell, covered, rng = ("m", 1, "run"), 0, np.random.default_rng(4)
    for _ in range(400):
        theirs = script["Independent"]({}, {}, rng)
        theirs.rounds[cell] = [level * rng.lognormal(0.0, 0.02, 50) for level in rng.lognormal(0.0, 0.05, 20)]
        found = theirs.median(cell)
        covered += found.low <= 1.0 <= found.high

    assert abs(covered / 400 - 0.95) < 0.035


def test_lines(script: dict[str, Any]) -> None:
    """What is told counts repetitions by cell and in all, and keeps apart what was refused."""
    pair = script["Pair"]
    good = pair(_interval(9e-6, 10e-6, 11e-6), _interval(10e-6, 10.5e-6, 11e-6))
    bound = pair(_interval(7e-6, 8e-6, 9e-6), _interval(7e-6, 8e-6, 9e-6))
    bad = pair(_interval(9e-6, 10e-6, 11e-6), _interval(19e-6, 20e-6, 21e-6))
    refused = pair(None, _interval(10e-6, 10.5e-6, 11e-6))
    told = script["tell"]([{("m", 1, "run"): run, ("m", 1, "bound"): bound} for run in (good, bad, refused)])

    assert re.search(r"m batch 1, run +1 of 2 within, +1 by both errors; .* 1 not stated", told[0])
    assert re.search(r"m batch 1, bound +3 of 3 within", told[1])
    assert re.search(r"all +4 of 5 within", told[4])
    assert told[5] == "binding saves 2.50 µs a call of m batch 1"


def test_script() -> None:
    """The script runs and counts every cell; whether this minute agreed is not asked."""
    ran = subprocess.run([sys.executable, SCRIPT, "1", "--rounds", "8"], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert len(re.findall(r"^mlp\d+ batch \d+, (?:run|bound) ", ran.stdout, re.MULTILINE)) == 8
    assert len(re.findall(r"^binding saves -?\d+\.\d\d µs a call", ran.stdout, re.MULTILINE)) == 4
