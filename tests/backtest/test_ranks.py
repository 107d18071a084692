from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.backtest.reference import DAY
from tests.backtest.test_tally import HOUR, requests, rows_of
from windtunnel.backtest.question import Question, first_look_us
from windtunnel.backtest.ranks import figures_of_ranks
from windtunnel.backtest.replay import backtest
from windtunnel.backtest.tally import Tally
from windtunnel.loss import loss_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.backtest.reference import Request
    from windtunnel.backtest.figures import Figures
    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]

METRICS = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}


def theirs(metric: str, label: list[float], said: list[float]) -> float:
    """Scikit-learn's, and NaN where it has none to give."""
    if sum(label) == 0 or (metric == "roc_auc" and len(set(label)) < 2):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return float(METRICS[metric](label, said))


def asked_for(asked: list[Request], metric: str, horizon: int, every: int) -> tuple[Figures, NDArray[np.int64], Tally]:
    rows = rows_of(asked)
    first_us = first_look_us(min(each.time for each in asked))
    question = Question(("old", "new"), loss_named(metric), first_us, every, horizon)
    as_of_us = np.arange(first_us, 8 * DAY, every, dtype=np.int64)
    tally = Tally.of(rows, question)
    return figures_of_ranks(rows, question, tally, as_of_us), as_of_us, tally


@given(
    asked=requests(),
    metric=st.sampled_from(list(METRICS)),
    horizon_h=st.sampled_from([12, 24, 60]),
    every_h=st.sampled_from([5, 12, 24]),
)
@settings(max_examples=60, deadline=None)
def test_every_look_shows_scikit_learns(asked: list[Request], metric: str, horizon_h: int, every_h: int) -> None:
    """As of every look the metric is scikit-learn's on the rows matured by then, corrected labels included, ties too."""
    horizon = horizon_h * HOUR
    figures, as_of_us, tally = asked_for(asked, metric, horizon, every_h * HOUR)
    for look, as_of in enumerate(as_of_us.tolist()):
        matured = [each for each in asked if each.state_at(as_of, horizon) == "matured"]
        label = [each.label_at(as_of, horizon) or 0.0 for each in matured]
        before = [each for each in asked if each.time < as_of and each.label_at(2**62, horizon) is not None]
        final = [each.label_at(2**62, horizon) or 0.0 for each in before]
        for model in (0, 1):
            expected = theirs(metric, label, [each.said[model] for each in matured])
            assert pytest.approx(expected, nan_ok=True, rel=1e-12) == figures.metric[model, look]
            if as_of % DAY == 0:
                expected = theirs(metric, final, [each.said[model] for each in before])
                assert pytest.approx(expected, nan_ok=True, rel=1e-12) == figures.turned_out[model, look]
            else:
                assert math.isnan(figures.turned_out[model, look])
    for day in range(figures.days.shape[1]):
        of_day = [each for each in asked if each.time // DAY == day + tally.day_0]
        of_day = [each for each in of_day if each.label_at(2**62, horizon) is not None]
        label = [each.label_at(2**62, horizon) or 0.0 for each in of_day]
        for model in (0, 1):
            expected = theirs(metric, label, [each.said[model] for each in of_day])
            assert pytest.approx(expected, nan_ok=True, rel=1e-12) == figures.days[model, day]


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_better_ranking_wins(make_traffic: Callable[..., tuple[Recording, Floats]], metric: str) -> None:
    """A candidate that ranks better wins, with a difference above zero; one that ranks worse is rejected."""
    recording, truth = make_traffic(60)
    noisy = np.clip(truth + np.random.default_rng(0).normal(0.0, 0.5, len(truth)), 0.0, 1.0)
    up = backtest(recording, {"old": noisy, "new": truth}, incumbent="old", candidates=["new"], metric=metric)
    down = backtest(recording, {"old": truth, "new": noisy}, incumbent="old", candidates=["new"], metric=metric)
    same = backtest(recording, {"old": truth, "new": truth**3}, incumbent="old", candidates=["new"], metric=metric)

    assert (up.verdict.outcome, up.winner, up.greater_is_better) == ("go", "new", True)
    assert up.candidates[0].difference_low > 0.0
    assert "above zero is better" in up.verdict.reasons[1]
    assert (down.verdict.outcome, down.candidates[0].status) == ("no-go", "worse")
    assert (same.candidates[0].difference, same.candidates[0].status) == (0.0, "non-inferior")


def test_days_of_one_label_are_passed_over_and_counted(make_recording: Callable[..., Recording]) -> None:
    """A day with one label only has no ranking: it is no block, and the notes say how many such days there were."""
    time = [day * DAY + hour * HOUR for day in range(10) for hour in range(4)]
    label = [float(hour % 2 if day >= 4 else 1) for day in range(10) for hour in range(4)]
    recording = make_recording(time, [us + HOUR for us in time], label)
    said = np.random.default_rng(0).random(len(time))
    found = backtest(
        recording, {"a": said, "b": said}, incumbent="a", candidates=["b"], metric="roc_auc", horizon_s=3600
    )

    assert found.candidates[0].blocks == 4  # the last two days are not mature
    assert "4 of 10 days with labels hold one label only" in found.notes[-1]
