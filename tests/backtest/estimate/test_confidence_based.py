from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from windtunnel.backtest.estimate import METRICS, Periods, ScoreTable, estimate_by_confidence
from windtunnel.backtest.estimate.calibration import calibrate
from windtunnel.backtest.estimate.score_table import BINS, bin_of
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]

NEVER = np.iinfo(np.int64).max
DAY, DAYS, HORIZON = 1000, 40, 3000
PERIODS = Periods.of(np.arange(1, DAYS + 1) * DAY, HORIZON)


def traffic(seed: int, *, moved: float = 0.0, meaning: float = 0.0, rows: int = 40_000) -> Rows:
    """Requests whose predictions are too sure of themselves; from day to day they move, or change what they mean."""
    rng = np.random.default_rng([23, seed])
    time = rng.integers(0, DAYS * DAY, rows)
    day = time / (DAYS * DAY)
    odds = rng.normal(-0.5 + moved * np.sin(2.0 * np.pi * 3.0 * day), 1.0, rows)
    label = (rng.random(rows) < 1.0 / (1.0 + np.exp(-odds - meaning * day))).astype(float)
    known = np.where(rng.random(rows) < 0.1, NEVER, time + rng.integers(0, HORIZON, rows))
    return time, known, 1.0 / (1.0 + np.exp(-2.0 * odds)), label


def table_of(rows: Rows) -> ScoreTable:
    """The table of some rows."""
    return ScoreTable.of(*rows, PERIODS)


def test_realised_values_are_scikit_learns() -> None:
    """What a settled period is said to have been agrees with scikit-learn row by row, to what the bins round off."""
    rows = traffic(0)
    time, known, prediction, label = rows
    of_day = (time // DAY == 20) & (known <= time + HORIZON)
    expected = {
        "log_loss": log_loss(label[of_day], prediction[of_day]),
        "brier": np.mean((prediction - label)[of_day] ** 2),
        "zero_one": np.mean((prediction >= 0.5)[of_day] != label[of_day]),
        "accuracy": np.mean((prediction >= 0.5)[of_day] == label[of_day]),
        "auc": roc_auc_score(label[of_day], prediction[of_day]),
    }

    assert {name: estimate_by_confidence(table_of(rows), name).realised[20] for name in METRICS} == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"auc"}))
def test_estimate_follows_what_is_asked(metric: str) -> None:
    """Where traffic moves but predictions go on meaning what they meant, estimates beat the last known value and are trusted."""
    trust = estimate_by_confidence(table_of(traffic(1, moved=1.5)), metric).trust()

    assert trust.skill[-1] > 0.3
    assert trust.reliable[-1]
    assert 0.75 <= trust.covered <= 1.0


def test_auc_is_estimated_without_bias() -> None:
    """The estimated AUC errs around nothing, by no more than a day of a thousand labels scatters."""
    found = estimate_by_confidence(table_of(traffic(1, moved=1.5)), "auc")
    errors = (found.realised - found.estimate)[5 : DAYS - 3]

    assert abs(float(errors.mean())) < 3.0 * float(errors.std()) / len(errors) ** 0.5
    assert float(np.abs(errors).max()) < 0.1


def test_estimate_is_blind_to_a_change_of_meaning() -> None:
    """Where predictions mean something else every day, the estimate errs more than the last known value, and is not trusted."""
    trust = estimate_by_confidence(table_of(traffic(2, meaning=6.0)), "log_loss").trust()

    assert trust.skill[-1] < 0.0
    assert not trust.reliable[-1]


def test_uncalibrated_confidence_would_be_believed() -> None:
    """Taken at its word, an overconfident model promises half the loss that it makes; calibrated it says the truth."""
    rows = traffic(3)
    found = estimate_by_confidence(table_of(rows), "log_loss", "platt")
    prediction = rows[2]
    at_its_word = float(np.mean(-prediction * np.log(prediction) - (1 - prediction) * np.log1p(-prediction)))
    settled = slice(10, DAYS - 3)

    assert np.nanmean(found.estimate[settled]) == pytest.approx(np.nanmean(found.realised[settled]), abs=0.01)
    assert at_its_word < 0.8 * float(np.nanmean(found.realised[settled]))


