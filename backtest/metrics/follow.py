"""A metric at every look of a grid, by what was known then: of all requests so far, of the last days, or fading."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.errors import ConfigError, DataError

from .changes import Changes, faded_at
from .clocks import CUMULATIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .clocks import Clocks, Window
    from .judged import Judged
    from .metric import Metric

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Followed:
    """What each look would have shown.

    Args:
        metric: its name.
        as_of_us: when one looks, int64 [looks].
        value: float64 [looks]; NaN where there was none.
        rows: on how many rows it rested, int64 [looks].
        why: for each look why there was no value; empty where there was.
    """

    metric: str
    as_of_us: Ints
    value: Floats
    rows: Ints
    why: tuple[str, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a look; what is not known is null."""
        return [
            {"as_of_us": as_of, "metric": finite(value), "rows": rows, "why": why or None}
            for as_of, value, rows, why in zip(
                self.as_of_us.tolist(), self.value.tolist(), self.rows.tolist(), self.why, strict=True
            )
        ]


def follow_metric(
    metric: Metric, rows: Judged, clocks: Clocks, grid_us: Ints, horizon_us: int, window: Window = CUMULATIVE
) -> Followed:
    """Follow a metric over a grid.

    A metric that is a mean over rows takes one pass and one sum a look, up to the rounding of sums; one of order or of decisions one pass; any
    other is worked out anew on the rows that count at each look. What was known later moves no bit of an earlier look.

    Args:
        metric: the metric.
        rows: answers and labels, one row for each version of a label.
        clocks: when they were asked and known.
        grid_us: when one looks, int64 [looks], rising.
        horizon_us: how long after its request a label still counts.
        window: which of the requests count.

    Raises:
        DataError: labels or answers that the metric cannot take.
        ConfigError: a fading window, and a metric that cannot weigh rows.

    Example: two labels come a day after they were asked about, and one looks at each midnight.

        >>> from windtunnel.backtest.metrics import Clocks, Judged, Window, metric_named
        >>> day = 86_400_000_000
        >>> rows, clocks = Judged(np.array([1.0, 0.0]), np.array([0.9, 0.8])), Clocks(np.array([0, day]), np.array([day, 2 * day]))
        >>> grid = np.arange(1, 5) * day
        >>> follow_metric(metric_named("accuracy"), rows, clocks, grid, 7 * day).value.tolist()
        [1.0, 0.5, 0.5, 0.5]
        >>> follow_metric(metric_named("accuracy"), rows, clocks, grid, 7 * day, Window("last", 2 * day)).value.tolist()
        [1.0, 0.5, 0.0, nan]
    """
    _check(metric, rows, clocks, window)
    if metric.additive:
        return followed_sums(metric, Changes.of(metric, rows, clocks, grid_us, horizon_us, window), grid_us, window)
    begin, end = clocks.spans(grid_us, horizon_us, window)
    if metric.every is not None and window.kind != "decayed" and not len(rows.weight):
        return _all_at_once(metric, rows, grid_us, begin, end)
    return _one_by_one(metric, rows, clocks, grid_us, begin, end, window)


def follow_by_slice(
    metric: Metric,
    rows: Judged,
    clocks: Clocks,
    grid_us: Ints,
    horizon_us: int,
    slices: Mapping[str, NDArray[np.bool_]],
    window: Window = CUMULATIVE,
) -> dict[str, Followed]:
    """Follow a metric over a grid in each of some slices of the rows.

    Args:
        metric: see `follow_metric`; so are the others.
        rows: answers and labels.
        clocks: when they were asked and known.
        grid_us: when one looks.
        horizon_us: how long a label may take.
        slices: by name, which rows lie in it, bool [n]; a row may lie in several or none.
        window: which of the requests count.
    """
    return {
        name: follow_metric(metric, rows.take(inside), clocks.take(inside), grid_us, horizon_us, window)
        for name, inside in slices.items()
    }


def _check(metric: Metric, rows: Judged, clocks: Clocks, window: Window) -> None:
    if len(rows) != len(clocks):
        raise DataError(f"has {len(clocks)} rows where {len(rows)} are judged", field="time", fix="give one time a row")
    if window.kind == "decayed" and not metric.weighted:
        raise ConfigError(
            "cannot weigh rows, so it cannot fade", field="metric", value=metric.name, fix="use the last days"
        )
    metric.check(rows)


def followed_sums(metric: Metric, changes: Changes, grid_us: Ints, window: Window, group: int = 0) -> Followed:
    """What each look would have shown of a metric that is a mean over rows.

    Args:
        metric: the metric.
        changes: of all rows.
        grid_us: when one looks.
        window: which of the requests counted.
        group: of those of `changes`, the one that is meant.
    """
    mean, number = changes.means(grid_us, window, group)
    why = tuple("no label that counts is known" if np.isnan(each) else "" for each in mean)
    return Followed(metric.name, grid_us, metric.shown(mean), number, why)


def _all_at_once(metric: Metric, rows: Judged, grid_us: Ints, begin: Ints, end: Ints) -> Followed:
    assert metric.every is not None
    looks = len(grid_us)
    value = metric.every(rows, begin, end, looks)
    counts = begin < end
    number = np.cumsum(np.bincount(begin[counts], minlength=looks + 1) - np.bincount(end[counts], minlength=looks + 1))[
        :looks
    ]
    why = ["" if math.isfinite(each) else "no label that counts is known" for each in value.tolist()]
    for look in np.flatnonzero(np.isnan(value) & (number > 0)).tolist():
        why[look] = metric.settle(rows.take((begin <= look) & (look < end))).why
    return Followed(metric.name, grid_us, value, number, tuple(why))


def _one_by_one(
    metric: Metric, rows: Judged, clocks: Clocks, grid_us: Ints, begin: Ints, end: Ints, window: Window
) -> Followed:
    found = []
    for look in range(len(grid_us)):
        counts = np.flatnonzero((begin <= look) & (look < end))
        taken = rows.take(counts)
        if window.kind == "decayed":
            weight = faded_at(np.full(len(counts), look), clocks.time_us[counts], grid_us, window)
            taken = taken.weighing(weight * taken.weight if len(taken.weight) else weight)
        found.append(metric.settle(taken))
    return Followed(
        metric.name, grid_us, np.array([each.value for each in found]), np.array([each.rows for each in found]),
        tuple(each.why for each in found),
    )  # fmt: skip
