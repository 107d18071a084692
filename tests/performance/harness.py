"""What measuring costs: a call that does nothing, ours beside a bare loop, and the wall time of a default benchmark.

    python tests/performance/harness.py [null] [ratio] [benchmark] [--sessions SESSIONS]

The bare loop has no clock in it: so many calls of `InferenceSession.run`, and the wall time of all of them. Beside it runs the
bare loop that anybody would time single calls with, to show how much of our ratio is the look at the clock itself. All loops
run on one session, in turns in random order, on sessions opened anew, so that neither a busy minute nor a lucky place in
memory speaks for one of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from windtunnel.benchmarks import EVERYTHING, Benchmark, Effort, Extent, benchmark, tasks
from windtunnel.benchmarks.measure import precise
from windtunnel.optimize.dynamic_int8 import DynamicInt8, dynamic_int8
from windtunnel.optimize.static_int8 import StaticInt8, static_int8
from windtunnel.session import NullSession, OnnxSession, Session
from windtunnel.stats import Interval, quantile_interval
from windtunnel.timer import time_calls
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FLOOR_S, RATIO, WHOLE_S = 2e-6, 1.01, 180.0
"""The bounds: what the harness may add to a call, how many times as long a call may take in it, how long all may take."""

INPUTS, ROWS = 64, 256
BATCHES = (1, 2, 4, 8, 16, 32)
CASES = ((256, 1), (768, 1), (1024, 32))
"""Widths and batch sizes of some 10, 50 and 500 µs a call."""

TURNS, LASTING_S = 15, 0.005
"""How many turns of a session, and how long each loop of one lasts, about."""


def make_model(width: int, folder: Path) -> Variant:
    """Write a network of two hidden layers, in the form that quantizes."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer, (inner, outer) in enumerate(((INPUTS, width), (width, width), (width, 16))):
        numbers = rng.normal(0.0, inner**-0.5, (inner, outer)).astype(np.float32)
        weights += [numpy_helper.from_array(numbers, f"w{layer}"), numpy_helper.from_array(numbers[0], f"b{layer}")]
        nodes += [
            helper.make_node("MatMul", [last, f"w{layer}"], [f"product{layer}"]),
            helper.make_node("Add", [f"product{layer}", f"b{layer}"], [f"sum{layer}"]),
            helper.make_node("Relu", [f"sum{layer}"], [f"y{layer}"]),
        ]
        last = f"y{layer}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", INPUTS), (last, 16))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    path = folder / f"width{width}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return Variant.from_file(path)


def make_rows() -> dict[str, NDArray[Any]]:
    """Rows for all of them."""
    return {"x": np.random.default_rng(1).normal(size=(ROWS, INPUTS)).astype(np.float32)}


def make_variants(folder: Path) -> list[Variant]:
    """Five: a network, two quantized children, and two of other widths."""
    parent = make_model(512, folder)
    dynamic, static = folder / "dynamic-int8.onnx", folder / "static-int8.onnx"
    dynamic_int8(parent, dynamic, DynamicInt8())
    static_int8(parent, static, StaticInt8(), make_rows())
    children = [Variant.from_file(path, precision="int8") for path in (dynamic, static)]
    return [parent, *children, make_model(256, folder), make_model(1024, folder)]


def null_call_s(session: Session, feeds: Arrays, calls: int = 20_000) -> tuple[float, float]:
    """What a call costs that does nothing, in seconds: as it is timed (the median), and with all that is around it."""
    call = NullSession(session.signature).ready(feeds)
    time_calls(call, calls)
    started = time.perf_counter()
    times = time_calls(call, calls)
    return float(np.median(times)), (time.perf_counter() - started) / calls


# Ours beside a bare loop.


def bare_s(session: Any, feeds: Arrays, calls: int) -> float:
    """Seconds a call of the runtime's own session, with no clock between the calls."""
    names = [output.name for output in session.get_outputs()]
    started = time.perf_counter()
    for _ in range(calls):
        session.run(names, feeds)
    return (time.perf_counter() - started) / calls


def clocked_s(session: Any, feeds: Arrays, calls: int) -> float:
    """Seconds a call of the runtime's own session, each call timed."""
    names, times = [output.name for output in session.get_outputs()], []
    for _ in range(calls):
        started = time.perf_counter()
        session.run(names, feeds)
        times.append(time.perf_counter() - started)
    return sum(times) / calls


def ours_s(call: Callable[[], object], calls: int) -> float:
    """Seconds a call as windtunnel's timed loop tells them."""
    return float(np.mean(time_calls(call, calls)))


@dataclass(frozen=True)
class Beside:
    """Ours beside the bare loop.

    Args:
        bare_s: seconds a call of the bare loop: the median of the turns.
        ratio: how many times as long a call takes in ours: the median of the turns, with its 95% interval.
        clocked: the same of a bare loop that times each call.
    """

    bare_s: float
    ratio: Interval | None
    clocked: Interval | None


