"""Is a child shown not to be worse than its parent? Paired, with an interval, within a tolerance.

The road, as the search walks it; a model's answers are its outputs by name, or one output of them as `answers` gives it:

    metric = read_metric(text, folder)                    # "accuracy", "pinball@0.9", "ndcg@10", "file.py:metric"
    check_metric(metric, holdout)                         # labels, groups, slices: before anything is made
    check_metric(metric, holdout, outputs, "fp32")        # the parent's answers: probabilities, logits, vectors, NaN
    quality = compare(metric, holdout, outputs, childs, confidence=0.99, seed=1, name="int8", output="")
    quality.judge(max_drop), quality.reason(max_drop)     # "proven" | "worse" | "not-proven", and a sentence

`metric` may be a `Metric` or a text; `Metric.share` says whether a tolerance of `1%` is meant of the whole, `Metric.unit`
what a drop is counted in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import DataError, ModelError

from .answer import answers, describe_answers, is_classes, is_probability, is_whole
from .bootstrap import RESAMPLES
from .calibration_error import Calibration, calibrate
from .flips import Flips, LargestChange, count_flips, find_largest_change
from .metric import LEAST_GROUPS, METRICS, Metric, read_metric
from .non_inferiority import nothing_known
from .pair import Pair
from .ranking import informative_queries
from .slices import SliceDrop, drop_by_slice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    Array = NDArray[Any]
    Floats = NDArray[np.float64]
    Told = Mapping[str, Array] | Array

__all__ = ["METRICS", "Holdout", "Metric", "Quality", "answers", "check_metric", "compare", "read_metric"]

Judgement = Literal["proven", "worse", "not-proven"]


@dataclass(frozen=True)
class Holdout:
    """Rows that no step has learnt from, on which quality is proven.

    Args:
        feeds: by input name, rows on axis 0.
        label: what turned out true, or None where the metric needs none.
        groups: what rows have in common that makes them alike (a query, a customer), `[rows]` of any dtype; None where they
            are independent. NDCG ranks within them.
        slices: columns to look into for the worst part, `[rows]` each.
    """

    feeds: Mapping[str, Array]
    label: Floats | None
    groups: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)

    def first(self, count: int) -> Holdout:
        """The first rows of these."""
        feeds, slices = (
            {name: np.asarray(array)[:count] for name, array in each.items()} for each in (self.feeds, self.slices)
        )
        label, groups = (each[:count] if each is not None else None for each in (self.label, self.groups))
        return Holdout(feeds, label, groups, slices)


@dataclass(frozen=True)
class Quality:
    """How well a child did beside its parent.

    Args:
        metric: its name.
        value: the child's.
        drop: how much worse than the parent (below zero: better), with the interval of the paired difference.
        parent_value: the parent's.
        unit: what both are counted in.
        least_rows: with fewer rows nothing is proven; 0 where there were enough.
        flips: decisions that changed, where the answers decide something.
        calibration: how well probabilities come true, where there are labels and probabilities.
        largest: the row whose answer moved most.
        slices: the drop in each slice, the worst first.
    """

    metric: str
    value: float
    drop: Interval
    parent_value: float = math.nan
    unit: str = ""
    least_rows: int = 0
    flips: Flips | None = None
    calibration: Calibration | None = None
    largest: LargestChange | None = None
    slices: tuple[SliceDrop, ...] = ()

    @property
    def worst_slice(self) -> SliceDrop | None:
        """The slice with the largest drop, or None where none was looked at."""
        return self.slices[0] if self.slices else None

    def worse_in(self, max_drop: float) -> SliceDrop | None:
        """The slice in which the child is shown to lose most, beyond the tolerance, or None."""
        shown = [each for each in self.slices if each.drop.low > max_drop]
        return max(shown, key=lambda each: each.drop.low) if shown else None

    def judge(self, max_drop: float) -> Judgement:
        """`proven` within the tolerance, `worse` beyond it (of all rows or in a slice), or `not-proven` where the data cannot tell."""
        if self.drop.low > max_drop or self.worse_in(max_drop) is not None:
            return "worse"
        return "proven" if self.drop.high <= max_drop else "not-proven"

    def reason(self, max_drop: float) -> str:
        """The judgement as a sentence, with the way out where there is one."""
        drop, allowed = self.drop, f"allowed {max_drop:g}"
        if drop.low > max_drop:
            return f"loses at least {drop.low:.4f} {self.metric}; {allowed}"
        part = self.worse_in(max_drop)
        if part is not None:
            return f"loses at least {part.drop.low:.4f} {self.metric} where {part.name} ({part.rows:,} rows); {allowed}"
        if drop.high <= max_drop:
            return f"proven: loses at most {drop.high:.4f} {self.metric}; {allowed}"
        needed = self.rows_needed(max_drop)
        way_out = f"about {needed:,} held-out rows would tell" if needed else "more rows are not likely to prove it"
        if not math.isfinite(drop.high):
            return f"{drop.samples:,} held-out rows are too few to say anything of {self.metric}" + (
                f"; at least {needed:,} are needed" if needed else ""
            )
        return f"may lose up to {drop.high:.4f} {self.metric}; {allowed}; {way_out}"

    def rows_needed(self, max_drop: float) -> int | None:
        """About how many rows would prove it, if the estimate held; None where it would not."""
        if self.least_rows:
            return self.least_rows
        room, reach = max_drop - self.drop.value, self.drop.high - self.drop.value
        if not (room > 0 and np.isfinite(reach)):
            return None
        return int(np.ceil(self.drop.samples * (reach / room) ** 2))

    def to_dict(self) -> dict[str, Any]:
        """The quality as JSON values; what is not known is None."""
        drop = {
            name: value if math.isfinite(value) else None for name, value in self.drop.to_dict("quality_drop").items()
        }
        return {
            "metric": self.metric, "unit": self.unit, "quality": self.value,
            "parent_quality": self.parent_value if math.isfinite(self.parent_value) else None, **drop,
            "confidence": self.drop.confidence, "rows": self.drop.samples,
            "flips": self.flips.to_dict() if self.flips else None,
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "largest_change": self.largest.to_dict() if self.largest else None,
            "slices": [each.to_dict() for each in self.slices],
        }  # fmt: skip


def check_metric(
    metric: Metric | str, holdout: Holdout, told: Told | None = None, name: str = "the model", output: str = ""
) -> None:
    """Refuse a metric that is not known, or that the holdout, or the parent's answers, cannot carry.

    Args:
        metric: one that was read, or as users write it.
        holdout: the rows.
        told: the parent's outputs by name, or its answers; None where they are not known yet.
        name: the parent's.
        output: which output is judged; the first where empty.

    Raises:
        ConfigError: unknown metric or output.
        DataError: no rows; labels, groups or slices that are missing, of another length or another kind.
        ModelError: answers that it cannot judge: logits, another shape, NaN, vectors that are all the same.
    """
    metric = read_metric(metric) if isinstance(metric, str) else metric
    metric.check_labels(holdout.label)
    if metric.labels == "relevance" and holdout.groups is None:
        raise DataError(
            f"are needed for {metric.name}", field="groups", fix="name the column of queries to rank within"
        )
    array = None if told is None else _judged(told, name, output)
    rows = _check_lengths(holdout, array, name)
    if array is not None:
        metric.check_answers(array, holdout.label, name)
        if rows < metric.fewest_rows:
            raise DataError(
                f"are {rows} where {metric.name} needs {metric.fewest_rows}", field="rows held out", fix="hold out more"
            )


def _judged(told: Told, name: str, output: str) -> Array:
    """The answers that are judged."""
    return told if isinstance(told, np.ndarray) else answers(told, name, output)


def _check_lengths(holdout: Holdout, told: Array | None, name: str) -> int:
    """The number of rows, which everything that has rows must have."""
    have = {f"input {key}": len(array) for key, array in holdout.feeds.items()}
    have |= {
        key: len(array) for key, array in (("labels", holdout.label), ("groups", holdout.groups)) if array is not None
    }
    have |= {f"slice {key}": len(array) for key, array in holdout.slices.items()}
    have |= {f"answers of {name}": len(told)} if told is not None else {}
    first, rows = next(iter(have.items()), ("rows", 0))
    for other, length in have.items():
        if length != rows:
            raise DataError(f"has {length} rows where {first} has {rows}", field=other, fix="give one of each a row")
    if have and rows == 0:
        raise DataError("has no rows", field=first, fix="hold out some")
    return rows


def compare(
    metric: Metric | str,
    holdout: Holdout,
    parent: Told,
    child: Told,
    *,
    confidence: float = 0.95,
    seed: int = 1,
    name: str = "the child",
    output: str = "",
    resamples: int = RESAMPLES,
) -> Quality:
    """Compare a child with its parent on the same rows, which are independent unless the holdout groups them.

    Args:
        metric: one that was read, or as users write it; checked with `check_metric` before.
        holdout: the rows, with labels where the metric needs them.
        parent: the parent's outputs by name, or its answers as `answers` gives them.
        child: the child's.
        confidence: of the interval of the drop, and of those of all slices together.
        seed: of resampling.
        name: the child's, for what is refused.
        output: which output is judged; the first where empty.
        resamples: how often rows are drawn anew where an interval is bootstrapped; few do where only the drop counts.

    Raises:
        ModelError: the child's answers are of another shape than the parent's, or not finite.

    Example:
        >>> y = np.tile([0.0, 1.0], 200); p = np.where(y > 0, 0.8, 0.3)
        >>> compare("accuracy", Holdout({}, y), p, p).judge(max_drop=0.02)
        'proven'
    """
    metric = read_metric(metric) if isinstance(metric, str) else metric
    before, after = _judged(parent, "the parent", output), _judged(child, name, output)
    if after.shape != before.shape or after.dtype.kind != before.dtype.kind:
        raise ModelError(
            f"{describe_answers(after)} where its parent {describe_answers(before)}", field=name, fix="make it alike"
        )
    pair = replace(_pair(holdout, before, after, seed), resamples=resamples)
    found = metric.estimate(pair, confidence)
    least = _least_rows(metric, pair)
    return Quality(
        metric.name, found.value, nothing_known(found.drop) if least else found.drop, found.parent_value, metric.unit, least,
        count_flips(pair) if _decides(metric, pair) else None,
        calibrate(pair) if _foretells(metric, pair) else None,
        find_largest_change(pair), drop_by_slice(metric, pair, holdout.slices, confidence),
    )  # fmt: skip


def _pair(holdout: Holdout, parent: Array, child: Array, seed: int) -> Pair:
    """Both answers; two columns of probabilities are one probability."""
    if is_classes(parent) and parent.shape[1] == 2:
        parent, child = parent[:, 1], child[:, 1]
    groups = None if holdout.groups is None else np.unique(holdout.groups, return_inverse=True)[1].astype(np.int64)
    return Pair(holdout.label, parent, child, groups, seed)


def _least_rows(metric: Metric, pair: Pair) -> int:
    """About how many rows the metric needs to say anything, where there are fewer; else 0."""
    least = metric.least_rows if pair.rows < metric.least_rows else 0
    if metric.least_of_each_class:
        rarer = int(min(pair.truth.sum(), pair.rows - pair.truth.sum()))
        if rarer < metric.least_of_each_class:
            least = max(least, math.ceil(pair.rows * metric.least_of_each_class / max(1, rarer)))
    groups = _witnesses(metric, pair)
    if groups < LEAST_GROUPS:
        least = max(least, math.ceil(pair.rows * LEAST_GROUPS / max(1, groups)))
    return least


def _witnesses(metric: Metric, pair: Pair) -> float:
    """The groups that have a say, no limit where rows are not grouped: of queries, those in which an order can be lost."""
    if pair.groups is None:
        return math.inf
    if metric.labels == "relevance":
        return informative_queries(pair.truth, pair.groups)
    return int(pair.groups.max()) + 1


def _decides(metric: Metric, pair: Pair) -> bool:
    """Whether an answer is a decision, so that it can flip."""
    if metric.takes in {"decision", "probability"}:
        return True
    if metric.takes == "number" or metric.labels == "relevance":
        return False
    told, binary = pair.parent, pair.label is not None and bool(np.isin(pair.label, (0.0, 1.0)).all())
    return is_whole(told) or is_classes(told) or (binary and is_probability(told))


def _foretells(metric: Metric, pair: Pair) -> bool:
    """Whether an answer is a probability of a label that is known."""
    known = pair.label is not None and metric.labels in {"binary", "classes"}
    return known and (is_probability(pair.parent) or is_classes(pair.parent))
