"""Nodes of a Q/DQ graph that are floats again, as they were in the parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import onnx

PAIR = ("QuantizeLinear", "DequantizeLinear")


def restore(quantized: onnx.ModelProto, parent: onnx.ModelProto, names: Collection[str]) -> None:
    """Let some nodes compute as in the parent again, and what is added to their results be the parent's, too.

    Quantizers leave the parent's tensors in the graph under their names, but for one: where a `Relu` was folded into a range, what
    has the name of its result is what it took. There it is put back. What a quantizer corrects in a bias is right for quantized
    weights alone.

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
                    added[name] = _unfolded(folded[name])
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


def _unfolded(activation: onnx.NodeProto) -> onnx.NodeProto:
    """An activation that takes what now has the name of its result."""
    import onnx

    back = onnx.NodeProto()
    back.CopyFrom(activation)
    name = activation.output[0]
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
        wanted = outputs | {name for node in kept for name in _read(node)}
        left = [node for node in kept if node.op_type not in PAIR or wanted.intersection(node.output)]
        if len(left) == len(kept):
            break
        kept = left
    constants = [each for each in graph.initializer if each.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """The names of all that a node reads, and the nodes of the graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for each in inner.node:
                yield from _read(each)
