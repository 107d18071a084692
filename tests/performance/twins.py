"""How often two copies of one file are called different: while two sessions are held open, and loaded anew each round.

python tests/performance/twins.py [PAIRS]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.benchmarks.compare import compare_timings
from windtunnel.benchmarks.measure import Effort, measure
from windtunnel.benchmarks.reference_models import build, rows
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.session import Session

QUICK = Effort(budget_s=0.0)
NAMES = ("one", "other")


def held(path: Path) -> Callable[[], Session]:
    """A session that is opened once, whoever asks how often."""
    session = OnnxSession(path)
    return lambda: session


def different(path: Path, pairs: int, *, anew: bool, rng: np.random.Generator) -> int:
    """How many pairs are called different at 95%."""
    count = 0
    for _ in range(pairs):
        openers = {name: partial(OnnxSession, path) if anew else held(path) for name in NAMES}
        timings = measure(openers, rows("dense", 8), (8,), effort=QUICK, rng=rng)
        (found,) = compare_timings(timings, [NAMES], (8,))
        count += found.told != "not told apart"
    return count


def main() -> None:
    """Print both counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int, nargs="?", default=60)
    pairs, rng = parser.parse_args().pairs, np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        path = build("dense", Path(folder))
        for what, anew in (("held open", False), ("loaded anew each round", True)):
            print(f"{what}: {different(path, pairs, anew=anew, rng=rng)} of {pairs} called different")  # noqa: T201  # a script for people


if __name__ == "__main__":
    main()
