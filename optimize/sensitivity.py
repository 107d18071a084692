"""Which layers are hurt most by integers, and the cheapest few of them that, in floats again, restore the quality."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.graph import count_graph

from .calibrator import Tap, fed
from .int8 import HEAVY, quantizing
from .nncf_int8 import NncfInt8, quantize_by_nncf
from .quantized import check_quantized
from .static_int8 import StaticInt8, quantize_statically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Feeds = Mapping[str, NDArray[Any]]
    Write = Callable[[Path, tuple[str, ...]], None]

ROWS = 32
"""Rows on which damage is told; of more, the first are taken."""

BATCH = 8
"""Rows run at once: the results of all heavy layers are held for so many."""

BORDER = 0.01
"""What it costs to leave integers for one layer and come back, as a share of the work of all."""

TRIED = 8
"""How many of the noisiest layers are tried in floats, one at a time."""


@dataclass(frozen=True)
class MixedInt8:
    """How a model is quantized, but for the layers that integers hurt.

    Args:
        of: the way to int8.
        most: the largest share of the work, in operations, that may be floats again.
    """

    of: StaticInt8 | NncfInt8 = field(default_factory=StaticInt8)
    most: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return {**self.of.to_dict(), "by": type(self.of).__name__, "most": self.most}


@dataclass(frozen=True)
class Damage:
    """What integers do to one layer.

    Args:
        node: its name in the prepared graph.
        kind: such as `MatMul`.
        noise: the noise it adds: the power of its result's error over that of its result, less the same of what it takes.
        share: its share of the work of all layers, in operations.
        gain: by how much the error of the model's answers shrinks when it alone is floats again, as a share of that error; its share
            of all noise where that was not tried.
    """

    node: str
    kind: str
    noise: float
    share: float
    gain: float

    @property
    def worth(self) -> float:
        """What is gained for the work that floats cost."""
        return self.gain / (self.share + BORDER)


def mixed_int8(
    parent: Variant,
    path: Path,
    settings: MixedInt8,
    rows: Feeds,
    accept: Callable[[Path], bool],
) -> tuple[str, ...]:
    """Quantize a model, and turn as little of it back into floats as makes it acceptable.

    Layers are ranked by damage for the work they cost; the shortest acceptable head of that list is found by doubling and
    halving, and what it does not need is taken out of it again, the costliest first. `accept` is asked about twice the logarithm
    of the number of layers, and once for each that is left.

    Args:
        parent: what is quantized.
        path: where the file goes.
        settings: how.
        rows: real rows to learn from, by input name.
        accept: whether a file is good enough. Not asked on held-out rows: choosing by them would be marking one's own homework.

    Returns:
        The names of the layers that are floats.

    Raises:
        ModelError: no part of the model that may be floats makes it acceptable.
    """
    write = quantizer(parent, settings, rows)
    ranked = rank_layers(parent, write, rows)
    heads = _heads(ranked, settings.most)

    def good(names: Iterable[str]) -> bool:
        write(path, tuple(sorted(names)))
        return accept(path)

    size = _shortest(lambda count: good(heads[:count]), len(heads))
    if size is None:
        raise ModelError(
            f"is not restored by floats in {len(heads)} of its {len(ranked)} heavy layers",
            file=parent.path,
            fix="quantize its weights alone, or leave it as it is",
        )
    kept = _pruned([each for each in ranked if each.node in heads[:size]], good)
    write(path, kept)
    check_quantized(path, parent)
    return kept


def quantizer(parent: Variant, settings: MixedInt8, rows: Feeds) -> Write:
    """What writes the model as int8 but for some nodes: all that is learnt from the rows is learnt once."""
    if isinstance(settings.of, NncfInt8):
        return quantize_by_nncf(parent, settings.of, rows)
    return quantize_statically(parent, settings.of, rows)


def _heads(ranked: Sequence[Damage], most: float) -> list[str]:
    """The layers, the worthiest first, that together stay within a share of the work; one too large is passed over."""
    chosen, spent = [], 0.0
    for each in ranked:
        if spent + each.share <= most:
            chosen.append(each.node)
            spent += each.share
    return chosen


def _shortest(good: Callable[[int], bool], longest: int) -> int | None:
    """The smallest count that is good, if good counts stay good; None where not even the largest is.

    Example:
        >>> asked = []
        >>> _shortest(lambda count: asked.append(count) or count >= 5, 40), asked
        (5, [0, 1, 2, 4, 8, 6, 5])
    """
    low, high = -1, 0
    while not good(high):
        if high == longest:
            return None
        low, high = high, min(longest, max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def _pruned(head: Sequence[Damage], good: Callable[[Iterable[str]], bool]) -> tuple[str, ...]:
    """Take out what is not needed, the costliest first; a single layer is needed, for none was not enough."""
    kept = {each.node for each in head}
    for each in sorted(head, key=lambda one: -one.share):
        if len(kept) > 1 and good(kept - {each.node}):
            kept.remove(each.node)
    return tuple(sorted(kept))


def rank_layers(parent: Variant, write: Write, rows: Feeds) -> tuple[Damage, ...]:
    """The heavy layers of a model, those first of which the most damage is undone for the least work.

    One pass over both models tells how much noise each layer adds to what it takes. It is cheap, and knows nothing of what the layers
    behind it make of the noise: so the noisiest are tried in floats, one at a time.

    Args:
        parent: in floats.
        write: writes it as int8, but for the nodes it is told; see `quantizer`.
        rows: by input name; the first few are used.
    """
    import onnx

    few = {name: array[:ROWS] for name, array in rows.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        write(path, ())
        with quantizing(parent) as prepared:
            floats = onnx.load(str(prepared))
            found = _noise(floats, onnx.load(str(path)), few)
            answers = [value.name for value in floats.graph.output]

            right = list(_run(floats, answers, few))

            def error(exclude: tuple[str, ...]) -> float:
                write(path, exclude)
                return sum(_errors(right, _run(onnx.load(str(path)), answers, few)).values())

            return tuple(sorted(_tried(found, error), key=lambda each: each.worth, reverse=True))


def _tried(found: Sequence[Damage], error: Callable[[tuple[str, ...]], float]) -> list[Damage]:
    """The same layers, the noisiest few with what they gain when they are floats again."""
    ranked, whole = sorted(found, key=lambda each: each.noise, reverse=True), error(())
    if not whole:
        return ranked
    return [
        *(replace(each, gain=1.0 - error((each.node,)) / whole) for each in ranked[:TRIED]),
        *ranked[TRIED:],
    ]


def _noise(floats: onnx.ModelProto, integers: onnx.ModelProto, rows: Feeds) -> list[Damage]:
    """The noise that each heavy layer adds, told by the tensors around it, which have the same names in both models."""
    there = {name for node in integers.graph.node for name in node.output} | {
        each.name for each in integers.graph.input
    }
    layers = [(node, _result(node, floats, there)) for node in floats.graph.node if node.op_type in HEAVY and node.name]
    around = sorted({name for node, result in layers for name in (node.input[0], result) if name in there})
    noise = _errors(_run(floats, around, rows), _run(integers, around, rows))
    added = [max(0.0, noise.get(result, 0.0) - noise.get(node.input[0], 0.0)) for node, result in layers]
    flops = _flops(floats, rows)
    work, all_noise = max(1, sum(flops.get(node.name, 0) for node, _ in layers)), max(sum(added), 1e-30)
    return [
        Damage(node.name, node.op_type, each, flops.get(node.name, 0) / work, each / all_noise)
        for (node, _), each in zip(layers, added, strict=True)
    ]


def _result(node: onnx.NodeProto, model: onnx.ModelProto, there: set[str]) -> str:
    """The tensor that holds a layer's result in both models: quantizers drop a `Relu` or `Clip` and keep its name."""
    if node.output[0] in there:
        return str(node.output[0])
    following = (each for each in model.graph.node if node.output[0] in each.input and each.op_type in {"Relu", "Clip"})
    return next((str(each.output[0]) for each in following), str(node.output[0]))


