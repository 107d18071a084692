from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import CLASSIFYING, CLIP, LOSSES, RANKINGS, cost_loss, log_loss, loss_named, user_cost

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(3)
LABEL = (RNG.random(500) < 0.3).astype(np.float64)
PROBABILITY = RNG.uniform(0.001, 0.999, size=500)
VALUE = RNG.normal(size=500)

SKLEARN = {
    "log_loss": metrics.log_loss(LABEL, PROBABILITY),
    "brier": metrics.brier_score_loss(LABEL, PROBABILITY),
    "zero_one": metrics.zero_one_loss(LABEL, PROBABILITY >= 0.5),
    "accuracy": metrics.accuracy_score(LABEL, PROBABILITY >= 0.5),
    "squared_error": metrics.mean_squared_error(LABEL, VALUE),
    "absolute_error": metrics.mean_absolute_error(LABEL, VALUE),
    "rmse": metrics.root_mean_squared_error(LABEL, VALUE),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_mean_loss_is_sklearns_metric(name: str) -> None:
    """The mean of each loss over the rows is the metric that scikit-learn computes."""
    loss = LOSSES[name]
    mean = float(loss.shown(loss.of(LABEL, PROBABILITY if loss.binary else VALUE).mean()))

    assert pytest.approx(SKLEARN[name], rel=1e-12) == mean


@pytest.mark.parametrize("name", CLASSIFYING)
def test_losses_of_classes_are_sklearns(name: str) -> None:
    """Of probabilities of several classes, too, the mean loss is the metric that scikit-learn computes."""
    label, said = RNG.integers(3, size=500), RNG.dirichlet([1.0, 2.0, 1.5], size=500)
    chosen, hit = said.argmax(axis=1), np.eye(3)[label]
    theirs = {
        "log_loss": metrics.log_loss(label, said),
        "brier": float(((said - hit) ** 2).sum(axis=1).mean()),
        "zero_one": metrics.zero_one_loss(label, chosen),
        "accuracy": metrics.accuracy_score(label, chosen),
    }

    assert pytest.approx(theirs[name], rel=1e-12) == float(
        LOSSES[name].of_classes(3).of(label.astype(float), said).mean()
    )


def test_classes_that_cannot_be_judged_are_refused() -> None:
    """A label that is no class, probabilities that do not add up to 1, another number of classes, and losses of numbers."""
    loss = LOSSES["log_loss"].of_classes(3)
    with pytest.raises(DataError, match="a whole number from 0 to 2"):
        loss.check_labels(np.array([0.0, 3.0]))
    with pytest.raises(DataError, match="row 1, which log_loss cannot take; give probabilities that add up to 1"):
        loss.check_predictions("m", np.array([[0.2, 0.3, 0.5], [0.5, 0.4, 0.0]]), 2)
    with pytest.raises(DataError, match=r"shape \(2, 2\) .* there are 3 classes"):
        loss.check_predictions("m", np.full((2, 2), 0.5), 2)
    with pytest.raises(ConfigError, match="takes one number a prediction, not one a class"):
        LOSSES["rmse"].of_classes(3)


def test_a_users_cost_is_asked_of_rows_with_labels(tmp_path: Path) -> None:
    """A user's function gives each labelled row its cost; what it cannot answer with is refused, named as theirs."""
    (tmp_path / "mine.py").write_text(
        "def price(label, prediction):\n    return 3.0 * label + prediction\n"
        "def short(label, prediction):\n    return label[:1]\n"
    )
    loss = user_cost("mine.py:price", tmp_path)

    assert loss.of(np.array([1.0, np.nan, 0.0]), np.array([0.5, 0.5, 0.25])).tolist()[::2] == [3.5, 0.25]
    assert np.isnan(loss.of(np.array([np.nan]), np.array([0.5]))).all()
    with pytest.raises(DataError, match=r"mine\.py:short.*does not answer with one finite number a row"):
        user_cost("mine.py:short", tmp_path).of(LABEL, PROBABILITY)
    with pytest.raises(ConfigError, match="is not a function of that module"):
        user_cost("mine.py:prize", tmp_path)


def test_rankings_give_no_row_a_loss() -> None:
    """Metrics of ranks are found by name, are better the greater they are, and have no loss of a row."""
    for name in RANKINGS:
        assert loss_named(name).greater_is_better
        with pytest.raises(ConfigError, match="is a metric of many rows"):
            loss_named(name).of(LABEL, PROBABILITY)


def test_pinball_is_sklearns() -> None:
    """The loss of a quantile is scikit-learn's, at any quantile; what is none is refused with the way to write it."""
    mean = float(loss_named("pinball@0.9").of(LABEL, VALUE).mean())

    assert pytest.approx(metrics.mean_pinball_loss(LABEL, VALUE, alpha=0.9), rel=1e-12) == mean
    for wrong in ("pinball", "pinball@1", "pinball@x"):
        with pytest.raises(ConfigError, match=r"names no quantile; write pinball@0\.9"):
            loss_named(wrong)


def test_cost_counts_the_cells_of_the_confusion_matrix() -> None:
    """The mean cost is that of each cell times how often it occurs."""
    no, yes = (0.0, 1.0), (5.0, -0.5)
    counts = metrics.confusion_matrix(LABEL, PROBABILITY >= 0.3) / len(LABEL)
    mean = float(cost_loss((no, yes), 0.3).of(LABEL, PROBABILITY).mean())

    assert pytest.approx(float((counts * np.array([no, yes])).sum()), rel=1e-12) == mean
    with pytest.raises(ConfigError, match="is not two rows of two numbers"):
        cost_loss([[0.0, 1.0]])


def test_log_loss_is_clipped() -> None:
    """A sure mistake costs as much as one at the clip, and not infinity."""
    losses = log_loss(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, CLIP, 1.0, 1.0 - CLIP]))

    assert pytest.approx([-np.log(CLIP)] * 4) == losses.tolist()


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("log_loss", 2.0, "needs 0 or 1"),
        ("brier", -1.0, "needs 0 or 1"),
        ("zero_one", 0.5, "needs 0 or 1"),
        ("squared_error", np.inf, "squared_error can take"),
    ],
)
def test_labels_a_loss_cannot_take_are_refused(name: str, label: float, words: str) -> None:
    """A label that the loss cannot take is refused with its value and the way out; NaN means that it never came."""
    with pytest.raises(DataError, match=words) as refusal:
        LOSSES[name].check_labels(np.array([0.0, np.nan, label]))

    assert label == refusal.value.value
    assert "mend the label" in refusal.value.fix


@pytest.mark.parametrize(
    ("name", "prediction", "words"),
    [
        ("log_loss", np.array([0.1, np.nan]), "prediction in row 1"),
        ("log_loss", np.array([1.5, 0.5]), "prediction in row 0"),
        ("brier", np.array([0.0, -1e-9]), "not a logit"),
        ("squared_error", np.array([np.inf, 0.0]), "prediction in row 0"),
        ("squared_error", np.array([0.0]), "the recording has 2 rows"),
        ("squared_error", np.zeros((2, 1)), "the recording has 2 rows"),
    ],
)
def test_predictions_a_loss_cannot_take_are_refused(name: str, prediction: np.ndarray, words: str) -> None:
    """A prediction that the loss cannot take is refused, and the model named."""
    with pytest.raises(DataError, match=words) as refusal:
        LOSSES[name].check_predictions("b", prediction, 2)

    assert refusal.value.field == "b"


def test_unknown_loss_is_refused_with_the_nearest() -> None:
    """A misspelt metric is answered with the one that may have been meant."""
    with pytest.raises(ConfigError, match="did you mean `log_loss`"):
        loss_named("logloss")
