"""A Calibration: how close each class of operators comes to the machine's peaks, from the runtime's own clock."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.graph import bind, count_graph

from .peaks import session_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.graph import Graph
    from windtunnel.operator_count import Operator
    from windtunnel.peak import Peak

    Arrays = Mapping[str, NDArray[Any]]
    Key = tuple[str, str]

TRIAL_S = 0.1
"""How long a model runs under the runtime's profiler, and as long again without."""

LEAST_RUNS, MOST_RUNS = 5, 200
MOST_PROFILED = 30
"""Runs under the profiler: it writes a text for every node of each, and reading that takes longer than the run."""

TRACEABLE_S = 2e-6
"""Below this many seconds of work in a class, the profiler's clock (whole microseconds) says nothing of its efficiency."""


@dataclass(frozen=True)
class Calibration:
    """One model at one batch size on a machine that was measured.

    A batch takes, by the roofline (Williams, Waterman & Patterson, *Roofline*, CACM 52(4), 2009), operator by operator,
    `max(flops / peak, bytes / bandwidth) / efficiency + dispatch`, and the rest that belongs to no operator.

    Args:
        graph: what the runtime ran, after its optimisations.
        peak: of the machine.
        efficiency: by operator class and what bounds the operator (`flops` or `bytes`): the peak's time ÷ the time taken.
            Above 1 where caches serve what the count charges to memory.
        rest_s: what a call takes beside the operators that were counted.
        measured_s: the median of whole calls.
        uncounted_share: of the operators' time, what belongs to operators that could not be counted.
    """

    graph: Graph
    peak: Peak
    efficiency: Mapping[Key, float]
    rest_s: float
    measured_s: float
    uncounted_share: float

    def time_s(self, graph: Graph, peak: Peak) -> float:
        """What a batch of a graph should take on a machine, at the efficiencies seen here.

        On a GPU no efficiency counts above 1, since the caches that allow it are not there, and inputs and outputs travel,
        each way with a dispatch.
        """
        bandwidth = peak.bandwidth(graph.peak_bytes)
        seconds = [self._operator_s(operator, peak, bandwidth) for operator in graph.operators]
        if peak.transfer_bytes_per_s is not None:
            seconds.append((graph.input_bytes + graph.output_bytes) / peak.transfer_bytes_per_s + 2 * peak.dispatch_s)
        return self.rest_s + math.fsum(seconds)

    def _operator_s(self, operator: Operator, peak: Peak, bandwidth: float) -> float:
        ideal_s, by = bound(operator, peak, bandwidth)
        if ideal_s == 0.0:
            return 0.0 if peak.kind == "gpu" else peak.dispatch_s  # a view launches no kernel
        efficiency = self.efficiency_of(operator.operator_class, by)
        if peak.kind == "gpu":
            efficiency = min(efficiency, 1.0)
        return shared_s(ideal_s / efficiency, peak) + peak.dispatch_s

    def efficiency_of(self, operator_class: str, by: str) -> float:
        """The efficiency of a class under a bound; where it was not seen, of the class, of the bound, of all (geometric means)."""
        seen = self.efficiency
        if (operator_class, by) in seen:
            return seen[operator_class, by]
        for near in (
            [value for (name, _), value in seen.items() if name == operator_class],
            [value for (_, which), value in seen.items() if which == by],
            list(seen.values()),
        ):
            if near:
                return math.exp(float(np.mean(np.log(near))))
        return 1.0


def bound(operator: Operator, peak: Peak, bandwidth: float) -> tuple[float, Literal["flops", "bytes"]]:
    """The least time an operator can take beside its dispatch, and what decides it."""
    by_flops, by_bytes = operator.flops / peak.flops(operator.dtype), operator.bytes / bandwidth
    return (by_flops, "flops") if by_flops > by_bytes else (by_bytes, "bytes")


def shared_s(all_threads_s: float, peak: Peak) -> float:
    """Seconds of an operator that takes so long where all threads share it, given that the others must first be woken.

    Where that takes longer than the work, the thread that called does it all: ONNX Runtime hands out pieces as threads come.
    """
    return min(all_threads_s + peak.fork_s, all_threads_s * peak.cores)


def alone_s(taken_s: float, peak: Peak) -> float:
    """The inverse of `shared_s`: what an operator that took so long takes where all threads share it from the start."""
    return max(taken_s - peak.fork_s, taken_s / peak.cores)


def fit(graph: Graph, work_s: Mapping[str, float], peak: Peak, measured_s: float) -> Calibration:
    """Find the efficiencies under which the roofline gives the times that were seen.

    Args:
        graph: what ran.
        work_s: seconds each node took by name, without its dispatch; those of uncounted nodes too.
        peak: of the machine it ran on.
        measured_s: the median of whole calls, without a profiler.
    """
    ideal: dict[Key, float] = defaultdict(float)
    taken: dict[Key, float] = defaultdict(float)
    bandwidth = peak.bandwidth(graph.peak_bytes)
    for operator in graph.operators:
        ideal_s, by = bound(operator, peak, bandwidth)
        if ideal_s > 0.0:
            ideal[operator.operator_class, by] += ideal_s
            taken[operator.operator_class, by] += alone_s(work_s.get(operator.name, 0.0), peak)
    efficiency = {key: ideal[key] / taken[key] for key in ideal if taken[key] > TRACEABLE_S}
    counted = sum(work_s.get(operator.name, 0.0) for operator in graph.operators)
    whole = sum(work_s.values())
    share = 1.0 - counted / whole if whole > 0.0 else 0.0
    bare = Calibration(graph, peak, efficiency, 0.0, measured_s, share)
    return Calibration(graph, peak, efficiency, max(measured_s - bare.time_s(graph, peak), 0.0), measured_s, share)


