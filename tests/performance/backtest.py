"""How fast a recording is judged, beside river on the same rows in one run, and how time and memory grow with the rows.

    python -m tests.performance.backtest [--rounds 5] [--rows 1e6] [--sizes 1e5,1e6,1e7,1e8] [--json FILE]

The rows of a year: two models' logged probabilities, labels that come after two days in the mean, one in twenty never. River's
`progressive_val_score` with `moment` and `delay` takes the log loss of one model from dicts that are made beforehand; ours reads
the same rows from Parquet and takes the log loss of that model as of every day's look; and, told apart, of both models, compared by days. All
in CPU seconds, in turns, in one process. Ends with 1 where either ratio is shown to be below 100; with fewer than a million rows it may
be, for beginning and judging take as long however few there are.

Each size is judged twice: the comparison alone, of plain Parquet in pieces (`files`), and with all that the command tells of a recording
of any format, late labels and a sample included (`stream`).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from river import base, evaluate, metrics

from windtunnel.backtest.reading import Ask, Ingest, Roles
from windtunnel.backtest.rows import Rows
from windtunnel.backtest.stream import PIECE_ROWS, backtest_files, backtest_stream
from windtunnel.fanout import Workers
from windtunnel.recording import Columns
from windtunnel.stats import ratio_interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from numpy.typing import NDArray

    from windtunnel.backtest import Comparison

    Floats = NDArray[np.float64]

BAR = 100.0
"""How many times as fast as river ours must be."""

START_US, DAY_US = 1_577_836_800_000_000, 86_400_000_000
COLUMNS = Columns("asked_at", "id", "late", "known_at")
PREDICTIONS = {"champion": "p_old", "challenger": "p_new"}


@dataclass(frozen=True)
class Recorded:
    """Some rows: when asked and when known in µs, what turned out true, what two models said."""

    time_us: NDArray[np.int64]
    known_us: NDArray[np.int64]
    label: Floats
    old: Floats
    new: Floats

    @staticmethod
    def made(rows: int, seed: int, days: float = 365.0, start_day: float = 0.0) -> Recorded:
        """Draw rows of some days from some day on."""
        rng = np.random.default_rng([seed, rows])
        time_us = START_US + ((start_day + np.sort(rng.random(rows)) * days) * DAY_US).astype(np.int64)
        chance = rng.random(rows)
        label = (rng.random(rows) < chance).astype(np.float64)
        old, new = (np.clip(chance + rng.normal(0.0, noise, rows), 0.01, 0.99) for noise in (0.2, 0.1))
        return Recorded(time_us, time_us + (rng.exponential(2.0, rows) * DAY_US).astype(np.int64), label, old, new)

    def rows(self) -> Rows:
        """As the engine takes them, the old model alone."""
        return Rows(self.time_us, self.known_us, self.label, self.old[None])

    def table(self, first: int = 0) -> pl.DataFrame:
        """As a recording, with one label in twenty lost; ids from `first` on."""
        ids = np.arange(first, first + len(self.label))
        came = pl.Series(ids % 20 != 0)
        times = {name: pl.Series(us).cast(pl.Datetime("us", "UTC")) for name, us in
                 (("asked_at", self.time_us), ("known_at", self.known_us))}  # fmt: skip
        table = pl.DataFrame({"id": ids, **times, "late": self.label, "p_old": self.old, "p_new": self.new})
        return table.with_columns(pl.when(came).then(pl.col(name)).alias(name) for name in ("late", "known_at"))


def write(folder: Path, rows: int) -> list[Path]:
    """Write so many rows of a year, at most eight million a file, so that making them takes little memory."""
    files, each = [], 2**23
    for first in range(0, rows, each):
        some = min(each, rows - first)
        file = folder / f"{first:012}.parquet"
        Recorded.made(some, 0, 365.0 * some / rows, 365.0 * first / rows).table(first).write_parquet(
            file, row_group_size=PIECE_ROWS
        )
        files.append(file)
    return files


def judged(files: list[Path], candidates: tuple[str, ...] = ("challenger",)) -> Comparison:
    """Ours; without a candidate the champion alone is scored."""
    return backtest_files(
        files,
        COLUMNS,
        PREDICTIONS,
        incumbent="champion",
        candidates=candidates,
        name="made",
        workers=Workers(1),
    )


# River.


class Logged(base.Classifier):
    """A model that says what was logged."""

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[bool | str | int, float]:
        """The logged probability."""
        return {True: x["said"], False: 1.0 - x["said"]}

    def learn_one(self, x: dict[Hashable, Any], y: bool | str | int) -> None:
        """Nothing: it is not to be trained."""


class LoggedNumber(base.Regressor):
    """The same for a number."""

    def predict_one(self, x: dict[Hashable, Any]) -> float:
        """The logged number."""
        said: float = x["said"]
        return said

    def learn_one(self, x: dict[Hashable, Any], y: float) -> None:
        """Nothing: it is not to be trained."""


def river_rows(recorded: Recorded) -> list[tuple[dict[Hashable, Any], Any]]:
    """The rows as river takes them."""
    asked = [dt.datetime.fromtimestamp(us / 1e6, tz=dt.UTC) for us in recorded.time_us.tolist()]
    took = [dt.timedelta(microseconds=us) for us in (recorded.known_us - recorded.time_us).tolist()]
    return [
        ({"at": at, "took": delay, "said": said}, label)
        for at, delay, said, label in zip(asked, took, recorded.old.tolist(), recorded.label.tolist(), strict=True)
    ]


def river_scores(recorded: Recorded, metric: Any, step: int) -> list[float]:
    """River's metric after every so many answers."""
    model = Logged() if isinstance(metric, metrics.LogLoss) else LoggedNumber()
    dataset = river_rows(recorded)
    if isinstance(model, Logged):
        dataset = [(x, bool(y)) for x, y in dataset]
    scores: Iterator[dict[str, Any]] = evaluate.iter_progressive_val_score(
        dataset, model, metric, step=step, moment="at", delay="took"
    )
    return [float(next(value for value in each.values() if hasattr(value, "get")).get()) for each in scores]


