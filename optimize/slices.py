"""Where a child loses most: the same comparison within parts of the rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    from .metric import Metric
    from .pair import Pair

    Array = NDArray[Any]
    Rows = NDArray[np.bool_]

LEAST_ROWS = 100
"""Smaller slices are not looked at."""

MOST_VALUES = 10
"""How many values of a column of words are looked at, the most frequent first; a column of numbers with more is cut at its
quartiles."""

RESAMPLES = 500
"""How often rows of a slice are drawn anew, where the metric's interval is bootstrapped."""


@dataclass(frozen=True)
class SliceDrop:
    """How much a child has lost in one slice.

    Args:
        column: by which the rows were cut.
        value: which part it is: a value, or a range.
        rows: how many.
        drop: how much worse than the parent there; the intervals of all slices hold together.
    """

    column: str
    value: str
    rows: int
    drop: Interval

    @property
    def name(self) -> str:
        """The slice in words."""
        return f"{self.column} {self.value}"

    def to_dict(self) -> dict[str, Any]:
        """The slice as JSON values."""
        return {"column": self.column, "value": self.value, "rows": self.rows, **self.drop.to_dict("drop")}


def cut_rows(values: Array) -> Iterator[tuple[str, Rows]]:
    """Cut the rows by a column: each frequent value of words or of few numbers, each quarter of many numbers.

    Example:
        >>> [(name, int(rows.sum())) for name, rows in cut_rows(np.repeat(["JFK", "LGA"], [3, 5]))]
        [('= LGA', 5), ('= JFK', 3)]
        >>> [(name, int(rows.sum())) for name, rows in cut_rows(np.arange(100.0))]
        [('up to 24.8', 25), ('24.8 to 49.5', 25), ('49.5 to 74.3', 25), ('above 74.3', 25)]
    """
    missing = _missing(values)
    if missing.any():
        yield "missing", missing
    known = values[~missing]
    if known.dtype.kind in "iuf" and len(np.unique(known)) > MOST_VALUES:
        yield from _quarters(values, missing)
        return
    texts = np.asarray(values).astype(str)
    names, counts = np.unique(texts[~missing], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
        yield f"= {name}", (texts == name) & ~missing


def _missing(values: Array) -> Rows:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([each is None or each != each for each in values], dtype=np.bool_)  # noqa: PLR0124  NaN is not itself
    return np.zeros(len(values), dtype=np.bool_)


def _quarters(values: Array, missing: Rows) -> Iterator[tuple[str, Rows]]:
    edges = np.unique(np.quantile(values[~missing], (0.25, 0.5, 0.75)))
    part = np.searchsorted(edges, values, side="left")
    texts = [format_figure(float(edge)) for edge in edges]
    names = [
        f"up to {texts[0]}",
        *(f"{a} to {b}" for a, b in itertools.pairwise(texts)),
        f"above {texts[-1]}",
    ]
    for number, name in enumerate(names):
        yield name, (part == number) & ~missing


def drop_by_slice(metric: Metric, pair: Pair, slices: Mapping[str, Array], confidence: float) -> tuple[SliceDrop, ...]:
    """Compare child and parent in every slice of at least `LEAST_ROWS` rows, the worst first.

    Args:
        metric: the measure of quality.
        pair: the answers to all rows.
        slices: columns to cut by, `[rows]` each; numbers, words, or objects with None where a value is missing.
        confidence: of all intervals together (Bonferroni).
    """
    parts = [
        (column, name, rows)
        for column, values in slices.items()
        for name, rows in cut_rows(np.asarray(values))
        if rows.sum() >= LEAST_ROWS
    ]
    each = 1.0 - (1.0 - confidence) / max(1, len(parts))
    lighter = replace(pair, resamples=RESAMPLES)
    found = [_compare(metric, lighter.take(rows), column, name, each) for column, name, rows in parts if metric.sliced]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.drop.value))


def _compare(metric: Metric, pair: Pair, column: str, name: str, confidence: float) -> SliceDrop | None:
    """The drop in one slice, or None where the metric says nothing of its rows."""
    if pair.rows < metric.fewest_rows or not metric.defined(pair.label):
        return None
    drop = metric.estimate(pair, confidence).drop
    return SliceDrop(column, name, pair.rows, drop) if math.isfinite(drop.value) else None
