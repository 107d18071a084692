from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.nncf_int8 import NncfInt8
from windtunnel.optimize.quantized import count_quantized
from windtunnel.optimize.sensitivity import MixedInt8, mixed_int8, quantizer, rank_layers
from windtunnel.optimize.static_int8 import FLOWING, StaticInt8
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]

LAYERS, WIDTH = 8, 32
PLANTED = 4


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Eight layers; what the fifth takes has one channel a thousand times as large as the others, which its weights ignore."""
    rng = np.random.default_rng(9)
    weights: dict[str, NDArray[Any]] = {}
    nodes, last = [], "x"
    for layer in range(LAYERS):
        weight = rng.normal(size=(WIDTH, WIDTH)) * np.sqrt(2 / WIDTH)
        bias = np.zeros(WIDTH)
        if layer == PLANTED - 1:
            bias[0] = 1000.0
        if layer == PLANTED:
            weight[0] = 0.0
        weights[f"w{layer}"], weights[f"b{layer}"] = weight.astype(np.float32), bias.astype(np.float32)
        output = "y" if layer == LAYERS - 1 else f"r{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"g{layer}"], name=f"layer_{layer}"))
        nodes.append(helper.make_node("Relu", [f"g{layer}"], [output], name=f"relu_{layer}"))
        last = output
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = tmp_path_factory.mktemp("planted") / "planted.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Variant.from_file(path, name="fp32")


@pytest.fixture(scope="module")
def many() -> Rows:
    """Rows for `planted`."""
    return {"x": np.random.default_rng(10).normal(size=(64, WIDTH)).astype(np.float32)}


class Judge:
    """Accepts a file whose answers are near the parent's, and counts how often it was asked."""

    def __init__(self, parent: Variant, rows: Rows, limit: float = 0.05) -> None:
        self.rows, self.limit, self.asked = rows, limit, 0
        self.expected = self._answers(parent.path)

    def __call__(self, path: Path) -> bool:
        """Whether a file is good enough."""
        self.asked += 1
        error = np.linalg.norm(self._answers(path) - self.expected) / np.linalg.norm(self.expected)
        return bool(error < self.limit)

    def _answers(self, path: Path) -> NDArray[Any]:
        return next(iter(OnnxSession(path).run(self.rows).values()))


WAYS = [StaticInt8(), StaticInt8(operators=FLOWING, outputs=True), NncfInt8(subset_size=32)]


@pytest.mark.parametrize("way", WAYS, ids=["static", "flowing", "nncf"])
def test_the_planted_layer_is_found_and_reverted_alone(
    planted: Variant, many: Rows, tmp_path: Path, way: StaticInt8 | NncfInt8
) -> None:
    """Of eight layers the one that is hurt stands first, and it alone becomes floats again; the quality is restored."""
    if isinstance(way, NncfInt8):
        pytest.importorskip("nncf")
    judge, path = Judge(planted, many), tmp_path / "mixed.onnx"
    ranked = rank_layers(planted, quantizer(planted, MixedInt8(way), many), many)
    kept = mixed_int8(planted, path, MixedInt8(way), many, judge)

    assert ranked[0].node == f"layer_{PLANTED}"
    assert ranked[0].gain > 0.5
    assert kept == (f"layer_{PLANTED}",)
    assert count_quantized(path) == (LAYERS - 1, LAYERS)
    assert judge.asked <= 3
    assert judge(path)


def test_same_bytes(planted: Variant, many: Rows, tmp_path: Path) -> None:
    """The same step on the same parent gives the same bytes."""
    for name in ("a.onnx", "b.onnx"):
        mixed_int8(planted, tmp_path / name, MixedInt8(), many, Judge(planted, many))

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_good_enough_already(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """Where nothing needs to be floats, nothing is, and one question was enough."""
    judge = Judge(mlp, rows)

    assert mixed_int8(mlp, tmp_path / "mixed.onnx", MixedInt8(), rows, judge) == ()
    assert (judge.asked, count_quantized(tmp_path / "mixed.onnx")) == (1, (2, 2))


def test_never_good_enough(planted: Variant, many: Rows, tmp_path: Path) -> None:
    """Where half of the work in floats does not restore it, that is said."""
    with pytest.raises(ModelError, match=r"is not restored by floats in 4 of its 8 heavy layers; quantize its weights"):
        mixed_int8(planted, tmp_path / "mixed.onnx", MixedInt8(), many, lambda _: False)


def test_settings_are_json() -> None:
    """The settings of the way to int8 go into the origin, with its name."""
    told = MixedInt8(NncfInt8(preset="performance")).to_dict()

    assert (told["by"], told["preset"], told["most"]) == ("NncfInt8", "performance", 0.5)
