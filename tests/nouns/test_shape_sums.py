from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from windtunnel.shape_sums import LARGEST, WORK, work_out

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B = np.array([[7, -7, 4], [2, 9, -5]]), np.array([[2, 2, -3], [5, -4, 1]])
F = A.astype(np.float32) / 4
YES, NO = A > 2, B > 0
NODES: list[tuple[str, Sequence[Any], dict[str, Any]]] = [
    *((kind, (A, B), {}) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")),
    *((kind, (F, B.astype(np.float32)), {}) for kind in ("Div", "Mul", "Max")),
    *((kind, (YES, NO), {}) for kind in ("And", "Or")),
    *((kind, (F,), {}) for kind in ("Neg", "Abs", "Floor", "Ceil", "Round")),
    *((kind, (A,), {"keepdims": keep}) for kind in ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum") for keep in (0, 1)),
    *((kind, (A, np.array([1])), {"keepdims": 0}) for kind in ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")),
    ("ReduceSum", (A, np.array([], np.int64)), {"noop_with_empty_axes": 1}),
    ("Mod", (A, B), {}), ("Mod", (A, B), {"fmod": 1}), ("Pow", (A, np.array(2)), {}), ("Sqrt", (np.abs(F),), {}), ("Not", (YES,), {}),
    ("Where", (YES, A, B), {}), ("Identity", (A,), {}), ("Cast", (F,), {"to": TensorProto.INT64}), ("Cast", (A,), {"to": TensorProto.FLOAT}),
    ("Concat", (A, B), {"axis": -1}), ("Gather", (A, np.array([1, -1])), {"axis": 1}), ("Gather", (A, np.array(0)), {}),
    ("Slice", (A, np.array([0]), np.array([9]), np.array([1]), np.array([2])), {}), ("Slice", (A, np.array([1]), np.array([2])), {}),
    ("Slice", (A, np.array([-1]), np.array([-(2**62)]), np.array([1]), np.array([-1])), {}),
    ("Squeeze", (A[:1],), {}), ("Squeeze", (A[:1], np.array([0])), {}), ("Unsqueeze", (A, np.array([0, 3])), {}),
    ("Reshape", (A, np.array([0, -1, 1])), {}), ("Reshape", (A[:0], np.array([3, 0])), {"allowzero": 1}),
    ("Transpose", (A,), {}), ("Transpose", (A,), {"perm": [1, 0]}), ("Expand", (A[:1], np.array([4, 1, 3])), {}),
    ("Tile", (A, np.array([2, 3])), {}), ("Range", (np.array(3), np.array(11), np.array(4)), {}), ("Range", (np.array(3), np.array(-4), np.array(-3)), {}),
    ("ConstantOfShape", (np.array([2, 3]),), {}), ("ConstantOfShape", (np.array([2]),), {"value": numpy_helper.from_array(np.array([7]))}),
    ("Constant", (), {"value": numpy_helper.from_array(A)}), ("Constant", (), {"value_ints": [3, 4]}), ("Constant", (), {"value_int": 3}),
    ("Constant", (), {"value_float": 0.5}), ("Constant", (), {"value_floats": [0.5, 2.0]}),
]  # fmt: skip


def _node(kind: str, count: int, **settings: Any) -> Any:
    return helper.make_node(kind, [f"i{place}" for place in range(count)], ["out"], **settings)


@pytest.mark.parametrize(("kind", "inputs", "settings"), NODES, ids=[f"{n}-{case[0]}" for n, case in enumerate(NODES)])
def test_as_the_reference(kind: str, inputs: Sequence[Any], settings: dict[str, Any]) -> None:
    """Each operator answers as ONNX's own reference does, in value, shape and dtype."""
    node, named = _node(kind, len(inputs), **settings), {f"i{place}": each for place, each in enumerate(inputs)}
    found = work_out([node], {}, named)["out"]
    expected = np.asarray(next(iter(ReferenceEvaluator(node).run(None, named))))
    if kind == "Div" and inputs[0].dtype.kind == "i":  # the reference rounds down; ONNX and its runtimes towards zero
        expected = np.trunc(A / B).astype(np.int64)

    assert found.tolist() == expected.tolist()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


def test_every_operator_is_compared() -> None:
    """No operator is worked out that is not compared."""
    assert set(WORK) == {kind for kind, _, _ in NODES}


def test_shapes() -> None:
    """Shapes and sizes are read off; of a tensor of unknown shape nothing follows."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1), helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Shape", ["y"], ["t"]), helper.make_node("Add", ["t", "s"], ["u"]),
    ]  # fmt: skip

    assert {name: value.tolist() for name, value in work_out(nodes, {"x": (2, 3, 4)}, {}).items()} == {
        "s": [3, 4],
        "n": 24,
    }


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ConstantOfShape", [[1 << 40]]), ("ConstantOfShape", [[1 << 40, 0, 1 << 40]]), ("Expand", [[1], [1 << 40, 1 << 20]]), ("Tile", [[1], [1 << 40]]),
        ("Tile", [[[1]], [1 << 60, 0]]), ("Range", [0, 1 << 60, 1]), ("Range", [0, 8, 0]), ("Div", [[4], [0]]), ("Gather", [[4], [7]]),
        ("Add", [np.zeros((LARGEST, 1)), np.zeros(LARGEST)]), ("Concat", [np.zeros(LARGEST), np.zeros(1)]), ("Reshape", [[1, 2], [3]]),
        ("Gather", [np.zeros((2, LARGEST)), np.zeros(LARGEST, np.int64)]), ("ConstantOfShape", [[-4]]), ("Sqrt", [[-1.0]]), ("Cast", [[np.inf]]),
    ],
)  # fmt: skip
def test_what_is_left_unknown(kind: str, inputs: list[Any]) -> None:
    """What would be large is never made, and what has no answer, or contradicts itself, is nobody's evidence."""
    known: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.INT64}, "Concat": {"axis": 0}}
    settings = known.get(kind, {})
    named = {f"i{place}": np.asarray(each) for place, each in enumerate(inputs)}

    assert work_out([_node(kind, len(inputs), **settings)], {}, named) == {}


def test_a_million_sums() -> None:
    """All sums of a file together are held to a bound."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"c{place}"]) for place in range(1000)]
    found = work_out(nodes, {}, {"s": np.array([LARGEST])})

    assert sum(value.size for value in found.values()) == 1 << 20
