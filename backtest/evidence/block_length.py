"""How long a block must be, measured on a stretch of traffic that is not judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_VALUES = 30
"""Fewer values than this show no autocorrelation that could be trusted."""

CAPTURED = 0.9
"""How much of the long-run variance the blocks' own must show: the rest makes an interval 5% too narrow."""


@dataclass(frozen=True)
class BlockLength:
    """How many consecutive values make one block.

    Args:
        length: the length chosen.
        politis_white: what is best for a block bootstrap of the mean, before rounding.
        lag: the last lag at which neighbours are more alike than noise would have them; 0: none.
        captured: the share of the long-run variance of the mean that blocks of that length show by their own.
        values: how many values it was measured on; judge later ones only.
    """

    length: int
    politis_white: float
    lag: int
    captured: float
    values: int

    @staticmethod
    def of(series: Floats, captured: float = CAPTURED) -> BlockLength:
        """Choose the length on a burn-in.

        No shorter than the optimum of Politis & White (*Automatic block-length selection for the dependent bootstrap*,
        Econometric Reviews 23, 2004, for circular blocks, as corrected by Patton, Politis & White, 28, 2009), and as much
        longer as it takes for the variance between blocks to show `captured` of the long-run variance; both read off one
        flat-top estimate of the autocovariances. No longer than min(3√n, n/3), as there: where that cuts it short,
        `captured` says so, and `carry_over` has the rest to do.

        Args:
            series: consecutive values (rows, hours or days), float64 [n], of the burn-in only.
            captured: between 0 and 1.

        Raises:
            DataError: fewer than 30 values, or one that is not finite.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> BlockLength.of(rng.normal(size=1000)).length, BlockLength.of(np.repeat(rng.normal(size=100), 10)).length > 20
            (1, True)
        """
        n = len(series)
        if n < LEAST_VALUES:
            raise DataError(
                f"has {n} values, too few to measure how long they are alike",
                field="burn-in",
                fix=f"give it {LEAST_VALUES} or more, or set the block length yourself",
            )
        if not np.isfinite(series).all():
            raise DataError(
                "is not finite in some places", field="burn-in", fix="leave out blocks in which no row counts"
            )
        covariances = _autocovariances(series)
        if covariances[0] <= 0.0:
            return BlockLength(1, 1.0, 0, 1.0, n)
        lag = _last_lag(covariances / covariances[0], n)
        windowed = _flat_top(len(covariances), lag) * covariances
        best = _politis_white(windowed, n)
        longest = max(1, math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))
        shares = _captured(windowed, longest)
        fit = np.flatnonzero(shares >= captured)
        enough = int(fit[0]) + 1 if len(fit) else longest
        length = min(longest, max(round(best), enough, 1))
        return BlockLength(length, best, lag, float(shares[length - 1]), n)


def merge(sums: Floats, rows: NDArray[Any], length: int) -> tuple[Floats, NDArray[Any]]:
    """Put every `length` consecutive blocks together; what is left over at the end waits.

    Args:
        sums: the sum of the differences in each block, float64 [..., blocks].
        rows: how many rows each has, int64 [blocks], or their weights, float64 [blocks].
        length: as chosen by `BlockLength`.

    Returns:
        The mean difference of each longer block, float64 [..., blocks // length], NaN where it has no rows, and its rows.

    Example:
        >>> means, rows = merge(np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.array([1, 1, 1, 3, 1]), 2)
        >>> means.tolist(), rows.tolist()
        ([1.5, 1.75], [2, 4])
    """
    whole = sums.shape[-1] // length * length
    total = sums[..., :whole].reshape(*sums.shape[:-1], -1, length).sum(axis=-1)
    together = rows[:whole].reshape(-1, length).sum(axis=-1)
    means = np.full(total.shape, np.nan)
    np.divide(total, together, out=means, where=together > 0)
    return means, together


def _autocovariances(series: Floats) -> Floats:
    """At lags 0 to about √n, as many as the lag that is looked for may need."""
    n = len(series)
    # around the first value, so that an offset leaves no rounding behind where nothing varies
    centred = (series - series[0]) - (series - series[0]).mean()
    most = min(n - 1, 2 * (math.ceil(math.sqrt(n)) + _run(n)))
    return np.array([centred[lag:] @ centred[: n - lag] / n for lag in range(most + 1)])


def _run(n: int) -> int:
    """How many lags in a row must be noise for all later ones to be called so."""
    return max(5, math.ceil(math.sqrt(math.log10(n))))


def _last_lag(correlations: Floats, n: int) -> int:
    """The smallest lag that is followed by a run of lags within noise; the furthest allowed where there is none."""
    furthest, run = math.ceil(math.sqrt(n)), _run(n)
    noise = np.abs(correlations[1:]) < 2.0 * math.sqrt(math.log10(n) / n)
    for lag in range(min(furthest, len(noise) - run)):
        if noise[lag : lag + run].all():
            return lag
    return furthest


def _flat_top(lags: int, lag: int) -> Floats:
    """1 up to the lag, falling to 0 at twice it."""
    window: Floats = np.clip(2.0 - np.arange(lags) / max(lag, 0.5), 0.0, 1.0)
    return window


def _politis_white(windowed: Floats, n: int) -> float:
    """(2G² / D)^⅓ n^⅓ with D = 4/3 g²: least mean squared error of the variance of a mean."""
    k = np.arange(len(windowed))
    spectrum = float(windowed[0] + 2.0 * windowed[1:].sum())
    slope = 2.0 * float((k * windowed)[1:].sum())
    return max(1.0, (1.5 * slope**2 / spectrum**2 * n) ** (1.0 / 3.0)) if spectrum > 0.0 else 1.0


def _captured(windowed: Floats, longest: int) -> Floats:
    """For blocks of 1 to `longest`: their length times their variance, of the long-run variance."""
    spectrum = float(windowed[0] + 2.0 * windowed[1:].sum())
    if spectrum <= 0.0:
        return np.ones(longest)
    lengths = np.arange(1, longest + 1)[:, None]
    k = np.arange(1, len(windowed))
    shown: Floats = windowed[0] + 2.0 * (np.clip(1.0 - k / lengths, 0.0, 1.0) * windowed[1:]).sum(axis=1)
    return np.minimum(shown / spectrum, 1.0)
