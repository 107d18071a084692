"""Floats of two bytes: half the size, and where the values fit, nearly the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .draft import Draft, attribute, inputs_of
from .int8 import name_nodes
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
class Halved:
    """What became of a model that was halved.

    Args:
        kept: names of operators left in float32, because what they take or give is out of range on real rows.
        underflow: the share of weights, of those that are not zero, that were too small and were lifted to the smallest
            number that float16 holds.
    """

    kept: tuple[str, ...]
    underflow: float


def half(parent: Variant, path: Path, rows: Mapping[str, NDArray[Any]]) -> Halved:
    """Turn float32 into float16 wherever real rows stay in its range; inputs and outputs stay float32, so that no caller has to change.

    On most CPUs ONNX Runtime casts to and fro around each operator. bfloat16 has float32's range, so that nothing can leave
    it, and is no file but a way of running one: OpenVINO's (`openvino-bf16`), since ONNX Runtime (1.32) has hardly a CPU kernel for it.

    Args:
        parent: a float model.
        path: where the file goes.
        rows: real rows by input name, on which the range of each value is seen.

    Raises:
        ModelError: it has no float32 weights, or all that computes with them is out of float16's range.
    """
    draft = Draft(parent)
    weights = [each for each in draft.graph.initializer if each.data_type == 1]  # float32
    if not weights:
        raise ModelError("has no float32 weights", file=parent.path, fix="leave it as it is")
    name_nodes(draft.graph)
    kept = _out_of_range(draft, rows)
    if len(kept) == len(draft.graph.node):
        raise ModelError(f"has values beyond {LARGEST:,.0f} everywhere", file=parent.path, fix="leave it as it is")
    underflow = _underflow(draft, weights)
    draft.adopt(_converted(draft, kept))
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


def _converted(draft: Draft, kept: Sequence[str]) -> onnx.ModelProto:
    """The model in float16, by ONNX Runtime's tool."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    try:
        converted: onnx.ModelProto = convert_float_to_float16(
            draft.model, keep_io_types=True, op_block_list=list(DEFAULT_OP_BLOCK_LIST),
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
