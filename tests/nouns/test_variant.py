from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.variant import Origin, Signature, Tensor, Variant, read_signature

if TYPE_CHECKING:
    from pathlib import Path


def _save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any] | None = None
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights or [])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def _info(name: str, dtype: int, shape: list[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def test_signature(tiny_model: Path) -> None:
    """A file says what goes in and comes out: names, dtypes, shapes, and which axes are free."""
    signature = read_signature(tiny_model)

    assert signature.inputs == (Tensor("x", "float32", ("batch", 4)),)
    assert signature.outputs == (Tensor("y", "float32", ("batch",)),)
    assert signature.dynamic_batch


def test_signature_of_many_inputs(tmp_path: Path) -> None:
    """Axes without a name or size are free too; weights that are listed among the inputs are none."""
    path = _save(
        tmp_path / "m.onnx",
        [helper.make_node("Cast", ["a"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["f", "w"], ["y"])],
        [_info("a", TensorProto.UINT8, [None, 3]), _info("w", TensorProto.FLOAT, [3])],
        [_info("y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(np.ones(3, np.float32), "w")],
    )

    assert read_signature(path) == Signature(
        (Tensor("a", "uint8", ("axis_0", 3)),), (Tensor("y", "float32", ("axis_0", 3)),)
    )


@pytest.mark.parametrize(("shape", "dynamic"), [(["n", 4], True), ([1, 4], False), ([], False)])
def test_dynamic_batch(tmp_path: Path, shape: list[Any], *, dynamic: bool) -> None:
    """A batch is free only where the first axis of every input is."""
    node = helper.make_node("Identity", ["x"], ["y"])
    path = _save(tmp_path / "m.onnx", [node], [_info("x", 1, shape)], [_info("y", 1, shape)])

    assert dynamic == read_signature(path).dynamic_batch


def test_from_file(tiny_model: Path) -> None:
    """A variant knows its file by digest and size, and is called after it unless told otherwise."""
    variant = Variant.from_file(tiny_model)

    assert (variant.name, variant.precision, variant.origin) == ("tiny", "fp32", Origin("file"))
    assert hashlib.sha256(tiny_model.read_bytes()).hexdigest() == variant.sha256
    assert len(tiny_model.read_bytes()) == variant.bytes
    assert Variant.from_file(tiny_model, name="int8", precision="int8").name == "int8"


def test_round_trip(tiny_model: Path) -> None:
    """A variant comes back from JSON as it was, though the folder was moved meanwhile."""
    origin = Origin("quantize", "ab" * 32, {"per_channel": True, "percentile": 99.999})
    variant = Variant.from_file(tiny_model, name="int8", precision="int8", origin=origin)
    written = json.loads(json.dumps(variant.to_dict(tiny_model.parent)))

    assert written["path"] == "tiny.onnx"
    assert variant == Variant.from_dict(written, tiny_model.parent)
    assert Variant.from_dict(written, tiny_model.parent / "b").path == tiny_model.parent / "b" / "tiny.onnx"


def test_origin_digest() -> None:
    """The same step on the same parent has one digest, in whatever order its settings are; any change makes another."""
    origin = Origin("quantize", "ab", {"a": 1, "b": 2})
    others = [Origin("prune", "ab", origin.settings), Origin("quantize", "cd", origin.settings), Origin("quantize", "ab", {"a": 1})]  # fmt: skip

    assert origin.digest == Origin("quantize", "ab", {"b": 2, "a": 1}).digest
    assert len({each.digest for each in (origin, *others)}) == 4


def test_no_file(tmp_path: Path) -> None:
    """What is missing, a folder, or empty is refused as just that."""
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for path, problem in (
        (tmp_path / "none.onnx", "does not exist"),
        (tmp_path, "is a directory"),
        (empty, "is empty"),
    ):
        with pytest.raises(ModelError, match=rf"{path.name}: {problem}; "):
            Variant.from_file(path)


def test_truncated_anywhere(tiny_model: Path, tmp_path: Path) -> None:
    """A file that was cut off at any byte is refused."""
    data, path = tiny_model.read_bytes(), tmp_path / "cut.onnx"
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut\.onnx: is not a whole ONNX model"):
            read_signature(path)


@pytest.mark.parametrize("data", [b"garbage", b"\x80\x04\x95pickle.", b"PK\x03\x04", b"\0" * 64, "é".encode() * 100])
def test_garbage(tmp_path: Path, data: bytes) -> None:
    """Bytes that nobody meant as ONNX are refused, and never unpickled."""
    (tmp_path / "m.onnx").write_bytes(data)

    with pytest.raises(ModelError, match=r"m\.onnx: is not a whole ONNX model .*export the model again"):
        read_signature(tmp_path / "m.onnx")


def test_cycle(tmp_path: Path) -> None:
    """A graph in which two nodes wait for each other is refused."""
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["a", "x"], ["b"])]
    path = _save(tmp_path / "m.onnx", nodes, [_info("x", 1, ["n"])], [_info("b", 1, ["n"])])

    with pytest.raises(ModelError, match=r"m\.onnx: is not a whole ONNX model"):
        read_signature(path)


def test_weights_elsewhere(tiny_model: Path, tmp_path: Path) -> None:
    """Weights in another file belong to the variant: its digest and its size change with them, and it opens with them."""
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(str(tiny_model)), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    variant = Variant.from_file(path)
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[::-1])

    assert variant.companions == ("w.bin",)
    assert variant.bytes == path.stat().st_size + (tmp_path / "w.bin").stat().st_size
    assert Variant.from_file(path).sha256 != variant.sha256
    assert Variant.from_dict(variant.to_dict(tmp_path), tmp_path) == variant


def test_ways_of_running(tiny_model: Path) -> None:
    """A way of running is part of a variant's name, its file is not changed by it; the usual way needs no name."""
    variant = Variant.from_file(tiny_model)
    fast = variant.run_by(Execution("openvino-bf16", 2))

    assert fast.name == f"{tiny_model.stem}-on-openvino-bf16-2t"
    assert (fast.sha256, fast.execution.precision) == (variant.sha256, "bf16")
    assert fast.run_by(Execution()) == variant


def test_output_that_is_no_tensor(tmp_path: Path) -> None:
    """A list of maps, as scikit-learn's exporter makes by default, is refused with the option that avoids it."""
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("p", helper.make_sequence_type_proto(maps))
    node = helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    path = _save(tmp_path / "m.onnx", [node], [_info("x", 1, ["n", 2])], [output])

    with pytest.raises(ModelError, match=r"m\.onnx: `p` is a sequence_type, not a tensor; .*'zipmap': False"):
        read_signature(path)


@pytest.mark.parametrize(("axis", "fixed"), [("batch", None), (8, 8)])
def test_fixed_batch(axis: int | str, fixed: int | None) -> None:
    """A first axis with a size is the only number of rows; one with a name is free, and a scalar input says nothing."""
    scalar = Tensor("t", "float32", ())

    assert Signature((scalar, Tensor("x", "float32", (axis, 4))), ()).fixed_batch == fixed
