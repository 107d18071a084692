from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.errors import ConfigError, DataError, InputError, ModelError
from windtunnel.optimize.quality import METRICS, Holdout, Quality, answers, check_metric, compare
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def _planted(rows: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Labels, and two models' probabilities for them."""
    score = rng.normal(size=rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-2 * score))).astype(np.float64)
    parent, child = (1 / (1 + np.exp(-2 * score - rng.normal(scale=0.3, size=rows))) for _ in range(2))
    return label, parent, child


BY_SKLEARN: dict[str, Callable[[Floats, Floats], float]] = {
    "roc_auc": metrics.roc_auc_score,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score_loss,
    "accuracy": lambda y, p: metrics.accuracy_score(y, p >= 0.5),
    "mae": metrics.mean_absolute_error,
    "mse": metrics.mean_squared_error,
}


@pytest.mark.parametrize("metric", sorted(BY_SKLEARN))
def test_against_scikit_learn(metric: str) -> None:
    """Each metric is what scikit-learn says; the drop is the difference of two of them, signed so that worse is above 0."""
    label, parent, child = _planted(800, np.random.default_rng(1))
    quality, theirs = compare(metric, label, parent, child), BY_SKLEARN[metric]
    sign = -1.0 if metric in ("roc_auc", "accuracy", "agreement") else 1.0

    assert quality.value == pytest.approx(theirs(label, child))
    assert quality.drop.value == pytest.approx(sign * (theirs(label, child) - theirs(label, parent)), abs=1e-12)
    assert quality.drop.low < quality.drop.value < quality.drop.high
    assert quality.drop.samples == 800


def test_every_metric_is_compared() -> None:
    """The list of metrics is the list of what has been compared above, and agreement, which needs no label."""
    assert set(METRICS) == {*BY_SKLEARN, "agreement"}


def test_agreement() -> None:
    """Agreement is the share of rows on the same side of one half."""
    parent, child = np.array([0.1, 0.9, 0.4, 0.6]), np.array([0.2, 0.8, 0.6, 0.5])

    assert compare("agreement", None, parent, child).value == 0.75


@pytest.mark.parametrize("metric", METRICS)
def test_a_twin_is_proven(metric: str) -> None:
    """A child that answers as its parent does loses nothing."""
    label, parent, _ = _planted(800, np.random.default_rng(1))
    quality = compare(metric, label, parent, parent.copy())

    assert quality.drop.value == 0.0
    assert quality.judge(0.01) == "proven"


@pytest.mark.parametrize(
    ("low", "high", "judgement"),
    [
        (-0.02, 0.009, "proven"),
        (-0.02, 0.01, "proven"),
        (0.002, 0.011, "not-proven"),
        (0.01, 0.02, "not-proven"),
        (0.011, 0.02, "worse"),
        (-math.inf, math.inf, "not-proven"),
    ],
)
def test_judgement(low: float, high: float, judgement: str) -> None:
    """Proven where the whole interval is within the tolerance, worse where none of it is, else not proven."""
    assert Quality("mae", 0.5, Interval((low + high) / 2, low, high, 100, 0.95)).judge(0.01) == judgement


def test_planted_children() -> None:
    """A child that is much worse is called worse, one that is hardly worse is proven, and few rows prove neither."""
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=4000).astype(np.float64)
    parent = np.where(label > 0, 0.8, 0.2)
    flips = rng.random(4000)
    bad, good = (np.where(flips < share, 1 - parent, parent) for share in (0.1, 0.002))

    for metric in METRICS:
        assert compare(metric, label, parent, bad).judge(0.01) == "worse", metric
        assert compare(metric, label, parent, good).judge(0.01) == "proven", metric
    assert compare("agreement", None, parent[:60], parent[:60]).judge(0.01) == "not-proven"


@pytest.mark.parametrize("rows", [1, 2, 10, 100, 10_000])
def test_no_disagreement_leaves_room(rows: int) -> None:
    """Rows that all agree leave room for about four that would not, however many they are."""
    same = np.full(rows, 0.9)
    for metric in ("agreement", "accuracy"):
        drop = compare(metric, np.ones(rows), same, same).drop

        assert drop.value == 0.0
        assert drop.high == pytest.approx(1.96**2 / (rows + 1.96**2), rel=1e-3)
        assert drop.low == -drop.high


@pytest.mark.parametrize("sides", [(0.9, 0.1), (0.1, 0.9)])
def test_all_rows_differ(sides: tuple[float, float]) -> None:
    """A child that decides every row otherwise has lost, or won, them all, as far as an interval can say."""
    parent, child = (np.full(50, side) for side in sides)
    drop = compare("accuracy", np.ones(50), parent, child).drop

    assert drop.value == (1.0 if sides == (0.9, 0.1) else -1.0)
    assert -1.0 <= drop.low < drop.high <= 1.0


def _at_the_tolerance(metric: str, rows: int, drop: float, rng: np.random.Generator) -> Quality:
    """A child whose true drop is the tolerance itself: the hardest that must not be proven."""
    label, noise = np.ones(rows), rng.random(rows)
    lost, won = noise < 0.03 + drop, (noise >= 0.03 + drop) & (noise < 0.06 + drop)
    if metric == "agreement":
        return compare(metric, None, np.full(rows, 0.9), np.where(noise < drop, 0.1, 0.9))
    if metric == "accuracy":
        return compare(metric, label, np.where(won, 0.1, 0.9), np.where(lost, 0.1, 0.9))
    error = rng.normal(size=rows)
    return compare(metric, label, label + error, label + np.abs(error) + drop + rng.normal(scale=0.1, size=rows))


