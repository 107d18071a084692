"""ROC AUC and average precision at every look of a grid in one pass, as rows come and go (see `ranks`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.ranks import areas, precisions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def auc_at_every_look(rows: Judged, begin: Ints, end: Ints, looks: int) -> Floats:
    """The area under the ROC curve over the rows that count at each look, exactly.

    Args:
        rows: labels 0 or 1, unweighted.
        begin: the look from which each row counts, int64 [n].
        end: the look from which it no longer does, int64 [n]; rows whose end is not after their begin never count.
        looks: how many there are.

    Returns:
        float64 [looks]; NaN where one class is missing. Where all scores are the same it is 0.5: a tie counts half.

    Example: at the second look the third row has come, at the third the first is gone.

        >>> from windtunnel.backtest.metrics import Judged
        >>> rows = Judged(np.array([0.0, 1.0, 0.0]), np.array([0.1, 0.5, 0.7]))
        >>> auc_at_every_look(rows, np.array([0, 0, 1]), np.array([2, 3, 3]), 3).tolist()
        [1.0, 0.5, 0.0]
    """
    return _at_every_look(areas, rows, begin, end, looks)


def precision_at_every_look(rows: Judged, begin: Ints, end: Ints, looks: int) -> Floats:
    """Average precision over the rows that count at each look; see `auc_at_every_look`. Of equal scores it is the share of ones."""
    return _at_every_look(precisions, rows, begin, end, looks)


def _at_every_look(walk: Callable[..., Floats], rows: Judged, begin: Ints, end: Ints, looks: int) -> Floats:
    """Walk through the looks."""
    counts = np.flatnonzero((begin < end) & (begin < looks))
    scores, rank = np.unique(rows.prediction[counts], return_inverse=True)
    positive = rows.label[counts] == 1.0
    look = np.concatenate([begin[counts], end[counts]])
    order = np.argsort(look, kind="stable")
    row, sign = np.tile(np.arange(len(counts)), 2)[order], np.repeat([1, -1], len(counts))[order]
    ends = np.searchsorted(look[order], np.arange(looks), side="right")
    told = walk(row, sign, ends, rank.astype(np.int64), positive, len(scores))
    number, ones = (np.append(0, np.cumsum(each))[ends] for each in (sign, sign * positive[row]))
    told[(ones == 0) | (ones == number)] = np.nan
    return told