def _run(model: onnx.ModelProto, tensors: Sequence[str], rows: Feeds) -> Iterator[dict[str, NDArray[Any]]]:
    """The tensors of a model on the rows, a few rows at a time."""
    with tempfile.TemporaryDirectory() as folder:
        tap = Tap(model, tensors, Path(folder))
    for batch in fed(model, rows, BATCH):
        yield tap(batch)


def _errors(right: Iterable[dict[str, NDArray[Any]]], wrong: Iterable[dict[str, NDArray[Any]]]) -> dict[str, float]:
    """The power of each tensor's error over that of the tensor itself, over all rows."""
    told: dict[str, NDArray[np.float64]] = {}
    for expected, found in zip(right, wrong, strict=True):
        for name, values in expected.items():
            told[name] = told.get(name, np.zeros(2)) + powers(values, found[name])
    return {name: float(error / max(power, 1e-30)) for name, (error, power) in told.items()}


def powers(right: NDArray[Any], wrong: NDArray[Any]) -> tuple[float, float]:
    """The power of an error and of what is right, where a dropped `Relu` or `Clip` has been put back.

    Example:
        >>> powers(np.array([0.0, 3.0, 4.0]), np.array([-9.0, 3.0, 3.0]))
        (1.0, 25.0)
    """
    expected = np.asarray(right, dtype=np.float64)
    found = np.clip(np.asarray(wrong, dtype=np.float64), expected.min(initial=0.0), expected.max(initial=0.0))
    return float(np.sum((found - expected) ** 2)), float(np.sum(expected**2))


def _flops(model: onnx.ModelProto, rows: Feeds) -> dict[str, int]:
    """The operations of each node on one batch of the rows, by name, as far as they can be counted."""
    batch = next(iter(fed(model, rows, 1)))
    inner = [name for node in model.graph.node for name in node.output if name]
    with tempfile.TemporaryDirectory() as folder:
        seen = Tap(model, inner, Path(folder))(batch)
    shapes = {name: values.shape for name, values in {**seen, **batch}.items()}
    return {each.name: each.flops for each in count_graph(model, shapes).operators}
