"""How well the tunnel agrees with the road: models × traces × loads on this machine, client and server sharing it.

    python -m tests.performance.agreement_road [--models minilm,mlp] [--loads 20,35,50,70] [--duration 60] [--calibrate 51] [--repeats 1] [--json FILE]
    python -m tests.performance.agreement_road --road-alone --repeats 4 [--models minilm] [--loads 70]

For each model one server is started (`windtunnel serve`, batches of at most 8 that wait 5 ms, one session with one thread), its road
is surveyed with Poisson arrivals, and then traces that no calibration saw are driven at each load, in an order that is shuffled, so
that a machine that grows slower does not look like a load that grows. After each of them the road is surveyed again, and each is
told from what was surveyed before it and after it (`--calibrate` seconds together). Traces: the Azure LLM trace of 2023
(`--azure FILE`, the conversations) and a year of flights out of New York, both with their clocks scaled to the load.
With `--road-alone` nothing is surveyed and nothing told: the same arrivals are driven `--repeats` times, and what differs is what
no tunnel can tell. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import random
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.performance.serving import mlp
from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.hardware import Hardware
from windtunnel.request_log import COMPLETED
from windtunnel.road import CALIBRATING_S
from windtunnel.run import open_variant
from windtunnel.seeds import Seeds
from windtunnel.serving.running import serving
from windtunnel.simulate.agreement import Place, Roadside, rehearse, scale
from windtunnel.simulate.live import Bodies, Target
from windtunnel.trace import Trace
from windtunnel.verbs import read_traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from windtunnel.simulate.agreement import Rehearsal, Survey
    from windtunnel.variant import Variant

    Arrays = dict[str, NDArray[Any]]

ROOT = Path(__file__).parents[2]

BATCH = BatchPolicy(8, 0.005)

WORDS, ROWS = 32, 256

NIGHT_S = 1800.0
"""Hours in which nobody flies are left out: a week in a minute would else be days of overload and nights of nothing."""


def minilm_int8(folder: Path) -> Path:
    """MiniLM with its weights in eight bits, ranges taken as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from tests.performance.serving import minilm

    path = folder / "minilm-int8.onnx"
    quantize_dynamic(minilm(folder), path, weight_type=QuantType.QInt8)
    return path


MODELS: dict[str, Callable[[Path], Path]] = {"minilm": minilm_int8, "mlp": mlp}


def rows_of(variant: Variant) -> Arrays:
    """What is sent: words that mean nothing, all of one length, or normal numbers."""
    rng = np.random.default_rng(0)
    found: Arrays = {}
    for tensor in variant.signature.inputs:
        shape = (ROWS, *(axis if isinstance(axis, int) else WORDS for axis in tensor.shape[1:]))
        whole = np.issubdtype(np.dtype(tensor.dtype), np.integer)
        values = rng.integers(1000, 20000, shape) if whole else rng.normal(size=shape)
        found[tensor.name] = np.ones(shape, tensor.dtype) if "mask" in tensor.name else values.astype(tensor.dtype)
    return found


def traces(azure: Path, folder: Path) -> list[Trace]:
    """Those that are driven."""
    recording = importlib.import_module("windtunnel.examples.flights.flights").recording  # an example is not typed

    flights = folder / "flights.csv"
    recording().select(time="asked_at").head(40_000).write_csv(flights)
    found = [read_traffic(path, "", None, Seeds(1)).trace for path in (azure, flights)]
    assert found[0] is not None
    assert found[1] is not None
    gaps_s = np.diff(found[1].arrivals_s, prepend=0.0)
    by_day_s = np.cumsum(np.where(gaps_s > NIGHT_S, 0.0, gaps_s))
    return [Trace("azure", found[0].arrivals_s), Trace("flights", by_day_s)]


@contextlib.contextmanager
def roadside(variant: Variant, seed: int) -> Iterator[tuple[Roadside, str]]:
    """A server with that model, until the block ends, and what stands in front of it."""
    with serving(variant.path, Deployment(variant.name, 1, BATCH, 1, 0.0)) as served:
        target = Target.find(served.root, served.url.rpartition("/")[2])
        bodies = Bodies.of(target, [rows_of(variant)])
        side = Roadside(target, bodies, generators=1, seeds=Seeds(seed), say=partial(print, flush=True))
        yield side, served.notes or "HAProxy"


def turns_of(asked: argparse.Namespace, folder: Path) -> list[tuple[Trace, float]]:
    """Every trace at every load as often as asked, shuffled."""
    turns = [(trace, load) for trace in traces(asked.azure, folder) for load in asked.loads] * int(asked.repeats)
    random.Random(asked.seed).shuffle(turns)
    return turns


