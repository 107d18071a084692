"""Students for tables: a small network that takes raw columns, with scaling, missing values and look-ups inside its graph."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from windtunnel.errors import ModelError

from .distil import argument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor

    from .teaching_loss import Kind

    Arrays = Mapping[str, NDArray[Any]]

MAX_CATEGORIES = 64
"""A column of whole numbers with more values than that is a measurement, not a name."""

MAX_TEXTS = 4096
"""Of more different texts than that, too many would be new tomorrow."""

FAR = 8.0
"""Numbers further from the mean than so many standard deviations are brought back to there: what was never seen is not extrapolated."""

BINS = 12
"""Pieces into which a number's range is cut where it is encoded piecewise."""

ColumnKind = Literal["number", "category", "text"]


@dataclass(frozen=True)
class Column:
    """One input of a table's model: `width` numbers a row, one category, or a text of `width` bytes."""

    name: str
    kind: ColumnKind
    width: int


def read_columns(signature: Signature, rows: Arrays) -> tuple[Column, ...]:
    """Tell what the inputs of a model are.

    Raises:
        ModelError: one of them is no column of a table, or no number is among the rows.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> inputs = Tensor("km", "float32", ("n",)), Tensor("port", "uint8", ("n", 3)), Tensor("gate", "int64", ("n",))
        >>> rows = {"km": np.ones(9, np.float32), "port": np.ones((9, 3), np.uint8), "gate": np.arange(9)}
        >>> [column.kind for column in read_columns(Signature(inputs, ()), rows)]
        ['number', 'text', 'category']
    """
    return tuple(_read_column(tensor, rows[tensor.name]) for tensor in signature.inputs)


def _read_column(tensor: Tensor, array: NDArray[Any]) -> Column:
    if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and not isinstance(tensor.shape[1], int)):
        raise _no_column(tensor, "is no column of a table")
    width = array.shape[1] if array.ndim == 2 else 1
    kind = np.dtype(tensor.dtype).kind
    if kind in "fb":
        return Column(tensor.name, "number", width)
    if kind not in "iu":
        raise _no_column(tensor, f"holds {tensor.dtype}, which a torch student cannot take")
    if tensor.dtype == "uint8" and width > 1:
        if len(np.unique(array, axis=0)) > MAX_TEXTS:
            raise _no_column(tensor, f"holds more than {MAX_TEXTS} different texts")
        return Column(tensor.name, "text", width)
    few = len(np.unique(array)) <= MAX_CATEGORIES
    if width > 1 and not few:
        raise _no_column(tensor, "looks like tokens of a text")
    return Column(tensor.name, "category" if few and width == 1 else "number", width)


def _no_column(tensor: Tensor, why: str) -> ModelError:
    return ModelError(
        why, field=tensor.name, value=list(tensor.shape), fix="give a student of your own: module.py:student"
    )


