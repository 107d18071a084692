"""Attention, recognised in a graph by what it computes, however an exporter wrote it down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .probe import LENGTH, ROWS, run_part, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    from numpy.typing import NDArray

    from .draft import Draft

LAYOUT = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand")
"""Operators that move numbers and change none."""

TOLERANCE = 1e-4
"""The largest difference between a part of a graph and attention worked out by hand, relative to its largest answer."""


@dataclass(frozen=True)
class Attention:
    """One attention: softmax(scale · q kᵀ + bias) v, head by head.

    Args:
        query: the value that holds all heads' queries, float [batch, length, width]; `key` and `value` likewise.
        bias: what is added to the scores before the softmax, or empty.
        output: the value that holds all heads' answers, float [batch, length, width].
        heads: how many.
        scale: what the products of queries and keys are multiplied by.
        bias_shape: of the bias at the probe's sizes; empty where there is none.
    """

    query: str
    key: str
    value: str
    bias: str
    output: str
    heads: int
    scale: float
    bias_shape: tuple[int, ...] = ()


def find_attentions(draft: Draft) -> list[Attention]:
    """Every attention of a graph that proved to be one when it was run by itself.

    A softmax between two multiplications is a candidate. Its part of the graph is run on random queries, keys, values and
    bias, and counts only where it gives what attention worked out by hand gives.
    """
    softmaxes = [node for node in draft.graph.node if node.op_type == "Softmax"]
    found = (_recognise(draft, node) for node in softmaxes)
    return [each for each in found if each is not None]


def _recognise(draft: Draft, softmax: onnx.NodeProto) -> Attention | None:
    traced = _trace(draft, softmax)
    if traced is None:
        return None
    query, key, value, bias, weighted = traced
    try:
        for output in _outputs(draft, weighted):
            attention = _prove(draft, softmax, (query, key, value), bias, output)
            if attention is not None:
                return attention
    except ModelError:
        return None  # what does not run by itself cannot be shown to be attention
    return None


def _trace(draft: Draft, softmax: onnx.NodeProto) -> tuple[str, str, str, str, str] | None:
    """Query, key, value, bias and the weighted values around a softmax, if they lie as in attention."""
    scores, bias = _scores(draft, softmax.input[0])
    product = draft.maker(scores)
    weights = _guarded(draft, softmax.output[0])
    weighted = draft.only_taker(weights)
    if product is None or weighted is None or weighted.op_type != "MatMul" or weighted.input[0] != weights:
        return None
    query, key = (_source(draft, name) for name in product.input[:2])
    return query, key, _source(draft, weighted.input[1]), bias, weighted.output[0]


def _scores(draft: Draft, name: str) -> tuple[str, str]:
    """The product behind a softmax's input and what was added to it; empty strings where there is no product."""
    node = draft.maker(name)
    if node is None:
        return "", ""
    if node.op_type in {"MatMul", "FusedMatMul"}:
        return name, ""
    if node.op_type in {"Mul", "Div", "Identity", "Cast"}:
        return _scores(draft, _moving(draft, node))
    if node.op_type != "Add":
        return "", ""
    for bias, rest in (node.input, reversed(node.input)):
        product, inner = _scores(draft, rest)
        if product and not inner:
            return product, bias
    return "", ""


def _moving(draft: Draft, node: onnx.NodeProto) -> str:
    """The first input of a node that is no constant."""
    return str(next((name for name in node.input if draft.constant(name) is None), node.input[0]))


def _source(draft: Draft, name: str) -> str:
    """Where a value comes from, before it was moved about and scaled by one number."""
    node = draft.maker(name)
    while node is not None and (node.op_type in LAYOUT or _scales(draft, node)):
        name = _moving(draft, node)
        node = draft.maker(name)
    return name


def _scales(draft: Draft, node: onnx.NodeProto) -> bool:
    factors = [draft.constant(name) for name in node.input]
    return node.op_type in {"Mul", "Div"} and any(each is not None and each.size == 1 for each in factors)


def _guarded(draft: Draft, name: str) -> str:
    """The attention weights after a guard that turns NaN into zero, and after what only passes them on.

    The guard acts where a row's scores are all −∞; biases that are not finite are refused, so it may be dropped.
    """
    takers = draft.takers(name)
    kinds = sorted(node.op_type for node in takers)
    if kinds == ["IsNaN", "Where"]:
        chosen = next(node for node in takers if node.op_type == "Where")
        return _guarded(draft, chosen.output[0]) if chosen.input[2] == name else name
    if kinds in (["Identity"], ["Dropout"]):
        return _guarded(draft, takers[0].output[0])
    return name


def _outputs(draft: Draft, name: str) -> Iterator[str]:
    """The values that follow from one by moving it about, farthest first: where the heads are side by side again."""
    chain = []
    taker = draft.only_taker(name)
    while taker is not None and taker.op_type in LAYOUT and taker.input[0] == name:
        name = taker.output[0]
        chain.append(name)
        taker = draft.only_taker(name)
    return reversed(chain)


