"""The measures of quality: what each needs, which way is better, and how a loss of it is proven."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import ConfigError, DataError, ModelError, nearest
from windtunnel.loss import CLIP, absolute_error, log_loss, squared_error
from windtunnel.source import call, is_function, load_function
from windtunnel.stats import Interval

from .answer import (
    decisions,
    describe_answers,
    is_classes,
    is_probability,
    is_unit,
    is_vector,
    is_whole,
    scores,
    vectors,
)
from .calibration_error import calibration_drop
from .neighbours import MOST_NEIGHBOURS, neighbours_drop, unit_vectors
from .non_inferiority import Estimate, auc_drop, decision_drop, mean_drop
from .pair import resample_drop
from .ranking import average_precision_drop, ndcg_drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .pair import Pair

    Floats = NDArray[np.float64]
    Array = NDArray[Any]
    RowLoss = Callable[[Floats, Array], Floats]

Labels = Literal["none", "binary", "classes", "numbers", "relevance"]
Takes = Literal["probability", "decision", "score", "number", "vector", "any"]

LEAST_ROWS, LEAST_BOUNDED_ROWS, LEAST_OF_EACH_CLASS, LEAST_GROUPS = 500, 200, 20, 30
"""Below these, rare blunders hide and variances collapse: the interval is the whole line.

