"""One run of the flights example on a slice of its year, through the installed command, shared by the tests here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
COMMAND = Path(sys.executable).parent / "windtunnel"

SLICE = '''
"""Every third flight of two and a half months: the flights example, small enough for a test."""

import datetime
import importlib.util
import pathlib
import sys

import polars as pl

spec = importlib.util.spec_from_file_location("flights_example", {example!r})
flights = importlib.util.module_from_spec(spec)
sys.modules["flights_example"] = flights
spec.loader.exec_module(flights)
weather, student, fit = flights.weather, flights.student, flights.fit


def recording():
    rows = flights.recording()
    end = datetime.datetime(2013, 3, 20, tzinfo=datetime.UTC)
    return rows.filter((pl.col("asked_at") < end) & (pl.col("flight_id") % 3 == 0))
'''

CHANGES = {
    'name = "flights"': 'name = "slice"',
    "flights.py:": "slice.py:",
    "develop_until = 2013-04-01": "develop_until = 2013-02-10",
    'holdout = "14d"': 'holdout = "10d"',
    'budget = "40s"': 'budget = "15s"',
    'budget = "75s"': 'budget = "5s"',
    "\nbatch = [1, 2, 4, 8, 16, 32, 64]": "\nbatch = [1, 8, 64]",
    "speed = 5_000_000": "speed = 2_000_000",
    "max_drop = 0.01": "max_drop = 0.05",
    "max_loss = 0.01": "max_loss = 0.05",
}


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder and configuration, and what the command printed."""

    folder: Path
    config: Path
    code: int
    document: dict[str, Any]
    stderr: str


def write_slice(folder: Path) -> Path:
    """Write the sliced example and return its configuration; every change to the original must apply."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slice.py").write_text(SLICE.format(example=str(EXAMPLE / "flights.py")))
    text = (EXAMPLE / "windtunnel.toml").read_text()
    for before, after in CHANGES.items():
        assert before in text, before
        text = text.replace(before, after)
    (folder / "windtunnel.toml").write_text(text)
    return folder / "windtunnel.toml"


def windtunnel(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run([COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The whole pipeline on the slice."""
    home = tmp_path_factory.mktemp("slice")
    config, folder = write_slice(home), home / "runs" / "slice"
    ran = windtunnel("run", config, "--out", folder, "--json")
    assert ran.returncode in {0, 1, 3}, ran.stderr
    return Finished(folder, config, ran.returncode, json.loads(ran.stdout), ran.stderr)
