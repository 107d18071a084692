"""What `windtunnel optimize` chooses, beside what others would run: speed interleaved, quality on the same held-out rows.

    python -m tests.performance.optimize_vs_peers [--rows minilm-1x32,mlp-1] [--budget 60] [--rounds 5] [--json FILE]

Every round is a process of its own, in which all contenders are opened anew and timed in turns in random order. The ratio is
the best proven peer's median over ours, paired by round; a peer is proven as our variants are, within the same tolerance
against the same parent. Ends with 1 where a ratio is below 0.97 with its whole interval. Ours is timed as the measuring stage times
it, by the runtime's own call; so are the peers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.performance.peer_models import TREES, Example, example
from tests.performance.peers import PEERS, Peer, quietly, write_base, write_own
from windtunnel.errors import ModelError
from windtunnel.optimize.quality import Holdout, Quality, compare
from windtunnel.progress import Progress
from windtunnel.quantity import format_duration
from windtunnel.runtime import open_session
from windtunnel.stats import Interval, ratio_interval
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]
    Run = Callable[[Arrays], Any]

BAR = 0.97
"""How fast ours must be beside the best proven peer."""

OURS, PARENT = "ours", "parent"


@dataclass(frozen=True)
class Row:
    """One row of the table: a model at a batch size and, where it takes tokens, a length."""

    model: str
    batch: int
    length: int = 0

    @property
    def name(self) -> str:
        """Such as `minilm-16x32` or `mlp-64`."""
        return f"{self.model}-{self.batch}" + (f"x{self.length}" if self.length else "")


_BATCHES = {
    "resnet18": (1, 8), "mlp": (1, 64, 4096), **dict.fromkeys(TREES, (1, 4096)),
    "wide": (1, 32), "gru": (1, 16), "vit": (1, 8), "mobile": (1, 8),
}  # fmt: skip
ROWS = {
    row.name: row
    for row in (
        *(Row("minilm", batch, length) for batch in (1, 16) for length in (32, 128)),
        *(Row(model, batch) for model, batches in _BATCHES.items() for batch in batches),
    )
}
"""The issue's table, and four models that are not in it."""


@dataclass(frozen=True)
class Place:
    """Where a model's files lie: what every process opens."""

    folder: Path

    @property
    def base(self) -> Path:
        """The float32 file that all start from."""
        return self.folder / "base.onnx"

    @property
    def data(self) -> Path:
        """The rows."""
        return self.folder / "rows.npz"

    @property
    def source(self) -> Path | None:
        """What our command is given in the file's place: the file of XGBoost's or LightGBM's own, where there is one."""
        return next((each for each in (self.folder / "own.ubj", self.folder / "own.txt") if each.exists()), None)

    @property
    def model(self) -> Path:
        """The module or estimator, pickled by us for ourselves."""
        return self.folder / "model.pickle"

    def of(self, peer: Peer) -> Path:
        """A peer's own file."""
        return self.folder / f"{''.join(each if each.isalnum() else '-' for each in peer.name)}.{peer.suffix}"


@dataclass
class Prepared:
    """A model with its files, and what has been found of its contenders' quality so far."""

    found: Example
    place: Place
    peers: tuple[Peer, ...]
    failures: dict[str, str] = field(default_factory=dict)
    answers: dict[str, NDArray[Any]] = field(default_factory=dict)


