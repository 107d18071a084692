from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.onnx_file import (
    MAX_BYTES,
    byte_count,
    companions,
    copy_model,
    load_model,
    move_model,
    read_model,
    save_model,
)
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
WEIGHTS = np.arange(4000, dtype=np.float32).reshape(1000, 4) / 1000


def _model(nodes: list[Any], weights: list[Any] | None = None, **more: Any) -> onnx.ModelProto:
    inputs = more.pop("inputs", [X])
    opsets = [helper.make_opsetid("", more.pop("opset", 18)), helper.make_opsetid("own", 1)]
    graph = helper.make_graph(nodes, "g", inputs, more.pop("outputs", [Y]), weights or [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def _node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def _large() -> onnx.ModelProto:
    """Adds the mean of a weight that is worth a file of its own, and a small one that is not."""
    weights = [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.ones(4, np.float32), "b")]
    nodes = [_node("ReduceMean", "w", "m", keepdims=1), _node("Add", "x m", "a"), _node("Add", "a b", "y")]
    return _model(nodes, weights)


def _write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _beside(folder: Path) -> Path:
    """A model of two files."""
    save_model(_large(), folder / "m.onnx", largest_bytes=10_000)
    return folder / "m.onnx"


def _answer(path: Path) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((1, 4), np.float32)})[0].tolist()


def test_one_file_or_two(tmp_path: Path) -> None:
    """A model that would be too large keeps its large weights in a file beside it, and answers the same."""
    save_model(_large(), tmp_path / "one.onnx")
    path = _beside(tmp_path)

    assert companions(tmp_path / "one.onnx") == ()
    assert companions(path) == ("m.onnx.data",)
    assert (tmp_path / "m.onnx.data").stat().st_size == WEIGHTS.nbytes
    assert [each.name for each in read_model(path).graph.initializer if each.data_location == 1] == ["w"]
    assert _answer(tmp_path / "one.onnx") == _answer(path)


def test_weights_come_back(tmp_path: Path) -> None:
    """What was written in two files is read as it was, and written again as the same bytes."""
    path = _beside(tmp_path)
    read = load_model(path)
    save_model(read, tmp_path / "again.onnx", largest_bytes=10_000)

    assert numpy_helper.to_array(read.graph.initializer[0]).tolist() == WEIGHTS.tolist()
    assert (tmp_path / "again.onnx.data").read_bytes() == (tmp_path / "m.onnx.data").read_bytes()


def test_the_model_given_is_not_changed(tmp_path: Path) -> None:
    """Writing a model in two files leaves the one in memory whole."""
    model = _large()
    before = model.SerializeToString(deterministic=True)
    save_model(model, tmp_path / "m.onnx", largest_bytes=10_000)

    assert before == model.SerializeToString(deterministic=True)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """Weights that were never loaded, and constants that cannot be put beside, are refused."""
    with pytest.raises(ModelError, match=r"`w` was not loaded with its weights; use load_model"):
        save_model(read_model(_beside(tmp_path)), tmp_path / "n.onnx")
    constant = _model(
        [
            _node("Constant", "", "c", value=numpy_helper.from_array(WEIGHTS)),
            _node("ReduceMean", "c", "m"),
            _node("Add", "x m", "y"),
        ]
    )
    with pytest.raises(ModelError, match=r"takes 15\.\d KiB without its weights"):
        save_model(constant, tmp_path / "n.onnx", largest_bytes=10_000)


def test_copies_and_moves_take_all_files_along(tmp_path: Path) -> None:
    """A copy in another folder under another name stands alone; a move leaves nothing behind."""
    path, other = _beside(tmp_path), tmp_path / "other"
    other.mkdir()
    expected = _answer(path)
    copy_model(path, other / "n.onnx")
    assert sorted(each.name for each in other.iterdir()) == ["n.onnx", "n.onnx.data"]
    move_model(other / "n.onnx", tmp_path / "o.onnx")

    assert list(other.iterdir()) == []
    assert companions(tmp_path / "o.onnx") == ("o.onnx.data",)
    assert expected == _answer(tmp_path / "o.onnx")


def test_a_single_file_moves_as_it_is(tmp_path: Path) -> None:
    """Copying and moving a model without other files keeps its bytes."""
    save_model(_large(), tmp_path / "a.onnx")
    data = (tmp_path / "a.onnx").read_bytes()
    copy_model(tmp_path / "a.onnx", tmp_path / "b.onnx")
    move_model(tmp_path / "b.onnx", tmp_path / "c.onnx")

    assert data == (tmp_path / "c.onnx").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.onnx", "c.onnx"]


