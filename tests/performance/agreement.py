"""Whether somebody else's measurement agrees with ours: two independent ones, side by side with `measure`, many times over.

    python tests/performance/agreement.py [REPETITIONS] [--rounds ROUNDS]

A repetition is one short benchmark of two models at two batch sizes. Between its rounds, so in the same minute, the same
models are timed by code that shares nothing with ours: a bare loop around `InferenceSession.run`, and a run like that of
`onnxruntime_perf_test`, which binds inputs and outputs once and runs again and again. Like is set against like: a bound run
saves the copies and the Python objects of `run`, some microseconds a call, so ours measures both ways of calling, each beside
the measurement that calls so; what binding saves is printed apart.

A measurement agrees where its median lies within our 95% interval. Its own error is in that too, so it opens `SESSIONS`
times as many sessions as ours; the two-sample figure puts its error beside ours instead.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy import stats as distributions

from windtunnel.benchmarks.measure import Effort, InProcess, measure_subjects
from windtunnel.session import OnnxSession
from windtunnel.stats import Interval, quantile_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.timings import Timings

    Floats = NDArray[np.float64]
    Cell = tuple[str, int, str]

WIDTHS, BATCHES = (128, 512), (1, 16)
RUN, BOUND = "run", "bound"

SESSIONS = 3
"""How many sessions an independent measurement opens for one of ours."""

WARMING_S, LASTING_S = 0.01, 0.005
"""How long it warms each of them up and times it, about: after another model ran, a call of 8 µs stays up to 7% longer for 8 ms."""


def make_model(width: int, folder: Path) -> Path:
    """Write a network of two hidden layers."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer, outer in enumerate((width, width, 16)):
        numbers = rng.normal(0.0, width**-0.5, (width, outer)).astype(np.float32)
        weights += [numpy_helper.from_array(numbers, f"w{layer}"), numpy_helper.from_array(numbers[0], f"b{layer}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"sum{layer}"]))
        last = f"sum{layer}"
        if outer == width:
            nodes.append(helper.make_node("Relu", [last], [f"hidden{layer}"]))
            last = f"hidden{layer}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", width), (last, 16))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    path = folder / f"mlp{width}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def make_rows(width: int) -> NDArray[np.float32]:
    """As many rows as the largest batch has."""
    return np.random.default_rng(1).normal(size=(max(BATCHES), width)).astype(np.float32)


# Theirs: nothing of windtunnel's in it.


def open_session(path: Path) -> Any:
    """The runtime's own session, with the settings that windtunnel documents: one thread, none spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bare_loop(session: Any, rows: NDArray[np.float32], calls: int) -> list[float]:
    """Time `run`, as anybody would."""
    names, feeds, times = [output.name for output in session.get_outputs()], {"x": rows}, []
    for _ in range(calls):
        started = time.perf_counter()
        session.run(names, feeds)
        times.append(time.perf_counter() - started)
    return times


def bind(session: Any, rows: NDArray[np.float32]) -> Any:
    """Put the input in place, and the output with it."""
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(rows))
    place = onnxruntime.OrtValue.ortvalue_from_shape_and_type((len(rows), 16), np.float32)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, place)
    return binding


def bound_runs(session: Any, rows: NDArray[np.float32], calls: int) -> list[float]:
    """Time runs on what was bound once, as `onnxruntime_perf_test -r` does."""
    binding, times = bind(session, rows), []
    for _ in range(calls):
        started = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append(time.perf_counter() - started)
    return times


WAYS = {RUN: bare_loop, BOUND: bound_runs}


class Independent:
    """The two measurements of somebody else, one round of both at a time.

    Args:
        models: the files, by name.
        rows: their input, by the same name.
        rng: the order.
    """

    def __init__(
        self, models: Mapping[str, Path], rows: Mapping[str, NDArray[np.float32]], rng: np.random.Generator
    ) -> None:
        self._models, self._rows, self._rng = models, rows, rng
        self._call_s: dict[Cell, float] = {}
        self.rounds: dict[Cell, list[list[float]]] = defaultdict(list)

    def run(self) -> None:
        """One round: new sessions of everything, each timed at every batch size, all in random order."""
        seen: dict[Cell, list[float]] = defaultdict(list)
        todo = [(name, way) for name in self._models for way in WAYS] * SESSIONS
        for index in self._rng.permutation(len(todo)):
            name, way = todo[index]
            session = open_session(self._models[name])
            for batch in self._rng.permutation(BATCHES).tolist():
                seen[name, batch, way] += self._time(session, (name, batch, way))
        for cell, times in seen.items():
            self.rounds[cell].append(times)

    def _time(self, session: Any, cell: Cell) -> list[float]:
        name, batch, way = cell
        rows = self._rows[name][:batch].copy()
        if cell not in self._call_s:
            self._call_s[cell] = float(np.median(WAYS[way](session, rows, 50)))
        WAYS[way](session, rows, math.ceil(WARMING_S / self._call_s[cell]))
        return WAYS[way](session, rows, math.ceil(LASTING_S / self._call_s[cell]))

    def median(self, cell: Cell) -> Interval:
        """The median of all calls; how sure it is, by Student from the logarithms of the rounds' medians."""
        rounds = self.rounds[cell]
        logs = np.log([np.median(times) for times in rounds])
        reach = float(distributions.t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / len(logs) ** 0.5)
        value = float(np.median(np.concatenate(rounds)))
        return Interval(value, value * math.exp(-reach), value * math.exp(reach), len(logs), 0.95)


# Ours, and both side by side.


