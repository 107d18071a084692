"""Nodes of a Q/DQ graph that are floats again, as they were in the parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .draft import attribute, inputs_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

PAIR = ("QuantizeLinear", "DequantizeLinear")


def restore(quantized: onnx.ModelProto, parent: onnx.ModelProto, names: Collection[str]) -> None:
    """Let some nodes compute as in the parent again, and what is added to their results be the parent's, too.

    Quantizers leave the parent's tensors in the graph under their names, but for one: where a `Relu` or a `Clip` was folded into a
    range, what has the name of its result is what it took. There it is put back, with the limits of its own. What a quantizer
    corrects in a bias is right for quantized weights alone.

    Args:
        quantized: it is changed.
        parent: the graph that was quantized.
        names: of the nodes.
    """
    if not names:
        return
    before = {node.name: node for node in parent.graph.node}
    given = {output for name in names for output in before[name].output}
    adding = {node.name for node in parent.graph.node if node.op_type == "Add" and given.intersection(node.input)}
    constants = {each.name: each for each in parent.graph.initializer}
    every = constants | _constants_made(parent)
    folded = _folded(quantized, parent)
    nodes = list(quantized.graph.node)
    added: dict[str, onnx.NodeProto] = {}
    taken: dict[str, onnx.TensorProto] = {}
    for node in nodes:
        for position, name in enumerate(before[node.name].input if node.name in {*names, *adding} else ()):
            if name in constants:
                taken[name] = constants[name]
                node.input[position] = f"{name}_float"
            elif node.name in names:
                if name in folded and name not in added:
                    limits = {each: every[each] for each in folded[name].input[1:] if each in every}
                    added[name] = _unfolded(folded[name], limits)
                    taken |= limits
                node.input[position] = f"{name}_float" if name in folded else name
    for name, constant in taken.items():
        quantized.graph.initializer.add().CopyFrom(constant)
        quantized.graph.initializer[-1].name = f"{name}_float"
    _insert(quantized, nodes, added)
    drop_unread(quantized)


def _folded(quantized: onnx.ModelProto, parent: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The activations that are gone, by the name of what they gave."""
    there = {node.name for node in quantized.graph.node}
    gone = (node for node in parent.graph.node if node.op_type in {"Relu", "Clip"} and node.name not in there)
    return {node.output[0]: node for node in gone}


def _constants_made(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """What the `Constant`s of a model give."""
    made = {node.output[0]: attribute(node, "value") for node in model.graph.node if node.op_type == "Constant"}
    return {name: value for name, value in made.items() if value is not None}


def _unfolded(activation: onnx.NodeProto, limits: Collection[str]) -> onnx.NodeProto:
    """An activation that takes what now has the name of its result, and limits that are kept for it."""
    import onnx

    back = onnx.NodeProto()
    back.CopyFrom(activation)
    name = activation.output[0]
    back.input[1:] = [f"{each}_float" if each in limits else each for each in activation.input[1:]]
    back.input[0], back.output[0] = name, f"{name}_float"
    return back


def _insert(model: onnx.ModelProto, nodes: list[onnx.NodeProto], added: Mapping[str, onnx.NodeProto]) -> None:
    """Put each of some nodes behind the one that gives what it takes."""
    ordered = [each for node in nodes for each in (node, *(added[out] for out in node.output if out in added))]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def drop_unread(model: onnx.ModelProto) -> None:
    """Drop the Q/DQ nodes that nothing reads, one after the other, and then the constants."""
    graph = model.graph
    outputs = {each.name for each in graph.output}
    kept = list(graph.node)
    while True:
        wanted = outputs | {name for node in kept for name in inputs_of(node)}
        left = [node for node in kept if node.op_type not in PAIR or wanted.intersection(node.output)]
        if len(left) == len(kept):
            break
        kept = left
    constants = [each for each in graph.initializer if each.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
