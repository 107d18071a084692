"""Attention, recognised in a graph by what it computes, however an exporter wrote it down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .draft import attribute, inputs_of
from .probe import LENGTH, ROWS, run_part, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from .draft import Draft

LAYOUT = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand")
"""Operators that move numbers and change none."""

CHOICE = ("Gather", "Slice", "Split")
"""Operators that move some of the numbers of their first input and change none."""

TOLERANCE = 1e-4
"""The largest difference between a part of a graph and attention worked out by hand, relative to its largest answer."""

HIDDEN = -1e9
"""A score of this or less leaves nothing of a weight, whatever the scores beside it: attention's are never so far apart."""

Shapes = dict[str, tuple[int, ...]]
"""The shapes of values at the probe's sizes, by name."""


@dataclass(frozen=True)
class Projection:
    """A value times constant weights, plus a constant bias.

    Args:
        source: the value, float [batch, length, inner]; [length, batch, inner] where `turned`.
        turned: whether the length comes first.
        weights: float [inner, width].
        bias: float [width].
    """

    source: str
    turned: bool
    weights: NDArray[Any]
    bias: NDArray[Any]


@dataclass(frozen=True)
class Lane:
    """All heads' queries, keys or values, wherever an exporter keeps them.

    Args:
        value: the value that holds them, float [batch, length, columns], [length, batch, columns] where `turned`, or
            [rows, columns] with all rows in one axis.
        shape: of that value at the probe's sizes.
        columns: which of its columns they are, head after head, [heads, size of a head].
        turned: whether the length comes before the batch.
        batch: the probe's rows, as far as this value tells.
        projection: what they are a projection of, where they are one.
    """

    value: str
    shape: tuple[int, ...]
    columns: NDArray[np.int64]
    turned: bool
    batch: int
    projection: Projection | None = None

    @property
    def alone(self) -> bool:
        """Whether the value holds them in order, and nothing else."""
        return len(self.shape) == 3 and np.array_equal(self.columns.reshape(-1), np.arange(self.shape[-1]))

    @property
    def whole(self) -> bool:
        """Whether the value is what ONNX Runtime's operators want, as it is."""
        return self.alone and not self.turned

    @property
    def usable(self) -> bool:
        """Whether what the operators want can be made of it."""
        return self.alone or self.projection is not None

    def at(self, draft: Draft, size: tuple[int, int]) -> Lane:
        """The lane at other sizes of the model's free axes: an axis follows that had the probe's size."""
        places = int(np.prod(self.shape[:-1])) // self.batch
        rows, length = _free(draft, size)
        batch, places = rows if self.batch == ROWS else self.batch, length if places == LENGTH else places
        leading = (batch * places,) if len(self.shape) == 2 else (places, batch) if self.turned else (batch, places)
        return replace(self, shape=(*leading, self.shape[-1]), batch=batch)

    def heads_of(self, array: NDArray[Any]) -> NDArray[Any]:
        """What each head sees of the value's numbers: float64 [batch, heads, length, size of a head]."""
        wide = _by_rows(array.reshape(-1, array.shape[-1]), self.batch, self.turned)
        return wide[..., self.columns].transpose(0, 2, 1, 3).astype(np.float64)


@dataclass(frozen=True)
class Attention:
    """One attention: softmax(scale · q kᵀ + bias) v, head by head.

    Args:
        query: all heads' queries; `key` and `value` likewise.
        bias: what is added to the scores before the softmax, or empty.
        output: the value that holds all heads' answers side by side, float [batch, length, width].
        heads: how many.
        scale: what the products of queries and keys are multiplied by.
        bias_shape: of the bias at the probe's sizes; empty where there is none.
        turned: whether the output is [length, batch, width].
        flat: whether the output's rows lie in one axis, [rows, width].
    """

    query: Lane
    key: Lane
    value: Lane
    bias: str
    output: str
    heads: int
    scale: float
    bias_shape: tuple[int, ...] = ()
    turned: bool = False
    flat: bool = False

    @property
    def lanes(self) -> tuple[Lane, Lane, Lane]:
        """Queries, keys and values."""
        return self.query, self.key, self.value