A loss of 6 nats in one row of 200 was called harmless in 22% of samples of 300 rows, 8% of 500. Losses that are bounded
hide less."""


@dataclass(frozen=True)
class Metric:
    """A measure of quality.

    Args:
        name: as users write it, such as `pinball@0.9`.
        unit: what it, and a drop of it, is counted in.
        share: whether it is a share of one, so that a tolerance of `1%` means 0.01 of it.
        higher_is_better: whether more of it is better; a drop is above zero where it became worse, either way.
        labels: which labels it needs: `none`, `binary` (0 and 1), `classes` (0, 1, 2 …), `numbers`, or `relevance` (0 or
            more, with groups).
        takes: which answers it can judge.
        estimate: compares child with parent at a confidence.
        least_rows: below so many held-out rows nothing is proven.
        least_of_each_class: nor below so many rows of either class.
        sliced: whether it is looked at in slices of the rows as well.
        fewest_rows: below so many rows it cannot be had at all.
    """

    name: str
    unit: str
    share: bool
    higher_is_better: bool
    labels: Labels
    takes: Takes
    estimate: Callable[[Pair, float], Estimate] = field(repr=False, compare=False)
    least_rows: int = 1
    least_of_each_class: int = 0
    sliced: bool = True
    fewest_rows: int = 1

    def defined(self, label: Floats | None) -> bool:
        """Whether it says anything of rows with these labels: a metric that orders two classes needs enough of both."""
        if self.labels == "relevance":
            return label is not None and bool((label > 0.0).any())
        if not self.least_of_each_class:
            return True
        return label is not None and min(label.sum(), len(label) - label.sum()) >= self.least_of_each_class

    def check_labels(self, label: Floats | None) -> None:
        """Refuse labels that the metric cannot be had from.

        Raises:
            DataError: missing, of another kind, or of one class only where it orders two.
        """
        if self.labels == "none":
            return
        if label is None:
            raise DataError(
                f"are needed for {self.name}", field="labels",
                fix="name the label column, or use the metric agreement (decisions), closeness (numbers) or cosine (vectors)",
            )  # fmt: skip
        wanted, fits, fix = _LABELS[self.labels]
        if not fits(label):
            raise DataError(f"must be {wanted} for {self.name}", field="labels", fix=fix)
        if self.labels == "binary" and len(np.unique(label)) < 2:
            raise DataError(
                f"are all of one class, so {self.name} says nothing", field="labels", fix="hold out more rows"
            )

    def check_answers(self, told: Array, label: Floats | None, name: str) -> None:
        """Refuse answers of the parent that the metric cannot judge.

        Args:
            told: its answers.
            label: what turned out true, or None.
            name: the parent's.

        Raises:
            ModelError: what it gives, and the way out.
        """
        fits, wanted, fix = _ANSWERS[self.takes]
        if not fits(told):
            raise ModelError(
                f"{describe_answers(told)} where {self.name} needs {wanted}", field=name, fix=_fix(told, fix)
            )
        if self.labels == "classes" and label is not None and told.ndim == 2 and label.max() >= told.shape[1]:
            raise ModelError(
                f"tells {told.shape[1]} classes apart where a label is {label.max():g}",
                field=name,
                fix="number the classes from 0 in the order of the model's output",
            )
        if self.labels == "classes" and label is not None and is_probability(told) and label.max() > 1.0:
            raise ModelError(
                f"gives one probability a row where a label is {label.max():g}", field=name, fix="use mae or mse"
            )
        if self.labels == "numbers" and label is not None and self.takes == "number" and label.shape != told.shape:
            raise ModelError(
                f"{describe_answers(told)} where labels are {list(label.shape)}",
                field=name,
                fix="judge an output of that shape (--output), or export the model with one",
            )
        if self.labels == "none" and self.takes in {"vector", "number"}:
            _check_varied(vectors(told), name)
        if self.takes == "vector":
            _check_directions(vectors(told), name)


def _fix(told: Array, fix: str) -> str:
    """The way out; logits are told by name."""
    if told.ndim == 2 and told.dtype.kind == "f" and not is_classes(told) and not is_unit(told):
        return f"if these are logits, put the softmax into the model; {fix}"
    return fix


def _check_varied(given: Floats, name: str) -> None:
    """Refuse answers that are all the same: everything is close to them."""
    if len(given) > 1 and not (given != given[0]).any():
        raise ModelError("gives the same answer for every row", field=name, fix="see whether the rows reach the model")


def _check_directions(given: Floats, name: str) -> None:
    """Refuse vectors without a direction."""
    empty = ~given.any(axis=1)
    if empty.any():
        count, first = int(empty.sum()), int(empty.argmax())
        raise ModelError(
            f"gives {count} vectors of zeros, which have no direction, first in row {first}",
            field=name,
            fix="leave such rows out",
        )


def _whole(label: Floats) -> bool:
    return bool((np.isfinite(label) & (label >= 0) & (label == np.floor(label))).all())


_LABELS: dict[str, tuple[str, Callable[[Floats], bool], str]] = {
    "binary": (
        "0 and 1",
        lambda label: bool(np.isin(label, (0.0, 1.0)).all()),
        "use accuracy or log_loss for several classes, mae or mse for numbers",
    ),
    "classes": ("0 and 1, or class numbers 0, 1, 2 …", _whole, "number the classes, or use mae or mse"),
    "numbers": ("numbers", lambda label: bool(np.isfinite(label).all()), "leave out the rows without one"),
    "relevance": (
        "how relevant a row is, 0 or more",
        lambda label: bool((np.isfinite(label) & (label >= 0.0)).all() and (label > 0.0).any()),
        "give graded relevance, 0 for none",
    ),
}
"""What labels must be, in words, as a test, and the way out."""

_ANSWERS: dict[str, tuple[Callable[[Array], bool], str, str]] = {
    "probability": (
        lambda told: is_probability(told) or is_classes(told),
        "probabilities",
        "put the sigmoid into the model, or use mae or mse",
    ),
    "decision": (
        lambda told: (
            is_whole(told) or is_probability(told) or (is_vector(told) and told.ndim == 2 and not is_unit(told))
        ),
        "probabilities or classes",
        "put the sigmoid into the model, or use closeness for numbers and cosine for vectors (no labels), mae or mse with labels",
    ),
    "score": (
        lambda told: told.ndim == 1 or (told.ndim == 2 and told.shape[1] == 2),
        "one score a row",
        "judge an output with one score, or use accuracy or log_loss for several classes",
    ),
    "number": (lambda told: told.dtype.kind in "fi", "numbers", "judge another output"),
    "vector": (is_vector, "vectors", "use agreement for decisions, closeness for single numbers"),
    "any": (lambda _: True, "numbers", ""),
}
"""Which answers a metric takes, as a test and in words, and the way out."""


def read_metric(text: str, folder: Path = Path()) -> Metric:
    """Read a metric as users write it: a name, a name with its number (`pinball@0.9`), or `module.py:metric`.

    Args:
        text: see `METRICS` for the names.
        folder: what the user's own file is relative to.

    Raises:
        ConfigError: no such metric, or a number it cannot have.
        UserCodeError: the user's file raised while it was loaded.

    Example:
        >>> read_metric("ndcg@10").share, read_metric("rmse").higher_is_better
        (True, False)
    """
    if is_function(text):
        return user_metric(load_function(text, folder), text)
    match = re.fullmatch(r"([a-z_]+)(?:@([0-9.]+))?", text)
    name, number = (match[1], match[2]) if match else (text, None)
    if name in PLAIN and number is None:
        return PLAIN[name]
    if name not in NUMBERED:
        raise ConfigError("is not a metric", field="metric", value=text, fix=nearest(name, METRICS))
    return NUMBERED[name](text, number)


def _count(text: str, number: str | None, default: int | None) -> int | None:
    if number is None:
        return default
    if not number.isdigit() or int(number) < 1:
        raise ConfigError("counts no rows", field="metric", value=text, fix=f"write {text.partition('@')[0]}@10")
    return int(number)


def _pinball(text: str, number: str | None) -> Metric:
    try:
        quantile = 0.5 if number is None else float(number)
    except ValueError:
        quantile = math.nan
    if not 0.0 < quantile < 1.0:
        raise ConfigError("is no quantile between 0 and 1", field="metric", value=text, fix="write pinball@0.9")
    return _mean(text, "label units", "numbers", "number", partial(pinball_loss, quantile))


def _ndcg(text: str, number: str | None) -> Metric:
    depth = _count(text, number, None)
    return Metric(text, "NDCG", True, True, "relevance", "score", lambda pair, level: ndcg_drop(pair, level, depth))


def _neighbours(text: str, number: str | None) -> Metric:
    count = _count(text, number, 10)
    assert count is not None
    if count > MOST_NEIGHBOURS:
        raise ConfigError(
            "counts too many neighbours", field="metric", value=text, fix=f"write neighbours@{MOST_NEIGHBOURS} or fewer"
        )
    return Metric(
        text, "of the parent's neighbours", True, True, "none", "vector",
        lambda pair, level: neighbours_drop(pair, level, count), LEAST_BOUNDED_ROWS, fewest_rows=count + 2,
    )  # fmt: skip


def pinball_loss(quantile: float, label: Floats, prediction: Floats) -> Floats:
    """What a predicted quantile costs: each unit too low costs the quantile, each too high the rest.

    Example:
        >>> pinball_loss(0.9, np.array([1.0, 1.0]), np.array([0.0, 2.0])).round(3).tolist()
        [0.9, 0.1]
    """
    error = label - prediction
    loss: Floats = np.maximum(quantile * error, (quantile - 1.0) * error)
    return loss


def class_log_loss(label: Floats, told: Array) -> Floats:
    """The surprise at the label in nats, of one probability of 1 or of several classes.

    Example:
        >>> class_log_loss(np.array([2.0]), np.array([[0.25, 0.25, 0.5]])).round(3).tolist()
        [0.693]
    """
    if told.ndim == 1:
        return log_loss(label, told)
    given = told[np.arange(len(told)), label.astype(np.int64)]
    surprise: Floats = -np.log(given.clip(CLIP, 1.0 - CLIP))
    return surprise


def class_brier(label: Floats, told: Array) -> Floats:
    """The squared error of a probability of 1; of several classes, summed over them.

    Example:
        >>> class_brier(np.array([1.0]), np.array([[0.5, 0.5, 0.0]])).tolist()
        [0.5]
    """
    if told.ndim == 1:
        return squared_error(label, told)
    loss: Floats = ((told - np.eye(told.shape[1])[label.astype(np.int64)]) ** 2).sum(axis=1)
    return loss


def _mean(name: str, unit: str, labels: Labels, takes: Takes, loss: RowLoss, least_rows: int = LEAST_ROWS) -> Metric:
    """A metric that is the mean over rows of a loss."""

    def estimate(pair: Pair, confidence: float) -> Estimate:
        child, parent = (_a_row(loss(pair.truth, each)) for each in (pair.child, pair.parent))
        drop = mean_drop(child - parent, confidence, pair.groups)
        return Estimate(float(child.mean()), float(parent.mean()), drop)

    return Metric(name, unit, False, False, labels, takes, estimate, least_rows)


def _a_row(loss: Floats) -> Floats:
    """One loss a row: the mean over its numbers."""
    return loss if loss.ndim == 1 else loss.reshape(len(loss), -1).mean(axis=1)


def _accuracy(pair: Pair, confidence: float) -> Estimate:
    wrong, wrong_before = ((decisions(each) != pair.truth).astype(np.float64) for each in (pair.child, pair.parent))
    drop = decision_drop(wrong - wrong_before, confidence, pair.groups)
    return Estimate(1.0 - float(wrong.mean()), 1.0 - float(wrong_before.mean()), drop)


def _agreement(pair: Pair, confidence: float) -> Estimate:
    flips = (decisions(pair.child) != decisions(pair.parent)).astype(np.float64)
    return Estimate(1.0 - float(flips.mean()), 1.0, decision_drop(flips, confidence, pair.groups))


def _roc_auc(pair: Pair, confidence: float) -> Estimate:
    from sklearn.metrics import roc_auc_score

    parent, child = scores(pair.parent), scores(pair.child)
    drop = auc_drop(pair.truth, parent, child, confidence, pair.groups)
    before = float(roc_auc_score(pair.truth, parent)) if math.isfinite(drop.value) else math.nan
    return Estimate(before - drop.value, before, drop)


def _rmse(pair: Pair, confidence: float) -> Estimate:
    """The root does not let a mean of rows be had, so rows are drawn anew."""
    squared = [_a_row(squared_error(pair.truth, each)) for each in (pair.child, pair.parent)]

    def worse(drawn: Floats) -> Floats:
        child, parent = (np.sqrt(drawn @ each / drawn.sum(axis=1)) for each in squared)
        difference: Floats = child - parent
        return difference

    drop = resample_drop(pair, worse, confidence)
    value, before = (math.sqrt(float(each.mean())) for each in squared)
    return Estimate(value, before, drop)


def _cosine(pair: Pair, confidence: float) -> Estimate:
    """One less the cosine is half the squared distance of unit vectors, which is zero to the bit for a twin."""
    parent, child = (unit_vectors(vectors(each)) for each in (pair.parent, pair.child))
    gone = np.where(child.any(axis=1), ((child - parent) ** 2).sum(axis=1) / 2.0, 1.0)
    drop = mean_drop(gone, confidence, pair.groups)
    return Estimate(1.0 - drop.value, 1.0, drop)


def _closeness(pair: Pair, confidence: float) -> Estimate:
    """The share of the variance of the parent's answers that the child's keep, 1 − mean squared distance ÷ variance.

    The variance is an estimate as well, so each row's influence on the ratio is what is averaged (the delta method).
    """
    parent, child = vectors(pair.parent), vectors(pair.child)
    apart = ((child - parent) ** 2).sum(axis=1)
    spread = ((parent - parent.mean(axis=0)) ** 2).sum(axis=1)
    variance = float(spread.mean())
    if variance == 0.0:  # in a slice: of all rows it is refused
        return Estimate(math.nan, 1.0, Interval(math.nan, -math.inf, math.inf, pair.rows, confidence))
    gone = float(apart.mean()) / variance
    drop = mean_drop(gone + (apart - gone * spread) / variance, confidence, pair.groups)
    return Estimate(1.0 - gone, 1.0, drop)


def user_metric(function: Callable[..., Any], name: str) -> Metric:
    """A metric of the user's: a function of labels and predictions that gives one number, the more the better.

    It is taken as smaller is better where it has an attribute `lower_is_better` that is true. As nothing is known of it, its
    interval is bootstrapped with `USER_RESAMPLES` draws, and it is not looked at in slices: it may be costly, and need not
    be defined on any rows.
    """
    sign = 1.0 if getattr(function, "lower_is_better", False) else -1.0

    def ask(label: Floats, told: Array) -> float:
        given = call(function, label, told, name=name)
        try:
            return float(given)
        except (TypeError, ValueError):
            raise ConfigError(
                "did not return a number", field="metric", value=name, fix="return one float for labels and predictions"
            ) from None

    def worse(pair: Pair, drawn: Floats) -> Floats:
        losses = []
        for counts in drawn:
            rows = np.repeat(np.arange(pair.rows), counts.astype(np.int64))
            child, parent = (ask(pair.truth[rows], each[rows]) for each in (pair.child, pair.parent))
            losses.append(sign * (child - parent))
        return np.array(losses)

    def estimate(pair: Pair, confidence: float) -> Estimate:
        value, before = (ask(pair.truth.copy(), each.copy()) for each in (pair.child, pair.parent))
        if not (math.isfinite(value) and math.isfinite(before)):
            raise ConfigError(
                "is not finite on the rows held out", field="metric", value=name, fix="return a finite number"
            )
        drop = resample_drop(pair, partial(worse, pair), confidence, min(pair.resamples, USER_RESAMPLES), USER_BLOCKS)
        return Estimate(value, before, drop)

    return Metric(name, "units of the metric", False, sign < 0, "numbers", "any", estimate, LEAST_ROWS, sliced=False)


USER_RESAMPLES, USER_BLOCKS = 300, 40
"""How often a metric of the user's is asked of drawn rows, and of rows with a block left out, for a parent and a child."""

