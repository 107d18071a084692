from __future__ import annotations

import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import DataError
from windtunnel.onnx_file import save_model
from windtunnel.optimize.calibrator import Tap, calibrate, fed, observe
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Variant


def _wide(batch: int | str = "batch") -> onnx.ModelProto:
    """`x` [batch, 8] → 4,096 numbers a row → their sum."""
    weight = np.random.default_rng(1).normal(size=(8, 4096)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["wide"]),
            helper.make_node("Relu", ["wide"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "axis"], ["y"], keepdims=1),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 1])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _rows(count: int) -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(2).normal(size=(count, 8)).astype(np.float32)}


def test_ranges_are_the_models(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """The range of an output is that of what the model answers on all rows, and of an input that of the rows."""
    answers = next(iter(OnnxSession(mlp.path).run(rows).values()))
    ranges = calibrate(onnx.load(str(mlp.path)), ["x", "y"], rows)

    assert ranges["x"] == (float(rows["x"].min()), float(rows["x"].max()))
    assert ranges["y"] == pytest.approx((0.0, float(answers.max())))


def test_turns_change_nothing() -> None:
    """Where tensors take turns, for their memory's sake, they are seen as before."""
    model, rows = _wide(), _rows(20)
    together = observe(model, ["x", "wide", "kept"], rows)
    apart = observe(model, ["x", "wide", "kept"], rows, budget_bytes=20_000)

    assert {name: each.counts.tolist() for name, each in together.items()} == {
        name: each.counts.tolist() for name, each in apart.items()
    }


def test_memory_does_not_grow_with_rows() -> None:
    """Sixteen times the rows take the same memory: what is held is a few rows and a histogram a tensor."""
    model = _wide()
    observe(model, ["wide", "kept"], _rows(8))  # compiles

    peaks = []
    for count in (256, 4096):
        rows = _rows(count)
        tracemalloc.start()
        observe(model, ["wide", "kept"], rows, budget_bytes=2**20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.1 * peaks[0]


def test_the_model_is_left_as_it_was() -> None:
    """Its outputs are what they were."""
    model = _wide()
    before = model.SerializeToString(deterministic=True)
    observe(model, ["wide"], _rows(4))

    assert model.SerializeToString(deterministic=True) == before


def test_weights_too_large_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one file cannot hold the weights they lie beside it while the runtime reads them, and are gone after."""
    model, rows = _wide(), _rows(8)
    names = [node.output[0] for node in model.graph.node]
    plain = calibrate(model, names, rows)
    monkeypatch.setattr("windtunnel.onnx_file.save_model", partial(save_model, largest_bytes=1000))
    tap = Tap(model, names, tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert tap(rows).keys() == set(names)
    assert calibrate(model, names, rows) == plain


def test_fixed_batch() -> None:
    """A model that takes eight rows at once is fed eight at once, and a rest too few is left out."""
    sizes = [len(batch["x"]) for batch in fed(_wide(8), _rows(20))]

    assert sizes == [8, 8]
    assert observe(_wide(8), ["wide"], _rows(20))["wide"].total == 16 * 4096


@pytest.mark.parametrize(
    ("count", "words"), [(0, "is missing: .* real rows; give --data"), (7, "has 7 rows where .* takes 8")]
)
def test_no_rows(count: int, words: str) -> None:
    """Without enough real rows there are no ranges: none are made up, and it is said whether there were any."""
    with pytest.raises(DataError, match=f"`calibration data` {words}"):
        calibrate(_wide(8), ["wide"], _rows(count))
