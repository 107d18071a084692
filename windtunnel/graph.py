"""A Graph: what one batch asks of a machine, operator by operator, read from an ONNX file without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError, naming
from windtunnel.operator_count import VIEWS, Node, Operator, Value, count
from windtunnel.shape_sums import constant, work_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Shapes = Mapping[str, tuple[int, ...]]

NARROW = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""Types of which several share a byte, and the bits of one."""


@dataclass(frozen=True)
class Graph:
    """What a model asks for at one size of its inputs.

    Args:
        operators: in the order of the file.
        uncounted: `name (kind)` of every node that could not be counted; its work is in no sum.
        weight_bytes: of all constants.
        input_bytes: of what goes in.
        output_bytes: of what comes out.
        peak_bytes: weights, and the largest sum of tensors alive at once in the order of the file. Changes of shape share
            memory; nothing else is taken to be overwritten in place, so a runtime may need less.
    """

    operators: tuple[Operator, ...]
    uncounted: tuple[str, ...]
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    peak_bytes: int

    @property
    def flops(self) -> int:
        """Operations of one batch; a multiply-add is two."""
        return sum(operator.flops for operator in self.operators)

    @property
    def bytes(self) -> int:
        """Bytes that the operators of one batch read and write."""
        return sum(operator.bytes for operator in self.operators)