class BoundOnnx(OnnxSession):
    """A session whose timed call is the runtime's run on what was bound."""

    def ready(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        """Bind one batch."""
        run, binding = self._session.run_with_iobinding, bind(self._session, feeds["x"])
        return lambda: run(binding)


OURS: dict[str, type[OnnxSession]] = {RUN: OnnxSession, BOUND: BoundOnnx}


@dataclass(frozen=True)
class Pair:
    """One figure measured twice at once.

    Args:
        ours: p50 in seconds with its 95% interval; None where ours refused to state one.
        theirs: the same of the independent measurement.
    """

    ours: Interval | None
    theirs: Interval

    @property
    def within(self) -> bool:
        """Whether theirs lies in the interval that ours stated."""
        return self.ours is not None and self.ours.low <= self.theirs.value <= self.ours.high

    @property
    def alike(self) -> bool:
        """Whether both are as near as the intervals of both together say."""
        if self.ours is None:
            return False
        apart = math.log(self.theirs.value / self.ours.value)
        near, far = (self.ours, self.theirs) if apart > 0 else (self.theirs, self.ours)
        return abs(apart) <= math.hypot(math.log(near.high / near.value), math.log(far.value / far.low))


def stated(timings: Timings, name: str, batch: int) -> Interval | None:
    """Our median with its interval, as a profile states it: the clock's own doubt is in it."""
    interval = quantile_interval(timings.samples_s(name, batch), 0.5, rounds=timings.rounds)
    if interval is None:
        return None
    return replace(interval, low=interval.low - timings.clock_s, high=interval.high + timings.clock_s)


def repeat(models: Mapping[str, Path], rounds: int, rng: np.random.Generator) -> dict[Cell, Pair]:
    """One short benchmark, with the independent measurements between its rounds."""
    rows = {name: make_rows(int(name.removeprefix("mlp"))) for name in models}
    subjects = {
        f"{name} {way}": InProcess(partial(OURS[way], models[name]), {"x": rows[name]}, BATCHES)
        for name in models
        for way in WAYS
    }
    theirs = Independent(models, rows, rng)
    # as many rounds as asked for, however imprecise: a bad minute is a repetition like any other
    effort = Effort(precision=math.inf, budget_s=math.inf, rounds=rounds)
    timings = measure_subjects(subjects, BATCHES, effort=effort, rng=rng, each_round=theirs.run)
    return {
        (name, batch, way): Pair(
            stated(timings, f"{name} {way}", batch),
            theirs.median((name, batch, way)),
        )
        for name in models for way in WAYS for batch in BATCHES
    }  # fmt: skip


def line(what: str, pairs: Sequence[Pair]) -> str:
    """What some pairs say: how often they agreed, how wide ours was, and how far theirs lay to one side."""
    known = [(pair.ours, pair) for pair in pairs if pair.ours is not None]
    if not known:
        return f"{what:24} no interval stated in {len(pairs)}"
    reach = float(np.median([(ours.high - ours.low) / 2 / ours.value for ours, _ in known]))
    apart = float(np.median([pair.theirs.value / ours.value - 1.0 for ours, pair in known]))
    p50_s = float(np.median([ours.value for ours, _ in known]))
    return (
        f"{what:24} {sum(pair.within for _, pair in known):4} of {len(known)} within, "
        f"{sum(pair.alike for _, pair in known):4} by both errors; "
        f"p50 {p50_s * 1e6:7.2f} µs ± {reach:6.2%}, theirs {apart:+7.2%}; {len(pairs) - len(known)} not stated"
    )


def tell(repetitions: Iterable[Mapping[Cell, Pair]]) -> list[str]:
    """Everything, by cell and in all."""
    by_cell: dict[Cell, list[Pair]] = defaultdict(list)
    for repetition in repetitions:
        for cell, pair in repetition.items():
            by_cell[cell].append(pair)
    lines = [line(f"{name} batch {batch}, {way}", pairs) for (name, batch, way), pairs in by_cell.items()]
    for way, what in ((RUN, "bare loop"), (BOUND, "bound runs")):
        of_way = [pair for cell, pairs in by_cell.items() if cell[2] == way for pair in pairs]
        lines.append(line(f"all, {what}", of_way))
    lines.append(line("all", [pair for pairs in by_cell.values() for pair in pairs]))
    return lines + [saved(by_cell, name, batch) for name, batch, way in by_cell if way == BOUND]


def saved(by_cell: Mapping[Cell, Sequence[Pair]], name: str, batch: int) -> str:
    """What binding saves a call: why the two ways of calling must not be mixed."""
    pairs = zip(by_cell[name, batch, RUN], by_cell[name, batch, BOUND], strict=True)
    saving_s = float(np.median([run.theirs.value - bound.theirs.value for run, bound in pairs]))
    return f"binding saves {saving_s * 1e6:.2f} µs a call of {name} batch {batch}"


def main() -> None:
    """Repeat, and say how often they agreed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repetitions", type=int, nargs="?", default=100)
    parser.add_argument("--rounds", type=int, default=Effort().rounds, help="of each benchmark")
    asked = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        models = {f"mlp{width}": make_model(width, Path(folder)) for width in WIDTHS}
        lines = tell([repeat(models, asked.rounds, rng) for _ in range(asked.repetitions)])
    took_s = time.perf_counter() - started
    head = f"ONNX Runtime {onnxruntime.__version__}, {took_s:.0f} s, load {os.getloadavg()[0]:.1f}"
    print("\n".join([head, *lines]))  # noqa: T201  # a script for people


if __name__ == "__main__":
    main()