@dataclass(frozen=True)
class _Trace:
    """The values around a softmax.

    Args:
        scores: what the softmax takes.
        factors: the queries, keys and values that are multiplied; keys as [size of a head, length] where `keys_stand`.
        sources: the values that these were moved out of.
        bias: what is added to the scores, or empty.
        weighted: the answers of each head.
    """

    scores: str
    factors: tuple[str, str, str]
    sources: tuple[str, str, str]
    keys_stand: bool
    bias: str
    weighted: str


def find_attentions(draft: Draft) -> list[Attention]:
    """Every attention of a graph that proved to be one when it was run by itself.

    A softmax between two multiplications is a candidate. Where its queries, keys and values come from is seen by numbering
    the rows and columns of the values behind, and looking where the numbers go: exporters may pack, cut and turn as they
    like. Then its part of the graph is run on random queries, keys, values and bias, and counts only where it gives what
    attention worked out by hand gives. A bias that can be −∞ is tried with −∞, a row that sees nothing included.
    """
    softmaxes = [node for node in draft.graph.node if node.op_type == "Softmax"]
    _add_masks(draft, softmaxes)
    traces = [trace for trace in (_trace(draft, node) for node in softmaxes) if trace is not None]
    try:
        shapes = _shapes(draft, [name for trace in traces for name in _behind(draft, trace)])
    except ModelError:
        return []  # what does not run cannot be shown to attend
    found = (_recognise(draft, trace, shapes) for trace in traces)
    return [each for each in found if each is not None]


def _add_masks(draft: Draft, softmaxes: Sequence[onnx.NodeProto]) -> None:
    """Write masks that take the place of scores as biases, which are added to them.

    Below `HIDDEN` that is the same: beside a score that is seen both weigh nothing, and where nothing is seen both are the
    same for every key, because the lowest float swallows what it is added to.
    """
    for softmax in softmaxes:
        where = draft.maker(softmax.input[0])
        if where is None or where.op_type != "Where" or draft.only_taker(where.output[0]) is None:
            continue
        low, place = next(
            (
                (float(each), place)
                for place in (1, 2)
                if (each := draft.constant(where.input[place])) is not None and each.size == 1
            ),
            (0.0, 0),
        )
        if low > HIDDEN:
            continue
        lowest = draft.weight(np.array(low if np.isinf(low) else np.finfo(np.float32).min, np.float32), "lowest")
        nothing = draft.weight(np.zeros((), np.float32), "nothing")
        bias = draft.node("Where", [where.input[0], *((lowest, nothing) if place == 1 else (nothing, lowest))])
        draft.drop([where])
        draft.node("Add", [where.input[3 - place], bias], [where.output[0]])
        draft.index()


def _behind(draft: Draft, trace: _Trace) -> list[str]:
    """The values that a candidate's queries, keys and values may be read from or projected from."""
    inner = [made[0] for made in (_product(draft, name) for name in trace.sources) if made is not None]
    return [*trace.sources, *inner, *(_origin(draft, name) for name in inner)]


def _shapes(draft: Draft, names: Sequence[str], size: tuple[int, int] = (ROWS, LENGTH)) -> Shapes:
    """The shapes of values where the model's inputs are zeros; large weights are zeros too, and never copied."""
    from onnx import TensorProto

    large = [
        each for each in draft.graph.initializer if each.data_type == TensorProto.FLOAT and np.prod(each.dims) > 4096
    ]
    weights = {each.name: np.zeros(each.dims, np.float32) for each in large}
    computed = [name for name in dict.fromkeys(names) if draft.maker(name) is not None]
    given = run_part(draft, weights, computed, zeros(draft, *size)) if computed else {}
    return {name: array.shape for name, array in (zeros(draft, *size) | given).items()}


def _free(draft: Draft, size: tuple[int, int]) -> tuple[int, int]:
    """The rows and the length that a probe of that size has: the usual ones where the model's inputs do not follow."""
    pairs = [
        (usual.shape, given.shape)
        for usual, given in zip(zeros(draft).values(), zeros(draft, *size).values(), strict=True)
    ]
    rows = size[0] if any(usual[:1] != given[:1] for usual, given in pairs) else ROWS
    return rows, size[1] if any(usual[1:] != given[1:] for usual, given in pairs) else LENGTH


