"""Do vectors keep their nearest neighbours? What search and retrieval over embeddings live on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats import Interval

from .answer import vectors
from .non_inferiority import Estimate, leave_room, mean_drop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .pair import Pair

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

MOST_ROWS = 4000
"""Among how many rows neighbours are looked for: their square is computed."""

MOST_NEIGHBOURS = 100
"""How many neighbours of a row may be asked for: their square is compared for every row, 40 MB at 4,000 rows."""

AT_ONCE = 500


def unit_vectors(given: Floats) -> Floats:
    """Each row at length one; a row of zeros stays as it is.

    Example:
        >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    length = np.linalg.norm(given, axis=1, keepdims=True)
    unit: Floats = given / np.where(length > 0.0, length, 1.0)
    return unit


def nearest_rows(given: Floats, count: int) -> Codes:
    """For each row the `count` others at the smallest angle, nearest first: `[rows, count]`.

    Example:
        >>> nearest_rows(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1).tolist()
        [[1], [0], [1]]
    """
    unit = unit_vectors(given).astype(np.float32)
    found = np.empty((len(unit), count), dtype=np.int64)
    for first in range(0, len(unit), AT_ONCE):
        near = unit[first : first + AT_ONCE] @ unit.T
        rows = np.arange(len(near))
        near[rows, first + rows] = -np.inf
        closest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(near, closest, axis=1), axis=1, kind="stable")
        found[first : first + len(near)] = np.take_along_axis(closest, order, axis=1)
    return found


def neighbours_drop(pair: Pair, confidence: float, count: int) -> Estimate:
    """The share of the parent's nearest neighbours that are not the child's, by cosine, among at most `MOST_ROWS` rows.

    A row counts as a witness both where its own neighbours change and where it is the neighbour that is gained or lost:
    the interval is that of the jackknife, whose every pseudo-value leaves one row out of both parts, with room for rows whose
    neighbours were not seen to change (`leave_room`).

    Source: Tukey's jackknife for a statistic of pairs: Arvesen, Annals of Mathematical Statistics 40 (1969), 2076-2100.
    """
    rows = np.unique(np.linspace(0, pair.rows - 1, min(pair.rows, MOST_ROWS)).round().astype(np.int64))
    groups = None if pair.groups is None else np.unique(pair.groups[rows], return_inverse=True)[1]
    parent, child = (nearest_rows(vectors(each)[rows], count + 1) for each in (pair.parent, pair.child))
    kept = _kept(parent[:, :-1], child[:, :-1]).any(axis=2).mean()
    around = mean_drop(_jackknife(parent, child), confidence, groups)
    gone, reach = 1.0 - float(kept), around.high - around.value
    drop = Interval(gone, max(0.0, gone - reach), gone + reach, len(rows), confidence)
    return Estimate(float(kept), 1.0, leave_room(drop, len(rows) if groups is None else int(groups.max()) + 1))


def _kept(a: Codes, b: Codes) -> NDArray[np.bool_]:
    """Whether the one's i-th neighbour of a row is the other's j-th: `[rows, i, j]`."""
    same: NDArray[np.bool_] = a[:, :, None] == b[:, None, :]
    return same


def _jackknife(parent: Codes, child: Codes) -> Floats:
    """A pseudo-value for each row: n times the share kept of all, less n − 1 times that without the row.

    Without a row, those that had it among their neighbours take their next in its place, which is why lists one longer
    than needed are given.
    """
    rows, count = len(parent), parent.shape[1] - 1
    ours, theirs, next_ours, next_theirs = parent[:, :-1], child[:, :-1], parent[:, -1:], child[:, -1:]
    same = _kept(ours, theirs)
    overlap = same.any(axis=2).sum(axis=1)
    if_ours = (theirs == next_ours).any(axis=1, keepdims=True).astype(np.float64)
    if_theirs = (ours == next_theirs).any(axis=1, keepdims=True).astype(np.float64)
    if_both = if_ours + if_theirs + (next_ours == next_theirs) - 1.0
    change = np.zeros(rows)
    np.add.at(change, ours, np.where(same.any(axis=2), if_both, if_ours))
    np.add.at(change, theirs, np.where(same.any(axis=1), 0.0, if_theirs))
    total = float(overlap.sum())
    pseudo: Floats = total / count - (total - overlap + change) / count
    return pseudo