def read_graph(path: Path, sizes: Mapping[str, int]) -> Graph:
    """Count what an ONNX file asks for.

    Shapes come from ONNX's own shape inference with data propagation, functions are inlined first. Nodes of unknown kind
    or shape (one that contradicts its inputs has none), and those that hold graphs of their own, are listed as uncounted.

    Args:
        path: the file.
        sizes: of dynamic axes, by name, or by `tensor[position]` where they have none; `batch` is the first axis of every
            input, whatever its name.

    Raises:
        ModelError: an axis has no size.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    with naming(file=path):
        return count_graph(infer(bind(model, sizes)))


def bind(model: Any, sizes: Mapping[str, int]) -> Any:
    """Give every dynamic axis of an ONNX model's inputs its size, and every node a name; the model given stays as it was.

    Raises:
        ModelError: an axis has no size.
    """
    import onnx.inliner

    bound = onnx.inliner.inline_local_functions(model)
    weights = {weight.name for weight in bound.graph.initializer}
    for value in bound.graph.input:
        if value.name not in weights and value.type.HasField("tensor_type"):
            for position, axis in enumerate(value.type.tensor_type.shape.dim):
                if not axis.HasField("dim_value"):
                    axis.dim_value = _size(value.name, position, axis.dim_param, sizes)
    del bound.graph.value_info[:]  # they may still speak of the axes by name
    for position, node in enumerate(bound.graph.node):
        node.name = node.name or f"{node.op_type}_{position}"
    return bound


def _size(tensor: str, position: int, name: str, sizes: Mapping[str, int]) -> int:
    known = sizes.get(name) or sizes.get(f"{tensor}[{position}]") or (sizes.get("batch") if position == 0 else None)
    if known is None or known < 1:
        raise ModelError(
            f"is an axis of input {tensor!r} without a size",
            field=name or f"{tensor}[{position}]",
            value=known,
            fix=f"say how large it is; known sizes are {dict(sizes)}",
        )
    return known


def infer(model: Any) -> Any:
    """Infer the shapes of a bound model; what follows from shapes alone (`Shape`, and sums on it) is worked out and left out.

    ONNX's inference does not carry every sum through, and a reshape by such a sum would end it. Runtimes fold these too.
    """
    inferred = _infer(model)
    while folded := _fold(inferred):
        nodes = [node for node in inferred.graph.node if node.output[0] not in folded]
        del inferred.graph.node[:]
        inferred.graph.node.extend(nodes)
        inferred.graph.initializer.extend(folded.values())
        inferred = _infer(inferred)
    return inferred


def _infer(model: Any) -> Any:
    import onnx.shape_inference

    for output in model.graph.output:
        for axis in output.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.Clear()  # a name would hide the size that inference finds
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _fold(model: Any) -> dict[str, Any]:
    """The small tensors that follow from shapes and small constants alone, by name, in one pass over the nodes."""
    from onnx import numpy_helper

    held = {each.name: constant(each) for each in model.graph.initializer}
    constants = {name: value for name, value in held.items() if value is not None}
    shapes = {name: value.shape for name, value in _values(model, {}).items()}
    outputs = {each.name for each in model.graph.output}
    found = work_out(model.graph.node, shapes, constants)
    return {name: numpy_helper.from_array(value, name) for name, value in found.items() if name not in outputs}


def count_graph(model: Any, shapes: Shapes | None = None) -> Graph:
    """Count an ONNX model whose shapes are known, from itself or from `shapes`, which holds what a runtime saw.

    Args:
        model: an `onnx.ModelProto`.
        shapes: by tensor name, over and above those in the model.
    """
    values = _values(model, shapes or {})
    operators, uncounted = [], []
    for each in model.graph.node:
        operator = _count(each, values)
        if operator is None:
            uncounted.append(f"{each.name or each.output[0]} ({'.'.join(filter(None, (each.domain, each.op_type)))})")
        else:
            operators.append(operator)
    constants = _constants(model)
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    return Graph(
        tuple(operators), tuple(uncounted), sum(constants.values()), _sum_bytes(inputs, values),
        _sum_bytes([value.name for value in model.graph.output], values),
        sum(constants.values()) + _alive_bytes(model, inputs, values),
    )  # fmt: skip


def _count(proto: Any, values: Mapping[str, Value]) -> Operator | None:
    """Count one node; None where its kind or the shape of a tensor of its is not known."""
    import onnx

    tensors = [name for name in (*proto.input, *proto.output) if name]
    if any(name not in values for name in tensors) or any(a.HasField("g") or a.graphs for a in proto.attribute):
        return None
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}
    inputs, outputs = (tuple(values.get(name) for name in names) for names in (proto.input, proto.output))
    try:
        return count(Node(proto.name, proto.op_type, proto.domain, attributes, inputs, outputs))
    except LookupError:
        return None


def _values(model: Any, shapes: Shapes) -> dict[str, Value]:
    """Every tensor of known shape, by name."""
    values = {each.name: _value(tuple(each.dims), each.data_type) for each in model.graph.initializer}
    types: dict[str, int] = {}
    for each in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = each.type.tensor_type
        types[each.name] = kind.elem_type
        sizes = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim)
        if each.name not in values and kind.HasField("shape") and -1 not in sizes:
            values[each.name] = _value(sizes, kind.elem_type)
    integers = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    for name, seen in shapes.items():
        if name not in values:
            values[name] = _value(seen, types.get(name, 1))
    return {name: _from_integers(value) if name in integers else value for name, value in values.items()}


def _from_integers(value: Value) -> Value:
    return Value(value.shape, value.dtype, value.bits, integer_source=True)


def _value(shape: tuple[int, ...], elem_type: int) -> Value:
    import numpy as np
    import onnx

    bits = NARROW.get(onnx.TensorProto.DataType.Name(elem_type), 0)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    return Value(shape, str(dtype), bits or 8 * dtype.itemsize)


def _constants(model: Any) -> dict[str, int]:
    """Bytes of every weight, and of what `Constant` nodes hold."""
    tensors = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    return {name: _value(tuple(each.dims), each.data_type).bytes for name, each in tensors.items()}


def _sum_bytes(names: Iterable[str], values: Mapping[str, Value]) -> int:
    return sum(values[name].bytes for name in names if name in values)


def _alive_bytes(model: Any, inputs: list[str], values: Mapping[str, Value]) -> int:
    """The largest sum of tensors that are alive at once; inputs and outputs are held by the caller to the end."""
    owner: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in VIEWS and node.input and node.op_type not in {"Shape", "Size"}:
            owner[node.output[0]] = owner.get(node.input[0], node.input[0])
    last = _last_uses(model, owner)
    constants = set(_constants(model))
    alive = _sum_bytes(inputs, values)
    held = {owner.get(value.name, value.name) for value in model.graph.output} | set(inputs)
    peak = alive
    for position, node in enumerate(model.graph.node):
        own = [name for name in node.output if name and name not in owner and name not in constants]
        alive += _sum_bytes(own, values)
        peak = max(peak, alive)
        ends = {name for name in last.get(position, ()) if name not in held and name not in constants}
        alive -= _sum_bytes(ends, values)
    return peak


def _last_uses(model: Any, owner: Mapping[str, str]) -> dict[int, set[str]]:
    """For each position the tensors that no later node reads."""
    last = {
        owner.get(name, name): position
        for position, node in enumerate(model.graph.node)
        for name in (*node.output, *node.input)
        if name
    }
    ends: dict[int, set[str]] = {}
    for name, position in last.items():
        ends.setdefault(position, set()).add(name)
    return ends
