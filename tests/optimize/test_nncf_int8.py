from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from windtunnel.errors import DataError, MissingError
from windtunnel.optimize.int8 import HEAVY, prepared
from windtunnel.optimize.nncf_int8 import NncfInt8, load_nncf, make_unsigned, nncf_int8, quantize_by_nncf
from windtunnel.optimize.quantized import count_quantized
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Rows = dict[str, NDArray[Any]]

needs_nncf = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('nncf')", reason="NNCF is an extra")
FEW = NncfInt8(subset_size=50)


def _answers(path: Path, rows: Rows) -> NDArray[Any]:
    return next(iter(OnnxSession(path).run(rows).values()))


def _types(path: Path) -> set[int]:
    """The types that activations are quantized to."""
    graph = onnx.load(str(path)).graph
    zeros = {each.name: each.data_type for each in graph.initializer}
    return {zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}


@needs_nncf
@pytest.mark.parametrize("settings", [FEW, NncfInt8("performance", "transformer", 0.5, subset_size=50)])
def test_quantized_and_near(
    mlp: Variant, rows: Rows, tmp_path: Path, settings: NncfInt8, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both multiplications become integer ones of unsigned activations, the answers stay near, and not a word is said."""
    path = tmp_path / "int8.onnx"
    nncf_int8(mlp, path, settings, rows)

    assert count_quantized(path) == (2, 2)
    assert _types(path) == {TensorProto.UINT8}
    assert 0.0 < float(np.abs(_answers(mlp.path, rows) - _answers(path, rows)).max()) < 0.05
    assert OnnxSession(path).signature.dynamic_batch
    assert capfd.readouterr() == ("", "")


@needs_nncf
def test_same_bytes(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """The same step on the same parent gives the same bytes."""
    for name in ("a.onnx", "b.onnx"):
        nncf_int8(mlp, tmp_path / name, FEW, rows)

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@needs_nncf
def test_unsigned_changes_no_answer(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """Activations shifted to unsigned, and their zero points with them, give the same answers."""
    nncf = load_nncf()
    model = onnx.load(str(mlp.path))
    signed = nncf.quantize(
        model,
        nncf.Dataset([{"x": rows["x"][:50]}]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
    )
    onnx.save(signed, str(tmp_path / "signed.onnx"))
    make_unsigned(signed)
    onnx.save(signed, str(tmp_path / "unsigned.onnx"))

    assert _types(tmp_path / "signed.onnx") == {TensorProto.INT8, TensorProto.UINT8}
    assert _types(tmp_path / "unsigned.onnx") == {TensorProto.UINT8}
    assert np.allclose(_answers(tmp_path / "signed.onnx", rows), _answers(tmp_path / "unsigned.onnx", rows), atol=1e-6)


@needs_nncf
def test_restored_nodes_are_the_parents(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """A node left out is a float again; with both left out the answers are the parent's, to the last bit."""
    write = quantize_by_nncf(mlp, FEW, rows)
    with prepared(mlp) as path:
        first, second = (node.name for node in onnx.load(str(path)).graph.node if node.op_type in HEAVY)
    write(tmp_path / "one.onnx", (first,))
    write(tmp_path / "none.onnx", (first, second))

    assert count_quantized(tmp_path / "one.onnx") == (1, 2)
    assert np.array_equal(_answers(tmp_path / "none.onnx", rows), _answers(mlp.path, rows))


@needs_nncf
def test_nncf_is_kept_quiet() -> None:
    """NNCF is loaded without its telemetry, and leaves everybody's loggers alone."""
    before = logging.getLoggerClass()
    load_nncf()

    assert logging.getLoggerClass() is before
    assert "openvino_telemetry" not in sys.modules


def test_no_rows(mlp: Variant, tmp_path: Path) -> None:
    """Without rows nothing is made up."""
    pytest.importorskip("nncf")
    with pytest.raises(DataError, match="`calibration data` is missing"):
        nncf_int8(mlp, tmp_path / "int8.onnx", FEW, {"x": np.zeros((0, 16), np.float32)})


def test_missing(mlp: Variant, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NNCF is not installed, the command that brings it is said."""
    monkeypatch.setitem(sys.modules, "nncf", None)

    with pytest.raises(MissingError, match=r"NNCF is not installed; pip install 'windtunnel\[openvino\]'"):
        nncf_int8(mlp, tmp_path / "int8.onnx", FEW, rows)
