"""Differences added up by slice and day, compiled: a pair of columns of a million rows takes some milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Codes = NDArray[np.int16]

_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


@njit(**_COMPILED)  # type: ignore[untyped-decorator]  # numba ships no types
def add_up(
    first: Codes, second: Codes, width: int, day: NDArray[np.int32], difference: Floats, weight: Floats,
    counts: Ints, weights: Floats, sums: Floats,
) -> None:  # fmt: skip
    """Add each row to its day and to its cell of two columns.

    Rows are best in order of time: what is written to then stays near.

    Args:
        first: the slice of each row by one column, int16 [n].
        second: by the other, int16 [n].
        width: how many slices the other has.
        day: the day of each row, int32 [n]; below zero: not counted.
        difference: of each row, float64 [n].
        weight: for how many requests each row counts, float64 [n].
        counts: rows, int64 [days, cells], added to.
        weights: of these rows, float64 [days, cells], added to.
        sums: of their differences times their weights, float64 [days, cells], added to.
    """
    for row in range(len(day)):
        if day[row] >= 0:
            cell = first[row] * width + second[row]
            counts[day[row], cell] += 1
            weights[day[row], cell] += weight[row]
            sums[day[row], cell] += weight[row] * difference[row]
