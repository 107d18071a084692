"""Whether requests stand in the order in which they were asked; a correction, which names an earlier request again, stands where it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .repeats import among, hashes_of

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from .repeats import Hashes


class Order:
    """Counts requests that stand after one that was asked later.

    Args:
        twice: the hashes of ids that stand more than once, sorted.

    Example: the second row of 7 is no request.

        >>> import polars as pl
        >>> ids = pl.Series([7, 8, 7, 9])
        >>> Order(hashes_of(pl.Series([7]))).late(ids, np.array([1, 5, 1, 4]))
        1
    """

    def __init__(self, twice: Hashes) -> None:
        self._twice, self._seen = twice, np.zeros(len(twice), dtype=np.bool_)
        self._latest_us = np.iinfo(np.int64).min

    def late(self, ids: pl.Series, time_us: NDArray[np.int64]) -> int:
        """How many of some more rows are such requests."""
        asked = time_us if not len(self._twice) else time_us[self._first(hashes_of(ids))]
        if not len(asked):
            return 0
        latest = np.maximum.accumulate(np.concatenate([[self._latest_us], asked]))
        self._latest_us = int(latest[-1])
        return int((asked < latest[:-1]).sum())

    def _first(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which rows name an id for the first time."""
        first = ~among(hashes, self._twice)
        again = np.flatnonzero(~first)
        place, row = np.unique(np.searchsorted(self._twice, hashes[again]), return_index=True)
        new = ~self._seen[place]
        first[again[row[new]]] = True
        self._seen[place] = True
        return first
