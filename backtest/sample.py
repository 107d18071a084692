"""A Sample of requests, drawn by nothing but their ids, that is thinned while it grows, so that it fits into memory however many come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .reading.ingest import taken
from .reading.repeats import hashes_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SAMPLED = 1_000_000
"""At most so many rows are held of a recording that is not held whole; at least half of that."""


class Sample:
    """Requests whole, with all versions of their labels: a request is in it or not by the hash of its id, whatever else is true of it.

    Args:
        most: how many rows are held at most.

    Example:
        >>> sample = Sample(most=100)
        >>> for start in range(0, 1000, 250):
        ...     sample.add(pl.DataFrame({"id": range(start, start + 250)}))
        >>> 50 <= len(sample.rows) <= 100, sample.thin, sample.share
        (True, 16, 0.0625)
    """

    def __init__(self, most: int = MOST_SAMPLED) -> None:
        self.most, self.thin = most, 1
        self._pieces: list[pl.DataFrame] = []
        self._rows = 0

    @property
    def share(self) -> float:
        """Of all requests, how many are taken."""
        return 1.0 / self.thin

    @property
    def rows(self) -> pl.DataFrame:
        """What was taken, in the order in which it came."""
        return pl.concat(self._pieces, how="diagonal_relaxed") if self._pieces else pl.DataFrame()

    def add(self, rows: pl.DataFrame) -> None:
        """Take of some rows with a column `id` what belongs to the sample."""
        self._keep(rows)
        while self._rows > self.most:
            self.thin *= 2
            pieces, self._pieces, self._rows = self._pieces, [], 0
            for piece in pieces:
                self._keep(piece)

    def _keep(self, rows: pl.DataFrame) -> None:
        kept = rows.filter(pl.Series(self._taken(rows["id"]))) if self.thin > 1 else rows
        if len(kept):
            self._pieces.append(kept)
            self._rows += len(kept)

    def _taken(self, ids: pl.Series) -> NDArray[np.bool_]:
        return taken(hashes_of(ids), self.thin)


def thin_for(rows: int, most: int = MOST_SAMPLED) -> int:
    """One in how many requests is taken of so many rows, a power of two.

    Example:
        >>> thin_for(1000, 1000), thin_for(1001, 1000), thin_for(100_000_000)
        (1, 2, 128)
    """
    thin = 1
    while rows > most * thin:
        thin *= 2
    return thin