def _told(**entries: str) -> Callable[[Path], None]:
    """Change what a model of two files says of its weight."""

    def change(path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        held = {each.key: each for each in model.graph.initializer[0].external_data}
        for key, value in entries.items():
            held[key].value = value
        path.write_bytes(model.SerializeToString())

    return change


def _cut(path: Path) -> None:
    os.truncate(path.with_name("m.onnx.data"), 15_000)


def _gone(path: Path) -> None:
    path.with_name("m.onnx.data").unlink()


def _link(path: Path) -> None:
    outside = path.parent.parent / f"{path.parent.name}.secret"
    path.with_name("m.onnx.data").rename(outside)
    path.with_name("m.onnx.data").symlink_to(outside)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_told(location="/etc/passwd"), "keeps its data outside of the model's folder"),
        (_told(location="../m.onnx.data"), "keeps its data outside of the model's folder"),
        (_told(location="a/../../m.onnx.data"), "keeps its data outside of the model's folder"),
        (_told(location="C:\\m.onnx.data"), "keeps its data outside of the model's folder"),
        (_told(location="*/_ORT_MEM_ADDR_/*"), "keeps its data outside of the model's folder"),
        (_told(location=""), "keeps its data outside of the model's folder"),
        (_told(location="n.data"), "keeps its data in `n.data`, which is not there; copy it beside"),
        (_told(offset="-4096"), "has the offset '-4096' in its data's file"),
        (_told(offset="9" * 30), "has the offset '9+' in its data's file"),
        (_told(offset="4096"), "declares 16,000 bytes, and `m.onnx.data` of 16,000 has 16,000 for it at 4,096"),
        (_told(length="99999999999"), "has 99,999,999,999 for it"),
        (_told(length="0x10"), "has the length '0x10'"),
        (_cut, "declares 16,000 bytes, and `m.onnx.data` of 15,000"),
        (_gone, "which is not there"),
        (_link, "which is a link; copy the model and its data into one folder"),
    ],
)  # fmt: skip
def test_external_data_that_is_not_what_it_says(tmp_path: Path, change: Callable[[Path], None], words: str) -> None:
    """Data outside of the folder, missing, or shorter than declared is refused before any of it is loaded, and named."""
    (tmp_path / "m").mkdir()
    path = _beside(tmp_path / "m")
    change(path)
    with pytest.raises(ModelError, match=words) as refusal:
        read_model(path)

    assert str(refusal.value).startswith(f"{path}: `w`")


@pytest.mark.parametrize("build", ["ConstantOfShape", "Expand", "Tile", "Range", "RandomNormal"])
def test_much_out_of_little(tmp_path: Path, build: str) -> None:
    """A graph that asks for terabytes is refused by reckoning, whatever operator it asks with, and runs nowhere."""
    numbers = {"s": [1 << 20, 1 << 20], "from": 0, "to": 1 << 45, "by": 1}
    weights = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    first = {
        "ConstantOfShape": _node("ConstantOfShape", "s", "c"),
        "Expand": _node("Expand", "from s", "c"),
        "Tile": _node("Tile", "x s", "c"),
        "Range": _node("Range", "from to by", "c"),
        "RandomNormal": _node("RandomNormal", "", "c", shape=numbers["s"]),
    }[build]
    nodes = [first, _node("Cast", "c", "f", to=1), _node("ReduceMean", "f", "m", keepdims=0), _node("Add", "x m", "y")]
    path = _write(_model(nodes, weights), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=rf"`c` would be \d+ (T|P|E)iB, made by {build}, and .* of memory may be used"):
        read_model(path)


def _sums(*, through: str) -> list[Any]:
    """Nodes that work `s` out: [1 << 20, 1 << 20], from the shape of a row or from a constant, never said outright."""
    start = {
        "a constant": [_node("Constant", "", "four", value_ints=[4])],
        "a shape": [_node("Shape", "x", "shape"), _node("Gather", "shape one", "four")],
        "a reshape": [
            _node("Shape", "x", "shape"), _node("Reshape", "x shape", "again"), _node("Shape", "again", "shape2"),
            _node("Slice", "shape2 one two", "four"),
        ],
    }[through]  # fmt: skip
    return [
        *start, _node("Mul", "four four", "16"), _node("Mul", "16 16", "256"), _node("Mul", "256 256", "2^16"),
        _node("Mul", "2^16 16", "2^20"), _node("Concat", "2^20 2^20", "s", axis=0), _node("ReduceProd", "s", "product", keepdims=0),
        _node("Cast", "s", "scales", to=1), _node("Mul", "2^20 2^20", "2^40"), _node("Concat", "zero zero zero 2^40", "pads", axis=0),
    ]  # fmt: skip


