from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from windtunnel.execution import Execution
from windtunnel.hardware import Hardware
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.space import Facts, propose, ways_to_run
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

XEON = Hardware("new", "x86_64", ("AVX2", "AVX512-VNNI"), 2, 2**30)
OLD = replace(XEON, cpu="old", isa=("AVX2",))
ARM = Hardware("arm", "aarch64", ("NEON-DOT",), 2, 2**30)


def _facts(*kinds: str, domain: str = "") -> Facts:
    return Facts(frozenset(kinds), frozenset({domain}))


def _names(facts: Facts, hardware: Hardware = XEON) -> list[str]:
    return [branch.step.name for branch in propose(facts, hardware)[0]]


def test_what_comes_first() -> None:
    """A transformer is fused first, a network of convolutions quantized ahead, and every file is named once."""
    transformer, convolutions = _names(_facts("MatMul", "Softmax")), _names(_facts("Conv", "Relu"))

    assert transformer[:3] == ["denormals-scrubbed", "fused", "fused-int8-dynamic"]
    assert convolutions[:2] == ["denormals-scrubbed", "int8-static"]
    assert "fused" not in convolutions
    assert all(len(set(names)) == len(names) for names in (transformer, convolutions))


def test_children_come_after_what_they_are_made_from() -> None:
    """A branch of another file follows it."""
    branches, _ = propose(_facts("MatMul", "Softmax"), XEON)
    place = {branch.step.name: position for position, branch in enumerate(branches)}

    assert all(place[branch.of] < place[branch.step.name] for branch in branches if branch.of)


def test_trees_are_left_alone() -> None:
    """Where no matrices are multiplied nothing is quantized, and it is said why."""
    branches, skipped = propose(_facts("TreeEnsembleClassifier", domain="ai.onnx.ml"), XEON)

    assert branches == []
    assert "multiplies no matrices" in skipped[0].reason


def test_integers_suit_the_processor() -> None:
    """Unsigned activations and whole weights on x86 with VNNI, seven bits without it, signed ones on ARM."""
    settings = {
        name: next(
            b.step.settings.to_dict() for b in propose(_facts("Conv"), hardware)[0] if b.step.name == "int8-static"
        )
        for name, hardware in (("new", XEON), ("old", OLD), ("arm", ARM))
    }

    assert (settings["new"]["activations"], settings["new"]["reduce_range"]) == ("uint8", False)
    assert (settings["old"]["activations"], settings["old"]["reduce_range"]) == ("uint8", True)
    assert (settings["arm"]["activations"], settings["arm"]["reduce_range"]) == ("int8", False)


def test_repairs_change_numbers_and_not_the_structure() -> None:
    """Static int8 is repaired by other ranges, then by smoothing, and by floats only at the end."""
    branch = next(b for b in propose(_facts("MatMul"), XEON)[0] if b.step.name == "int8-static")
    names = [step.name for step in branch.repairs]

    assert names[-2:] == ["int8-static-smooth", "int8-static-mixed"]
    assert {"int8-static-percentile", "int8-static-entropy", "int8-static-mse", "int8-static-moving-average"} <= set(
        names
    )


def test_ways_to_run() -> None:
    """Each runtime that is here on each number of threads; several threads of ONNX Runtime spinning and not."""
    ways, skipped = ways_to_run(Goal(runtimes=("onnxruntime-cpu", "onnxruntime-cuda"), threads=(2, 1)))

    assert [each.label for each in ways][:3] == ["ort", "ort-2t", "ort-2t-allow_spinning=1"]
    assert all(each.runtime in {"onnxruntime-cpu", "onnxruntime-cuda"} for each in ways)
    if len(ways) == 3:  # no CUDA here
        assert skipped[0].name == "everything on onnxruntime-cuda"


def test_operators_of_one_runtime_run_on_no_other() -> None:
    """A model with operators that only ONNX Runtime knows is tried on nothing else, and it is said why."""
    goal = Goal(runtimes=("onnxruntime-cpu", "openvino"))
    ways, skipped = ways_to_run(goal, _facts("TreeEnsembleClassifier", domain="ai.onnx.ml"))

    assert ways == [Execution()]
    assert [each.name for each in skipped] == ["everything on openvino"]


@pytest.mark.parametrize("inner", [False, True])
def test_facts_see_inner_graphs(tmp_path: Path, inner: bool) -> None:
    """An operator inside a branch of an `If` is found as one outside is."""
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    one = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "one", [], [y])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", [], [y])
    node = helper.make_node("If", ["c"], ["z"], then_branch=one if inner else other, else_branch=other)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 2])
    path = tmp_path / "m.onnx"
    graph = helper.make_graph([node], "g", inputs, [z])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))

    assert inner == Facts.of(Variant.from_file(path)).multiplies


def test_compressed_weights_are_run_in_their_own_way() -> None:
    """Bytes for weights, made in a second, come before NNCF's int8, which takes many; OpenVINO is told how to quantize their activations, other runtimes nothing."""
    branches, _ = propose(_facts("MatMul", "Softmax"), XEON)
    names = [branch.step.name for branch in branches]
    coarse, fine = (next(b for b in branches if b.step.name == name) for name in ("int8-weights", "int8-weights-fine"))

    assert names.index("int8-weights") < names.index("int8-nncf")
    assert coarse.way(Execution("openvino", 2)).label == "openvino-2t-group=128"
    assert fine.way(Execution("openvino-bf16")).label == "openvino-bf16-group=32"
    assert coarse.way(Execution()) == Execution()
    assert branches[0].way(Execution("openvino")) == Execution("openvino")


@pytest.mark.parametrize(("inputs", "size"), [(256, "128"), (192, "64"), (48, "64")])
@pytest.mark.parametrize("turned", [0, 1])
def test_groups_fill_the_widths(tmp_path: Path, inputs: int, size: str, turned: int) -> None:
    """Activations share scales in groups of 128 where every product's inputs are a multiple of that, and of 64 elsewhere."""
    shapes = {"w": (inputs, 7), "v": (7, inputs)}
    weight = "v" if turned else "w"
    node = helper.make_node("Gemm", ["x", weight], ["y"], transB=turned)
    values = helper.make_tensor(weight, TensorProto.FLOAT, shapes[weight], [0.0] * (7 * inputs))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", inputs), ("y", 7)))
    graph = helper.make_graph([node], "g", [x], [y], [values])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    facts = Facts.of(Variant.from_file(path))
    branch = next(each for each in propose(facts, XEON)[0] if each.step.name == "int8-weights")

    assert facts.widths == {inputs}
    assert branch.options == (("DYNAMIC_QUANTIZATION_GROUP_SIZE", size),)


def test_one_product_behind_convolutions_is_not_compressed() -> None:
    """Weights are compressed where products of matrices take the time, not where one ends a network of convolutions."""
    assert "int8-weights" in _names(_facts("Gemm", "Relu"))
    assert "int8-weights" not in _names(_facts("Conv", "Relu", "Gemm"))
