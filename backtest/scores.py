"""Metrics of how rows are ranked, of a recording of any length: scores are counted in bins, and what binning can have done is told.

Of two rows in one bin it is not known which has the greater score; they are counted as tied. So the area under the ROC curve is off by at
most half the pairs of one label 1 and one label 0 that share a bin, over all such pairs; bins that hold one score only are off by
nothing. Average precision lies, bin by bin, between that with the labels 1 of the bin above all others and that with them below.
Bins are cut at quantiles of some of the scores: a poor cut makes the bound wide, never wrong.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration

from .comparison import Binned
from .figures import Figures, midnights
from .kernel import DAY_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .question import Question
    from .rows import Rows
    from .tally import Tally

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Counts = NDArray[np.int32]

MOST_BINS, FEWEST_BINS = 2**16, 2**8
"""Scores fall into at most so many bins, and into no fewer."""

MOST_CELLS = 2**26
"""So many counts are kept, a quarter of a gigabyte, as long as the bins do not get too few."""

_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


class Scores:
    """Labels of 0 and 1 by bin of the score: as each look first sees them, and by day, as they turned out.

    Args:
        question: what is asked; its metric is one of ranks.
        some: some scores of each model, float64 [models, n], by which bins are cut.
        first_day: the earliest day that requests lie in, since 1970.
        last_us: the last moment that the recording tells anything about.

    Raises:
        ConfigError: so many looks that the counts would not fit into memory.
    """

    def __init__(self, question: Question, some: Floats, first_day: int, last_us: int) -> None:
        self.question, self.day_0 = question, first_day
        looks = max(1, len(question.looks(max(last_us, question.first_us))))
        days = max(1, int(last_us // DAY_US) - first_day + 1)
        models = len(question.models)
        tables = 2 * (models * (looks + days) + days)
        self.bins = bins_for(tables)
        if tables * self.bins > MOST_CELLS:
            raise ConfigError(
                f"makes {looks:,} looks at a recording that is not held, too many to count scores for", field="every",
                value=format_duration(question.every_us / 1e6), fix="look less often, every 1d or 7d",
            )  # fmt: skip
        self.edges = [edges_of(each, self.bins) for each in some]
        self.seen = np.zeros((models, looks, 2, self.bins), np.int32)
        self.days = np.zeros((models, days, 2, self.bins), np.int32)
        self.half = np.zeros((days, 2, self.bins), np.int32)
        self.least = np.full((models, self.bins), np.inf)
        self.most = np.full((models, self.bins), -np.inf)
        self._lock = Lock()

    def add(self, rows: Rows) -> None:
        """Count rows; any thread may."""
        due = rows.time_us + self.question.horizon_us
        comes = rows.known_us <= due
        goes = comes & (rows.until_us <= due) if len(rows.until_us) else np.zeros(len(rows), dtype=np.bool_)
        until_us = np.where(goes, rows.until_us, rows.time_us) if len(rows.until_us) else rows.time_us
        none = np.iinfo(np.int64).max
        begin, end = (
            np.where(counts, self.question.look_of(np.maximum(each, rows.time_us + 1)), none)
            for each, counts in ((rows.known_us, comes), (until_us, goes))
        )
        day = np.where(comes & ~goes, rows.time_us // DAY_US - self.day_0, -1)
        positive = (rows.label == 1.0).astype(np.int64)
        half = rows.half if len(rows.half) else np.zeros(len(rows), dtype=np.bool_)
        for model, (edges, said) in enumerate(zip(self.edges, rows.predictions, strict=True)):
            place = np.searchsorted(edges, said, side="right")
            with self._lock:
                count(
                    (begin, end, day), positive, place, said, self.seen[model], self.days[model], (self.least[model], self.most[model])
                )  # fmt: skip
                if model == 0:
                    count_half(np.where(half, day, -1), positive, place, self.half)

    def figures(self, tally: Tally, as_of_us: Ints) -> tuple[Figures, Binned]:
        """The metric of every look and every day, as `figures_of_ranks` has them, up to what binning has done to them.

        Args:
            tally: what else was counted of the same rows.
            as_of_us: the looks, int64 [looks].
        """
        precision = self.question.loss.family == "average_precision"
        models, days = len(self.question.models), tally.days.shape[1]
        exact = self.least == self.most
        first = tally.day_0 - self.day_0
        ends = np.clip(as_of_us // DAY_US - self.day_0, 0, self.days.shape[1])
        metric, error = np.empty((models, len(as_of_us))), np.empty((models, len(as_of_us)))
        turned_out, daily, daily_error = np.empty_like(metric), np.empty((models, days)), np.empty((models, days))
        for model in range(models):
            looks = np.arange(1, len(as_of_us) + 1)
            metric[model], error[model] = along(self.seen[model], looks, exact[model], precision)
            turned_out[model], _ = along(self.days[model], ends, exact[model], precision)
            of_days = self.days[model, first : first + days]
            daily[model], daily_error[model] = apart(of_days, exact[model], precision)
        turned_out[:, ~midnights(as_of_us)] = np.nan
        half = self.half[first : first + days]
        rest = self.days[0, first : first + days] - half
        halves = apart(half, exact[0], precision)[0] - apart(rest, exact[0], precision)[0]
        mature = (tally.release_us(self.question.horizon_us) <= as_of_us[-1]) & ~np.isnan(daily).any(axis=0)
        of_differences = (daily_error + daily_error[0])[:, mature]
        told = of_differences.mean(axis=1) if mature.any() else np.full(models, np.nan)
        names = self.question.models
        binned = Binned(
            self.bins, dict(zip(names, error[:, -1].tolist(), strict=True)), dict(zip(names[1:], told[1:].tolist(), strict=True))
        )  # fmt: skip
        return Figures(metric, turned_out, daily, daily - daily[0], halves), binned


def bins_for(tables: int) -> int:
    """How many bins so many histograms may have, a power of two.

    Example:
        >>> bins_for(100), bins_for(2 * (2 * 730 + 365)), bins_for(10**7)
        (65536, 16384, 256)
    """
    bins = MOST_BINS
    while bins > FEWEST_BINS and tables * bins > MOST_CELLS:
        bins //= 2
    return bins


def edges_of(scores: Floats, bins: int) -> Floats:
    """Where to cut: at all scores that there are if they are few, else at quantiles, and just above scores that many share.

    Example:
        >>> np.searchsorted(edges_of(np.array([0.5, 0.1, 0.5, 0.9]), 8), [0.1, 0.4, 0.5, 0.6, 0.9], side="right").tolist()
        [1, 1, 2, 3, 4]
    """
    values, times = np.unique(scores, return_counts=True)
    edges = np.union1d(values, np.nextafter(values[times > 1], np.inf))
    if len(edges) < bins:
        return edges
    cuts = np.sort(scores)[np.linspace(0, len(scores) - 1, bins // 2).round().astype(np.int64)]
    often = cuts[1:][cuts[1:] == cuts[:-1]]
    told: Floats = np.union1d(cuts, np.nextafter(often, np.inf))
    # where few are shared there is room for more
    more = np.linspace(0, len(scores) - 1, bins - 1 - len(told)).round().astype(np.int64)
    return np.union1d(told, np.sort(scores)[more])


@njit(**_COMPILED)
def count(
    when: tuple[Ints, Ints, Ints],
    positive: Ints,
    place: Ints,
    said: Floats,
    seen: Counts,
    days: Counts,
    ends: tuple[Floats, Floats],
) -> None:
    """Add rows to the bins.

    Args:
        when: the look from which each counts, the one from which it no longer does, and its day, −1 where it does not count in the end.
        positive: 1 where the label is 1, else 0, int64 [n].
        place: the bin of each, int64 [n].
        said: its score, float64 [n].
        seen: what each look is the first to see less what it no longer does, int32 [looks, 2, bins].
        days: what counts in the end, int32 [days, 2, bins].
        ends: the least and the greatest score in each bin, float64 [bins].
    """
    begin, end, day = when
    least, most = ends
    for row in range(len(place)):
        at, kind = place[row], positive[row]
        if begin[row] < len(seen) and begin[row] != end[row]:
            seen[begin[row], kind, at] += 1
            if end[row] < len(seen):
                seen[end[row], kind, at] -= 1
        if day[row] >= 0:
            days[day[row], kind, at] += 1
        least[at] = min(least[at], said[row])
        most[at] = max(most[at], said[row])


@njit(**_COMPILED)
def count_half(day: Ints, positive: Ints, place: Ints, half: Counts) -> None:
    """Add rows to the bins of their day, int32 [days, 2, bins]; those of day −1 are left out."""
    for row in range(len(place)):
        if day[row] >= 0:
            half[day[row], positive[row], place[row]] += 1


@njit(**_COMPILED)
def along(changes: Counts, ends: Ints, exact: NDArray[np.bool_], precision: bool) -> tuple[Floats, Floats]:
    """The metric, and by how much it may be off, over the first so many histograms together, float64 [ends]; `ends` rises."""
    counts = np.zeros((2, changes.shape[2]), np.int64)
    told, error = np.full(len(ends), np.nan), np.full(len(ends), np.nan)
    so_far = 0
    for place in range(len(ends)):
        while so_far < ends[place]:
            for kind in range(2):
                for at in range(changes.shape[2]):
                    counts[kind, at] += changes[so_far, kind, at]
            so_far += 1
        told[place], error[place] = metric_of_bins(counts[0], counts[1], exact, precision)
    return told, error


@njit(**_COMPILED)
def apart(histograms: Counts, exact: NDArray[np.bool_], precision: bool) -> tuple[Floats, Floats]:
    """The metric of each histogram by itself, and by how much it may be off, float64 [histograms]."""
    told, error = np.empty(len(histograms)), np.empty(len(histograms))
    for place in range(len(histograms)):
        zeros, ones = histograms[place, 0].astype(np.int64), histograms[place, 1].astype(np.int64)
        told[place], error[place] = metric_of_bins(zeros, ones, exact, precision)
    return told, error


@njit(**_COMPILED)
def metric_of_bins(zeros: Ints, ones: Ints, exact: NDArray[np.bool_], precision: bool) -> tuple[float, float]:
    """The metric of labels in bins from the lowest score, and by how much it may be off; NaN where there is none.

    Args:
        zeros: labels 0 in each bin, int64 [bins].
        ones: labels 1.
        exact: whether all scores in it are the same, bool [bins].
        precision: average precision, not the area under the ROC curve.

    Example: of four pairs two are well ordered and one is in one bin.

        >>> metric_of_bins(np.array([0, 1, 1]), np.array([1, 1, 0]), np.array([True, False, True]), False)
        (0.125, 0.125)
    """
    positives, total = ones.sum(), ones.sum() + zeros.sum()
    if positives == 0 or (positives == total and not precision):
        return np.nan, np.nan
    above, seen, twice, together = 0, 0, 0, 0
    average, low, high = 0.0, 0.0, 0.0
    for at in range(len(ones) - 1, -1, -1):
        p, n = ones[at], zeros[at]
        twice += n * (2 * above + p)
        if not exact[at]:
            together += p * n
        if p:
            told = p / positives * ((above + p) / (seen + p + n))
            average += told
            if exact[at]:
                low, high = low + told, high + told
            else:
                low += p / positives * ((above + 1) / (seen + n + 1))
                high += p / positives * ((above + p) / (seen + p))
        above += p
        seen += p + n
    if precision:
        return average, max(high - average, average - low)
    pairs = 2.0 * positives * (total - positives)
    return twice / pairs, together / pairs