class Lookup(nn.Module):
    """A category or text to its embedding, exactly: what was never seen maps to row 0.

    Keys are spread over a table without a collision; the key that was found there is then compared with the one that was
    asked for, so that a stranger is not taken for an acquaintance.

    Args:
        seen: `[rows]` of whole numbers, or `[rows, width]` of bytes.
        size: of the embedding.
    """

    steps: torch.Tensor
    table: torch.Tensor
    keys: torch.Tensor

    def __init__(self, seen: NDArray[Any], size: int) -> None:
        super().__init__()
        width = seen.shape[1] if seen.ndim == 2 else 1
        # odd multipliers of a fixed stream: sums of width × 255 × 2^40 stay far from overflow
        steps = np.random.default_rng(width).integers(1, 1 << 39, width) * 2 + 1 if width > 1 else np.ones(1, np.int64)
        keys = np.unique(seen.reshape(len(seen), width).astype(np.int64) @ steps)
        slots = 2 * len(keys) + 1
        while len(np.unique(keys % slots)) < len(keys):
            # one by one, thousands of keys would be tried on as many sizes as the square of their number
            slots += max(1, slots // 256)
        table = np.zeros(slots, np.int64)
        table[keys % slots] = np.arange(1, len(keys) + 1)
        self.slots = slots
        self.register_buffer("steps", torch.from_numpy(steps.astype(np.int64)))
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("keys", torch.from_numpy(np.concatenate([[0], keys]).astype(np.int64)))
        self.embed = nn.Embedding(len(keys) + 1, size)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[rows]` or `[rows, width]` → `[rows, size]`."""
        whole = values.to(torch.int64)
        key = (whole * self.steps).sum(1) if whole.dim() == 2 else whole
        found = self.table[torch.remainder(key, self.slots)]
        known = torch.where(self.keys[found] == key, found, torch.zeros_like(found))
        return self.embed(known)  # type: ignore[no-any-return]  # a module's call is untyped


class Scaling(nn.Module):
    """Numbers to features: in standard deviations, missing ones told, and cut into pieces where asked.

    Pieces are the share of each bin that a number has passed (Gorishniy et al., On Embeddings for Numerical Features, 2022:
    piecewise linear encoding), with quantiles for edges: a network then learns a tree's steps where the data lies.

    Args:
        seen: `[rows, numbers]`; NaN where missing.
        bins: pieces a number; 0 for none.
    """

    centre: torch.Tensor
    scale: torch.Tensor
    gaps: torch.Tensor
    steepness: torch.Tensor
    starts: torch.Tensor

    def __init__(self, seen: NDArray[np.float32], bins: int = 0) -> None:
        super().__init__()
        missing = np.isnan(seen).any(0)
        wide = np.where(np.isfinite(seen), seen, np.nan).astype(np.float64)
        wide[:, np.isnan(wide).all(0)] = 0.0
        centre, spread = np.nanmean(wide, 0), np.nanstd(wide, 0)
        spread = np.where(spread > 0, spread, 1.0)
        self.fills = bool(missing.any())
        self.register_buffer("centre", torch.from_numpy(centre.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy((1.0 / spread).astype(np.float32)))
        self.register_buffer("gaps", torch.from_numpy(np.flatnonzero(missing)))
        self.bins = bins
        if bins:
            edges = np.nanquantile((wide - centre) / spread, np.linspace(0, 1, bins + 1), axis=0).T
            steepness = 1.0 / np.maximum(np.diff(edges, axis=1), 1e-3)
            self.register_buffer("steepness", torch.from_numpy(steepness.astype(np.float32)))
            self.register_buffer("starts", torch.from_numpy((edges[:, :-1] * steepness).astype(np.float32)))
        self.width = seen.shape[1] * (1 + bins) + int(missing.sum())

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """`[rows, numbers]` → `[rows, width]`."""
        parts = []
        if self.fills:
            parts.append(torch.isnan(numbers.index_select(1, self.gaps)).to(numbers.dtype))
            numbers = torch.where(torch.isnan(numbers), self.centre, numbers)
        scaled = ((numbers - self.centre) * self.scale).clamp(-FAR, FAR)
        parts.append(scaled)
        if self.bins:
            parts.append((scaled.unsqueeze(2) * self.steepness - self.starts).clamp(0.0, 1.0).flatten(1))
        return torch.cat(parts, 1) if len(parts) > 1 else scaled


class Answer(nn.Module):
    """The last layer: hidden values to answers of the teacher's kind, shape and scale."""

    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width: int, kind: Kind, answers: NDArray[Any]) -> None:
        super().__init__()
        self.kind, self.shape = kind, answers.shape[1:]
        columns = answers.reshape(len(answers), -1).astype(np.float64)
        self.last = nn.Linear(width, columns.shape[1])
        spread = columns.std(0)
        self.register_buffer("centre", torch.from_numpy(columns.mean(0).astype(np.float32)))
        self.register_buffer("spread", torch.from_numpy(np.where(spread > 0, spread, 1.0).astype(np.float32)))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[rows, width]` → the teacher's answers."""
        said: torch.Tensor = self.last(hidden)
        if self.kind == "probability":
            said = torch.sigmoid(said)
        elif self.kind == "probabilities":
            return torch.softmax(said.reshape(-1, *self.shape), -1)
        else:
            said = said * self.spread + self.centre
        if self.kind == "embedding":
            return torch.nn.functional.normalize(said.reshape(-1, *self.shape), dim=-1)
        return said.reshape(-1, *self.shape)


class Body(nn.Module):
    """Raw columns in, the teacher's kind of answer out.

    Args:
        columns: of the table.
        rows: that scaling and look-ups are learnt from.
        kind: of the answers.
        answers: the teacher's, on some rows.
        widths: of the hidden layers.
        bins: pieces a number is cut into; 0 for none.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Arrays,
        kind: Kind,
        answers: NDArray[Any],
        widths: Sequence[int],
        bins: int,
    ) -> None:
        super().__init__()
        self.numbers = [column for column in columns if column.kind == "number"]
        self.named = [column for column in columns if column.kind != "number"]
        self.lookups = nn.ModuleList(
            Lookup(rows[each.name].reshape(-1, each.width) if each.width > 1 else rows[each.name].reshape(-1), embedding(rows[each.name]))
            for each in self.named
        )  # fmt: skip
        seen = [rows[each.name].reshape(-1, each.width).astype(np.float32) for each in self.numbers]
        self.scaling = Scaling(np.concatenate(seen, 1), bins) if seen else None
        start = (self.scaling.width if self.scaling is not None else 0) + sum(
            embedding(rows[each.name]) for each in self.named
        )
        sizes = [start, *widths]
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.hidden = nn.Sequential(*layers)
        self.answer = Answer(sizes[-1], kind, answers)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Columns by argument name → answers."""
        parts = [
            lookup(_flat(inputs[argument(each.name)], each))
            for lookup, each in zip(self.lookups, self.named, strict=True)
        ]
        if self.scaling is not None:
            numbers = [inputs[argument(each.name)].to(torch.float32).reshape(-1, each.width) for each in self.numbers]
            parts.append(self.scaling(torch.cat(numbers, 1) if len(numbers) > 1 else numbers[0]))
        return self.answer(self.hidden(torch.cat(parts, 1) if len(parts) > 1 else parts[0]))  # type: ignore[no-any-return]  # a module's call is untyped


def _flat(values: torch.Tensor, column: Column) -> torch.Tensor:
    return values if column.kind == "text" else values.reshape(-1)


def embedding(values: NDArray[Any]) -> int:
    """The size of a category's embedding: the root of how many there are, between 2 and 16."""
    kinds = len(np.unique(values, axis=0))
    return min(16, max(2, math.ceil(math.sqrt(kinds))))


def make_table_student(
    columns: Sequence[Column], rows: Arrays, kind: Kind, answers: NDArray[Any], widths: Sequence[int], bins: int = 0
) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """An untrained student whose arguments are called as the columns are, and example inputs.

    Its first weights are drawn from torch's generator.
    """
    body = Body(columns, rows, kind, answers, widths, bins)
    graph = torch.fx.Graph()
    names = {column.name: argument(column.name) for column in columns}
    inputs: dict[str, Any] = {name: graph.placeholder(name) for name in names.values()}
    graph.output(graph.call_module("body", (), inputs))
    module = torch.fx.GraphModule({"body": body}, graph)
    return module, {names[column.name]: torch.from_numpy(rows[column.name][:3].copy()) for column in columns}


def table_flops(
    columns: Sequence[Column], rows: Arrays, outputs: int, widths: Sequence[int], bins: int = 0
) -> tuple[int, int]:
    """Operations a row, and parameters, of a student with these widths: a multiply-add is two."""
    numbers = sum(column.width for column in columns if column.kind == "number")
    named = sum(embedding(rows[column.name]) for column in columns if column.kind != "number")
    sizes = [numbers * (1 + bins) + named, *widths, outputs]
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    return 2 * weights + 3 * numbers * (1 + bins), weights + sum(sizes[1:])
