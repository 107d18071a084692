from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from windtunnel.errors import ModelError
from windtunnel.optimize.dynamic_int8 import DynamicInt8, dynamic_int8
from windtunnel.optimize.quantized import count_quantized
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _answer(path: Path, rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return next(iter(OnnxSession(path).run(rows).values()))


@pytest.mark.parametrize(
    "settings",
    [
        DynamicInt8(),
        DynamicInt8(per_channel=False),
        DynamicInt8(reduce_range=True),
        DynamicInt8(weights="uint8", per_channel=False),
    ],
)
def test_quantized_and_near(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path, settings: DynamicInt8) -> None:
    """Both multiplications become integer ones, the answers stay near, and the same step gives the same bytes."""
    for name in ("a.onnx", "b.onnx"):
        dynamic_int8(mlp, tmp_path / name, settings)

    assert count_quantized(tmp_path / "a.onnx") == (2, 2)
    assert 0.0 < float(np.abs(_answer(mlp.path, rows) - _answer(tmp_path / "a.onnx", rows)).max()) < 0.05
    assert Variant.from_file(tmp_path / "a.onnx").signature == mlp.signature
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_kind_that_is_not_asked_for_stays(mlp: Variant, tmp_path: Path) -> None:
    """Only the kinds named are quantized; where that leaves none, the model is refused."""
    with pytest.raises(ModelError, match="has 2 heavy operators and none of them was quantized"):
        dynamic_int8(mlp, tmp_path / "a.onnx", DynamicInt8(operators=("Conv",)))


def test_nothing_heavy(tmp_path: Path) -> None:
    """A model that multiplies no matrices is refused, not handed on as int8."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y) {y = Neg (x)}'
    )
    onnx.save(model, str(tmp_path / "m.onnx"))

    with pytest.raises(ModelError, match=r"m\.onnx: has 0 heavy operators"):
        dynamic_int8(Variant.from_file(tmp_path / "m.onnx"), tmp_path / "a.onnx", DynamicInt8())