def _prove(
    draft: Draft, softmax: onnx.NodeProto, sources: tuple[str, str, str], bias: str, output: str
) -> Attention | None:
    """Run a candidate on random numbers and compare it with attention worked out by hand."""
    rng = np.random.default_rng(0)
    widths = [width_of(draft, name) for name in sources]
    if None in widths or widths[0] != widths[1]:
        return None
    numbers = [rng.normal(size=(ROWS, LENGTH, width)).astype(np.float32) for width in widths if width is not None]
    entries: dict[str, NDArray[Any]] = dict(zip(sources, numbers, strict=True))
    added = _bias(draft, bias, rng)
    if not np.isfinite(added).all():
        return None
    if bias:
        entries[bias] = np.zeros_like(added)
    scores = run_part(draft, entries, [softmax.input[0]])[softmax.input[0]]
    if scores.ndim != 4 or scores.shape[0] != ROWS or scores.shape[2:] != (LENGTH, LENGTH):
        return None
    if bias:
        entries[bias] = added
    given = run_part(draft, entries, [output])[output]
    heads = scores.shape[1]
    if any(width is None or width % heads for width in widths):
        return None
    query, key, value = (_split(entries[name], heads) for name in sources)
    products = query @ key.swapaxes(-1, -2)
    scale = float((products * scores).sum() / (products**2).sum())
    expected = _merge(_softmax(scale * products + added) @ value)
    if not _near(scale * products, scores) or not _near(expected, given):
        return None
    return Attention(*sources, bias, output, heads, scale, added.shape if bias else ())


def _bias(draft: Draft, name: str, rng: np.random.Generator) -> NDArray[Any]:
    """Random numbers in the shape that the bias has at the probe's sizes; not finite where the bias can be that."""
    if not name:
        return np.zeros(1, np.float32)
    ones = {key: np.ones_like(array) for key, array in zeros(draft).items()}
    real = [run_part(draft, {}, [name], inputs)[name] for inputs in (zeros(draft), ones)]
    if not all(np.isfinite(each).all() for each in real):
        return np.full(1, np.nan, np.float32)
    return rng.normal(size=real[0].shape).astype(np.float32)


def width_of(draft: Draft, name: str) -> int | None:
    """The size of a value's last axis, by the weights that made it or by the shape that the file states."""
    node = draft.maker(name)
    if node is not None and node.op_type in {"MatMul", "Add"}:
        constants = [draft.constant(each) for each in node.input]
        sizes = [each.shape[-1] for each in constants if each is not None and each.ndim >= 1]
        if sizes:
            return int(sizes[0])
    for each in (*draft.graph.value_info, *draft.graph.input):
        axes = each.type.tensor_type.shape.dim
        if each.name == name and axes and axes[-1].HasField("dim_value"):
            return int(axes[-1].dim_value)
    return None


def _split(array: NDArray[Any], heads: int) -> NDArray[Any]:
    rows, length, width = array.shape
    return array.reshape(rows, length, heads, width // heads).transpose(0, 2, 1, 3).astype(np.float64)


def _merge(array: NDArray[Any]) -> NDArray[Any]:
    rows, heads, length, width = array.shape
    return array.transpose(0, 2, 1, 3).reshape(rows, length, heads * width)


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _near(expected: NDArray[Any], given: NDArray[Any]) -> bool:
    """Whether shapes are equal and numbers near."""
    return expected.shape == given.shape and bool(np.abs(expected - given).max() <= TOLERANCE * np.abs(expected).max())


SIZES = ((2, 5), (3, 4), (1, 7))
"""Rows and lengths at which a bias is compared with a padding mask."""


def padding_of(draft: Draft, attention: Attention) -> tuple[str, float] | None:
    """The input that says which places are padding, and what is added to their scores, where the bias says just that.

    The bias is run on masks drawn at random; it must be zero where the input is not, and one and the same number, −10,000
    or less, where it is zero, for every query and head. Many graphs compute (1 − mask) · lowest, which says so of ones
    and zeros only; that is enough for an input that is not used to look things up, as tokens are.

    Returns:
        The name of an input [batch, length] and the number; None where the bias says something else.
    """
    for tensor in draft.parent.signature.inputs:
        if len(tensor.shape) != 2 or tensor.dtype not in {"int64", "int32", "bool", "float32"}:
            continue
        for largest in (3,) if _looks_up(draft, tensor.name) else (3, 1):
            filters = {_filter(draft, attention.bias, tensor.name, size, largest) for size in SIZES}
            lowest = filters.pop()
            if lowest is not None and not filters:
                return tensor.name, lowest
    return None


def _looks_up(draft: Draft, name: str) -> bool:
    """Whether a value says which rows of a table are taken."""
    return any(node.op_type == "Gather" and node.input[1] == name for node in draft.takers(name))


def _filter(draft: Draft, bias: str, mask: str, size: tuple[int, int], largest: int) -> float | None:
    """What a bias adds where a mask is zero, if it is the padding of that mask, whose other values go up to `largest`."""
    inputs = zeros(draft, *size)
    if inputs[mask].shape != size:
        return None
    rng = np.random.default_rng(size)
    seen = rng.integers(1, largest + 1, size) * (rng.random(size) < 0.6)
    seen[:, 0], seen[0, -1] = largest, 0
    # every other input is drawn too: a bias that hangs on one of them is no padding mask
    drawn = {name: rng.integers(0, 2, array.shape).astype(array.dtype) for name, array in inputs.items()}
    try:
        given = run_part(draft, {}, [bias], drawn | {mask: seen.astype(inputs[mask].dtype)})[bias]
    except ModelError:
        return None
    lowest = float(given.min())
    wanted = np.where(seen, 0.0, lowest)[:, None, None, :]
    if given.ndim != 4 or lowest > -1e4 or not np.array_equal(given, np.broadcast_to(wanted, given.shape)):
        return None
    return lowest