def test_fast_ones_do_not_mislead() -> None:
    """Only settled periods teach: that ones are answered at once and zeros late leaves the estimate where it should be."""
    time, _, prediction, label = traffic(4)
    known = time + np.where(label == 1.0, 1, HORIZON - 1)
    found = estimate_by_confidence(table_of((time, known, prediction, label)), "accuracy")
    settled = slice(10, DAYS - 3)

    assert np.nanmean((found.estimate - found.realised)[settled]) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_the_future_does_not_reach_back(method: str) -> None:
    """Labels that become known after a look change no bit of what was estimated, known and trusted by then."""
    time, known, prediction, label = traffic(5)
    look = 30
    later = known > (look + 1) * DAY
    rng = np.random.default_rng(0)
    known_2 = np.where(later, rng.integers((look + 1) * DAY + 1, NEVER, len(time)), known)
    label_2 = np.where(later, 1.0 - label, label)
    one, other = (
        estimate_by_confidence(table_of((time, *each)), "brier", method).trust()  # type: ignore[arg-type]  # a parameter
        for each in ((known, prediction, label), (known_2, prediction, label_2))
    )
    for name in ("low", "high", "reliable", "skill"):
        assert getattr(one, name)[: look + 1].tobytes() == getattr(other, name)[: look + 1].tobytes()
    assert one.of.estimate[: look + 1].tobytes() == other.of.estimate[: look + 1].tobytes()
    assert one.of.last_known[: look + 1].tobytes() == other.of.last_known[: look + 1].tobytes()


def test_shards_add_up() -> None:
    """Tables of two parts of the rows add up to that of the whole in every count."""
    rows = traffic(6, rows=5000)
    parts = [table_of(tuple(each[cut] for each in rows)) for cut in (slice(0, 999), slice(999, None))]  # type: ignore[arg-type]  # four columns
    whole, added = table_of(rows), parts[0] + parts[1]

    assert added.asked.tobytes() == whole.asked.tobytes()
    assert added.ones.tobytes() == whole.ones.tobytes()
    assert added.predicted.sum() == pytest.approx(whole.predicted.sum(), rel=1e-12)


def test_the_last_version_of_a_label_teaches() -> None:
    """A corrected label is counted once, as what it was corrected to."""
    time, known, until = np.array([5, 5]), np.array([10, 20]), np.array([20, NEVER])
    table = ScoreTable.of(
        time, known, np.array([0.7, 0.7]), np.array([0.0, 1.0]), PERIODS, until_us=until, first=np.array([True, False])
    )

    assert [table.asked.sum(), table.matured.sum(), table.ones.sum()] == [1.0, 1.0, 1.0]


def test_one_class_teaches_nothing() -> None:
    """Labels of one class, or none, give no calibration, hence no estimate and no trust, and no error."""
    matured = np.ones(BINS)

    assert np.isnan(calibrate(matured, np.zeros(BINS))).all()
    assert np.isnan(calibrate(matured, matured)).all()
    time, known, prediction, label = traffic(7, rows=2000)
    trust = estimate_by_confidence(table_of((time, known, prediction, np.zeros_like(label))), "auc").trust()

    assert np.isnan(trust.of.estimate).all()
    assert not trust.reliable.any()


def test_refusals() -> None:
    """Values that are no probabilities and metrics that confidence says nothing of are refused; a bin is found for 0 and 1."""
    time = np.array([5])
    with pytest.raises(DataError, match="no probability"):
        ScoreTable.of(time, time, np.array([np.nan]), np.array([1.0]), PERIODS)
    with pytest.raises(ConfigError, match="did you mean"):
        estimate_by_confidence(table_of(traffic(8, rows=100)), "logloss")

    assert bin_of(np.array([0.0, 1.0])).tolist() == [0, BINS - 1]


@pytest.mark.parametrize("label", [2.0, 0.5, float("nan")])
def test_labels_are_zero_or_one(label: float) -> None:
    """A label that counts and is neither would be counted as so many ones; one that came too late is not looked at."""
    time = np.array([5, 5])
    with pytest.raises(DataError, match="other than 0 and 1"):
        ScoreTable.of(time, time, np.array([0.5, 0.5]), np.array([1.0, label]), PERIODS)

    assert (
        ScoreTable.of(time, np.array([5, NEVER]), np.array([0.5, 0.5]), np.array([1.0, label]), PERIODS).ones.sum()
        == 1.0
    )
