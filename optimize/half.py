"""Floats of two bytes: half the size, and where the values fit, nearly the same answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .draft import Draft, attribute, inputs_of
from .int8 import name_nodes, raised
from .tap import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

LARGEST = float(np.finfo(np.float16).max)
"""The largest number that float16 holds: 65,504."""

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
"""The smallest but zero; the tool lifts to it what is smaller."""


@dataclass(frozen=True)
class Half:
    """How a model is halved.

    Args:
        dtype: `float16` computes in float16 wherever the runtime has kernels for it (on most CPUs ONNX Runtime casts to and
            fro around each operator); `bfloat16` keeps the weights so and computes in float32, because ONNX Runtime has
            no CPU kernels for it: the file is half as large, and no value can leave its range.
        keep_io: whether inputs and outputs stay float32, so that nobody who feeds the model has to change.
    """

    dtype: Literal["float16", "bfloat16"] = "float16"
    keep_io: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


@dataclass(frozen=True)
class Halved:
    """What became of a model that was halved.

    Args:
        kept: names of operators left in float32, because what they take or give is out of range on real rows.
        underflow: the share of weights, of those that are not zero, that were too small and were lifted to the smallest
            number that float16 holds.
    """

    kept: tuple[str, ...]
    underflow: float


def half(parent: Variant, path: Path, settings: Half, rows: Mapping[str, NDArray[Any]]) -> Halved:
    """Turn float32 into float16, or the weights into bfloat16.

    Args:
        parent: a float model.
        path: where the file goes.
        settings: which.
        rows: real rows by input name, on which the range of each value is seen.

    Raises:
        ModelError: it has no float32 weights, or all that computes with them is out of float16's range.
    """
    draft = Draft(parent)
    if settings.dtype == "bfloat16":
        _raise(draft)
    weights = [each for each in draft.graph.initializer if each.data_type == 1]  # float32
    if not weights:
        raise ModelError("has no float32 weights", file=parent.path, fix="leave it as it is")
    if settings.dtype == "bfloat16":
        _store_bfloat16(draft, weights)
        draft.save(path)
        return Halved((), 0.0)
    name_nodes(draft.graph)
    kept = _out_of_range(draft, rows)
    if len(kept) == len(draft.graph.node):
        raise ModelError(f"has values beyond {LARGEST:,.0f} everywhere", file=parent.path, fix="leave it as it is")
    underflow = _underflow(draft, weights)
    draft.adopt(_converted(draft, settings, kept))
    _keep_wide(draft, set(kept))
    draft.save(path)
    return Halved(tuple(kept), underflow)


def _underflow(draft: Draft, weights: Sequence[onnx.TensorProto]) -> float:
    """The share of weights, of those that are not zero, that are smaller than float16 holds."""
    lost = alive = 0
    for each in weights:
        array = draft.constant(each.name)
        assert array is not None
        alive += int(np.count_nonzero(array))
        lost += int(np.count_nonzero((array != 0) & (np.abs(array) < SMALLEST)))
    return lost / max(alive, 1)


def _out_of_range(draft: Draft, rows: Mapping[str, NDArray[Any]]) -> list[str]:
    """The nodes that take or give a value beyond what float16 holds."""
    beyond = {each.name for each in draft.graph.initializer if _exceeds(draft.constant(each.name))}
    beyond |= {name for name, array in rows.items() if _exceeds(array)}
    made = [name for node in draft.graph.node for name in node.output if name]
    for values in watch(draft, made, rows):
        beyond |= {name for name, array in values.items() if _exceeds(array)}
    return [node.name for node in draft.graph.node if beyond.intersection([*inputs_of(node), *node.output])]


def _exceeds(array: NDArray[Any] | None) -> bool:
    return array is not None and array.dtype == np.float32 and bool(np.any(np.abs(array) > LARGEST))


def _converted(draft: Draft, settings: Half, kept: Sequence[str]) -> onnx.ModelProto:
    """The model in float16, by ONNX Runtime's tool."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    try:
        converted: onnx.ModelProto = convert_float_to_float16(
            draft.model, keep_io_types=settings.keep_io, op_block_list=list(DEFAULT_OP_BLOCK_LIST),
            node_block_list=list(kept),
        )  # fmt: skip
    except Exception as error:  # the tool raises what its helpers happen to raise
        raise ModelError(
            f"cannot be turned into float16 ({first_line(error)})", file=draft.parent.path, fix="leave it as it is"
        ) from error
    return converted


def _keep_wide(draft: Draft, kept: set[str]) -> None:
    """Hand values from one operator left in float32 to the next as they are: the tool would take them through float16."""
    from onnx import TensorProto

    for node in draft.graph.node:
        if node.op_type != "Cast" or attribute(node, "to") != TensorProto.FLOAT:
            continue
        narrowed = draft.maker(node.input[0])
        if narrowed is None or narrowed.op_type != "Cast" or attribute(narrowed, "to") != TensorProto.FLOAT16:
            continue
        source = draft.maker(narrowed.input[0])
        if source is not None and source.name in kept:
            for taker in draft.takers(node.output[0]):
                taker.input[:] = [narrowed.input[0] if name == node.output[0] else name for name in taker.input]


def _raise(draft: Draft) -> None:
    """Bring a model to an opset whose `Cast` knows bfloat16, which the one that knows of scales by channel does."""
    try:
        draft.adopt(raised(draft.model))
    except Exception as error:  # the converter raises what its adapters happen to raise
        raise ModelError(
            f"cannot be brought to an opset that knows bfloat16 ({first_line(error)})",
            file=draft.parent.path,
            fix="export it again with opset 13 or later",
        ) from error


def _store_bfloat16(draft: Draft, weights: Sequence[onnx.TensorProto]) -> None:
    """Keep weights in bfloat16 and cast them when they are taken."""
    from onnx import TensorProto, helper

    given = {each.name for each in draft.graph.input}
    for each in weights:
        array = draft.constant(each.name)
        assert array is not None
        if array.size < 2 or each.name in given:
            continue  # a number alone says how something is done, and saves nothing
        name, stored = each.name, draft.fresh(f"{each.name}_bfloat16")
        raw = _bfloat16(array).tobytes()
        each.CopyFrom(helper.make_tensor(stored, TensorProto.BFLOAT16, array.shape, raw, raw=True))
        draft.node("Cast", [stored], [name], to=TensorProto.FLOAT)


def _bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32, rounded to the nearest, ties to even; what would round to infinity is cut instead.

    Example:
        >>> [hex(each) for each in _bfloat16(np.float32([1.0, 1.01, -3.4028235e38]))]
        ['0x3f80', '0x3f81', '0xff7f']
    """
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    overflows = (rounded & np.uint32(0x7FFF)) == np.uint32(0x7F80)
    return np.where(overflows, bits >> np.uint32(16), rounded).astype(np.uint16)
