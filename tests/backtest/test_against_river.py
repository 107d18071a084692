"""The same figures as river's progressive validation, where both mean the same: labels under two clocks, looked at as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from river import metrics

from tests.performance.backtest import Recorded, river_scores
from windtunnel.backtest.question import Question
from windtunnel.backtest.tally import Tally
from windtunnel.loss import loss_named

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("log_loss", metrics.LogLoss),
        ("squared_error", metrics.MSE),
        ("absolute_error", metrics.MAE),
        ("rmse", metrics.RMSE),
    ],
)
def test_the_metric_as_of_every_hour_is_rivers(ours: str, theirs: Callable[[], Any]) -> None:
    """After as many answers as have matured at a look, river's running metric is ours."""
    recorded = Recorded.made(400, seed=4, days=20)
    rows = recorded.rows()
    looks = 24 * 40
    # no horizon: river waits for every label; and no tie, for river shows the answer before a question of the same instant
    tally = Tally.of(rows, Question(("old",), loss_named(ours), int(rows.time_us[0]), HOUR, 400 * 24 * HOUR))
    values = loss_named(ours).shown(tally.metric(0, looks))
    scores = river_scores(recorded, theirs(), step=1)
    matured = tally.counts(looks).matured
    seen = matured > 0

    assert len(scores) == len(rows) == matured[-1]
    np.testing.assert_allclose(values[seen], np.array(scores)[matured[seen] - 1], rtol=1e-9)
