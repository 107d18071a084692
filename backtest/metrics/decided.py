"""Metrics of decisions at every look of a grid in one pass: how often each decision met each label, as rows come and go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .judged import Judged
from .order import auc_at_every_look

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def counts_at_every_look(code: Ints, begin: Ints, end: Ints, looks: int, codes: int) -> Ints:
    """How many rows of each code count at each look, int64 [looks, codes].

    Args:
        code: what each row is, int64 [n], from 0.
        begin: the look from which it counts, int64 [n].
        end: the look from which it no longer does, int64 [n]; after `begin`.
        looks: how many there are.
        codes: how many codes there are.

    Example: the second row comes at the second look, when the first goes.

        >>> counts_at_every_look(np.array([0, 1]), np.array([0, 1]), np.array([1, 9]), 3, 2).tolist()
        [[1, 0], [0, 1], [0, 1]]
    """
    size = (looks + 1) * codes
    came, gone = (np.bincount(np.minimum(look, looks) * codes + code, minlength=size) for look in (begin, end))
    counts: Ints = (came - gone).reshape(looks + 1, codes).cumsum(axis=0)[:looks]
    return counts


def decided_at_every_look(name: str, threshold: float) -> Callable[[Judged, Ints, Ints, int], Floats]:
    """A metric of yes and no, as `Metric.every` has it.

    Args:
        name: `precision`, `recall`, `f1`, `balanced_accuracy` or `mcc`.
        threshold: from which prediction on the decision is yes.

    Example:
        >>> rows = Judged(np.array([1.0, 1.0, 0.0]), np.array([0.9, 0.2, 0.8]))
        >>> decided_at_every_look("recall", 0.5)(rows, np.array([0, 1, 1]), np.array([3, 3, 3]), 3).tolist()
        [1.0, 0.5, 0.5]
    """
    return partial(_decided, score=_SCORES[name], threshold=threshold)


def _decided(
    rows: Judged, begin: Ints, end: Ints, looks: int, *, score: Callable[..., Floats], threshold: float
) -> Floats:
    counts = _counting(begin, end, looks)
    code = 2 * (rows.label[counts] == 1.0) + (rows.prediction[counts] >= threshold)
    table = counts_at_every_look(code.astype(np.int64), begin[counts], end[counts], looks, 4)
    told: Floats = score(*table.T.astype(np.float64))
    return told


def _counting(begin: Ints, end: Ints, looks: int) -> Ints:
    return np.flatnonzero((begin < end) & (begin < looks))


def _over(part: Floats, whole: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    told: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0.0)
    return told


def _precision(_tn: Floats, fp: Floats, _fn: Floats, tp: Floats) -> Floats:
    return _over(tp, tp + fp)


def _recall(_tn: Floats, _fp: Floats, fn: Floats, tp: Floats) -> Floats:
    return _over(tp, tp + fn)


def _f1(_tn: Floats, fp: Floats, fn: Floats, tp: Floats) -> Floats:
    # without a label 1 it has no value, whatever was said
    return _over(np.where(tp + fn > 0.0, 2.0 * tp, np.nan), 2.0 * tp + fp + fn)


def _balanced(tn: Floats, fp: Floats, fn: Floats, tp: Floats) -> Floats:
    return (_over(tp, tp + fn) + _over(tn, tn + fp)) / 2.0


def _mcc(tn: Floats, fp: Floats, fn: Floats, tp: Floats) -> Floats:
    spread = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    return _over(tp * tn - fp * fn, spread)


_SCORES: dict[str, Callable[..., Floats]] = {
    "precision": _precision, "recall": _recall, "f1": _f1, "balanced_accuracy": _balanced, "mcc": _mcc,
}  # fmt: skip


def macro_f1_at_every_look(rows: Judged, begin: Ints, end: Ints, looks: int) -> Floats:
    """The mean F1 of the classes that were said or true, over the rows that count at each look, float64 [looks]."""
    counts, classes = _counting(begin, end, looks), rows.prediction.shape[1]
    true, said = rows.label[counts].astype(np.int64), rows.prediction[counts].argmax(axis=1)
    begin, end, right = begin[counts], end[counts], np.equal(true, said)
    hits = counts_at_every_look(true[right], begin[right], end[right], looks, classes)
    either = counts_at_every_look(true, begin, end, looks, classes) + counts_at_every_look(
        said, begin, end, looks, classes
    )
    f1 = np.divide(2.0 * hits, either, out=np.zeros(hits.shape), where=either > 0)
    return _over(f1.sum(axis=1), (either > 0).sum(axis=1).astype(np.float64))


def class_auc_at_every_look(rows: Judged, begin: Ints, end: Ints, looks: int) -> Floats:
    """The mean area of each class against the rest at each look, float64 [looks]; NaN where a class is missing."""
    areas = [
        auc_at_every_look(
            Judged((rows.label == place).astype(np.float64), rows.prediction[:, place]), begin, end, looks
        )
        for place in range(rows.prediction.shape[1])
    ]
    mean: Floats = np.mean(areas, axis=0)
    return mean
