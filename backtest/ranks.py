"""Metrics of how rows are ranked, as of every look: the area under the ROC curve, and average precision; exact, and compiled.

They are no means over rows, so no sum can be kept of them. The area is kept as a count of pairs of one label 1 and one
label 0, twice the well ordered and once the tied, which is a whole number: a row that matures adds the pairs it makes with those
there before, and one that is corrected away takes them back (two Fenwick trees over the ranks of scores, log n a row). Average
precision moves at every threshold below a new row, so it is taken anew at each look that differs from the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .figures import Figures, midnights
from .kernel import DAY_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .question import Question
    from .rows import Rows
    from .tally import Tally

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

MOST_STEPS = 2 * 10**11
"""So many rows times looks of average precision take some ten minutes on one core; more is refused."""

_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


def figures_of_ranks(rows: Rows, question: Question, tally: Tally, as_of_us: Ints) -> Figures:
    """Of a metric of ranks: as of every look over all matured rows, and of every day over that day's.

    The difference of a day is that of two metrics on the same rows. Each day stands for itself: within a day no score is
    compared with another day's, so what is compared is the mean of the days' own metrics, a number that days settle
    independently, and not the metric of all days together. A day that holds one label only has none and is passed over.

    Args:
        rows: all of them.
        question: what is asked of them.
        tally: what was counted of them.
        as_of_us: the looks, int64 [looks].

    Raises:
        ConfigError: there are too many looks for average precision.
    """
    precision, looks, days = question.loss.family == "average_precision", len(as_of_us), tally.days.shape[1]
    if precision and len(rows) * looks > MOST_STEPS:
        raise ConfigError(
            f"of {len(rows):,} rows at {looks:,} looks would take hours", field="metric",
            value=question.loss.name, fix="look less often, every 1d or 7d, or choose roc_auc",
        )  # fmt: skip
    versions = _Versions.of(rows, question, looks)
    day = np.where(versions.final, rows.time_us // DAY_US - tally.day_0, -1)
    ranked = [
        _Ranked(*np.unique(scores, return_inverse=True), rows.label == 1.0, precision) for scores in rows.predictions
    ]
    daily = np.array([each.of_days(day, days) for each in ranked])
    halves = [ranked[0].of_days(np.where(half, day, -1), days) for half in (rows.half, ~rows.half) if len(half)]
    turned_out = np.array([each.at_looks(versions.asked) for each in ranked])
    turned_out[:, ~midnights(as_of_us)] = np.nan
    return Figures(
        np.array([each.at_looks(versions.seen) for each in ranked]), turned_out, daily, daily - daily[0],
        halves[0] - halves[1] if halves else np.full(days, np.nan),
    )  # fmt: skip


@dataclass(frozen=True)
class _Moves:
    """Rows that come (+1) and go (−1), in order of the looks that are the first to see it; `ends`: how many each look has seen."""

    row: Ints
    sign: Ints
    ends: Ints

    @staticmethod
    def of(come: Ints, go: Ints, comes: Flags, goes: Flags, looks: int) -> _Moves:
        """From the look at which each row comes or goes, and whether it does."""
        coming, going = np.flatnonzero(comes & (come < looks)), np.flatnonzero(goes & (go < looks))
        look = np.concatenate([come[coming], go[going]])
        order = np.argsort(look, kind="stable")
        sign = np.repeat([1, -1], [len(coming), len(going)])[order]
        ends = np.searchsorted(look[order], np.arange(looks), side="right")
        return _Moves(np.concatenate([coming, going])[order], sign, ends)


@dataclass(frozen=True)
class _Versions:
    """Which versions of labels each look sees, and which are final.

    Args:
        seen: as they become known.
        asked: the final ones, as they are asked.
        final: which count in the end, bool [rows].
    """

    seen: _Moves
    asked: _Moves
    final: Flags

    @staticmethod
    def of(rows: Rows, question: Question, looks: int) -> _Versions:
        """Read the clocks, as `kernel.pass_over` does."""
        due = rows.time_us + question.horizon_us
        comes = rows.known_us <= due
        replaced = comes & (rows.until_us <= due) if len(rows.until_us) else np.zeros(len(rows), dtype=np.bool_)
        until_us = np.where(replaced, rows.until_us, rows.time_us) if len(rows.until_us) else rows.time_us
        asked, known, until = (
            question.look_of(np.maximum(each, rows.time_us + 1)) for each in (rows.time_us, rows.known_us, until_us)
        )
        final = comes & ~replaced
        return _Versions(
            _Moves.of(known, until, comes, replaced, looks), _Moves.of(asked, asked, final, final & False, looks), final
        )


@dataclass(frozen=True)
class _Ranked:
    """One model's scores, as ranks from the lowest."""

    scores: Floats
    rank: Ints
    positive: Flags
    precision: bool

    def at_looks(self, moves: _Moves) -> Floats:
        """The metric as of each look, float64 [looks]; NaN while there is one label only."""
        walk = precisions if self.precision else areas
        told: Floats = walk(moves.row, moves.sign, moves.ends, self.rank, self.positive, len(self.scores))
        return told

    def of_days(self, day: Ints, days: int) -> Floats:
        """The metric of each day's rows, float64 [days]; those of day −1 are left out."""
        rows = np.flatnonzero(day >= 0)
        rows = rows[np.lexsort((self.rank[rows], day[rows]))]
        ends = np.searchsorted(day[rows], np.arange(days), side="right")
        starts = np.append(0, ends[:-1])
        told = np.full(days, np.nan)
        for each in np.flatnonzero(ends > starts):
            chosen = rows[starts[each] : ends[each]]
            told[each] = metric_of(self.rank[chosen], self.positive[chosen], self.precision)
        return told


