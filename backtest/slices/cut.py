"""A column cut into slices, by the rows of a reference alone, so that what was asked later moves no edge."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.quantity import format_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BINS = 4
"""Into how many bins of equal share numbers are cut."""

MOST_LEVELS = 20
"""Of a column with more different values the commonest have a slice each; numbers are then cut into bins instead."""

MISSING, OTHER, EMPTY = "missing", "other", "(empty)"


@dataclass(frozen=True)
class Cut:
    """Which slice of a column each row lies in.

    Args:
        column: its name.
        names: of the slices, as in `4 … 9` or `AA`; the last two are what was missing and what the reference did not show.
        codes: the slice of each row, int16 [n].
    """

    column: str
    names: tuple[str, ...]
    codes: NDArray[np.int16]

    @staticmethod
    def of(values: pl.Series, reference: Flags, bins: int = BINS) -> Cut:
        """Cut a column.

        Args:
            values: numbers, texts or flags.
            reference: the rows that the edges, and the values that have a slice of their own, are taken from, bool [n].
            bins: into how many bins numbers are cut.

        Raises:
            DataError: a column of another kind.

        Example:
            >>> cut = Cut.of(pl.Series("x", [*range(100), None, 500]), np.arange(102) < 100, bins=2)
            >>> cut.names, cut.codes[[0, 49, 50, 100, 101]].tolist()
            (('≤ 49.5', '> 49.5', 'missing', 'other'), [0, 0, 1, 2, 1])
            >>> Cut.of(pl.Series("c", ["a", "b", "a", None, "z"]), np.arange(5) < 4).codes.tolist()
            [0, 1, 0, 2, 3]
        """
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            seen = numbers[reference & ~np.isnan(numbers)]
            if len(np.unique(seen)) > MOST_LEVELS:
                return _by_edges(values.name, numbers, seen, bins)
            texts = pl.Series(values.name, numbers).fill_nan(None)
            return _by_levels(values.name, texts, reference, numeric=True)
        if values.dtype not in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
            raise DataError(
                f"is of type {values.dtype}, which cannot be cut into slices", field=values.name,
                fix="give numbers, texts or flags",
            )  # fmt: skip
        return _by_levels(values.name, values.cast(pl.String), reference, numeric=False)


def _by_edges(column: str, numbers: Floats, seen: Floats, bins: int) -> Cut:
    edges = np.unique(np.quantile(seen, np.arange(1, bins) / bins))
    codes = np.searchsorted(edges, numbers).astype(np.int16)  # up to an edge, it included, lies below
    codes[np.isnan(numbers)] = len(edges) + 1
    told = [_figure(edge) for edge in edges]
    between = [f"{low} … {high}" for low, high in itertools.pairwise(told)]
    return Cut(column, (f"≤ {told[0]}", *between, f"> {told[-1]}", MISSING, OTHER), codes)


def _by_levels(column: str, values: pl.Series, reference: Flags, *, numeric: bool) -> Cut:
    seen = values.filter(pl.Series(reference)).drop_nulls().value_counts(name="rows")
    # the commonest, and of equally common ones the first by name
    levels = seen.sort(["rows", column], descending=[True, False])[column].head(MOST_LEVELS).sort()
    place = pl.Series("place", range(len(levels)), dtype=pl.Int16)
    codes = values.replace_strict(levels, place, default=len(levels) + 1, return_dtype=pl.Int16)
    filled = np.where(values.is_null().to_numpy(), len(levels), codes.to_numpy()).astype(np.int16)
    names = [_figure(each) if numeric else each or EMPTY for each in levels]
    return Cut(column, (*names, MISSING, OTHER), filled)


def _figure(value: float) -> str:
    return (
        f"{value:g}"
        if value == int(value) and abs(value) < 1e6
        else ("-" if value < 0 else "") + format_figure(abs(value))
    )
