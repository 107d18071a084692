"""Exact sums, read: from limbs (see `kernel.add`) to the float64 nearest to what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

from .kernel import LIMBS, LOWEST, sum_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def carried(sums: Ints) -> Ints:
    """The same sums with every limb but the highest within 0 to 2³² − 1: equal sums are then equal limbs.

    Args:
        sums: int64 [..., LIMBS]; no limb beyond 2⁶² either way.

    Example:
        >>> carried(np.array([-1] + [0] * (LIMBS - 1))).tolist()[:3], int(carried(np.array([-1] + [0] * (LIMBS - 1)))[-1])
        ([4294967295, 4294967295, 4294967295], -1)
    """
    told = sums.copy()
    for limb in range(LIMBS - 1):
        told[..., limb + 1] += told[..., limb] >> 32
        told[..., limb] &= 0xFFFFFFFF
    return told


def running(sums: Ints, axis: int) -> Ints:
    """The sums so far along an axis, carried, so that none runs over on the way."""
    return carried(np.cumsum(carried(sums), axis=axis))


def means(sums: Ints, counts: Ints) -> Floats:
    """Sums over counts or over other sums, each the float64 nearest to the true quotient; NaN where that is nothing.

    Args:
        sums: int64 [n, LIMBS].
        counts: int64 [n], or sums of weights, int64 [n, LIMBS].

    Example:
        >>> from windtunnel.backtest.kernel import add
        >>> tenths = np.zeros((1, LIMBS), np.int64)
        >>> for _ in range(10):
        ...     add(tenths[0], 0.1, 1)
        >>> float(means(tenths, np.array([10]))[0]), sum([0.1] * 10) / 10
        (0.1, 0.09999999999999999)
    """
    whole = counts.astype(object) << -LOWEST if counts.ndim == 1 else _numbers(counts)
    told, some = np.full(len(counts), np.nan), whole > 0
    told[some] = (_numbers(sums[some]) / whole[some]).astype(np.float64)
    return told


def binned(cell: Ints, values: Floats, cells: int) -> Ints:
    """The sum of the values in each cell, int64 [cells, LIMBS], whatever their order.

    Args:
        cell: of each value, int64 [n]; −1 for none.
        values: float64 [n].
        cells: how many there are.

    Raises:
        DataError: a value that is no number or beyond 10⁴⁴.

    Example:
        >>> nearest(binned(np.array([0, 1, 0, -1]), np.array([1e30, 0.5, -1e30, 7.0]), 2)).tolist()
        [0.0, 0.5]
    """
    told = np.zeros((cells, LIMBS), np.int64)
    try:
        sum_into(told.ravel(), cell, values, 1)
    except OverflowError as error:
        raise DataError(
            "has a loss, or its square, that is no number or beyond 10⁴⁴ in some row",
            fix="look for predictions and labels that are far off",
        ) from error
    return carried(told)


def nearest(sums: Ints) -> Floats:
    """Sums as the float64 nearest to each, float64 [...].

    Args:
        sums: int64 [..., LIMBS].
    """
    flat = sums.reshape(-1, LIMBS)
    told, some = np.zeros(len(flat)), flat.any(axis=1)
    told[some] = (_numbers(flat[some]) / (1 << -LOWEST)).astype(np.float64)
    return told.reshape(sums.shape[:-1])


def _numbers(sums: Ints) -> NDArray[Any]:
    """Sums as whole numbers of 2⁻¹⁹², Python's, which are as long as they need be."""
    limbs = carried(sums)
    told = limbs[..., LIMBS - 1].astype(object)
    for limb in reversed(range(LIMBS - 1)):
        told = (told << 32) + limbs[..., limb]
    return told
