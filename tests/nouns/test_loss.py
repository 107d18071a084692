from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import CLIP, LOSSES, cost_loss, log_loss, loss_named

RNG = np.random.default_rng(3)
LABEL = (RNG.random(500) < 0.3).astype(np.float64)
PROBABILITY = RNG.uniform(0.001, 0.999, size=500)
VALUE = RNG.normal(size=500)

SKLEARN = {
    "log_loss": metrics.log_loss(LABEL, PROBABILITY),
    "brier": metrics.brier_score_loss(LABEL, PROBABILITY),
    "zero_one": metrics.zero_one_loss(LABEL, PROBABILITY >= 0.5),
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