@pytest.mark.parametrize(
    ("metric", "rows", "drop"),
    [("agreement", 300, 0.01), ("agreement", 2000, 0.01), ("accuracy", 1000, 0.01), ("mae", 300, 0.05)],
)
def test_what_is_at_the_tolerance_is_seldom_proven(metric: str, rows: int, drop: float) -> None:
    """A child whose true drop equals the tolerance is proven in at most one case of forty, however few rows differ."""
    rng = np.random.default_rng(5)
    proven = sum(_at_the_tolerance(metric, rows, drop, rng).judge(drop) == "proven" for _ in range(400))

    assert proven <= 400 * 0.025 + 2.6 * math.sqrt(400 * 0.025 * 0.975)


def test_auc_at_the_tolerance_is_seldom_proven() -> None:
    """The same for ROC AUC, where the truth is known for normal scores: Φ(d/√2)."""
    rng, separation, noise = np.random.default_rng(5), 1.5, 0.5
    weaker = separation / math.sqrt(1 + noise**2)
    drop = 0.5 * (math.erf(separation / 2) - math.erf(weaker / 2))
    proven = 0
    for _ in range(400):
        label = (rng.random(400) < 0.3).astype(np.float64)
        parent = rng.normal(size=400) + separation * label
        proven += compare("roc_auc", label, parent, parent + noise * rng.normal(size=400)).judge(drop) == "proven"

    assert 0 < proven <= 400 * 0.025 + 2.6 * math.sqrt(400 * 0.025 * 0.975)


def test_the_interval_of_decisions_covers() -> None:
    """The interval of the lost share covers the truth in about 95 of 100 repetitions, with few differences too."""
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        drop = _at_the_tolerance("accuracy", 200, 0.02, rng).drop
        covered += drop.low <= 0.02 <= drop.high

    assert 400 * 0.95 - 2.6 * math.sqrt(400 * 0.95 * 0.05) <= covered


def test_rows_that_would_prove_it() -> None:
    """Four times the rows halve the interval; where the estimate itself is beyond the tolerance, no number would do."""
    wide = Quality("mae", 0.5, Interval(0.0, -0.02, 0.02, 100, 0.95))

    assert wide.rows_needed(0.01) == 400
    assert wide.rows_needed(0.0) is None
    assert Quality("mae", 0.5, Interval(0.0, -math.inf, math.inf, 1, 0.95)).rows_needed(0.01) is None
    assert Quality("roc_auc", 0.5, Interval(math.nan, -math.inf, math.inf, 1, 0.95)).rows_needed(0.01) is None


LABEL = np.array([0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("metric", "label", "error", "words"),
    [
        ("auc", LABEL, ConfigError, "`metric` (='auc') is not a metric; did you mean `roc_auc`"),
        ("f1", LABEL, ConfigError, "is not a metric; known: accuracy, agreement"),
        ("log_loss", None, DataError, "are needed for log_loss; name the label column, or use the metric agreement"),
        ("mae", None, DataError, "are needed for mae"),
        ("roc_auc", LABEL * 2, DataError, "must be 0 and 1 for roc_auc; use mae or mse"),
        ("accuracy", LABEL * np.nan, DataError, "must be 0 and 1 for accuracy"),
        ("roc_auc", LABEL * 0, DataError, "are all of one class, so ROC AUC says nothing; hold out more rows"),
    ],
)
def test_metrics_that_cannot_be_had(metric: str, label: Floats | None, error: type[InputError], words: str) -> None:
    """A metric that is not known, or that the labels cannot carry, is refused before any work."""
    with pytest.raises(error) as refusal:
        check_metric(metric, Holdout({"x": np.ones(3)}, label))

    assert words in str(refusal.value)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_that_can_be_had(metric: str) -> None:
    """Labels of two classes carry every metric; no labels carry agreement; other labels carry the errors."""
    check_metric(metric, Holdout({"x": np.ones(3)}, LABEL))
    check_metric("agreement", Holdout({"x": np.ones(3)}, None))
    check_metric("mse", Holdout({"x": np.ones(3)}, LABEL * 7.5))


@pytest.mark.parametrize(
    "output",
    [np.array([0.2, 0.7]), np.array([[0.2], [0.7]]), np.array([[0.8, 0.2], [0.3, 0.7]])],
    ids=["[n]", "[n, 1]", "[n, 2]"],
)
def test_answers(output: Floats) -> None:
    """One number a row is taken as it stands, of two classes the second; further outputs are left alone."""
    found = answers({"output": output.astype(np.float32), "more": np.ones((2, 9))}, "m")

    assert found.dtype == np.float64
    assert found == pytest.approx([0.2, 0.7])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.ones((2, 3)), "`m` (=(2, 3)) gives more than one number a row; output a probability or a value"),
        (np.ones((2, 1, 1)), "gives more than one number a row"),
        (np.float64(3.0), "gives more than one number a row"),
        (np.array([0.1, np.nan, np.inf]), "gives 2 answers that are NaN or infinite"),
    ],
)
def test_answers_that_are_none(output: Floats, words: str) -> None:
    """Several numbers a row, or numbers that are none, are refused."""
    with pytest.raises(ModelError) as refusal:
        answers({"output": output}, "m")

    assert words in str(refusal.value)
