"""Which ids stand more than once, in a recording of any length: eight bytes a request are held for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

SEED = 2
PARTS = 16
"""Hashes are compared in so many parts, one after another, so that no second copy of all of them is made."""


def ids_of(column: pl.Series, kind: pl.DataType | type[pl.DataType], file: str) -> pl.Series:
    """Ids in the kind that the recording has: whole numbers, or text.

    Raises:
        DataError: a row without an id, or text where the others are numbers.
    """
    if column.null_count():
        raise DataError("has rows without an id", file=file, field=column.name, fix="drop or mend them, or name no id")
    try:
        return column.cast(kind)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"has dtype {column.dtype} where the other files have {kind}", file=file, field=column.name, fix="store all alike"
        ) from error  # fmt: skip


def kind_of_ids(dtype: pl.DataType) -> pl.DataType:
    """What ids of a dtype are compared as."""
    return pl.Int64() if dtype.is_integer() and dtype != pl.UInt64 else pl.String()


def hashes_of(ids: pl.Series) -> Hashes:
    """A number an id, uint64 [n]: equal for equal ids; hardly ever so for others."""
    return ids.hash(SEED).to_numpy()


def repeated(pieces: Iterable[Hashes]) -> Hashes:
    """The numbers that occur more than once, sorted.

    Example:
        >>> repeated([np.array([7, 1], np.uint64), np.array([1, 2**63, 3], np.uint64)]).tolist()
        [1]
    """
    parts: list[list[Hashes]] = [[] for _ in range(PARTS)]
    bounds = np.array([(2**64 // PARTS) * part for part in range(1, PARTS)], dtype=np.uint64)
    for piece in pieces:
        ordered = np.sort(piece)
        for part, values in zip(parts, np.split(ordered, np.searchsorted(ordered, bounds)), strict=True):
            part.append(values)
    return np.concatenate([_twice(part) for part in parts])


def _twice(part: list[Hashes]) -> Hashes:
    values = np.sort(np.concatenate([np.empty(0, np.uint64), *part]))
    return np.unique(values[1:][values[1:] == values[:-1]])


def among(values: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each value is one of the known, which are sorted."""
    if not len(known):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == values
    return found
