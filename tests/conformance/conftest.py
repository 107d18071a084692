"""Servers that are asked the same: ours, and those that are installed."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from tests.conformance.cases import HALF, Server
from tests.conformance.other_servers import ENVIRONMENTS, MODEL, STARTS
from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.serving.remote import Address, Connection
from windtunnel.serving.running import serving
from windtunnel.serving.tensor_data import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterator


collect_ignore = ["servers"]
"""These run in environments of their own."""

ELEMENTS = {
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
"""ONNX's names for datatypes, where they are others."""


def every(folder: Path) -> Path:
    """The ONNX model that gives back what it is given."""
    names, sides = list(DATATYPES), {}
    for side in ("in", "out"):
        elements = [ELEMENTS.get(name, getattr(TensorProto, name, 0)) for name in names]
        sides[side] = [
            helper.make_tensor_value_info(f"{side}_{name}", element, ["n", 2])
            for name, element in zip(names, elements, strict=True)
        ]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in names]
    graph = helper.make_graph(nodes, MODEL, sides["in"], sides["out"])
    path = folder / f"{MODEL}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@contextlib.contextmanager
def ours() -> Iterator[Address]:
    """`windtunnel serve` with the model, on loopback."""
    deployment = Deployment(MODEL, 1, BatchPolicy(8, 0.001), 1, 0.0)
    with tempfile.TemporaryDirectory() as home, serving(every(Path(home)), deployment) as served:
        yield Address.parse(served.root)


@pytest.fixture(scope="session", params=["ours", *STARTS])
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, Address]]:
    """One server after the other, by name."""
    name = request.param
    if name in ENVIRONMENTS and not ENVIRONMENTS[name].ready:
        pytest.skip(f"{name} is not installed: make conformance")
    with ours() if name == "ours" else STARTS[name]() as found:
        yield name, found


@pytest.fixture
def server(address: tuple[str, Address]) -> Iterator[Server]:
    """A server, and a connection of one's own to it."""
    name, found = address
    with Connection(found) as connection:
        if name == "mlserver":  # which speaks JSON alone, and has no FP16 there
            yield Server(connection, name, tuple(each for each in DATATYPES if each != HALF), binary=False)
        else:
            yield Server(connection, name)
