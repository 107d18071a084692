"""What this machine can do at most: matrix products, streams and empty operators, timed through the runtime itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.hardware import allowed_memory_bytes
from windtunnel.peak import Peak

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIDE = 1024
"""Of the matrices whose product is timed: half a billion operations at 256 rows, far from the bound of memory."""

ROWS = 256
PRODUCT_FLOPS = 2.0 * ROWS * SIDE * SIDE
FORK_ROWS, FORK_SIDE = 64, 256
DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "int8": np.int8}
STREAM_BYTES = 2**26
"""The least of one array of the stream, if the last-level cache is not larger."""

MOST_STREAM_BYTES = 2**28
CHAIN = 256
"""Empty operators in a row, of which each costs the dispatch and nothing else."""

TRIAL_S = 0.2
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def measure_peak(threads: int, *, seconds: float = TRIAL_S, stream_bytes: int = 0) -> Peak:
    """Measure this machine's peaks as one session with some threads meets them; each is the best of short repetitions.

    Args:
        threads: of the session.
        seconds: for each of the six trials.
        stream_bytes: of one array of the stream; as many as the last-level cache holds where 0, within 64 and 256 MiB.
    """
    far, near = stream_sizes(threads)
    return Peak(
        "this machine", "cpu", threads,
        {name: PRODUCT_FLOPS / _product_s(dtype, threads, seconds) for name, dtype in DTYPES.items()},
        _stream(stream_bytes or far, threads, seconds), _dispatch_s(threads, seconds), None,
        f"measured here through the runtime with {threads} thread{'s' if threads > 1 else ''}",
        allowed_memory_bytes(), cache_bytes(2) * threads, _stream(near, threads, seconds), _fork_s(threads, seconds),
    )  # fmt: skip


def stream_sizes(threads: int) -> tuple[int, int]:
    """Bytes of one array of a stream from memory, and of one of a stream from the threads' own caches: two fill half of them."""
    return min(max(cache_bytes(3), STREAM_BYTES), MOST_STREAM_BYTES), max(cache_bytes(2) * threads // 4, 2**16)


def cache_bytes(level: int, caches: Path = CACHES) -> int:
    """The size of a cache of the first core, by level; 1 MiB where the system does not say."""
    for index in sorted(caches.glob("index*")):
        if (index / "level").read_text().strip() == str(level) and (index / "size").exists():
            text = (index / "size").read_text().strip()
            return int(text.rstrip("KMG")) * UNITS.get(text[-1], 1)
    return 2**20


def _product_s(dtype: type[np.generic], threads: int, seconds: float) -> float:
    """Seconds of a large matrix product with a constant right side, as layers have them."""
    return _best_s(_product(dtype, ROWS, SIDE, threads), seconds)


def _fork_s(threads: int, seconds: float) -> float:
    """What is lost when a small product is split between threads: a median, since sleeping threads wake as they please."""
    if threads == 1:
        return 0.0
    alone, split = (
        float(np.median(times_s(_product(np.float32, FORK_ROWS, FORK_SIDE, each), seconds / 2)))
        for each in (1, threads)
    )
    return max(split - alone / threads, 0.0)


def _product(dtype: type[np.generic], rows: int, side: int, threads: int) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    weight = rng.integers(-64, 64, (side, side)).astype(dtype)
    kind, left, out = ("MatMulInteger", np.uint8, np.int32) if dtype is np.int8 else ("MatMul", dtype, dtype)
    x = rng.integers(0, 64, (rows, side)).astype(left)
    return _session([(kind, "x w", "y")], x, (out, (rows, side)), threads, {"w": weight})


def _stream(size: int, threads: int, seconds: float) -> float:
    """Bytes a second of reading one array and writing another."""
    numbers = np.zeros(size // 4, np.float32)
    run = _session([("Neg", "x", "y")], numbers, (np.float32, numbers.shape), threads, {})
    return 2.0 * numbers.nbytes / _best_s(run, seconds)


def _dispatch_s(threads: int, seconds: float) -> float:
    """Seconds for one operator on one number, from a chain of them; what a call costs by itself is taken off."""
    one = np.zeros(1, np.float32)
    chains = []
    for length in (1, 1 + CHAIN):
        nodes = [("Neg", f"x{i}" if i else "x", f"x{i + 1}" if i + 1 < length else "y") for i in range(length)]
        chains.append(_best_s(_session(nodes, one, (np.float32, (1,)), threads, {}), seconds / 2))
    return max(chains[1] - chains[0], 0.0) / CHAIN


def _session(
    nodes: list[tuple[str, str, str]],
    x: NDArray[Any],
    out: tuple[type[np.generic], tuple[int, ...]],
    threads: int,
    weights: dict[str, NDArray[Any]],
) -> Callable[[], None]:
    """A call of a small graph from `x` to `y`, whose arrays are bound once and for all."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    y = np.empty(out[1], out[0])
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in (("x", x), ("y", y))
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, reads.split(), [writes]) for kind, reads, writes in nodes],
        "peak", ends[:1], ends[1:], [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)

    def run(held: tuple[NDArray[Any], NDArray[Any]] = (x, y)) -> None:  # the binding keeps addresses, not arrays
        del held
        session.run_with_iobinding(binding)

    return run


def session_options(threads: int) -> Any:
    """As `OnnxSession` sets them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _best_s(run: Callable[[], None], seconds: float) -> float:
    """The shortest of as many calls as fit some seconds."""
    return min(times_s(run, seconds))


def times_s(run: Callable[[], object], seconds: float) -> list[float]:
    """As many calls as fit some seconds, and two at least after the first."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times
