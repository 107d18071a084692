"""Every metric against scikit-learn or its definition, and what it refuses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn import metrics as sk

from windtunnel.backtest.metrics import (
    METRICS,
    Judged,
    Reliability,
    by_amount,
    check_alike,
    cost_by_matrix,
    metric_named,
)
from windtunnel.errors import ConfigError, DataError, UserCodeError

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.backtest.metrics.metric import Metric

RNG = np.random.default_rng(7)
N = 400
SCORE = RNG.random(N).round(2)
LABEL = (RNG.random(N) < SCORE).astype(float)
WEIGHT = RNG.random(N)
BINARY = Judged(LABEL, SCORE)
TOLD = RNG.dirichlet(np.ones(4), size=N)
CLASS = RNG.integers(4, size=N).astype(float)
CLASSES = Judged(CLASS, TOLD)
NUMBERS = Judged(RNG.normal(size=N), RNG.normal(size=N))
RANKED = Judged(RNG.integers(3, size=N).astype(float), RNG.random(N).round(1), query=np.sort(RNG.integers(40, size=N)))


def sample(metric: Metric) -> Judged:
    """Rows that a metric can take."""
    if metric.labels == "relevance":
        return RANKED
    return {"probabilities": CLASSES, "probability": BINARY}.get(
        metric.takes, BINARY if metric.labels == "binary" else NUMBERS
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("log_loss", sk.log_loss(LABEL, SCORE.clip(1e-7, 1 - 1e-7))),
        ("brier", sk.brier_score_loss(LABEL, SCORE)),
        ("accuracy", sk.accuracy_score(LABEL, SCORE >= 0.5)),
        ("f1@0.3", sk.f1_score(LABEL, SCORE >= 0.3)),
        ("mcc", sk.matthews_corrcoef(LABEL, SCORE >= 0.5)),
        ("roc_auc", sk.roc_auc_score(LABEL, SCORE)),
        ("average_precision", sk.average_precision_score(LABEL, SCORE)),
        ("class_log_loss", sk.log_loss(CLASS, TOLD)),
        ("class_accuracy", sk.accuracy_score(CLASS, TOLD.argmax(axis=1))),
        ("class_brier", np.mean(np.sum((TOLD - np.eye(4)[CLASS.astype(int)]) ** 2, axis=1))),
        ("top@2", sk.top_k_accuracy_score(CLASS, TOLD, k=2)),
        ("class_auc", sk.roc_auc_score(CLASS, TOLD, multi_class="ovr")),
        ("rmse", sk.root_mean_squared_error(NUMBERS.label, NUMBERS.prediction)),
        ("pinball@0.9", sk.mean_pinball_loss(NUMBERS.label, NUMBERS.prediction, alpha=0.9)),
        ("coverage@0.9", np.mean(NUMBERS.label <= NUMBERS.prediction)),
        ("r2", sk.r2_score(NUMBERS.label, NUMBERS.prediction)),
        ("calibration_in_the_large", np.mean(LABEL - SCORE)),
    ],
)
def test_a_metric_has_the_value_that_scikit_learn_or_its_definition_gives(name: str, expected: float) -> None:
    """A metric is what scikit-learn calls by that name, or what its definition says."""
    metric = metric_named(name)

    assert metric.measure(sample(metric)).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [None, 3])
def test_ndcg_of_all_queries_at_once_is_the_mean_of_scikit_learns_a_query(k: int | None) -> None:
    """NDCG with tied scores equals `ndcg_score` query by query, over queries with anything relevant."""
    metric = metric_named("ndcg" if k is None else f"ndcg@{k}")
    queries = [RANKED.take(RANKED.query == each) for each in np.unique(RANKED.query)]
    each = [sk.ndcg_score([q.label], [q.prediction], k=k) for q in queries if q.label.any() and len(q) > 1]

    assert metric.measure(RANKED).value == pytest.approx(np.mean(each), rel=1e-12)


def test_mean_average_precision_is_the_mean_of_scikit_learns_a_query() -> None:
    """MAP with tied scores equals `average_precision_score` query by query, whatever the order of the rows."""
    queries = [RANKED.take(RANKED.query == each) for each in np.unique(RANKED.query)]
    expected = np.mean([sk.average_precision_score(q.label > 0, q.prediction) for q in queries if q.label.any()])
    shuffled = RANKED.take(np.random.default_rng(1).permutation(N))

    assert metric_named("map").measure(shuffled).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.weighted])
def test_a_row_that_weighs_two_is_a_row_that_is_there_twice(name: str) -> None:
    """Whole weights and repeated rows give the same value, for every metric that can weigh."""
    metric = METRICS[name]
    rows = sample(metric)
    # a query weighs as a whole
    twice = rows.query % 2 == 0 if metric.needs else np.arange(N) < N // 2
    if metric.needs:
        again = rows.take(twice)
        doubled = Judged(
            np.append(rows.label, again.label),
            np.append(rows.prediction, again.prediction),
            query=np.append(rows.query, again.query + 1000),
        )
    else:
        doubled = rows.take(np.append(np.arange(N), np.flatnonzero(twice)))

    assert metric.measure(rows.weighing(np.where(twice, 2.0, 1.0))).value == pytest.approx(
        metric.measure(doubled).value, rel=1e-6
    )


@pytest.mark.parametrize("name", ["roc_auc", "balanced_accuracy", "mcc", "calibration_slope"])
def test_one_class_only_is_no_value_but_a_reason(name: str) -> None:
    """Where all labels are of one class, what tells classes apart is not known, and it says why."""
    found = metric_named(name).measure(Judged(np.zeros(5), np.linspace(0.1, 0.9, 5)))

    assert math.isnan(found.value)
    assert "all 5 labels are 0" in found.why


@pytest.mark.parametrize(("name", "rows"), [("calibration_slope", BINARY), ("spearman", NUMBERS)])
def test_constant_predictions_are_said_to_say_nothing(name: str, rows: Judged) -> None:
    """A model that always answers the same has no slope and goes along with nothing: no number, but a reason."""
    found = metric_named(name).measure(Judged(rows.label, np.full(N, 0.25)))

    assert math.isnan(found.value)
    assert found.why.startswith("every prediction is 0.25")


def test_no_label_is_no_value() -> None:
    """Rows whose label never came are passed over; where none came there is no value."""
    found = metric_named("log_loss").measure(Judged(np.full(3, np.nan), np.full(3, 0.5)))

    assert found.to_dict() == {"metric": None, "rows": 0, "why": "no label that counts is known"}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("log_loss", Judged(np.array([2.0]), np.array([0.5])), "is no label that log_loss can take; it needs 0 or 1"),
        ("log_loss", Judged(np.array([1.0]), np.array([1.5])), "give a probability, not a logit"),
        ("class_log_loss", Judged(np.array([1.0]), np.array([0.5])), "of labels 0 and 1 it is called log_loss"),
        ("class_accuracy", Judged(np.array([4.0]), np.full((1, 4), 0.25)), "it needs 0, 1, 2"),
        ("ndcg", NUMBERS, "`query` is needed for ndcg"),
        ("rmse", Judged(np.array([1.0]), np.array([np.nan])), "score that row again"),
    ],
)
def test_rows_that_a_metric_cannot_take_are_refused(name: str, rows: Judged, message: str) -> None:
    """What a metric cannot judge is refused with the way out."""
    with pytest.raises(DataError, match=message):
        metric_named(name).measure(rows)


def test_a_candidate_with_another_signature_is_refused() -> None:
    """Three classes cannot be held against one probability, nor ten rows against nine."""
    with pytest.raises(DataError, match="another signature than the incumbent: 4 numbers a row, not one"):
        check_alike(BINARY, CLASSES, "challenger")
    with pytest.raises(DataError, match="answers 9 rows where the incumbent answers 400"):
        check_alike(BINARY, BINARY.take(np.arange(9)), "challenger")


@pytest.mark.parametrize(
    ("text", "message"),
    [("roc_acu", "did you mean `roc_auc`"), ("f1@2", "needs a number between 0 and 1"), ("top@0", "from 1 on"), ("pinball", "write pinball@0.9")],
)  # fmt: skip
def test_a_metric_that_there_is_not_is_refused_with_the_nearest(text: str, message: str) -> None:
    """A slip of the pen is told the name that was meant."""
    with pytest.raises(ConfigError, match=message):
        metric_named(text)


def test_a_users_cost_is_given_what_it_names_and_may_not_change_it(tmp_path: Path) -> None:
    """`file.py:function` gets label, prediction and amount by the names of its arguments."""
    (tmp_path / "costs.py").write_text(
        "def missed(amount, label, prediction):\n    return amount * (label == 1) * (prediction < 0.5)\n"
        "def writes(label):\n    label[0] = 9.0\n    return label\n"
        "def one(label):\n    return 1.0\n"
        "def odd(colour):\n    return colour\n"
    )
    rows = Judged(np.array([1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.1]), amount=np.array([30.0, 50.0, 70.0]))
    metric = metric_named("costs.py:missed", tmp_path)

    assert (metric.additive, metric.needs, metric.measure(rows).value) == (True, ("amount",), 10.0)
    with pytest.raises(UserCodeError, match="read-only"):
        metric_named("costs.py:writes", tmp_path).measure(rows)
    with pytest.raises(UserCodeError, match="return one finite number a row"):
        metric_named("costs.py:one", tmp_path).measure(rows)
    with pytest.raises(ConfigError, match="asks for `colour`"):
        metric_named("costs.py:odd", tmp_path)


def test_an_amount_multiplies_what_is_a_mean_over_rows_only() -> None:
    """The cost of a row times its amount; an AUC has no row to multiply."""
    rows = Judged(np.array([1.0, 0.0]), np.array([0.4, 0.6]), amount=np.array([10.0, 3.0]))

    assert by_amount(cost_by_matrix([[0, 1], [5, 0]])).measure(rows).value == (5 * 10 + 1 * 3) / 2
    with pytest.raises(ConfigError, match="has no value of its own in each row"):
        by_amount(METRICS["roc_auc"])
    with pytest.raises(ConfigError, match="no square"):
        cost_by_matrix([[1, 2, 3]])


def test_the_slope_is_found_and_parted_classes_have_none() -> None:
    """Log odds that are twice too bold have slope 0.5; classes that are parted wholly have no slope."""
    rng = np.random.default_rng(3)
    odds = rng.normal(size=200_000)
    label = (rng.random(200_000) < 1 / (1 + np.exp(-odds))).astype(float)
    slope = metric_named("calibration_slope")

    assert slope.measure(Judged(label, 1 / (1 + np.exp(-2 * odds)))).value == pytest.approx(0.5, abs=0.01)
    assert "part the two classes wholly" in slope.measure(Judged(np.array([0.0, 1.0]), np.array([0.1, 0.9]))).why


def test_ece_is_the_gap_of_the_reliability_bins() -> None:
    """The expected calibration error is the mean gap of the bins by their rows."""
    found = Reliability.of(BINARY)
    gap = np.nansum(found.rows * np.abs(found.observed - found.predicted)) / N

    assert metric_named("ece").measure(BINARY).value == pytest.approx(gap, rel=1e-12)
    assert sum(each["rows"] for each in found.to_dict()) == N


def test_intervals_of_reliability_bins_hold_the_truth() -> None:
    """Over 2,000 repetitions each bin's 95% interval holds the true share at least so often, with all, none and few rows."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(2000):
        prediction = np.repeat([0.02, 0.3, 0.9], [20, 8, 40])
        found = Reliability.of(Judged((rng.random(68) < prediction).astype(float), prediction), bins=3)
        truth = np.array([(20 * 0.02 + 8 * 0.3) / 28, np.nan, 0.9])
        held.append((found.low <= truth) & (truth <= found.high))
    covered = np.mean(held, axis=0)

    assert covered[0] > 0.94
    assert covered[2] > 0.94
