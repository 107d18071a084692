"""Which ids stand more than once, in a recording of any length: where ids rise, none; else eight bytes a request are set down for it.

They lie in memory while they are few, else on disk, whence they are compared a part at a time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

SEED = 2
PARTS = 64
"""Hashes are compared in so many parts, one after another, so that no second copy of all of them is made."""

MOST_HASHES = 2**24
"""So many are held in memory, 128 MB; more go to disk."""


def ids_of(column: pl.Series, kind: pl.DataType | type[pl.DataType], file: str, before: int = 0) -> pl.Series:
    """Ids in the kind that the recording has: whole numbers, or text.

    Args:
        column: as they were read.
        kind: what ids are compared as.
        file: named in messages.
        before: how many rows of the file stand before these.

    Raises:
        DataError: a row without an id, or text where the others are numbers.
    """
    if column.null_count():
        raise DataError(
            f"has no id in row {before + int(column.is_null().arg_max() or 0)}", file=file, field=column.name,
            fix="drop or mend the rows without one, or name no id",
        )  # fmt: skip
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
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        files = [(Path(folder) / str(part)).open("wb") for part in range(PARTS)]
        try:
            held = _laid_down(pieces, files)
        finally:
            for file in files:
                file.close()
        return np.concatenate([_twice(Path(folder) / str(part), held[part]) for part in range(PARTS)])


def _laid_down(pieces: Iterable[Hashes], files: Sequence[BinaryIO]) -> list[list[Hashes]]:
    """Part them; what is not put into files is given back."""
    parts: list[list[Hashes]] = [[] for _ in range(PARTS)]
    bounds = np.array([(2**64 // PARTS) * part for part in range(1, PARTS)], dtype=np.uint64)
    held = 0
    for piece in pieces:
        ordered = np.sort(piece)
        for part, values in zip(parts, np.split(ordered, np.searchsorted(ordered, bounds)), strict=True):
            part.append(values)
        held += len(piece)
        if held > MOST_HASHES:
            for part, file in zip(parts, files, strict=True):
                file.write(np.concatenate(part).tobytes())
                part.clear()
            held = 0
    return parts


def _twice(file: Path, held: list[Hashes]) -> Hashes:
    values = np.sort(np.concatenate([np.fromfile(file, dtype=np.uint64), *held]))
    return np.unique(values[1:][values[1:] == values[:-1]])


class Rising:
    """Whether every id is greater than the one before it, so that none can stand twice.

    Example:
        >>> rising = Rising()
        >>> [rising.holds for ids in ([1, 4], [5, 9], [9]) if rising.add(pl.Series(ids)) is None]
        [True, True, False]
    """

    def __init__(self) -> None:
        self.holds = True
        self._last: pl.Series | None = None

    def add(self, ids: pl.Series) -> None:
        """See some more; none after it has been seen not to be so."""
        if not self.holds or ids.is_empty():
            return
        # most ids that do not rise show it at once
        within = all((part.slice(1) > part.slice(0, len(part) - 1)).all() for part in (ids.head(100), ids))
        self.holds = within and (self._last is None or bool((ids.head(1) > self._last).all()))
        self._last = ids.tail(1)


def among(values: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each value is one of the known, which are sorted."""
    if not len(known):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == values
    return found