def _recognise(draft: Draft, trace: _Trace, shapes: Shapes) -> Attention | None:
    try:
        lanes = [_lane(draft, trace, place, shapes) for place in range(3)]
        query, key, value = lanes
        if query is None or key is None or value is None:
            return None
        found, again = (
            _prove(draft, trace, (query.at(draft, size), key.at(draft, size), value.at(draft, size)), size)
            for size in ((ROWS, LENGTH), (ROWS + 1, LENGTH - 1))
        )
        return found if found is not None and again is not None and _alike(found, again) else None
    except ModelError:
        return None  # what does not run by itself cannot be shown to be attention


def _trace(draft: Draft, softmax: onnx.NodeProto) -> _Trace | None:
    """What lies around a softmax, if it lies as in attention."""
    scores, bias = _scores(draft, softmax.input[0])
    product = draft.maker(scores)
    weights = _guarded(draft, softmax.output[0])
    weighted = draft.only_taker(weights)
    if product is None or weighted is None or weighted.op_type != "MatMul" or weighted.input[0] != weights:
        return None
    query, key, value = (str(name) for name in (*product.input[:2], weighted.input[1]))
    sources = (_source(draft, query), _source(draft, key), _source(draft, value))
    stand = attribute(product, "transB", 0) == 0
    return _Trace(softmax.input[0], (query, key, value), sources, stand, bias, weighted.output[0])


def _lane(draft: Draft, trace: _Trace, place: int, shapes: Shapes) -> Lane | None:
    """Which rows and columns of its source one of a candidate's factors is; None where it is no such thing."""
    source, factor = trace.sources[place], trace.factors[place]
    shape = shapes.get(source, ())
    if len(shape) not in {2, 3}:
        return None
    others = {name: np.zeros(shapes[name], np.float32) for name in trace.sources if name in shapes}
    rows, columns = _places(draft, source, shape, factor, others)
    if rows.ndim not in {3, 4}:
        return None
    if place == 1 and trace.keys_stand:
        rows, columns = rows.swapaxes(-1, -2), columns.swapaxes(-1, -2)
    length, size = rows.shape[-2:]
    batch = int(np.prod(shape[:-1])) // length
    if batch == 0 or rows.size % (batch * length * size):
        return None
    rows, columns = (each.reshape(batch, -1, length, size) for each in (rows, columns))
    chosen = columns[:1, :, :1]
    for turned in (False, True):
        order = _by_rows(np.arange(batch * length), batch, turned)
        if (rows == order[:, None, :, None]).all() and (columns == chosen).all() and _lies(shape, batch, turned):
            lane = Lane(source, shape, chosen[0, :, 0], turned, batch)
            lane = replace(lane, projection=_projection(draft, lane, shapes))
            return lane if lane.usable else None
    return None