def calibrate(path: Path, rows: Arrays, peak: Peak, seconds: float = TRIAL_S) -> Calibration:
    """Run one batch under ONNX Runtime's profiler and fit the efficiencies.

    Args:
        path: the ONNX file.
        rows: the batch, by input name.
        peak: of this machine, with the threads that the session shall have.
        seconds: under the profiler, and as many without.
    """
    threads = int(peak.cores)
    graph, kernels_s = profile(path, rows, threads, seconds)
    measured_s = _call_s(path, rows, threads, seconds)
    work_s = without_profiler(kernels_s, measured_s - len(kernels_s) * peak.dispatch_s, profiler_floor_s(threads))
    return fit(graph, work_s, peak, measured_s)


def without_profiler(kernels_s: Mapping[str, float], whole_s: float, floor_s: float) -> dict[str, float]:
    """Take off what the profiler itself adds to each node: its floor, and more where all nodes together took too long.

    Args:
        kernels_s: seconds of each node under the profiler.
        whole_s: what all took together without it, at most.
        floor_s: what it shows for a node that does next to nothing.
    """
    if not kernels_s:
        return {}
    excess_s = (math.fsum(kernels_s.values()) - whole_s) / len(kernels_s)
    work_s = {name: max(seconds - max(floor_s, excess_s), 0.0) for name, seconds in kernels_s.items()}
    total_s = math.fsum(work_s.values())
    share = min(1.0, max(whole_s, 0.0) / total_s) if total_s > 0.0 else 1.0
    return {name: seconds * share for name, seconds in work_s.items()}


def profile(path: Path, rows: Arrays, threads: int, seconds: float = TRIAL_S) -> tuple[Graph, dict[str, float]]:
    """What the runtime runs after its optimisations, and the seconds of each node as its profiler saw them."""
    import onnx

    bound_model = bind(onnx.load(str(path)), sizes_of(path, rows))
    with tempfile.TemporaryDirectory() as folder:
        events, optimised = _run_profiled(bound_model, rows, threads, Path(folder), seconds)
    return _digest(events, optimised)


def sizes_of(path: Path, rows: Arrays) -> dict[str, int]:
    """The sizes of a model's dynamic axes in some inputs: by the axis's name, or by `tensor[position]` where it has none."""
    from windtunnel.variant import read_signature

    return {
        name: rows[tensor.name].shape[position]
        for tensor in read_signature(path).inputs
        for position, axis in enumerate(tensor.shape)
        for name in ({axis, f"{tensor.name}[{position}]"} if isinstance(axis, str) else ())
    }


def _run_profiled(
    model: Any, rows: Arrays, threads: int, folder: Path, seconds: float
) -> tuple[list[dict[str, Any]], Any]:
    """The profiler's events and the optimised model."""
    import onnx
    import onnxruntime

    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    _repeat(session, dict(rows), seconds, MOST_PROFILED)
    return json.loads(Path(session.end_profiling()).read_text()), onnx.load(str(folder / "optimised.onnx"))


def _repeat(session: Any, rows: dict[str, NDArray[Any]], seconds: float, most: int = MOST_RUNS) -> list[float]:
    """Call a session for a while, and give the seconds of each call."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < LEAST_RUNS or (time.perf_counter() < end and len(taken) < most):
        started = time.perf_counter()
        session.run(None, rows)
        taken.append(time.perf_counter() - started)
    return taken


def _digest(events: Sequence[Mapping[str, Any]], model: Any) -> tuple[Graph, dict[str, float]]:
    """Join the profiler's events with the nodes they are of."""
    microseconds: dict[str, list[float]] = defaultdict(list)
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        if event["cat"] == "Node" and name != event["name"]:
            microseconds[name].append(event["dur"])
            shapes[name] = [tuple(next(iter(each.values()))) for each in event["args"]["output_type_shape"]]
    known = {
        tensor: shape
        for node in model.graph.node
        for tensor, shape in zip((each for each in node.output if each), shapes.get(node.name, ()), strict=False)
    }
    return count_graph(model, known), {name: _settled(each) * 1e-6 for name, each in microseconds.items()}


def _settled(durations: Sequence[float]) -> float:
    """The mean of the middle half, after the first fifth: whole microseconds average out, and hiccups do not count."""
    ordered = np.sort(durations[len(durations) // 5 :])
    quarter = len(ordered) // 4
    return float(np.mean(ordered[quarter : len(ordered) - quarter]))


def _call_s(path: Path, rows: Arrays, threads: int, seconds: float) -> float:
    """The median seconds of a call without the profiler."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), session_options(threads), providers=["CPUExecutionProvider"])
    taken = _repeat(session, dict(rows), seconds)
    return float(np.median(taken[len(taken) // 5 :]))


@cache
def profiler_floor_s(threads: int, nodes: int = 64) -> float:
    """What the profiler shows for a node that does next to nothing, in seconds."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{nodes}")]
    chain = [helper.make_node("Neg", [f"x{i}"], [f"x{i + 1}"], name=f"n{i}") for i in range(nodes)]
    model = helper.make_model(
        helper.make_graph(chain, "floor", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    with tempfile.TemporaryDirectory() as folder:
        events, optimised = _run_profiled(model, {"x0": np.zeros(1, np.float32)}, threads, Path(folder), TRIAL_S)
    return float(np.median(list(_digest(events, optimised)[1].values())))
