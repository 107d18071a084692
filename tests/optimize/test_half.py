from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.half import half
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_half_the_size_and_near(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """It runs, answers near its parent, keeps its signature, and is the same bytes each time."""
    for name in ("a.onnx", "b.onnx"):
        made = half(mlp, tmp_path / name, rows)
    before, after = (next(iter(OnnxSession(each).run(rows).values())) for each in (mlp.path, tmp_path / "a.onnx"))

    assert (made.kept, made.underflow) == ((), 0.0)
    assert 0.0 < float(np.abs(before - after).max()) < 2e-3
    assert Variant.from_file(tmp_path / "a.onnx").signature == mlp.signature
    assert (tmp_path / "a.onnx").stat().st_size < 0.75 * mlp.bytes
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def _wide(mlp: Variant, path: Path) -> Variant:
    """`mlp` with an inner value of a million that is made small again."""
    model = onnx.load(str(mlp.path))
    for each in model.graph.initializer:
        array = numpy_helper.to_array(each).copy()
        if each.name in {"w1", "b1"}:
            array *= 1e6
        if each.name == "w2":
            array *= np.float32(1e-6)
            array[0] = 1e-9
        each.CopyFrom(numpy_helper.from_array(array, each.name))
    onnx.save(model, str(path))
    return Variant.from_file(path)


def test_what_is_out_of_range_stays(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """An inner value beyond 65,504 on real rows keeps the operators around it in float32, and small weights are counted."""
    wide = _wide(mlp, tmp_path / "m.onnx")
    made = half(wide, tmp_path / "a.onnx", rows)
    before, after = (next(iter(OnnxSession(each).run(rows).values())) for each in (wide.path, tmp_path / "a.onnx"))

    assert [name.split("_")[0] for name in made.kept] == ["MatMul", "Add", "Relu", "MatMul"]
    assert 0.0 < made.underflow < 1.0
    assert np.isfinite(after).all()
    assert float(np.abs(before - after).max()) < 2e-3


def test_nothing_to_halve(tmp_path: Path) -> None:
    """A model without float32 weights is refused."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y) {y = Neg (x)}'
    )
    onnx.save(model, str(tmp_path / "m.onnx"))

    with pytest.raises(ModelError, match="has no float32 weights"):
        half(Variant.from_file(tmp_path / "m.onnx"), tmp_path / "a.onnx", {"x": np.ones(4, np.float32)})


def test_a_fixed_batch(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A model that takes eight rows at once can be halved: it is shown eight at a time."""
    model = onnx.load(str(mlp.path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, str(tmp_path / "eight.onnx"))
    half(Variant.from_file(tmp_path / "eight.onnx"), tmp_path / "a.onnx", {"x": rows["x"][:21]})

    assert Variant.from_file(tmp_path / "a.onnx").signature.inputs[0].shape == (8, 16)