def _places(
    draft: Draft, source: str, shape: tuple[int, ...], end: str, others: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each number of a value that was moved out of another: its row there, all leading axes as one, and its column."""
    one = np.ones(shape, np.float32)
    numbers = [each.reshape(shape).astype(np.float32) + one for each in np.indices((one.size // shape[-1], shape[-1]))]
    if source != end:
        *numbers, one = (run_part(draft, {**others, source: each}, [end])[end] for each in (*numbers, one))
    with np.errstate(all="ignore"):  # a scale of zero leaves no trace: what comes out is no place
        rows, columns = (np.nan_to_num(np.rint(each / one) - 1, nan=-1, posinf=-1).astype(np.int64) for each in numbers)
    return rows, columns


def _by_rows(array: NDArray[Any], rows: int, turned: bool) -> NDArray[Any]:
    """Rows in one axis, as batch and length."""
    if not turned:
        return array.reshape(rows, -1, *array.shape[1:])
    return array.reshape(-1, rows, *array.shape[1:]).swapaxes(0, 1)


def _lies(shape: tuple[int, ...], batch: int, turned: bool) -> bool:
    """Whether a value has its axes in that order, as far as it tells."""
    return len(shape) == 2 or shape[1 if turned else 0] == batch


def _product(draft: Draft, name: str) -> tuple[str, NDArray[Any], NDArray[Any]] | None:
    """The value that another is a projection of, the weights [inner, width] and the bias; None where it is made otherwise."""
    node, bias = draft.maker(name), None
    if node is not None and node.op_type == "Add":
        bias = next((each for each in (_constant(draft, name) for name in node.input) if each is not None), None)
        node = draft.maker(next((each for each in node.input if _constant(draft, each) is None), ""))
        if bias is None or node is None or node.op_type != "MatMul":
            return None
    if node is None or node.op_type not in {"MatMul", "Gemm"}:
        return None
    weights = _constant(draft, node.input[1])
    if node.op_type == "Gemm":
        if attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
            return None
        weights = weights.T if weights is not None and attribute(node, "transB", 0) else weights
        bias = _constant(draft, node.input[2]) if len(node.input) > 2 else None
        if bias is None and len(node.input) > 2:
            return None
    if weights is None or weights.ndim != 2:
        return None
    bias = np.zeros(weights.shape[1], weights.dtype) if bias is None else bias
    return (node.input[0], weights, bias) if bias.shape == weights.shape[1:] else None


def _constant(draft: Draft, name: str) -> NDArray[Any] | None:
    """An array that the file holds, or that is cut and turned out of one that it holds."""
    node = draft.maker(name)
    if draft.constant(name) is not None or node is None:
        return draft.constant(name)
    cut = node.op_type in {*LAYOUT, *CHOICE} and _is_known(draft, name, shapes=False)
    return run_part(draft, {}, [name])[name] if cut else None


def _projection(draft: Draft, lane: Lane, shapes: Shapes) -> Projection | None:
    """What a lane is a projection of, as far back as its rows were only turned."""
    made = _product(draft, lane.value)
    if made is None:
        return None
    inner, weights, bias = made
    for source in dict.fromkeys((_origin(draft, inner), inner)):
        shape = shapes.get(source, ())
        if len(shape) != 3 or shape[-1] != weights.shape[0]:
            continue
        rows, columns = (each.reshape(-1, weights.shape[0]) for each in _places(draft, source, shape, inner, {}))
        for turned in (False, True):
            order = np.empty(len(rows), np.int64)
            order[_by_rows(np.arange(len(rows)), lane.batch, lane.turned)] = _by_rows(
                np.arange(len(rows)), lane.batch, turned
            )
            moved = (rows == order[:, None]).all() and (columns == np.arange(weights.shape[0])).all()
            if moved and _lies(shape, lane.batch, turned):
                chosen = lane.columns.reshape(-1)
                return Projection(source, turned, weights[:, chosen], bias[chosen])
    return None


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
    """The first input of a node that hangs on numbers that the model is given."""
    return str(next((name for name in node.input if not _is_known(draft, name)), node.input[0]))


def _is_known(draft: Draft, name: str, *, shapes: bool = True) -> bool:
    """Whether a value is made of constants, and maybe shapes, alone."""
    stack, seen = [name], set()
    while stack:
        name = stack.pop()
        node = draft.maker(name)
        shape = shapes and node is not None and node.op_type == "Shape"
        if name in seen or draft.constant(name) is not None or shape:
            continue
        if node is None:
            return False
        seen.add(name)
        stack += inputs_of(node)
    return True


def _source(draft: Draft, name: str) -> str:
    """Where a value comes from, before it was cut out of another, moved about and scaled."""
    node = draft.maker(name)
    while node is not None and (node.op_type in LAYOUT or _scales(draft, node) or _chooses(draft, node)):
        name = _moving(draft, node)
        node = draft.maker(name)
    return name


def _origin(draft: Draft, name: str) -> str:
    """Where a value comes from, before it was moved about."""
    node = draft.maker(name)
    while node is not None and node.op_type in LAYOUT:
        name = node.input[0]
        node = draft.maker(name)
    return name


def _chooses(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether a node takes some of a computed value, and not of a table."""
    return node.op_type in CHOICE and draft.constant(node.input[0]) is None


def _scales(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether a node multiplies by one number, or by what is made of shapes: that this is one number shows in the proof."""
    known = [draft.constant(name) for name in node.input if _is_known(draft, name)]
    return node.op_type in {"Mul", "Div"} and any(each is None or each.size == 1 for each in known)


def _guarded(draft: Draft, name: str) -> str:
    """The attention weights after a guard that turns NaN into zero, and after what only passes them on.

    The guard acts where a row's scores are all −∞. The operators answer NaN there, so that a guarded candidate whose bias
    can be −∞ fails its proof; where the bias is finite the guard may be dropped.
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


def _alike(one: Attention, other: Attention) -> bool:
    """Whether an attention is the same at two sizes: a scale may hang on the length."""
    same = [(each.output, each.heads, each.turned, each.flat) for each in (one, other)]
    return same[0] == same[1] and abs(one.scale - other.scale) <= TOLERANCE * abs(one.scale)


def _prove(draft: Draft, trace: _Trace, lanes: tuple[Lane, Lane, Lane], size: tuple[int, int]) -> Attention | None:
    """Run a candidate on random numbers and compare it with attention worked out by hand."""
    rng = np.random.default_rng(0)
    numbers = {lane.value: rng.normal(size=lane.shape).astype(np.float32) for lane in lanes}
    entries: dict[str, NDArray[Any]] = dict(numbers)
    blank = zeros(draft, *size)
    added = _bias(draft, trace.bias, entries, blank, rng)
    biases = [{trace.bias: each} if trace.bias else {} for each in (np.zeros_like(added), added)]
    scores = run_part(draft, entries | biases[0], [trace.scores], blank)
    ends = list(_outputs(draft, trace.weighted))
    given = run_part(draft, entries | biases[1], ends, blank)
    heads = len(lanes[0].columns)
    if any((len(lane.columns), lane.batch) != (heads, lanes[0].batch) for lane in lanes):
        return None
    query, key, value = (lane.heads_of(numbers[lane.value]) for lane in lanes)
    if query.shape[-1] != key.shape[-1] or key.shape[2] != value.shape[2]:
        return None
    products = query @ key.swapaxes(-1, -2)
    found = scores[trace.scores].reshape(products.shape) if scores[trace.scores].size == products.size else products * 0
    scale = float((products * found).sum() / (products**2).sum())
    if not _near(scale * products, found) or (trace.bias and scores[trace.scores].ndim != 4):
        return None
    expected = _merge(_softmax(scale * products + added) @ value)
    for end in ends:
        for turned in (False, True):
            wide = expected.swapaxes(0, 1) if turned else expected
            for flat in (False, True):
                if _near(wide.reshape(-1, wide.shape[-1]) if flat else wide, given[end]):
                    shape = added.shape if trace.bias else ()
                    return Attention(*lanes, trace.bias, end, heads, scale, shape, turned, flat)
    return None


def _bias(
    draft: Draft,
    name: str,
    entries: Mapping[str, NDArray[Any]],
    blank: Mapping[str, NDArray[Any]],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Random numbers in the shape that the bias has where the inputs are like the blank ones; −∞ among them where the bias can be that.

    Where it can, the first query of the first row sees nothing.
    """
    if not name:
        return np.zeros(1, np.float32)
    wild = {key: np.full_like(array, -np.inf if array.dtype.kind == "f" else 1) for key, array in blank.items()}
    drawn = [{key: np.full_like(array, number) for key, array in blank.items()} for number in (0, 1)]
    real = [run_part(draft, entries, [name], inputs)[name] for inputs in (*drawn, wild)]
    added = rng.normal(size=real[0].shape).astype(np.float32)
    if not all(np.isfinite(each).all() for each in real):
        added[rng.random(added.shape) < 0.4] = -np.inf
        added[(0,) * (added.ndim - 1)] = -np.inf
    return added


def _merge(array: NDArray[Any]) -> NDArray[Any]:
    rows, heads, length, width = array.shape
    return array.transpose(0, 2, 1, 3).reshape(rows, length, heads * width)


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):  # a row that sees nothing is NaN, as in the runtime
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _near(expected: NDArray[Any], given: NDArray[Any]) -> bool:
    """Whether shapes are equal and numbers near; NaN is as good as NaN."""
    if expected.shape != given.shape or not np.array_equal(np.isnan(expected), np.isnan(given)):
        return False
    far, largest = (np.nan_to_num(np.abs(each)).max() for each in (expected - given, expected))
    return bool(far <= TOLERANCE * largest)


SIZES = ((2, 5), (3, 4), (1, 7), (1, 1100))
"""Rows and lengths at which a bias is compared with a mask; one so long that a window of usual width does not hold it all."""


@dataclass(frozen=True)
class Mask:
    """Which keys a bias hides, where that is all it does.

    Args:
        lowest: what is added to the score of a hidden key; nothing is added to the others.
        padding: the input [batch, length] that says which keys are padding; empty where each query sees the keys up to its
            own place instead.
        hides: whether the input says of a key that it is hidden, and not that it is seen.
    """

    lowest: float
    padding: str = ""
    hides: bool = False


def mask_of(draft: Draft, attention: Attention) -> Mask | None:
    """What an attention's bias hides, where it is a padding mask or a causal one, and nothing else.

    The bias is run on inputs drawn at random; it must be zero for what is seen, and one and the same number, −10,000 or
    less (`HIDDEN` or less for a causal mask, because `MultiHeadAttention` has a number of its own for it), for what is
    hidden, for every head. Many graphs compute (1 − mask) · lowest, which is a mask for ones and zeros
    only; that is enough for an input that is not used to look things up, as tokens are.

    Returns:
        The mask; None where the bias says something else, and where there is none.
    """
    if not attention.bias:
        return None
    lowest = _lowest(draft, attention, "", False, 1) if _of_one(attention.query, attention.key) else None
    if lowest is not None:
        return Mask(lowest)
    for tensor in draft.parent.signature.inputs:
        if len(tensor.shape) != 2 or tensor.dtype not in {"int64", "int32", "bool", "float32"}:
            continue
        for largest in (3,) if _looks_up(draft, tensor.name) else (3, 1):
            for hides in (False, True):
                lowest = _lowest(draft, attention, tensor.name, hides, largest)
                if lowest is not None:
                    return Mask(lowest, tensor.name, hides)
    return None


def _of_one(query: Lane, key: Lane) -> bool:
    """Whether queries and keys are read from one value, so that there are as many of each at every length."""
    values = {lane.projection.source if lane.projection is not None else lane.value for lane in (query, key)}
    return len(values) == 1


def _looks_up(draft: Draft, name: str) -> bool:
    """Whether a value says which rows of a table are taken."""
    return any(node.op_type == "Gather" and node.input[1] == name for node in draft.takers(name))


def _lowest(draft: Draft, attention: Attention, padding: str, hides: bool, largest: int) -> float | None:
    """What a bias adds to the scores of hidden keys, if at every size it is that mask."""
    found: set[float] = set()
    for size in SIZES:
        try:
            lowest = _hidden(draft, attention, padding, hides, largest, size)
        except ModelError:
            return None
        if lowest is None or len(found | {lowest}) > 1:
            return None
        found.add(lowest)
    return found.pop()


def _hidden(
    draft: Draft, attention: Attention, padding: str, hides: bool, largest: int, size: tuple[int, int]
) -> float | None:
    """What a bias adds at one size, where the mask's values go up to `largest`."""
    rng = np.random.default_rng(size)
    # every other input is drawn too: a bias that hangs on one of them is no such mask
    inputs = {name: rng.integers(0, 2, array.shape).astype(array.dtype) for name, array in zeros(draft, *size).items()}
    if padding:
        shape = inputs[padding].shape
        drawn = rng.integers(1, largest + 1, shape) * (rng.random(shape) < 0.6)
        # of three rows the last is all zeros, the others are mixed
        drawn[:2, 0], drawn[0, -1], drawn[2:] = largest, 0, 0
        inputs[padding] = drawn.astype(inputs[padding].dtype)
    given = run_part(
        draft,
        {lane.value: np.zeros(lane.at(draft, size).shape, np.float32) for lane in attention.lanes},
        [attention.bias],
        inputs,
    )[attention.bias]
    if given.ndim < 2 or (padding and given.ndim != 4):
        return None
    seen = (drawn == 0 if hides else drawn != 0)[:, None, None, :] if padding else np.tri(*given.shape[-2:]) > 0
    lowest = float(given.min())
    if lowest > (-1e4 if padding else HIDDEN) or not np.array_equal(
        given, np.broadcast_to(np.where(seen, 0.0, lowest), given.shape)
    ):
        return None
    return lowest