def river_s(dataset: list[tuple[dict[Hashable, Any], Any]]) -> float:
    """CPU seconds of river's."""
    metric: Any = metrics.LogLoss
    started = time.process_time()
    evaluate.progressive_val_score(dataset, Logged(), metric(), moment="at", delay="took")
    return time.process_time() - started


# What is said of them.


def measure(rounds: int, rows: int, folder: Path) -> dict[str, Any]:
    """Time all in turns, on the same rows."""
    recorded, files = Recorded.made(rows, 0), [folder / "rows.parquet"]
    recorded.table().write_parquet(files[0], row_group_size=PIECE_ROWS)
    # what never comes would hold river's queue until its end; it counts it there, and we count it as expired
    never = np.where(np.arange(rows) % 20 == 0, recorded.time_us + 3650 * DAY_US, recorded.known_us)
    dataset = [(x, bool(y)) for x, y in river_rows(replace(recorded, known_us=never))]
    ways = {"one": (), "both": ("challenger",)}
    for candidates in ways.values():
        judged(files, candidates)  # compiles
    ours = {way: np.empty(rounds) for way in ways}
    theirs = np.empty(rounds)
    for turn in range(rounds):
        for way, candidates in ways.items():
            started = time.process_time()
            judged(files, candidates)
            ours[way][turn] = time.process_time() - started
        theirs[turn] = river_s(dataset)
    told = {"rows": rows, "river_rows_per_cpu_s": rows / float(np.median(theirs))}
    for way, took in ours.items():
        told |= {f"ours_{way}_rows_per_cpu_s": rows / float(np.median(took))}
        told |= ratio_interval(theirs, took).to_dict(f"ratio_{way}")
    return told


def grow(rows: int) -> dict[str, Any]:
    """Judge so many rows in each way, in processes of their own: wall and CPU seconds, and the peak of their memory."""
    told: dict[str, Any] = {"rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        for way in WAYS:
            ran = subprocess.run(
                [sys.executable, "-m", "tests.performance.backtest", "--alone", folder, "--way", way],
                capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
            )  # fmt: skip
            told[way] = json.loads(ran.stdout.splitlines()[-1])
    return told


def alone(folder: Path, way: str) -> dict[str, float]:
    """What `grow` asks of its process."""
    with tempfile.TemporaryDirectory() as small:
        write(Path(small), 1000)
        WAYS[way](Path(small))  # compiles
    started, busy = time.perf_counter(), time.process_time()
    rows = WAYS[way](folder).rows
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - busy
    return {
        "wall_s": wall_s, "cpu_s": cpu_s, "rows_per_s": rows / wall_s, "rows_per_cpu_s": rows / cpu_s, "peak_mib": peak_mib(),
    }  # fmt: skip


def in_files(folder: Path) -> Comparison:
    """The comparison alone, of plain Parquet."""
    return judged(sorted(folder.glob("*.parquet")))


def in_stream(folder: Path) -> Comparison:
    """With all that the command tells of every request, and the sample that it tells the rest of."""
    roles = Roles("asked_at", PREDICTIONS, id="id", label="late", label_time="known_at")
    ingest = Ingest(Ask("*.parquet", roles), folder)
    return backtest_stream(
        ingest, incumbent="champion", candidates=["challenger"], name="made", workers=Workers(1)
    ).comparison


WAYS = {"files": in_files, "stream": in_stream}


def peak_mib() -> float:
    """The most memory that this process ever held; `ru_maxrss` would be that of the process which started it, if that held more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="rows of each size; 1e8 takes 5 GB of disk; empty: none")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, default="files", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(alone(asked.alone, asked.way)))  # noqa: T201  # read by the process that asked
        return 0
    with tempfile.TemporaryDirectory() as folder:
        told = measure(asked.rounds, int(asked.rows), Path(folder))
    told["growth"] = [grow(int(float(size))) for size in asked.sizes.split(",") if size]
    text = json.dumps(told, indent=1)
    if asked.json:
        asked.json.write_text(text + "\n")
    print(text)  # noqa: T201  # this is the script's result
    return int(min(told["ratio_one_high"], told["ratio_both_high"]) < BAR)


if __name__ == "__main__":
    sys.exit(main())