@njit(**_COMPILED)
def metric_of(rank: Ints, positive: Flags, precision: bool) -> float:
    """The metric of some rows in order of their rank, tied ones next to each other; NaN where there is none.

    Example: of four pairs two are well ordered and one is tied.

        >>> metric_of(np.array([1, 2, 2, 3]), np.array([True, False, True, False]), False)
        0.125
    """
    ones, zeros, twice = 0, 0, 0
    total, gained, above = int(positive.sum()), 0, 0
    average = 0.0
    end = len(rank)
    while end > 0:
        start = end
        while start > 0 and rank[start - 1] == rank[end - 1]:
            start -= 1
            gained += positive[start]
        ones = gained - above
        zeros = end - start - ones
        twice += zeros * (2 * above + ones)
        above = gained
        if ones:
            average += ones / total * (above / (len(rank) - start))
        end = start
    if total == 0 or (total == len(rank) and not precision):
        return np.nan
    return average if precision else twice / (2.0 * total * (len(rank) - total))


@njit(**_COMPILED)
def areas(row: Ints, sign: Ints, ends: Ints, rank: Ints, positive: Flags, ranks: int) -> Floats:
    """The area under the ROC curve as of each look, ties counted by half.

    Args:
        row: which row moves, int64 [moves].
        sign: +1 where it comes, −1 where it goes.
        ends: how many moves each look has seen, int64 [looks].
        rank: of each row, from 0 to `ranks` − 1.
        positive: whether its label is 1.
        ranks: how many there are.
    """
    trees = np.zeros((2, ranks + 1), np.int64)  # of the labels 0 and 1
    counts = np.zeros(2, np.int64)
    told = np.full(len(ends), np.nan)
    twice, move = 0, 0
    for look in range(len(ends)):
        while move < ends[look]:
            place, kind, change = rank[row[move]], int(positive[row[move]]), sign[move]
            twice += change * _pairs(trees[1 - kind], place, counts[1 - kind], kind)
            _add(trees[kind], place, change)
            counts[kind] += change
            move += 1
        if counts[0] and counts[1]:
            told[look] = twice / (2.0 * counts[0] * counts[1])
    return told


@njit(**_COMPILED)
def _pairs(tree: Ints, place: int, count: int, kind: int) -> int:
    """Twice the well ordered pairs of a row with those of the other label, and once the tied."""
    both: int = _below(tree, place) + _below(tree, place + 1)
    return both if kind else 2 * count - both


@njit(**_COMPILED)
def _below(tree: Ints, place: int) -> int:
    """How many have a lower rank."""
    told = 0
    while place > 0:
        told += tree[place]
        place &= place - 1
    return told


@njit(**_COMPILED)
def _add(tree: Ints, place: int, change: int) -> None:
    place += 1
    while place < len(tree):
        tree[place] += change
        place += place & -place


@njit(**_COMPILED)
def precisions(row: Ints, sign: Ints, ends: Ints, rank: Ints, positive: Flags, ranks: int) -> Floats:
    """Average precision as of each look: the sum over thresholds of precision, weighed by the recall gained; see `areas`."""
    counts = np.zeros((2, ranks), np.int64)
    told = np.full(len(ends), np.nan)
    move, total = 0, 0
    for look in range(len(ends)):
        if look and ends[look] == ends[look - 1]:
            told[look] = told[look - 1]
            continue
        while move < ends[look]:
            kind = int(positive[row[move]])
            counts[kind, rank[row[move]]] += sign[move]
            total += kind * sign[move]
            move += 1
        if total:
            told[look] = _average(counts, total)
    return told


@njit(**_COMPILED)
def _average(counts: Ints, total: int) -> float:
    above, seen, average = 0, 0, 0.0
    for place in range(counts.shape[1] - 1, -1, -1):
        ones = counts[1, place]
        above += ones
        seen += ones + counts[0, place]
        if ones:
            average += ones / total * (above / seen)
    return average