CONSTANTS = [
    numpy_helper.from_array(np.array(value, dtype), name)
    for name, value, dtype in (
        ("one", [1], np.int64), ("two", [2], np.int64), ("zero", [0], np.int64),
        ("start", 0, np.int64), ("step", 1, np.int64), ("wide", np.ones((4, 64)), np.float32),
    )
]  # fmt: skip

BOMBS = {
    "ConstantOfShape": _node("ConstantOfShape", "s", "c", name="bomb"),
    "Expand": _node("Expand", "one s", "c", name="bomb"),
    "Tile": _node("Tile", "x s", "c", name="bomb"),
    "Range": _node("Range", "start product step", "c", name="bomb"),
    "Resize": helper.make_node("Resize", ["wide", "", "", "s"], ["c"], name="bomb"),
    "Upscaled": helper.make_node("Resize", ["wide", "", "scales"], ["c"], name="bomb"),
    "Pad": helper.make_node("Pad", ["wide", "pads"], ["c"], name="bomb"),
}


def _bomb(kind: str, through: str) -> onnx.ModelProto:
    rest = [_node("Cast", "c", "f", to=1), _node("ReduceMean", "f", "m", keepdims=0), _node("Add", "x m", "y")]
    return _model([*_sums(through=through), BOMBS[kind], *rest], CONSTANTS)


@pytest.mark.parametrize("through", ["a constant", "a shape", "a reshape"])
@pytest.mark.parametrize("kind", list(BOMBS))
def test_sizes_that_are_worked_out(tmp_path: Path, kind: str, through: str) -> None:
    """A size that is a product of constants or shapes is worked out, and refused with the node that would be as large."""
    path = _write(_bomb(kind, through), tmp_path / "m.onnx")
    with pytest.raises(
        ModelError,
        match=rf"`c` would be \d+ (T|P|E)iB, made by `bomb` \({BOMBS[kind].op_type}\), and .* of memory may be",
    ):
        read_model(path)


def test_sizes_inside_functions_and_branches(tmp_path: Path) -> None:
    """A size that is worked out is found wherever it is asked for: in a function, and in a branch that takes it from outside."""
    bomb = _bomb("ConstantOfShape", "a constant")
    opsets = [helper.make_opsetid("", 18)]
    constants = [_node("Constant", "", each.name, value=each) for each in CONSTANTS]
    function = helper.make_function("own", "f", ["x"], ["y"], [*constants, *bomb.graph.node], opsets)
    hidden = _model([helper.make_node("f", ["x"], ["y"], domain="own")], functions=[function])
    sums, rest = bomb.graph.node[:-4], bomb.graph.node[-4:]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    then = helper.make_graph([*rest[:-1], _node("Add", "x m", "then")], "then", [], [out])
    then.output[0].name = "then"
    otherwise = helper.make_graph([_node("Identity", "x", "else")], "else", [], [out])
    otherwise.output[0].name = "else"
    branch = _node("If", "c0", "y", then_branch=then, else_branch=otherwise)
    condition = helper.make_tensor_value_info("c0", TensorProto.BOOL, [])

    with pytest.raises(ModelError, match=r"would be 4 TiB, made by .*ConstantOfShape"):
        read_model(_write(hidden, tmp_path / "function.onnx"))
    with pytest.raises(ModelError, match=r"`c` would be 4 TiB, made by `bomb` \(ConstantOfShape\)"):
        read_model(_write(_model([*sums, branch], CONSTANTS, inputs=[X, condition]), tmp_path / "branch.onnx"))


def test_sizes_that_rows_decide(tmp_path: Path) -> None:
    """A size that is a row's own number is known when the row is: the file is taken."""
    count = helper.make_tensor_value_info("n", TensorProto.INT64, [1])
    nodes = [_node("ConstantOfShape", "n", "c"), _node("ReduceSum", "c", "m", keepdims=0), _node("Add", "x m", "y")]

    assert len(read_model(_write(_model(nodes, inputs=[X, count]), tmp_path / "m.onnx")).graph.node) == 3