def prepare(model: str, length: int, folder: Path, wanted: Sequence[str]) -> Prepared:
    """Build a model, write its file and let every peer make its own; one that cannot is left out, with its reason."""
    folder.mkdir(parents=True, exist_ok=True)
    found, place = example(model, length), Place(folder)
    np.savez(place.data, allow_pickle=False, **found.rows)
    torch.save(found.model, place.model)
    if not place.base.exists():
        write_base(found, place.base)
    if model in {"xgboost", "lightgbm"}:
        write_own(found, place.folder)
    peers = [each for each in PEERS["trees" if model in TREES else model] if not wanted or each.name in wanted]
    prepared = Prepared(found, place, ())
    for peer in peers:
        try:
            if not place.of(peer).exists():  # kept from an earlier run
                peer.prepare(found, place.base, place.of(peer))
        except Exception as error:  # noqa: BLE001  # whatever a peer raises, it is its own failure, and told in the table
            prepared.failures[peer.name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
    prepared.peers = tuple(each for each in peers if each.name not in prepared.failures)
    return prepared


def judged_output(path: Path) -> str:
    """The output of a file whose quality counts."""
    return judged(Variant.from_file(path))


def judged(variant: Variant) -> str:
    """The output whose quality counts: the probabilities of trees, which come after the label; else the first."""
    names = [tensor.name for tensor in variant.signature.outputs]
    return "probabilities" if "probabilities" in names else names[0]


def run_ours(row: Row, prepared: Prepared, budget_s: float) -> Variant:
    """What our command chooses, of the model as its library keeps it where it keeps it in a file that is no pickle."""
    from windtunnel.verbs.optimize import Search, optimize

    found, place = prepared.found, prepared.place
    done = optimize(
        str(place.source or place.base), place.data, metric=found.metric, max_drop=found.max_drop, batch=(row.batch,),
        output=judged_output(place.base) if row.model in TREES and place.source is None else "",
        search=Search(sizes={"sequence": (row.length,)} if row.length else {}, budget_s=budget_s),
        out=place.folder / "run",  # of every row of the model: what was made for one is there for the next
        progress=Progress(),
    )  # fmt: skip
    return Variant.from_dict(done.stage.result["chosen"], done.stage.folder)


# Quality.


def split(rows: Arrays) -> tuple[Arrays, NDArray[np.float64] | None]:
    """The rows that quality is proven on, as our command holds them out, with their labels."""
    count = len(next(iter(rows.values())))
    held = {name: array[np.arange(count) % 3 != 0] for name, array in rows.items()}
    label = held.pop("label", None)
    return held, None if label is None else label.astype(np.float64)


def ask(run: Run, feeds: Arrays, batch: int) -> NDArray[Any]:
    """All answers, in batches of one size; the last is filled up with its first rows, so that nothing is compiled twice."""
    count, told = len(next(iter(feeds.values()))), []
    for start in range(0, count, batch):
        index = np.resize(np.arange(start, min(start + batch, count)), batch)
        told.append(np.asarray(run({name: array[index] for name, array in feeds.items()})))
    return np.concatenate(told)[:count]


def usual_batch(feeds: Arrays) -> int:
    """How many rows are asked at once: many small ones, few images."""
    return 8 if len(next(iter(feeds.values()))) < 2000 else 512


def prove(prepared: Prepared, name: str, run: Run) -> Quality:
    """A contender's quality beside the parent's, on the rows held out; asked once a model."""
    feeds, label = split(prepared.found.rows)
    for who, how in ((PARENT, _parent(prepared.place)), (name, run)):
        if who not in prepared.answers:
            prepared.answers[who] = ask(how, feeds, usual_batch(feeds))
    parent, child = ({"judged": prepared.answers[who]} for who in (PARENT, name))
    return compare(prepared.found.metric, Holdout(feeds, label), parent, child, name=name)


def _parent(place: Place) -> Run:
    return _first(Variant.from_file(place.base), judged_output(place.base))


def _first(variant: Variant, output: str) -> Run:
    session = open_session(variant)
    return lambda feeds: session.run(feeds)[output]


def _ours(variant: Variant, place: Place) -> Run:
    """Ours; where it was made from a library's own file, the one probability as the two that the peers' file gives."""
    run = _first(variant, judged(variant))
    if place.source is None:
        return run

    def of_both(feeds: Arrays) -> NDArray[Any]:
        second = run(feeds)
        return np.hstack([1.0 - second, second])

    return of_both


# Speed: one process a round.


@dataclass(frozen=True)
class Turn:
    """What a process is asked for.

    Args:
        row: the name of the row.
        folder: the model's.
        ours: our variant, as JSON, its path relative to the folder.
        peers: names of those that open.
        seed: of the order.
        lasting_s: how long each is timed in each of two turns, about.
    """

    row: str
    folder: str
    ours: dict[str, Any]
    peers: tuple[str, ...]
    seed: int
    lasting_s: float


def clock(turn: Turn) -> dict[str, float]:
    """Open every contender and time it in turns: median seconds by name."""
    row, place = ROWS[turn.row], Place(Path(turn.folder))
    feeds = batch_of(place.data, row.batch)
    calls = {
        name: open_session(variant).ready(feeds)
        for name, variant in (
            (OURS, Variant.from_dict(turn.ours, place.folder)),
            (PARENT, Variant.from_file(place.base)),
        )
    }
    found = Example(torch.load(place.model, weights_only=False), {}, {}, "", 0.0)  # written by the parent process
    for peer in PEERS["trees" if row.model in TREES else row.model]:
        if peer.name in turn.peers:
            calls[peer.name] = bound(peer.open(found, place.of(peer)), feeds)
    times: dict[str, list[float]] = {name: [] for name in calls}
    rng, names = np.random.default_rng(turn.seed), list(calls)
    for _ in range(2):
        for index in rng.permutation(len(names)):
            times[names[index]] += time_one(calls[names[index]], turn.lasting_s)
    return {name: float(np.median(each)) for name, each in times.items()}


def bound(run: Run, feeds: Arrays) -> Callable[[], object]:
    """A call without arguments."""
    return lambda: run(feeds)


def batch_of(data: Path, rows: int) -> Arrays:
    """The first rows, repeated where there are too few."""
    with np.load(data) as arrays:
        feeds = {name: arrays[name] for name in arrays.files if name != "label"}
    return {name: np.ascontiguousarray(array[np.arange(rows) % len(array)]) for name, array in feeds.items()}


def time_one(call: Callable[[], object], lasting_s: float) -> list[float]:
    """Warm up for a fifth of the time, at least two calls; then time single calls, at least three."""
    timed(call, lasting_s / 5, 2)
    return timed(call, lasting_s, 3)


def timed(call: Callable[[], object], lasting_s: float, least: int) -> list[float]:
    """Single calls, one after the other."""
    times: list[float] = []
    end = time.perf_counter() + lasting_s
    while len(times) < least or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def run_round(turn: Turn) -> dict[str, float]:
    """One round in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.performance.optimize_vs_peers", "--turn", json.dumps(asdict(turn))],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"a round of {turn.row} failed:\n{ran.stderr[-2000:]}")
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


# The table.


@dataclass(frozen=True)
class Contender:
    """One line: who, how fast, how good."""

    name: str
    median_s: float
    quality: float
    drop: float
    proven: bool


@dataclass(frozen=True)
class Outcome:
    """One row of the table.

    Args:
        row: its name.
        chosen: our variant's name, with how it is run.
        contenders: all, the fastest first; the parent and ours among them.
        best: the fastest proven peer's name; empty where none is.
        against_best: the best proven peer's time over ours: above 1 we are faster; None where there is none.
        against_parent: the parent's time over ours.
        failures: why a peer could not be run.
    """

    row: str
    chosen: str
    contenders: tuple[Contender, ...]
    best: str
    against_best: Interval | None
    against_parent: Interval
    failures: dict[str, str]

    @property
    def missed(self) -> bool:
        """Whether ours is shown to be slower than the bar."""
        return any(each is not None and each.high < BAR for each in (self.against_best, self.against_parent))

    def lines(self) -> list[str]:
        """The row in print."""
        told = [f"{self.row}: {self.chosen}"]
        for each in self.contenders:
            state = "proven" if each.proven else "not proven"
            told.append(
                f"  {each.name:42} {format_duration(each.median_s):>10}  {each.quality:.4f}  loses {each.drop:+.4f}  {state}"
            )
        told += [f"  {name:42} failed: {reason}" for name, reason in self.failures.items()]
        ratios = (
            (f"{self.best} / {OURS}" if self.best else "no proven peer", self.against_best),
            (f"{PARENT} / {OURS}", self.against_parent),
        )
        told += [f"  {what}: {each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for what, each in ratios if each]
        return told + (["  MISSED"] if self.missed else [])


def contend(row: Row, prepared: Prepared, budget_s: float, rounds: int, lasting_s: float) -> Outcome:
    """Optimize, prove and time one row."""
    ours = run_ours(row, prepared, budget_s)
    qualities = {PARENT: prove(prepared, PARENT, _parent(prepared.place))}
    # another variant is chosen for another row: its answers are its own
    prepared.answers.pop(OURS, None)
    qualities[OURS] = prove(prepared, OURS, _ours(ours, prepared.place))
    for peer in prepared.peers:
        try:
            with quietly():
                run = peer.open(prepared.found, prepared.place.of(peer))
                qualities[peer.name] = prove(prepared, peer.name, run)
        except ModelError as error:
            prepared.failures[peer.name] = str(error)
    prepared.peers = tuple(peer for peer in prepared.peers if peer.name in qualities)
    names, told = tuple(peer.name for peer in prepared.peers), ours.to_dict(prepared.place.folder)
    turns = [Turn(row.name, str(prepared.place.folder), told, names, seed, lasting_s) for seed in range(rounds)]
    return conclude(row, ours, qualities, [run_round(turn) for turn in turns], prepared)


def conclude(
    row: Row, ours: Variant, qualities: dict[str, Quality], rounds: list[dict[str, float]], prepared: Prepared
) -> Outcome:
    """Who is fastest among the proven, and how we stand beside them."""
    medians = {name: np.array([each[name] for each in rounds]) for name in qualities}
    lines = [
        Contender(
            name, float(np.median(medians[name])), quality.value, quality.drop.value,
            quality.judge(prepared.found.max_drop) == "proven",
        )
        for name, quality in qualities.items()
    ]  # fmt: skip
    lines.sort(key=lambda each: each.median_s)
    best = next((each.name for each in lines if each.proven and each.name not in {OURS, PARENT}), "")
    against = ratio_interval(medians[best], medians[OURS]) if best else None
    parent = ratio_interval(medians[PARENT], medians[OURS])
    label = f"{ours.name} ({ours.execution.label})"
    return Outcome(row.name, label, tuple(lines), best, against, parent, prepared.failures)


def main() -> int:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--peers", default="", help="names of the only peers to run, separated by semicolons")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of our search for each row")
    parser.add_argument("--rounds", type=int, default=5, help="processes that time each row")
    parser.add_argument("--lasting", type=float, default=0.25, help="seconds of a contender's turn")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--folder", type=Path, help="where models and peers' files are kept for another run")
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.turn:
        with quietly():
            found = clock(Turn(**json.loads(asked.turn)))
        print(json.dumps(found))  # noqa: T201  # read by the process that asked
        return 0
    rows = [name for name in asked.rows.split(",") if name]
    if unknown := set(rows) - set(ROWS):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    outcomes = run_rows([ROWS[name] for name in rows], asked)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n")
    return int(any(each.missed for each in outcomes))


def run_rows(rows: list[Row], asked: argparse.Namespace) -> list[Outcome]:
    """All rows, models in turn, each printed when it is done."""
    outcomes, wanted = [], [name for name in asked.peers.split(";") if name]
    with contextlib.nullcontext(asked.folder) if asked.folder else tempfile.TemporaryDirectory() as made:
        for model, length in dict.fromkeys((row.model, row.length) for row in rows):
            prepared = prepare(model, length, Path(made) / f"{model}{length}", wanted)
            for row in rows:
                if (row.model, row.length) == (model, length):
                    outcomes.append(contend(row, prepared, asked.budget, asked.rounds, asked.lasting))
                    print("\n".join(outcomes[-1].lines()), f"  load {os.getloadavg()[0]:.1f}", sep="\n", flush=True)  # noqa: T201  # a script for people
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
