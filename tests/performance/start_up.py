"""How long `windtunnel --help` takes beside a bare Typer app with as many empty commands: exit 1 above 1.3 times.

    python tests/performance/start_up.py [PAIRS]

Both are started in turns, so that a machine that is busy for a while is busy for both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import typer

from windtunnel.cli import app

BOUND = 1.3
"""How many times as long it may take."""

OURS = "from windtunnel.cli import main; main()"

BARE = """
import typer
app = typer.Typer()
for number in range({commands}):
    def empty():
        "Do nothing."
    app.command(f"command-{{number}}")(empty)
app()
"""


def bare() -> str:
    """The source of a Typer app with as many commands as windtunnel has."""
    return BARE.format(commands=len(app.registered_commands))


def start_s(source: str) -> float:
    """The wall time of one `--help` in a fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", source, "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(pairs: int) -> tuple[float, float, float]:
    """The medians of both, in seconds, and the median ratio of the pairs; a first pair fills the caches and is left out."""
    theirs = bare()
    timed = [(start_s(theirs), start_s(OURS)) for _ in range(pairs + 1)][1:]
    without, ours = (statistics.median(each) for each in zip(*timed, strict=True))
    return without, ours, statistics.median(b / a for a, b in timed)


def main() -> None:
    """Measure and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int, nargs="?", default=20)
    without, ours, ratio = measure(parser.parse_args().pairs)
    print(  # noqa: T201  # a script for people
        f"typer {typer.__version__}: bare --help {without * 1e3:.0f} ms, windtunnel --help {ours * 1e3:.0f} ms, "
        f"ratio {ratio:.2f} (at most {BOUND})"
    )
    sys.exit(ratio > BOUND)


if __name__ == "__main__":
    main()