def beside(path: Path, feeds: Arrays, sessions: int, rng: np.random.Generator) -> Beside:
    """Time turns on sessions opened anew."""
    turns = np.array([turn for _ in range(sessions) for turn in _turns(OnnxSession(path), feeds, rng)])
    ratios = [quantile_interval(turns[:, loop] / turns[:, 0], 0.5, rounds=sessions) for loop in (1, 2)]
    return Beside(float(np.median(turns[:, 0])), ratios[1], ratios[0])


def _turns(session: OnnxSession, feeds: Arrays, rng: np.random.Generator) -> list[list[float]]:
    """Turns of bare, clocked and ours on one session, on the very same arrays."""
    own = {name: array.copy() for name, array in feeds.items()}
    loops = (
        partial(bare_s, session._session, own), partial(clocked_s, session._session, own),
        partial(ours_s, session.ready(own)),
    )  # fmt: skip
    loops[0](50)
    calls = max(5, int(LASTING_S / loops[0](20)))
    turns = []
    for _ in range(TURNS):
        turn = [0.0] * len(loops)
        for index in rng.permutation(len(loops)):
            turn[index] = loops[index](calls)
        turns.append(turn)
    return turns


# A whole benchmark.


@dataclass(frozen=True)
class Whole:
    """A benchmark from beginning to end.

    Args:
        measured: what it gave.
        effort: what was asked for.
        wall_s: how long it took.
    """

    measured: Benchmark
    effort: Effort
    wall_s: float

    @property
    def figures(self) -> dict[str, Interval | None]:
        """The p50 of every variant at every batch size, in seconds."""
        return {
            f"{p.name} batch {batch}": p.quantile_s(batch, 0.5) for p in self.measured.profiles for batch in p.batch_sizes
        }  # fmt: skip

    @property
    def imprecise(self) -> tuple[str, ...]:
        """What is not known as precisely as was asked for."""
        timings = self.measured.timings
        return tuple(
            f"{name} batch {batch}"
            for name, batch in timings.blocks_s
            if not precise(timings.samples_s(name, batch), self.effort, timings.rounds)
        )


def run_whole(
    variants: Sequence[Variant], batches: Sequence[int], effort: Effort, extent: Extent = EVERYTHING
) -> Whole:
    """Benchmark them as the command does."""
    started = time.perf_counter()
    measured = benchmark(tasks(variants, {"": make_rows()}), batches, effort=effort, extent=extent)
    return Whole(measured, effort, time.perf_counter() - started)


# What is said of them.


def tell_null(folder: Path) -> list[str]:
    """What the harness adds."""
    timed_s, around_s = null_call_s(OnnxSession(make_model(CASES[0][0], folder).path), make_rows())
    told = f"{timed_s * 1e9:.0f} ns as timed, {around_s * 1e9:.0f} ns with the loop (at most {FLOOR_S * 1e9:.0f})"
    return [f"a call that does nothing: {told}"]


def tell_ratio(folder: Path, sessions: int) -> list[str]:
    """How much longer a call takes in ours."""
    rng, lines = np.random.default_rng(2), []
    for width, batch in CASES:
        feeds = {name: array[:batch] for name, array in make_rows().items()}
        found = beside(make_model(width, folder).path, feeds, sessions, rng)
        lines.append(
            f"a call of {found.bare_s * 1e6:.1f} µs in a bare loop takes {figure(found.ratio)} times as long in ours "
            f"(at most {RATIO}), {figure(found.clocked)} in a bare loop with a clock"
        )
    return lines


def figure(ratio: Interval | None) -> str:
    """A ratio and how sure it is."""
    return f"{ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f})" if ratio is not None else "an unknown number of"


def tell_whole(whole: Whole) -> list[str]:
    """How long all of it took, and how precise it is."""
    widths = [(each.high - each.low) / 2 / each.value for each in whole.figures.values() if each is not None]
    counts = (
        f"{len(whole.measured.profiles)} variants, {len(whole.figures)} figures, {whole.measured.timings.rounds} rounds"
    )
    known = len(whole.figures) - len(whole.imprecise)
    lines = [f"{counts}: {whole.wall_s:.0f} s (at most {WHOLE_S:.0f})"]
    lines.append(f"{known} p50 within ± {whole.effort.precision:.0%}, the widest ± {max(widths, default=np.inf):.1%}")
    lines += [f"    not precise: {name}" for name in whole.imprecise]
    verdict = whole.measured.verdict
    return lines + [f"    {verdict.outcome}: {reason}" for reason in verdict.reasons]


PARTS = ("null", "ratio", "benchmark")


def main() -> None:
    """Measure and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--sessions", type=int, default=20, help="on which the loops are compared")
    asked = parser.parse_args()
    if unknown := set(asked.part) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    parts, lines = asked.part or PARTS, [f"ONNX Runtime {onnxruntime.__version__}, load {os.getloadavg()[0]:.1f}"]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        lines += tell_null(folder) if "null" in parts else []
        lines += tell_ratio(folder, asked.sessions) if "ratio" in parts else []
        lines += tell_whole(run_whole(make_variants(folder), BATCHES, Effort())) if "benchmark" in parts else []
    print("\n".join(lines))  # noqa: T201  # a script for people


if __name__ == "__main__":
    main()
