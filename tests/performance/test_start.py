"""A quiet start: what `windtunnel --help` imports, counted; and the script that times it, which must run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("start_up.py")

HEAVY = {
    "torch", "ray", "onnxruntime", "onnx", "onnxscript", "locust", "gevent", "numba", "polars", "numpy", "scipy", "plotly",
    "sklearn", "pandas", "mlflow",
}  # fmt: skip

# pydantic is not in the list: Typer itself reads a command's ranges with it, once that command was chosen

OURS = {"windtunnel", "windtunnel.cli", "windtunnel.errors"}
"""All of windtunnel that the command line is made of before a command is chosen."""

TELL = """
import json, sys
try:
    {start}
except SystemExit:
    pass
finally:
    json.dump(sorted(sys.modules), sys.stderr)
"""


def _imported(start: str, *arguments: str) -> set[str]:
    """The modules that are there after some Python ran in an interpreter of its own."""
    source = TELL.format(start=start.replace("\n", "\n    "))
    ran = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stderr))


def _bare() -> str:
    shown = subprocess.run(
        [sys.executable, "-c", f"import runpy; print(runpy.run_path({str(SCRIPT)!r})['bare']())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shown.stdout.strip()


@pytest.mark.parametrize(
    ("start", "arguments"),
    [
        ("import windtunnel", ()),
        ("import windtunnel.cli", ()),
        ("from windtunnel.cli import main; main()", ("--help",)),
        ("from windtunnel.cli import main; main()", ("optimize", "--help")),
    ],
)
def test_nothing_heavy(start: str, arguments: tuple[str, ...]) -> None:
    """Importing the package or its command line, or asking for help, imports nothing heavy."""
    assert not {name.partition(".")[0] for name in _imported(start, *arguments)} & HEAVY


def test_hardly_more_than_typer() -> None:
    """Beside a bare Typer app of as many commands, --help imports windtunnel's own three modules and nothing else."""
    ours = _imported("from windtunnel.cli import main; main()", "--help")
    bare = _imported(_bare(), "--help")

    assert {name for name in ours - bare if name.partition(".")[0] != "windtunnel"} <= {"pkgutil"}
    assert {name for name in ours if name.partition(".")[0] == "windtunnel"} == OURS


def test_script() -> None:
    """The script that holds the bound of 1.3 runs, and prints both medians and the ratio; how fast this minute is, is not asked."""
    ran = subprocess.run([sys.executable, SCRIPT, "2"], capture_output=True, text=True)

    assert ran.returncode in {0, 1}, ran.stderr
    assert re.search(r"bare --help \d+ ms, windtunnel --help \d+ ms, ratio \d\.\d\d \(at most 1\.3\)\n$", ran.stdout)
