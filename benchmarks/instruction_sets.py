"""The same processor held to fewer instructions: torch in a child process, told by its environment which it may use.

ONNX Runtime chooses its kernels by the processor alone and has no setting for it, so this one comparison is torch's. The
settings are oneDNN's (`ONEDNN_MAX_CPU_ISA`), MKL's (`MKL_ENABLE_INSTRUCTIONS`) and torch's own (`ATEN_CPU_CAPABILITY`); they are
read once, when a process starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.graph import read_graph
from windtunnel.peak import Peak

from .calibration import fit
from .peaks import ROWS, SIDE, cache_bytes, stream_sizes, times_s
from .reference_models import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from .calibration import Calibration

SETTINGS: Mapping[str, Mapping[str, str]] = {
    isa: {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "MKL_ENABLE_INSTRUCTIONS": mkl}
    for isa, aten, onednn, mkl in (
        ("AVX2", "avx2", "AVX2", "AVX2"),
        ("AVX-512", "avx512", "AVX512_CORE_VNNI", "AVX512"),
    )
}
"""The environment that holds a process to an instruction set, by windtunnel's name of it."""


class TorchUnder:
    """A process in which torch may use one instruction set, with one thread; asked for one measurement at a time.

    Args:
        isa: one of `SETTINGS`.
    """

    def __init__(self, isa: str) -> None:
        self._isa = isa
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__spec__.name} import main; main()", isa], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **SETTINGS[isa], "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def peak(self) -> Peak:
        """What the processor can do at most under the instruction set."""
        figures = self._ask({"seconds": 0.1})
        return Peak(
            f"this machine with {self._isa}", "cpu", 1, {"float32": figures["flops_per_s"]}, figures["bytes_per_s"],
            figures["dispatch_s"], None, f"measured here through torch held to {self._isa}",
            cache_bytes=cache_bytes(2), cache_bytes_per_s=figures["cache_bytes_per_s"],
        )  # fmt: skip

    def calibrate(self, path: Path, batch: int, peak: Peak, seconds: float) -> Calibration:
        """Run a reference model, node by node, and fit the efficiencies; without any fusion."""
        figures = self._ask({"model": str(path), "batch": batch, "seconds": seconds})
        work_s = {name: max(taken - peak.dispatch_s, 0.0) for name, taken in figures["node_s"].items()}
        return fit(read_graph(path, {"batch": batch}), work_s, peak, figures["measured_s"])

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise MeasurementError(f"torch held to {self._isa} ended before it answered; its words stand above")
        return dict(json.loads(answer))


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What the child says: its peaks, or the times of a model."""
    if "model" in question:
        return _run(Path(question["model"]), question["batch"], question["seconds"])
    return _peaks(question["seconds"])


def _peaks(seconds: float) -> dict[str, float]:
    import torch

    left, right = torch.rand(ROWS, SIDE), torch.rand(SIDE, SIDE)
    far, near = (torch.zeros(size // 4) for size in stream_sizes(1))
    into, into_near, one = torch.empty_like(far), torch.empty_like(near), torch.zeros(1)
    return {
        "flops_per_s": 2.0 * ROWS * SIDE * SIDE / min(times_s(lambda: torch.mm(left, right), seconds)),
        "bytes_per_s": 8.0 * far.numel() / min(times_s(lambda: torch.neg(far, out=into), seconds)),
        "cache_bytes_per_s": 8.0 * near.numel() / min(times_s(lambda: torch.neg(near, out=into_near), seconds)),
        "dispatch_s": min(times_s(lambda: torch.neg(one), seconds)),
    }


def _run(path: Path, batch: int, seconds: float) -> dict[str, Any]:
    """The median of whole calls, and of each node, by turns so that both meet the same machine."""
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    values["x"] = torch.from_numpy(rows(path.stem, batch)["x"])
    kernels = [(each.output[0], _kernel(each), tuple(each.input)) for each in graph.node]
    whole_s: list[float] = []
    node_s: list[list[float]] = []
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while len(whole_s) < 5 or time.perf_counter() < end:
            whole_s.append(_call_s(kernels, values))
            node_s.append(_node_s(kernels, values))
    medians = np.median(node_s[1:], axis=0)
    return {
        "measured_s": float(np.median(whole_s[1:])),
        "node_s": {name: float(each) for (name, _, _), each in zip(kernels, medians, strict=True)},
    }


def _call_s(kernels: list[Any], values: dict[str, Any]) -> float:
    started = time.perf_counter()
    for name, kernel, inputs in kernels:
        values[name] = kernel(*(values[each] for each in inputs))
    return time.perf_counter() - started


def _node_s(kernels: list[Any], values: dict[str, Any]) -> list[float]:
    taken = []
    for name, kernel, inputs in kernels:
        started = time.perf_counter()
        values[name] = kernel(*(values[each] for each in inputs))
        taken.append(time.perf_counter() - started)
    return taken


def _kernel(node: Any) -> Callable[..., Any]:
    """Torch's kernel for a node of the reference models."""
    import torch

    if node.op_type == "Conv":
        stride = next(list(each.ints) for each in node.attribute if each.name == "strides")
        return lambda x, weight, bias: torch.conv2d(x, weight, bias, stride=stride, padding=1)
    kernels: dict[str, Callable[..., Any]] = {
        "MatMul": torch.matmul,
        "Add": torch.add,
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Softmax": lambda x: torch.softmax(x, -1),
        "LayerNormalization": lambda x, scale, bias: torch.layer_norm(x, scale.shape, scale, bias),
        "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
        "Flatten": lambda x: x.flatten(1),
        "Transpose": lambda x: x.transpose(1, 2).contiguous(),
    }
    return kernels[node.op_type]


def main() -> None:
    """Answer questions, a line each, until there are no more."""
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)  # noqa: T201  # the answer is this process's output


if __name__ == "__main__":
    main()
