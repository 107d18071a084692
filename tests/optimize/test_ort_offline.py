from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
import pytest

from windtunnel.errors import ModelError
from windtunnel.optimize.ort_offline import OrtOffline, ort_optimized
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

MODEL = """<ir_version: 10, opset_import: ["": 20]> g (float[batch, 3, 4] x) => (float[batch, 3, 4] y)
<float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}, float[4] b = {1, 2, 3, 4}> {
    same = Identity (x)
    product = MatMul (same, w)
    sum = Add (product, b)
    y = Gelu (sum)
}"""


def _model(path: Path) -> Variant:
    onnx.save(onnx.parser.parse_model(MODEL), str(path))
    return Variant.from_file(path)


@pytest.mark.parametrize(("level", "foreign"), [("basic", set()), ("extended", {"com.microsoft"})])
def test_optimized_and_equal(tmp_path: Path, level: Literal["basic", "extended"], foreign: set[str]) -> None:
    """The numbers and the signature stay; `basic` keeps to ONNX's operators and claims no other domain."""
    parent = _model(tmp_path / "m.onnx")
    for name in ("a.onnx", "b.onnx"):
        ort_optimized(parent, tmp_path / name, OrtOffline(level))
    rows = {"x": np.random.default_rng(1).normal(size=(5, 3, 4)).astype(np.float32)}
    model = onnx.load(str(tmp_path / "a.onnx"))

    assert {each.domain for each in model.opset_import} - {""} == foreign
    before, after = (OnnxSession(each).run(rows)["y"] for each in (parent.path, tmp_path / "a.onnx"))
    assert np.allclose(before, after, atol=1e-5)
    assert Variant.from_file(tmp_path / "a.onnx").signature == parent.signature
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_nothing_to_optimize(tmp_path: Path) -> None:
    """A model that ONNX Runtime leaves as it is makes no variant."""
    ort_optimized(_model(tmp_path / "m.onnx"), tmp_path / "a.onnx", OrtOffline())

    with pytest.raises(ModelError, match="is not changed by ONNX Runtime's optimization"):
        ort_optimized(Variant.from_file(tmp_path / "a.onnx"), tmp_path / "b.onnx", OrtOffline())
    assert not (tmp_path / "b.onnx").exists()