def repeat(name: str, asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The road alone: a row for each trace and load, with the latencies at p50 and p99 of each time, and how far they lie apart."""
    seen: dict[tuple[str, float], list[list[float]]] = {}
    with roadside(open_variant(MODELS[name](folder)), asked.seed) as (side, _):
        capacity_per_s = side.capacity_per_s(BATCH.max_batch)
        for trace, load in turns_of(asked, folder):
            scaled = scale(trace, load / 100.0 * capacity_per_s, asked.duration)
            log = side.drive(trace.name, scaled.arrivals_s).log
            took_s = np.quantile((log.finished_s - log.scheduled_s)[log.status == COMPLETED], (0.5, 0.99)).tolist()
            seen.setdefault((trace.name, load), []).append(took_s)
            side.say(f"{name:7}{trace.name:8}{load:3.0f}%  p50 {took_s[0] * 1e3:.4g} ms  p99 {took_s[1] * 1e3:.4g} ms")
    return [repeated(name, trace_name, load, times_s) for (trace_name, load), times_s in sorted(seen.items())]


def repeated(model: str, trace: str, load: float, seen_s: list[list[float]]) -> dict[str, Any]:
    """How far apart the latencies at p50 and p99 lie of a road that was driven several times: largest ÷ smallest − 1."""
    apart = np.max(seen_s, axis=0) / np.min(seen_s, axis=0) - 1.0
    print(f"{model:7}{trace:8}{load:3.0f}%  apart: p50 {apart[0]:.1%}, p99 {apart[1]:.1%} ({len(seen_s)} times)")  # noqa: T201  # a script
    return {"model": model, "trace": trace, "load": load, "seen_s": seen_s, "apart": apart.tolist()}


def measure(name: str, asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All traces at all loads against one model."""
    variant = open_variant(MODELS[name](folder))
    found = []
    with roadside(variant, asked.seed) as (side, ingress):
        place = Place(variant.name, variant.sha256, Hardware.detect(), version("ray"), ingress, BATCH, 1)
        survey = side.first_survey(place, asked.calibrate / 2.0)
        if asked.keep is not None:
            asked.keep.mkdir(parents=True, exist_ok=True)
            keep(survey, asked.keep / f"{name}-0.survey.npz")
        for trace, load in turns_of(asked, folder):
            done = rehearse(
                side, place, trace, load=load / 100.0, duration_s=asked.duration, within=0.1, before=survey,
                calibrate_s=asked.calibrate,
            )  # fmt: skip
            assert done.after is not None, "measured here"
            survey = done.after
            found.append(told(name, trace, load, done))
            print(line(found[-1]), flush=True)  # noqa: T201  # a script
            if asked.keep is not None:
                done.road.save(asked.keep / f"{name}-{len(found)}.road.npz")
                keep(survey, asked.keep / f"{name}-{len(found)}.survey.npz")
                kept = {each: getattr(done.seen, each) for each in KEPT}
                np.savez(
                    asked.keep / f"{name}-{trace.name}-{load:g}-{len(found)}.npz", **kept, due_s=done.told.scheduled_s
                )
    return found


def keep(survey: Survey, path: Path) -> None:
    """Write down what was seen in each turn."""
    turns = {f"{each}_{at}": getattr(turn, each) for at, turn in enumerate(survey.turns) for each in KEPT}
    asked = [turn.asked for turn in survey.turns]
    np.savez(path, **turns, asked=asked, capacity_per_s=survey.capacity_per_s)


KEPT = "scheduled_s", "finished_s", "queue_s", "model_s", "batch_size", "replica", "number"


def told(model: str, trace: Trace, load: float, done: Rehearsal) -> dict[str, Any]:
    """One row."""
    return {
        "model": model, "trace": trace.name, "load": load, "valid": done.run.valid, "lag_p99_ms": done.run.send_lag_p99_s * 1e3,
        "others": done.strange,
        **done.agreement.to_dict(), "verdict": done.agreement.verdict.outcome, "reasons": done.agreement.verdict.reasons,
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """One row in a line: model, trace, load; of each figure road, gap and interval; the part that differs most; verdict."""
    cells = []
    for each in row["agreement"]:
        scale = 1e3 if each["quantity"].startswith("p") else 1.0
        ends = "/".join("?" if each[end] is None else f"{each[end]:+.1%}" for end in ("gap_low", "gap_high"))
        road = "∞" if each["road"] is None else f"{each['road'] * scale:.4g}"
        gap = "?" if each["gap"] is None else f"{each['gap']:+.1%}"
        at_pace = "" if each["gap_at_pace"] is None else f" at pace {each['gap_at_pace']:+.1%}"
        cells.append(f"{each['quantity']} {road} {gap} ({ends}){at_pace}")
    others = "?" if row["others"] is None else f"{row['others']:.1%}"
    worst = max(row["parts"], key=lambda part: abs(part["gap_s"]))
    return (
        f"{row['model']:7}{row['trace']:8}{row['load']:3.0f}%  {'; '.join(cells)}; {worst['part']} {worst['gap_s'] * 1e3:+.2f} ms; "
        f"lag {row['lag_p99_ms']:.2f} ms; others {others}; {row['verdict']}"
    )


def summary(rows: list[dict[str, Any]]) -> str:
    """How many rows keep the bar."""
    kept = [
        all(abs(each["gap"] if each["gap"] is not None else 9.9) <= (0.02 if each["quantity"] == "throughput" else 0.1)
            for each in row["agreement"] if each["quantity"] in ("p50", "p99", "throughput"))
        for row in rows
    ]  # fmt: skip
    return f"{sum(kept)} of {len(kept)} rows have p50 and p99 within 10% and throughput within 2%"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="minilm,mlp", type=lambda text: text.split(","))
    parser.add_argument("--loads", default="20,35,50,70", type=lambda text: [float(each) for each in text.split(",")])
    parser.add_argument("--duration", default=60.0, type=float)
    parser.add_argument(
        "--calibrate",
        default=CALIBRATING_S,
        type=float,
        help="Seconds, all loads together, half of it before a trace and half of it after.",
    )
    parser.add_argument("--repeats", default=1, type=int, help="Of every row.")
    parser.add_argument("--road-alone", action="store_true", help="How well the road repeats itself.")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--azure", default=ROOT.parent / "shared" / "data" / "azure_llm_2023_conv.csv.gz", type=Path)
    parser.add_argument("--keep", type=Path, help="A folder for roads and for what was seen.")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.models:
            rows += (repeat if asked.road_alone else measure)(name, asked, Path(folder))
    if not asked.road_alone:
        print(summary(rows))  # noqa: T201  # a script
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