PLAIN = {
    each.name: each
    for each in (
        Metric("roc_auc", "AUC", True, True, "binary", "score", _roc_auc, least_of_each_class=LEAST_OF_EACH_CLASS),
        _mean("log_loss", "nats", "classes", "probability", class_log_loss),
        _mean("brier", "probability²", "classes", "probability", class_brier),
        Metric("accuracy", "of decisions", True, True, "classes", "decision", _accuracy),
        _mean("mae", "label units", "numbers", "number", absolute_error),
        _mean("mse", "label units²", "numbers", "number", squared_error),
        Metric("agreement", "of decisions", True, True, "none", "decision", _agreement),
        Metric(
            "average_precision", "average precision", True, True, "binary", "score", average_precision_drop,
            LEAST_ROWS, LEAST_OF_EACH_CLASS,
        ),
        Metric("ece", "probability", True, False, "classes", "probability", calibration_drop, LEAST_ROWS),
        Metric("rmse", "label units", False, False, "numbers", "number", _rmse, LEAST_ROWS),
        Metric("cosine", "cosine", True, True, "none", "vector", _cosine, LEAST_BOUNDED_ROWS),
        Metric("closeness", "of the parent's variance", True, True, "none", "number", _closeness, LEAST_ROWS),
    )
}  # fmt: skip
"""Metrics without a number, by name."""

NUMBERED: dict[str, Callable[[str, str | None], Metric]] = {
    "pinball": _pinball,
    "ndcg": _ndcg,
    "neighbours": _neighbours,
}
"""Metrics that may be written with a number, as in `pinball@0.9`, by name."""

METRICS = (*PLAIN, *NUMBERED)
"""The names of all metrics."""
