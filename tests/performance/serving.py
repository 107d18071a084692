"""Requests a second and CPU a request of servers side by side, in one run, in turns.

    python -m tests.performance.serving [--servers ours,serve,lean,mosec,litserve,triton] [--models mlp,minilm] [--rounds 5]
        [--seconds 4] [--connections 64] [--json]

All on loopback, one worker, a session of one thread, batches of at most 32 that wait at most 5 ms, and so many connections that each
ask again when they were answered. *ours* is `windtunnel serve`; *serve* is Ray Serve as its documentation writes a batching
deployment, with raw bytes and our settings of Ray and HAProxy; *lean* is the same with our rules for each request too; mosec (raw bytes), LitServe (JSON) and Triton (from nvidia-pytriton; binary
tensors) are installed in an environment of their own, and left out, saying so, where they cannot be. All servers are up at once
and each has its turn in every round, in a new order: what changes on the machine meanwhile befalls all, and ratios are taken round by round. Each one's first answer is
compared with the model's. CPU is that of all processes of a server, as the kernel counts it; the client is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.conformance.other_servers import Environment, free_port
from windtunnel.benchmarks.process_tree import ProcessTree
from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.hardware import Hardware
from windtunnel.serving.protocol import read_answer, served_name, write_request
from windtunnel.serving.remote import Address, Connection, Reply, place
from windtunnel.serving.running import serving
from windtunnel.session import OnnxSession
from windtunnel.stats import mean_interval, ratio_interval
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

HERE = Path(__file__).parent

PEERS = Environment(
    "peers",
    (
        "mosec==0.9.8", "litserve==0.2.19", "nvidia-pytriton==0.7.0",
        f"onnxruntime=={importlib.metadata.version('onnxruntime')}",
    ),
)  # fmt: skip
"""The same onnxruntime as ours, so that the model is as fast everywhere."""

MAX_BATCH, MAX_WAIT_S = 32, 0.005
"""As in `serving_peers.py`."""

BARE = frozenset({"serve", "lean"})
"""Ray Serve without us."""

WORDS = 32
WIDTHS = (64, 256, 256, 1)
READY_S = 120.0

IDLE, SETTLED_S = 0.2, 15.0
"""A server that uses less than this share of a core is idle (Ray's own processes look around all the time); waited for so long."""


@dataclass(frozen=True)
class Running:
    """A server that is up.

    Args:
        name: which.
        tree: its processes.
        address: where.
        request: one HTTP request, whole.
        path: what it asks for.
    """

    name: str
    tree: ProcessTree
    address: Address
    request: bytes
    path: str


@dataclass(frozen=True)
class Turn:
    """What one turn of one server gave: requests a second, CPU seconds a request, and whether any answer was bad."""

    per_s: float
    cpu_s: float
    p50_s: float
    p99_s: float
    bad: int
    client_busy: float


def mlp(folder: Path) -> Path:
    """A network of 64-256-256-1."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer, (inner, outer) in enumerate(itertools.pairwise(WIDTHS)):
        weights.append(
            numpy_helper.from_array(rng.normal(0.0, inner**-0.5, (inner, outer)).astype(np.float32), f"w{layer}")
        )
        ends = layer == len(WIDTHS) - 2
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], ["y" if ends else f"h{layer}"]))
        if not ends:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
            last = f"r{layer}"
    x, y = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])]
        for name, width in (("x", WIDTHS[0]), ("y", WIDTHS[-1]))
    )
    path = folder / "mlp.onnx"
    graph = helper.make_graph(nodes, "mlp", x, y, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def minilm_module() -> tuple[Any, Any, Any]:
    """all-MiniLM-L6-v2, whose sentences may be of any length, as `open_model` takes it."""
    from tests.performance.peer_models import minilm

    module, inputs, _ = minilm()
    return module, inputs, {name: {1: "sequence"} for name in inputs}


def minilm(folder: Path) -> Path:
    """all-MiniLM-L6-v2 in FP32."""
    from windtunnel.verbs.inputs import open_model

    made = open_model(f"{__file__}:minilm_module", folder, HERE).path
    return made.rename(folder / "minilm.onnx")


MODELS = {"mlp": mlp, "minilm": minilm}


def one_row(variant: Variant) -> dict[str, NDArray[Any]]:
    """A row of every input: normal numbers, and tokens that are all there."""
    rng, feeds = np.random.default_rng(1), {}
    for tensor in variant.signature.inputs:
        shape = (1, *(axis if isinstance(axis, int) else WORDS for axis in tensor.shape[1:]))
        tokens = np.ones(shape, np.int64) if "mask" in tensor.name else rng.integers(1000, 20000, shape)
        feeds[tensor.name] = rng.standard_normal(shape, np.float32) if tensor.dtype == "float32" else tokens
    return feeds


def post(address: Address, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole request, as the client sends it again and again."""
    told = {"Host": f"{address.host}:{address.port}", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def asked_as(name: str, model: str, feeds: dict[str, NDArray[Any]]) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers, in what the server speaks."""
    if name in {"ours", "triton"}:
        return (f"{place(model)}/infer", *write_request(feeds))
    if name == "litserve":
        body = json.dumps({key: array[0].tolist() for key, array in feeds.items()}).encode()
        return "/predict", body, {"Content-Type": "application/json"}
    raw = b"".join(array.tobytes() for array in feeds.values())
    return "/inference" if name == "mosec" else "/", raw, {"Content-Type": "application/octet-stream"}


def read(name: str, reply: Reply) -> NDArray[np.float32]:
    """The first output of an answer, flat."""
    if name in {"ours", "triton"}:
        return next(iter(read_answer(reply.body, reply.headers).values())).reshape(-1)
    if name == "litserve":
        return np.array(reply.told["y"], np.float32).reshape(-1)
    return np.frombuffer(reply.body, np.float32)


@contextlib.contextmanager
def started(name: str, variant: Variant, folder: Path) -> Iterator[tuple[int, Address]]:
    """A server's first process and its address, until the block ends."""
    if name == "ours":
        deployment = Deployment(variant.name, 1, BatchPolicy(MAX_BATCH, MAX_WAIT_S), 1, 0.0, "")
        with serving(variant.path, deployment) as served:
            if served.notes:
                print(f"ours: {served.notes}", file=sys.stderr)  # noqa: T201  # a script
            yield served.pid, Address.parse(served.root)
        return
    port, home = free_port(), folder / name
    home.mkdir(exist_ok=True)
    python = sys.executable if name in BARE else str(PEERS.python)
    words = [
        python,
        str(HERE / "serving_peers.py"),
        name,
        str(variant.path),
        str(port),
        *([str(home)] if name in BARE else []),
    ]
    libraries = os.pathsep.join(filter(None, (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH"))))
    more = (
        {"LD_LIBRARY_PATH": libraries, "PYTRITON_HOME": str(home), "PYTHONPATH": str(HERE)} if name not in BARE else {}
    )
    said = home / "said.txt"
    with said.open("wb") as notes:
        process = subprocess.Popen(
            words,
            stdout=notes,
            stderr=subprocess.STDOUT,
            cwd=HERE.parents[1],
            env=os.environ | more,
            start_new_session=True,
        )
    try:
        yield process.pid, Address("127.0.0.1", port)
    except BaseException:
        print(f"{name}: {said.read_text(errors='replace')[-3000:]}", file=sys.stderr)  # noqa: T201  # a script
        raise
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to go, and end what is left of it and its children."""
    from signal import SIGINT, SIGKILL

    children = ProcessTree(process.pid).members()
    process.send_signal(SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30.0)
    for pid in children if process.poll() is None else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
    process.wait()


def await_right(
    name: str, address: Address, path: str, body: bytes, headers: dict[str, str], wanted: NDArray[Any]
) -> None:
    """Ask until it answers, and compare the answer with the model's.

    Raises:
        TimeoutError: not in time; with what it answered last.
    """
    deadline, last = time.monotonic() + READY_S, "nothing"
    while time.monotonic() < deadline:
        with Connection(address) as connection:
            try:
                reply = connection.ask("POST", path, body, headers)
            except OSError as error:
                last = str(error)
            else:
                if reply.status == 200:
                    np.testing.assert_allclose(read(name, reply), wanted, rtol=1e-3, atol=1e-4)
                    return
                last = f"{reply.status}: {reply.body[:500]!r}"
        time.sleep(0.2)  # readiness can only be asked for
    raise TimeoutError(f"{name} is not ready: {last}")


@contextlib.contextmanager
def all_up(names: Sequence[str], variant: Variant, folder: Path) -> Iterator[list[Running]]:
    """Every server, each with one right answer behind it."""
    feeds = one_row(variant)
    wanted = next(iter(OnnxSession(variant.path).run(feeds).values())).reshape(-1)
    with contextlib.ExitStack() as stack:
        up = []
        for name in names:
            pid, address = stack.enter_context(started(name, variant, folder))
            path, body, headers = asked_as(name, served_name(variant) if name == "ours" else "model", feeds)
            await_right(name, address, path, body, headers, wanted)
            up.append(Running(name, ProcessTree(pid), address, post(address, path, body, headers), path))
        yield up


def settle(tree: ProcessTree) -> None:
    """Wait until what was asked and given up is worked off, so that it is not on the next one's bill."""
    deadline, before = time.monotonic() + SETTLED_S, tree.cpu_s()
    while time.monotonic() < deadline:
        time.sleep(0.25)  # the stretch over which its work is looked at
        now = tree.cpu_s()
        if now - before < IDLE * 0.25:
            return
        before = now


def turn(server: Running, folder: Path, *, connections: int, seconds: float) -> Turn:
    """Load one server for a while."""
    file = folder / "request"
    file.write_bytes(server.request)
    words = [
        str(HERE / "serving_client.py"),
        server.address.host,
        str(server.address.port),
        str(file),
        str(connections),
    ]
    with subprocess.Popen([sys.executable, *words, str(seconds)], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()  # the warm-up is over
        before = server.tree.cpu_s()
        told = json.loads(client.stdout.readline() or "{}")
        spent = server.tree.cpu_s() - before
    settle(server.tree)
    answered = told["answered"]
    per_request = spent / answered if answered else float("nan")
    bad = told["bad"] + told["lost"]
    return Turn(answered / told["seconds"], per_request, told["p50_s"], told["p99_s"], bad, told["client_busy"])


def summary(name: str, model: str, turns: Sequence[Turn], ours: Sequence[Turn] = ()) -> dict[str, Any]:
    """One row of the table; beside ours, with the ratio of what we answered to what it did, round by round."""
    ratio = {}
    if ours:
        mine, theirs = (np.array([each.per_s for each in side]) for side in (ours, turns))
        ratio = ratio_interval(mine, theirs).to_dict("ours_by_this")
    per_s, cpu_s = (mean_interval(np.array([getattr(each, field) for each in turns])) for field in ("per_s", "cpu_s"))
    return {
        "model": model, "server": name, **per_s.to_dict("requests_per_s"), **cpu_s.to_dict("cpu_s_per_request"),
        "p50_s": float(np.median([each.p50_s for each in turns])), "p99_s": float(np.median([each.p99_s for each in turns])),
        "bad": sum(each.bad for each in turns), "client_busy": float(np.mean([each.client_busy for each in turns])),
        "rounds": len(turns), **ratio,
    }  # fmt: skip


def compare(model: str, names: Sequence[str], asked: argparse.Namespace) -> list[dict[str, Any]]:
    """All servers with one model, in turns."""
    with tempfile.TemporaryDirectory() as place_:
        folder = Path(place_)
        variant = Variant.from_file(MODELS[model](folder))
        with all_up(names, variant, folder) as up:
            turns: dict[str, list[Turn]] = {server.name: [] for server in up}
            rng = np.random.default_rng(2)
            for _ in range(asked.rounds):
                for index in rng.permutation(len(up)):
                    server = up[int(index)]
                    made = turn(server, folder, connections=asked.connections, seconds=asked.seconds)
                    turns[server.name].append(made)
        ours = turns.get("ours", ())
        return [summary(name, model, made, ours if name != "ours" else ()) for name, made in turns.items()]


def usable(names: Sequence[str]) -> list[str]:
    """Those of the servers that can be had; says which cannot."""
    foreign = [name for name in names if name not in {"ours", *BARE}]
    try:
        if foreign:
            PEERS.install()
    except subprocess.CalledProcessError:
        print(f"left out, for they cannot be installed here: {', '.join(foreign)}", file=sys.stderr)  # noqa: T201
        return [name for name in names if name not in foreign]
    return list(names)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="ours,serve,lean,mosec,litserve,triton")
    parser.add_argument("--models", default="mlp,minilm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    names = usable(asked.servers.split(","))
    rows = [row for model in asked.models.split(",") for row in compare(model, names, asked)]
    if asked.json:
        print(json.dumps({"hardware": Hardware.detect().to_dict(), "load": os.getloadavg()[0], "rows": rows}, indent=1))  # noqa: T201
        return
    print(Hardware.detect())  # noqa: T201  # a script
    for row in rows:
        low, high = row["requests_per_s_low"], row["requests_per_s_high"]
        print(  # noqa: T201
            f"{row['model']:7} {row['server']:9} {row['requests_per_s']:9,.0f} requests/s ({low:,.0f} to {high:,.0f})  "
            f"{row['cpu_s_per_request'] * 1e6:7,.0f} µs CPU each  p50 {row['p50_s'] * 1e3:.1f} ms  p99 {row['p99_s'] * 1e3:.1f} ms"
            + (
                f"  ours ÷ this {row['ours_by_this']:.3f} ({row['ours_by_this_low']:.3f} to {row['ours_by_this_high']:.3f})"
                if "ours_by_this" in row
                else ""
            )
            + (f"  BAD {row['bad']}" if row["bad"] else "")
        )


if __name__ == "__main__":
    main()