def test_an_inner_shape_that_lies(tmp_path: Path) -> None:
    """What a file says of its inner shapes hides nothing of what they would be."""
    weights = [numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "s")]
    model = _model(
        [_node("ConstantOfShape", "s", "c"), _node("ReduceMean", "c", "m"), _node("Add", "x m", "y")], weights
    )
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match="`c` would be 4 TiB"):
        read_model(_write(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (TensorProto(name="w", data_type=1, dims=[1 << 40, 1 << 40], raw_data=b"1234"), "`w` declares .* bytes and holds 4"),
        (TensorProto(name="w", data_type=1, dims=[5], float_data=[1.0] * 4), "`w` declares 5 values and holds 4"),
        (TensorProto(name="w", data_type=1, dims=[-4], float_data=[1.0] * 4), r"`w` has the shape \[-4\]"),
        (TensorProto(name="w", data_type=99, dims=[4], raw_data=b"1234"), r"`w` has no dtype that ONNX knows \(99\)"),
        (TensorProto(name="w", data_type=0, dims=[4], raw_data=b"1234"), r"`w` has no dtype that ONNX knows \(0\)"),
    ],
)  # fmt: skip
def test_weights_that_are_not_what_they_declare(tmp_path: Path, weight: TensorProto, words: str) -> None:
    """A weight holds as many bytes as its shape and dtype ask for, or the file is refused and the weight named."""
    with pytest.raises(ModelError, match=words):
        read_model(_write(_model([_node("Add", "x w", "y")], [weight]), tmp_path / "m.onnx"))


def test_weights_beyond_the_memory(tmp_path: Path) -> None:
    """Weights that would not fit are refused with what they take and what there is."""
    path = _beside(tmp_path)
    assert len(read_model(path, limit_bytes=20_000).graph.initializer) == 2
    with pytest.raises(ModelError, match=r"declares weights of 15\.\d KiB, and 9\.\d+ KiB of memory may be used"):
        read_model(path, limit_bytes=10_000)


def _branch(depth: int) -> Any:
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4])
    plain = helper.make_graph([_node("Identity", "x", "z")], "plain", [], [out])
    if depth == 0:
        return plain
    inner = _node("If", "c", "z", then_branch=_branch(depth - 1), else_branch=plain)
    return helper.make_graph([inner], "deep", [], [out])


@pytest.mark.parametrize(("depth", "refused"), [(3, False), (20, True)])
def test_branches_in_branches(tmp_path: Path, depth: int, *, refused: bool) -> None:
    """Control flow is taken as it is; a nest deeper than any model's is not."""
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    node = _node("If", "c", "y", then_branch=_branch(depth), else_branch=_branch(0))
    path = _write(_model([node], inputs=[X, condition]), tmp_path / "m.onnx")
    if refused:
        with pytest.raises(ModelError, match="nests branches more than 16 deep"):
            read_model(path)
    else:
        assert read_model(path).graph.node[0].op_type == "If"


