from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.instruction_sets import answer
from windtunnel.benchmarks.reference_models import ROWS, build, rows
from windtunnel.graph import read_graph
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ROWS)
def test_runs_and_is_counted(name: str, tmp_path: Path) -> None:
    """Every model runs, and nothing in it is uncounted."""
    path = build(name, tmp_path)
    outputs = OnnxSession(path).run(rows(name, 3))

    assert next(iter(outputs.values())).shape[0] == 3
    assert read_graph(path, {"batch": 3}).uncounted == ()


@pytest.mark.parametrize("name", ["dense", "wide"])
def test_int8_twin(name: str, tmp_path: Path) -> None:
    """The twin multiplies as much, in integers."""
    floats, integers = (read_graph(build(each, tmp_path), {"batch": 2}) for each in (name, f"{name}-int8"))
    products = [
        [(each.flops, each.dtype) for each in graph.operators if each.operator_class == "matmul"]
        for graph in (floats, integers)
    ]

    assert [(flops, "int8") for flops, _ in products[0]] == products[1]


@pytest.mark.parametrize("name", [each for each in ROWS if not each.endswith("-int8")])
def test_torch_runs_them_too(name: str, tmp_path: Path) -> None:
    """The child's torch kernels know every node, and time each."""
    path = build(name, tmp_path)
    seen = answer({"model": str(path), "batch": 2, "seconds": 0.001})

    assert {operator.name for operator in read_graph(path, {"batch": 2}).operators} == set(seen["node_s"])
    assert seen["measured_s"] > 0.0
