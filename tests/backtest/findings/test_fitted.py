from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.backtest.findings import Findings, Fitted, Held
from windtunnel.backtest.leak import leak_test
from windtunnel.backtest.policy import Trainer
from windtunnel.backtest.replay import backtest
from windtunnel.loss import loss_named
from windtunnel.recording import Recording

from .conftest import DAY_US

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

FIT = """
class Rate:
    def __init__(self, rate):
        self.rate = rate

    def predict(self, rows):
        return [self.rate] * len(rows)


def fit(rows, seed):
    return Rate(float(rows["label"].mean()))
"""


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    (tmp_path / "own.py").write_text(FIT)
    return Trainer("own.py:fit", tmp_path, 1)


def judge(trainer: Trainer) -> Any:
    def run(recording: Recording, predictions: Any, corrections: pl.DataFrame | None = None) -> Findings:
        compared = backtest(recording, predictions, incumbent="old", candidates=["new"], corrections=corrections)
        held = Held.of(recording, predictions, compared, loss_named("log_loss"), corrections)
        return Findings(compared, (Fitted.of(held, recording, corrections, trainer, start_us=5 * DAY_US),))

    return run


def test_answers_are_those_of_what_was_known(make_held: Callable[..., Held], trainer: Trainer) -> None:
    """Each look shows the latest model's answers to its requests; that model learnt from labels known before it alone."""
    held = make_held(20)
    found = Fitted.of(held, Recording("made", held.columns), None, trainer, start_us=5 * DAY_US)
    known = held.rows.known_us < held.looks_us[5]
    asked = (held.rows.time_us >= held.looks_us[6]) & (held.rows.time_us < held.looks_us[7])

    assert np.isnan(found.answered[:6]).all()
    assert found.answered[7] == pytest.approx(held.rows.label[known].mean() * asked.sum())


def test_the_leak_test_covers_fit(
    make_held: Callable[..., Held], trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on what was known, answers stay as they were; trained on all rows, the leak test says so."""
    held = make_held(20)
    recording, predictions = Recording("made", held.columns), {name: held.prediction(name) for name in held.models}
    fair = leak_test(recording, predictions, judge(trainer), np.random.default_rng(2), times=4)
    monkeypatch.setattr(
        "windtunnel.backtest.policy.trainer.rows_known", lambda recording, *_: recording.frame.drop_nulls("label")
    )
    planted = leak_test(recording, predictions, judge(trainer), np.random.default_rng(2), times=4)

    assert all(check.passed for check in fair)
    assert {check.moved for check in planted} == {("answers of fit",), ()}  # before the first training nothing can move
