"""Sums on shapes: the small tensors that a graph works out from sizes and constants, worked out here without a runtime.

Exporters write the size of a reshape, or of what is filled with zeros, as arithmetic on the shapes of other tensors. Its
operators are worked out in numpy; what would be larger than `LARGEST` is seen to be so before it is made, and is left
unknown. What cannot be worked out (a division by zero, an operator that is not listed) is left unknown too.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Values = Mapping[str, Array]
    Shapes = Mapping[str, tuple[int, ...]]
    Work = Callable[[list[Any], "_Settings"], Any]

LARGEST = 4096
"""The largest tensor that is taken for a sum on shapes, in values."""

ALL_TOGETHER = 1 << 20
"""So many values are worked out of one graph at most: a file may hold a million sums."""


def work_out(nodes: Iterable[onnx.NodeProto], shapes: Shapes, constants: Values) -> dict[str, Array]:
    """The value of every output of the nodes that follows from shapes and small constants alone.

    Args:
        nodes: in an order in which they can be run; those inside branches and loops are not looked at.
        shapes: of the tensors whose shape is known, by name.
        constants: the small tensors that are known, by name.

    Returns:
        By name, the constants not among them.

    Example:
        >>> from onnx import helper
        >>> nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Mul", ["s", "s"], ["t"])]
        >>> {name: value.tolist() for name, value in work_out(nodes, {"x": (3, 4)}, {}).items()}
        {'s': [3, 4], 't': [9, 16]}
    """
    found: dict[str, Array] = {}
    left = ALL_TOGETHER
    for node in nodes:
        value = _value(node, shapes, {each: found.get(each, constants.get(each)) for each in node.input})
        if value is not None and value.size <= min(LARGEST, left):
            found[node.output[0]] = value
            left -= value.size
    return found


def _value(node: onnx.NodeProto, shapes: Shapes, known: Mapping[str, Array | None]) -> Array | None:
    """What one node answers; None where that is not known, or would be too large."""
    if node.domain not in {"", "ai.onnx"} or len(node.output) != 1:
        return None
    settings = {each.name: each for each in node.attribute}
    if node.op_type in {"Shape", "Size"}:
        return _of_shape(node.op_type, shapes.get(node.input[0]), settings)
    work = WORK.get(node.op_type)
    inputs = [known[name] if name else None for name in node.input]
    if work is None or any(each is None and name for each, name in zip(inputs, node.input, strict=True)):
        return None
    try:
        with np.errstate(all="raise", over="ignore"):
            return np.asarray(work(inputs, _Settings(settings)))
    except (ValueError, IndexError, TypeError, KeyError, ArithmeticError):
        return None  # it contradicts its inputs, or has no answer: that is for the runtime to say


def _of_shape(kind: str, shape: tuple[int, ...] | None, settings: Mapping[str, onnx.AttributeProto]) -> Array | None:
    if shape is None:
        return None
    if kind == "Size":
        size = math.prod(shape)
        return np.array(size, np.int64) if size < 1 << 63 else None
    start, end = (settings[each].i if each in settings else None for each in ("start", "end"))
    return np.array(shape[start:end], np.int64)


class _Settings:
    """A node's attributes, read one at a time."""

    def __init__(self, held: Mapping[str, onnx.AttributeProto]) -> None:
        self._held = held

    def integer(self, name: str, usual: int) -> int:
        return int(self._held[name].i) if name in self._held else usual

    def integers(self, name: str) -> list[int] | None:
        return list(self._held[name].ints) if name in self._held else None

    def constant(self) -> Array | None:
        """What a `Constant` holds; None where it is large, or kept elsewhere."""
        (each,) = self._held.values()
        if each.name in {"value_int", "value_ints"}:
            return np.array(each.i if each.name == "value_int" else each.ints, np.int64)
        if each.name in {"value_float", "value_floats"}:
            return np.array(each.f if each.name == "value_float" else each.floats, np.float32)
        return constant(each.t) if each.name == "value" else None

    def fill(self) -> Array:
        """The one value that `ConstantOfShape` repeats."""
        found = constant(self._held["value"].t) if "value" in self._held else np.zeros(1, np.float32)
        if found is None or found.size != 1:
            raise ValueError
        return found


def constant(tensor: onnx.TensorProto) -> Array | None:
    """A small tensor's values; None where it is large, text, or kept in another file."""
    import onnx

    held_elsewhere = tensor.data_location == 1  # TensorProto.EXTERNAL
    if held_elsewhere or math.prod(tensor.dims) > LARGEST or tensor.data_type == onnx.TensorProto.STRING:
        return None
    return onnx.numpy_helper.to_array(tensor)


def _small(size: int) -> None:
    """Stop before something large is made."""
    if size > LARGEST:
        raise ValueError(size)


def _broadcast(inputs: Iterable[Any]) -> tuple[int, ...]:
    shape = np.broadcast_shapes(*(each.shape for each in inputs))
    _small(math.prod(shape))
    return shape


def _elementwise(function: Callable[..., Any]) -> Work:
    def work(inputs: list[Any], _: _Settings) -> Any:
        _broadcast(inputs)
        return function(*inputs)

    return work


