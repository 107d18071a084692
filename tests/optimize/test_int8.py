from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.hardware import Hardware
from windtunnel.optimize.int8 import hushed, int8_settings, name_nodes, prepared, sample_rows
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("architecture", "isa", "activations", "reduce_range"),
    [
        ("x86_64", ("AVX2",), "uint8", True),
        ("x86_64", ("AVX2", "AVX-512"), "uint8", True),
        ("x86_64", ("AVX2", "AVX-VNNI"), "uint8", False),
        ("x86_64", ("AVX512-VNNI",), "uint8", False),
        ("x86_64", ("AMX-INT8",), "uint8", False),
        ("AMD64", (), "uint8", True),
        ("aarch64", ("NEON-DOT",), "int8", False),
        ("arm64", (), "int8", False),
    ],
)
def test_settings_by_processor(architecture: str, isa: tuple[str, ...], activations: str, reduce_range: bool) -> None:
    """x86 multiplies unsigned with signed, and gives a bit up where that saturates; ARM multiplies signed with signed."""
    settings = int8_settings(Hardware("a processor", architecture, isa, 2, 2**30))

    assert settings == {
        "activations": activations,
        "weights": "int8",
        "reduce_range": reduce_range,
        "per_channel": True,
    }


def test_sampled_rows() -> None:
    """A sample has rows of the data only, each once, in their own order, the same for every input."""
    feeds = {"a": np.arange(100), "b": np.arange(100) * 2.0}
    sample = sample_rows(feeds, 30, np.random.default_rng(1))

    assert len(sample["a"]) == 30
    assert np.all(np.diff(sample["a"]) > 0)
    assert np.array_equal(sample["b"], sample["a"] * 2.0)
    assert np.array_equal(sample_rows(feeds, 500, np.random.default_rng(1))["a"], np.arange(100))
    assert np.array_equal(sample["a"], sample_rows(feeds, 30, np.random.default_rng(1))["a"])


def test_every_node_has_a_name_of_its_own() -> None:
    """Nodes without a name, or with one that is taken, are named after their place; others keep theirs."""
    nodes = [helper.make_node("Relu", ["x"], ["y"], name=name) for name in ("", "a", "a", "")]
    graph = helper.make_graph(nodes, "g", [], [])
    name_nodes(graph)

    assert [node.name for node in graph.node] == ["Relu_0", "a", "Relu_2", "Relu_3"]


def test_old_opsets_are_raised(tmp_path: Path) -> None:
    """A model of opset 11 is prepared in one that knows of scales by channel."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.ones((4, 2), np.float32), "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), str(tmp_path / "m.onnx")
    )
    with prepared(Variant.from_file(tmp_path / "m.onnx")) as path:
        opsets = [each.version for each in onnx.load(str(path)).opset_import if not each.domain]

    assert opsets == [13]


def test_hushed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's severity is put back, by the outermost of several."""
    import onnxruntime

    told: list[int] = []
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", told.append)
    with hushed():
        with hushed():
            pass
        inside = list(told)

    assert (inside, told) == ([4, 4], [4, 4, 2])