def _doubling(count: int, *, itself: bool = False) -> onnx.ModelProto:
    """Functions that each call the one before twice."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    functions = []
    for number in range(count):
        called = ("f0" if itself else f"f{number - 1}") if number or itself else "Identity"
        domain = "own" if called.startswith("f") else ""
        body = [helper.make_node(called, [a], [b], domain=domain) for a, b in ("ab", "bc")]
        functions.append(helper.make_function("own", f"f{number}", ["a"], ["c"], body, opsets))
    return _model([helper.make_node(f"f{count - 1}", ["x"], ["y"], domain="own")], functions=functions)


def test_functions_that_unroll(tmp_path: Path) -> None:
    """Functions are counted where they are called: ten that double are a model, forty are a bomb, and none calls itself."""
    assert len(read_model(_write(_doubling(10), tmp_path / "m.onnx")).functions) == 10
    with pytest.raises(ModelError, match="unrolls to 2,199,023,255,551 operations, allowed 1,000,000"):
        read_model(_write(_doubling(40), tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="`f0` is a function that calls itself"):
        read_model(_write(_doubling(1, itself=True), tmp_path / "m.onnx"))


def test_operators_that_nobody_knows(tmp_path: Path) -> None:
    """An operator of someone's own library is named with its domain; one that the file defines itself is welcome."""
    node = helper.make_node("Magic", ["x"], ["y"], domain="own")
    with pytest.raises(ModelError, match="`Magic` is an operator of the domain `own`, which no runtime here knows"):
        read_model(_write(_model([node]), tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("opset", "words"),
    [(10, r"`opset` \(=10\) is older than 11; convert it: onnx\.version_converter"), (999, r"\(=999\) is newer than")],
)
def test_opsets(tmp_path: Path, opset: int, words: str) -> None:
    """An opset that no step here knows is refused with the way to another."""
    with pytest.raises(ModelError, match=words):
        read_model(_write(_model([_node("Identity", "x", "y")], opset=opset), tmp_path / "m.onnx"))


def test_oldest_opset(tmp_path: Path) -> None:
    """Opset 11 is taken."""
    path = _write(_model([_node("Identity", "x", "y")], opset=11), tmp_path / "m.onnx")

    assert read_model(path).opset_import[0].version == 11


def test_a_cycle(tmp_path: Path) -> None:
    """A graph whose operations wait for each other is refused."""
    nodes = [_node("Add", "x b", "a"), _node("Identity", "a", "b"), _node("Identity", "a", "y")]
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        read_model(_write(_model(nodes), tmp_path / "m.onnx"))


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    """A list among the outputs is named, with the way out."""
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", 4]))
    out = helper.make_value_info("y", kind)
    path = _write(_model([_node("SequenceConstruct", "x", "y")], outputs=[out]), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"`y` is a sequence_type, not a tensor; export the model with tensors only"):
        read_model(path)


def test_a_model_with_state(tmp_path: Path) -> None:
    """State that goes in and comes out is an input and an output like others."""
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("past", "present")]
    model = _model(
        [_node("Add", "x past", "present"), _node("Identity", "present", "y")],
        inputs=[X, state[0]],
        outputs=[Y, state[1]],
    )

    assert [each.name for each in read_model(_write(model, tmp_path / "m.onnx")).graph.output] == ["y", "present"]


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        (TensorProto.FLOAT, [2, 3], 24),
        (TensorProto.INT4, [3], 2),
        (TensorProto.BFLOAT16, [3], 6),
        (TensorProto.BOOL, [], 1),
        (TensorProto.DOUBLE, [0, 7], 0),
        (TensorProto.STRING, [9], 0),
        (TensorProto.UINT8, [1 << 40, 1 << 40], 1 << 80),
    ],
)
def test_byte_count(kind: int, shape: list[int], size: int) -> None:
    """The bytes of a tensor are counted exactly, in whole numbers of any size, four-bit values two to a byte."""
    assert size == byte_count(TensorProto(data_type=kind, dims=shape))


def _vast(folder: Path) -> Path:
    """Three tables of zeros of 700 MiB each in a file with holes: 2.05 GiB that take no room on disk."""
    names, rows, size = ("a", "b", "c"), 700 * 1024, 700 * 2**20
    weights = [
        TensorProto(name=name, data_type=1, dims=[rows, 256], data_location=TensorProto.EXTERNAL) for name in names
    ]
    for place, weight in enumerate(weights):
        told = {"location": "m.onnx.data", "offset": str(place * size), "length": str(size)}
        weight.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in told.items())
    nodes = [_node("Gather", f"{name} x", f"row_{name}") for name in names]
    nodes.append(_node("Sum", "row_a row_b row_c", "y"))
    row = helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 256])
    path = _write(_model(nodes, weights, inputs=[row], outputs=[out]), folder / "m.onnx")
    with path.with_name("m.onnx.data").open("wb") as file:
        file.truncate(3 * size)
        file.seek(3 * size - 4)
        file.write(np.float32(7.0).tobytes())
    return path


def test_more_than_two_gib(tmp_path: Path) -> None:
    """A model beyond what one file can hold is read, loaded, written, moved, digested and run, its last weight in its place."""
    path = _vast(tmp_path)
    save_model(load_model(path), tmp_path / "written.onnx")
    path.with_name("m.onnx.data").unlink()
    move_model(tmp_path / "written.onnx", tmp_path / "moved.onnx")
    moved = Variant.from_file(tmp_path / "moved.onnx")
    last = {"x": np.array([700 * 1024 - 1])}
    answer = onnxruntime.InferenceSession(str(moved.path), providers=["CPUExecutionProvider"]).run(None, last)[0]

    for left in tmp_path.glob("*.data"):
        left.unlink()  # pytest keeps the folders of its last runs

    assert moved.bytes > MAX_BYTES
    assert (moved.companions, len(moved.sha256)) == (("moved.onnx.data",), 64)
    assert answer[0, -2:].tolist() == [0.0, 7.0]
