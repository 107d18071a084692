from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.optimize.gptq import corrected
from windtunnel.optimize.grid import half_quadratic, nearest
from windtunnel.optimize.quantized import count_quantized
from windtunnel.optimize.weight_only import WeightOnly, weight_only
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.mark.parametrize("method", ["rtn", "hqq", "gptq"])
@pytest.mark.parametrize(("bits", "error"), [(4, 0.1), (8, 0.01)])
@pytest.mark.parametrize("accuracy_level", [1, 4])
def test_quantized_and_near(
    mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path, method: Literal["rtn", "hqq", "gptq"],
    bits: Literal[4, 8], error: float, accuracy_level: int,
) -> None:  # fmt: skip
    """Each method makes a file that runs, answers near its parent, takes the same inputs, and is the same bytes each time."""
    settings = WeightOnly(bits, 16, method, accuracy_level)
    for name in ("a.onnx", "b.onnx"):
        weight_only(mlp, tmp_path / name, settings, rows)
    before, after = (next(iter(OnnxSession(each).run(rows).values())) for each in (mlp.path, tmp_path / "a.onnx"))

    assert count_quantized(tmp_path / "a.onnx") == (2, 2)
    assert 0.0 < float(np.abs(before - after).max()) < error
    assert Variant.from_file(tmp_path / "a.onnx").signature == mlp.signature
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_file_says_what_the_grid_says(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """In float32 sums, the operator answers as a product with the rounded weights does: codes are packed as it reads them."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(mlp.path))
    for each in model.graph.initializer:
        if each.name in {"w1", "w2"}:
            array = numpy_helper.to_array(each)
            codes, grid = nearest(np.ascontiguousarray(array.T), 16, 4)
            each.CopyFrom(numpy_helper.from_array(grid.values(codes).reshape(array.T.shape).T, each.name))
    onnx.save(model, str(tmp_path / "rounded.onnx"))
    weight_only(mlp, tmp_path / "a.onnx", WeightOnly(4, 16, "rtn", accuracy_level=1))
    expected, found = (next(iter(OnnxSession(tmp_path / f"{n}.onnx").run(rows).values())) for n in ("rounded", "a"))

    assert float(np.abs(expected - found).max()) < 1e-5


def test_methods_are_better_at_what_they_are_for() -> None:
    """On correlated inputs GPTQ's products are nearer than rounding's by a fifth; HQQ's weights are nearer for the most part."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 64)) + 0.3 * rng.normal(size=(400, 64))
    weights = rng.standard_t(3, size=(24, 64)).astype(np.float32)

    def products(codes: NDArray[Any], grid: Any) -> float:
        return float(np.square((grid.values(codes).reshape(weights.shape) - weights) @ inputs.T).mean() ** 0.5)

    def typical(codes: NDArray[Any], grid: Any) -> float:
        return float((np.abs(grid.values(codes).reshape(weights.shape) - weights) ** 0.7).mean())

    rounded = nearest(weights, 32, 4)
    assert products(*corrected(weights, 32, 4, inputs.T @ inputs)) < 0.8 * products(*rounded)
    assert typical(*half_quadratic(weights, 32, 4)) < typical(*rounded)


def test_refusals(mlp: Variant, tmp_path: Path) -> None:
    """GPTQ without rows is refused rather than fed random ones; so is a model with no product as large as a block."""
    with pytest.raises(ModelError, match="`gptq` needs rows to learn from"):
        weight_only(mlp, tmp_path / "a.onnx", WeightOnly(block=16, method="gptq"))
    with pytest.raises(ModelError, match="multiplies nothing with weights of its own of 256 inputs or more"):
        weight_only(mlp, tmp_path / "a.onnx", WeightOnly(block=256))
