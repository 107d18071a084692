"""`windtunnel init`: a first configuration that runs as it stands, or a refusal that says which column to name."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

INIT = ("init", "columns.onnx", "recorded.parquet", "--out", "new/windtunnel.toml")


def _hasten(path: Path) -> None:
    """Give a configuration small budgets, and change nothing else."""
    text = path.read_text()
    for section in ("optimize", "benchmark"):
        assert f"[{section}]\n" in text
        text = text.replace(f"[{section}]\n", f'[{section}]\nbudget = "300ms"\n')
    path.write_text(text)


def test_runs_as_it_stands(home: Path, windtunnel: Command) -> None:
    """What init writes for a model and a recording is accepted by run, and finishes; paths are seen from the new file."""
    written = windtunnel(*INIT)
    _hasten(home / "new" / "windtunnel.toml")
    ran = windtunnel("run", "new/windtunnel.toml", "--json")

    assert (written.code, written.err) == (0, "")
    assert written.out == "wrote new/windtunnel.toml; look it over, then: windtunnel run new/windtunnel.toml\n"
    assert ran.code in {0, 1, 3}, ran.err
    assert min(ran.document["recording"][part] for part in ("past", "held_out", "future")) > 30


def test_guesses(home: Path, windtunnel: Command) -> None:
    """Columns are known by their usual names, labels by their values; the document says what was taken for what."""
    ran = windtunnel(*INIT, "--json")
    config = tomllib.loads((home / "new" / "windtunnel.toml").read_text())

    taken = {"time": "asked_at", "id": "", "label": "label", "label_time": "known_at"}
    assert ran.document["columns"] == taken
    assert ran.document["schema"] == "windtunnel.init/1"
    assert config["model"] == {"path": "../columns.onnx"}
    assert config["recording"]["source"] == "../recorded.parquet"
    assert (config["optimize"]["metric"], config["backtest"]["metric"]) == ("roc_auc", "log_loss")
    assert config["backtest"]["every"] == "24h"


def test_named_columns(home: Path, windtunnel: Command) -> None:
    """Columns that are named are taken, whatever they are called; other labels than 0 and 1 get an error as their metric."""
    names = {"asked_at": 'a "time"', "label": "weight", "known_at": "weighed"}
    table = (
        pl.read_parquet(home / "recorded.parquet")
        .rename(names)
        .with_columns(pl.col("weight") * 3, key=pl.int_range(pl.len()))
    )
    table.write_parquet(home / "recorded.parquet")
    ran = windtunnel(*INIT, "--time", 'a "time"', "--label", "weight", "--label-time", "weighed", "--id", "key")
    config = tomllib.loads((home / "new" / "windtunnel.toml").read_text())

    assert ran.code == 0, ran.err
    assert config["recording"]["columns"] == {
        "id": "key", "time": 'a "time"', "label": "weight", "label_time": "weighed",
    }  # fmt: skip
    assert (config["optimize"]["metric"], config["backtest"]["metric"]) == ("mae", "absolute_error")


@pytest.mark.parametrize(("kind", "flag"), [("factory", ()), ("fit", ("--fit",))])
def test_functions(home: Path, windtunnel: Command, kind: str, flag: tuple[str, ...]) -> None:
    """A function is a factory, or with --fit one that trains; its file is seen from the new file's folder."""
    ran = windtunnel("init", "made.py:factory", "recorded.csv", "--out", "new/windtunnel.toml", *flag)
    config = tomllib.loads((home / "new" / "windtunnel.toml").read_text())

    assert ran.code == 0, ran.err
    assert config["model"] == {kind: "../made.py:factory"}


def test_short_recording(home: Path, windtunnel: Command) -> None:
    """A recording of a day is cut and looked at in smaller steps; one whose labels come too late is refused."""
    table = pl.read_parquet(home / "recorded.parquet")
    minutes = table.with_columns(asked_at=pl.col("asked_at").first() + pl.int_range(pl.len()) * timedelta(minutes=1))
    quick = minutes.with_columns(known_at=pl.col("asked_at") + timedelta(minutes=5))
    quick.write_parquet(home / "recorded.parquet")
    assert windtunnel(*INIT).code == 0
    config = tomllib.loads((home / "new" / "windtunnel.toml").read_text())
    minutes.with_columns(known_at=pl.col("asked_at") + timedelta(days=2)).write_parquet(home / "late.parquet")
    late = windtunnel("init", "columns.onnx", "late.parquet", "--out", "late.toml")

    assert config["backtest"]["every"] == "1m"
    assert late.code == 2
    assert "late.parquet: is too short" in late.err
    assert "labels take up to 2 d to come" in late.err
    assert not (home / "late.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "needles"),
    [
        (("columns.onnx", "nowhere.parquet"), ("nowhere.parquet: does not exist",)),
        (("nowhere.onnx", "recorded.parquet"), ("nowhere.onnx: does not exist",)),
        (("columns.onnx", "arrivals.csv"), ("arrivals.csv: `--label` cannot be told", "the columns are: time")),
        (("model.onnx", "recorded.parquet"), ("recorded.parquet: `x` takes a matrix",)),
        (("columns.onnx", "recorded.parquet", "--time", "when"), ("`when` is not a column", "asked_at")),
        (("columns.onnx", "recorded.parquet", "--id", "key"), ("`key` is not a column",)),
        (("columns.onnx", "recorded.parquet", "--fit"), ("`--fit`", "needs a function", "module.py:function")),
        (("made.py:factori", "recorded.parquet"), ("did you mean `factory`?",)),
    ],
)
def test_refused(home: Path, windtunnel: Command, arguments: tuple[str, ...], needles: tuple[str, ...]) -> None:
    """What cannot be told or used is refused with the way out, and nothing is written."""
    ran = windtunnel("init", *arguments, "--out", "new/windtunnel.toml")

    assert (ran.code, ran.out) == (2, "")
    for needle in needles:
        assert needle in ran.err
    assert not (home / "new").exists()


def test_never_overwrites(home: Path, windtunnel: Command) -> None:
    """A file that is there stays as it is."""
    before = (home / "windtunnel.toml").read_bytes()
    ran = windtunnel("init", "columns.onnx", "recorded.parquet")

    assert ran.code == 2
    assert "`--out` (='windtunnel.toml') exists; choose another file, or remove it" in ran.err
    assert (home / "windtunnel.toml").read_bytes() == before