def _of_many(function: Callable[..., Any]) -> Work:
    def work(inputs: list[Any], _: _Settings) -> Any:
        _broadcast(inputs)
        return reduce(function, inputs)

    return work


def _divided(a: Array, b: Array) -> Array:
    """Whole numbers are divided towards zero, as C does."""
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    quotient = np.floor_divide(a, b)
    return np.asarray(quotient + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0)))).astype(a.dtype)


def _modulo(inputs: list[Any], settings: _Settings) -> Any:
    _broadcast(inputs)
    return (np.fmod if settings.integer("fmod", 0) else np.mod)(*inputs)


def _cast(inputs: list[Any], settings: _Settings) -> Any:
    import onnx

    return inputs[0].astype(onnx.helper.tensor_dtype_to_np_dtype(settings.integer("to", 0)))


def _axes(inputs: list[Any], settings: _Settings) -> list[int] | None:
    """Axes are an input since opset 13 or 18, and an attribute before."""
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(each) for each in inputs[1].ravel()]
    return settings.integers("axes")


def _reduced(function: Callable[..., Any]) -> Work:
    def work(inputs: list[Any], settings: _Settings) -> Any:
        axes = _axes(inputs, settings)
        if not axes and settings.integer("noop_with_empty_axes", 0):
            return inputs[0]
        keep = bool(settings.integer("keepdims", 1))
        found = function(inputs[0], axis=tuple(axes) if axes else None, keepdims=keep)
        return np.asarray(found).astype(inputs[0].dtype)

    return work


def _squeezed(inputs: list[Any], settings: _Settings) -> Any:
    axes = _axes(inputs, settings)
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def _unsqueezed(inputs: list[Any], settings: _Settings) -> Any:
    return np.expand_dims(inputs[0], tuple(_axes(inputs, settings) or ()))


def _reshaped(inputs: list[Any], settings: _Settings) -> Any:
    held, wanted = inputs[0], [int(each) for each in inputs[1]]
    if not settings.integer("allowzero", 0):
        wanted = [size or held.shape[axis] for axis, size in enumerate(wanted)]
    return held.reshape(wanted)


def _joined(inputs: list[Any], settings: _Settings) -> Any:
    _small(sum(each.size for each in inputs))
    return np.concatenate(inputs, settings.integer("axis", 0))


def _gathered(inputs: list[Any], settings: _Settings) -> Any:
    held, places = inputs
    axis = settings.integer("axis", 0)
    _small(places.size * (held.size // max(1, held.shape[axis])))
    return np.take(held, places, axis)


def _sliced(inputs: list[Any], _: _Settings) -> Any:
    held, starts, ends, *more = inputs
    axes = more[0] if more and more[0] is not None else range(len(starts))
    steps = more[1] if len(more) > 1 and more[1] is not None else [1] * len(starts)
    cut = [slice(None)] * held.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # going backwards, an end far below zero means all of it, and numpy's -1 the last
        last = None if step < 0 and end < -held.shape[axis] else int(end)
        cut[axis] = slice(int(start), last, int(step))
    return held[tuple(cut)]


def _filled(inputs: list[Any], settings: _Settings) -> Any:
    shape = [int(each) for each in inputs[0]]
    _small(math.prod(shape))
    value = settings.fill()
    return np.full(shape, value.ravel()[0], value.dtype)


def _expanded(inputs: list[Any], _: _Settings) -> Any:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(int(each) for each in inputs[1]))
    _small(math.prod(shape))
    return np.broadcast_to(inputs[0], shape).copy()


def _tiled(inputs: list[Any], _: _Settings) -> Any:
    _small(inputs[0].size * math.prod(max(1, int(each)) for each in inputs[1]))
    return np.tile(inputs[0], inputs[1])


def _counted(inputs: list[Any], _: _Settings) -> Any:
    start, limit, by = (each.ravel()[0] for each in inputs)
    count = max(0, math.ceil((float(limit) - float(start)) / float(by)))
    _small(count)
    return start + np.arange(count).astype(start.dtype) * by


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divided, "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
    "Neg": np.negative, "Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil, "Round": np.round, "Sqrt": np.sqrt,
    "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not, "Equal": np.equal, "Greater": np.greater,
    "Less": np.less, "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal, "Where": np.where,
}  # fmt: skip
OF_MANY: dict[str, Callable[..., Any]] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}
REDUCED: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod, "ReduceSum": np.sum,
}  # fmt: skip

WORK: dict[str, Work] = {
    "Constant": lambda _, settings: settings.constant(),
    "Identity": lambda inputs, _: inputs[0],
    "Cast": _cast,
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
    **{name: _of_many(function) for name, function in OF_MANY.items()},
    **{name: _reduced(function) for name, function in REDUCED.items()},
    "Mod": _modulo,
    "Squeeze": _squeezed, "Unsqueeze": _unsqueezed, "Reshape": _reshaped, "Concat": _joined, "Gather": _gathered, "Slice": _sliced,
    "Transpose": lambda inputs, settings: np.transpose(inputs[0], settings.integers("perm")),
    "ConstantOfShape": _filled, "Expand": _expanded, "Tile": _tiled, "Range": _counted,
}  # fmt: skip
"""What is worked out, by operator (ONNX 1.23, opsets 11 to 26)."""
