"""A metric that is a mean over rows, as what each look adds to its sums and takes from them: exact, so that pieces of a recording add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.exact import binned, carried, nearest, running
from windtunnel.backtest.kernel import LIMBS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .clocks import Clocks, Window
    from .judged import Judged
    from .metric import Metric

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Changes:
    """Sums by group and look; the last look stands for whatever comes after the grid.

    Args:
        values: of the metric's rows times their weights, int64 [groups, looks + 1, LIMBS].
        weights: of their weights; empty along the looks where each row weighs the same for ever.
        rows: how many come less how many go, int64 [groups, looks + 1].
    """

    values: Ints
    weights: Ints
    rows: Ints

    @staticmethod
    def of(
        metric: Metric,
        rows: Judged,
        clocks: Clocks,
        grid_us: Ints,
        horizon_us: int,
        window: Window,
        group: Ints | None = None,
        groups: int = 1,
    ) -> Changes:
        """Count some rows.

        Args:
            metric: one that is additive.
            rows: answers and labels, one row for each version of a label.
            clocks: when they were asked and known.
            grid_us: when one looks, int64 [looks], rising.
            horizon_us: how long after its request a label still counts.
            window: which requests count.
            group: of each row, int64 [n] from 0; None: all are of one.
            groups: how many there are.
        """
        assert metric.row is not None
        begin, end = clocks.spans(grid_us, horizon_us, window)
        counts = np.flatnonzero(begin < end)
        begin, end, taken = begin[counts], end[counts], rows.take(counts)
        room = len(grid_us) + 1
        offset = np.zeros(len(counts), np.int64) if group is None else group[counts] * room
        come, go = offset + begin, offset + end

        def summed(each: Floats) -> Ints:
            faded = (each * faded_at(look, clocks.time_us[counts], grid_us, window) for look in (begin, end))
            came, gone = (binned(cell, value, groups * room) for cell, value in zip((come, go), faded, strict=True))
            return carried(came - gone).reshape(groups, room, LIMBS)

        number = np.bincount(come, minlength=groups * room) - np.bincount(go, minlength=groups * room)
        even = window.kind != "decayed" and not len(taken.weight)
        weight = taken.weight if len(taken.weight) else np.ones(len(counts))
        weights = np.zeros((groups, 0, LIMBS), np.int64) if even else summed(weight)
        return Changes(summed(metric.row(taken) * weight), weights, number.reshape(groups, room))

    def __add__(self, other: Changes) -> Changes:
        """Those of both."""
        return Changes(
            carried(self.values + other.values), carried(self.weights + other.weights), self.rows + other.rows
        )

    def placed(self, places: Ints, groups: int) -> Changes:
        """The same with groups at other places among more of them."""

        def moved(each: Ints) -> Ints:
            told = np.zeros((groups, *each.shape[1:]), np.int64)
            told[places] = each
            return told

        return Changes(moved(self.values), moved(self.weights), moved(self.rows))

    def means(self, grid_us: Ints, window: Window, group: int = 0) -> tuple[Floats, Ints]:
        """The mean at each look, float64 [looks], NaN where there is none, and over how many rows, int64 [looks]."""
        number: Ints = np.cumsum(self.rows[group])[:-1]
        total = _followed(self.values[group], grid_us, window)
        weights = (
            _followed(self.weights[group], grid_us, window) if self.weights.shape[1] else number.astype(np.float64)
        )
        some = (number > 0) & (weights > 0.0)
        mean: Floats = np.divide(total, weights, out=np.full(len(total), np.nan), where=some)
        return mean, number


def faded_at(look: Ints, time_us: Ints, grid_us: Ints, window: Window) -> Floats:
    """How much rows count, each at a look of its own: 2^(−age / half-life), or one."""
    if window.kind != "decayed":
        return np.ones(len(time_us))
    age_us = grid_us[np.minimum(look, len(grid_us) - 1)] - time_us
    faded: Floats = np.exp2(-age_us / window.span_us)
    return faded


def _followed(changes: Ints, grid_us: Ints, window: Window) -> Floats:
    """The sum over the rows that count at each look, float64 [looks]."""
    if window.kind != "decayed":
        return nearest(running(changes[:-1], axis=0))
    steps = [1.0, *np.exp2(-np.diff(grid_us) / window.span_us).tolist()]
    kept, so_far = [], 0.0
    for added, faded in zip(nearest(changes[:-1]).tolist(), steps, strict=True):
        so_far = so_far * faded + added
        kept.append(so_far)
    return np.array(kept)
