from __future__ import annotations

import importlib
from itertools import pairwise

import numpy as np
import pytest

from windtunnel.backtest import Rows
from windtunnel.backtest.estimate import DelayCurve
from windtunnel.backtest.kernel import DAY_US, NEVER_US
from windtunnel.backtest.question import Question
from windtunnel.backtest.waits import Waits
from windtunnel.loss import loss_named

QUESTION = Question(("old", "new"), loss_named("log_loss"), DAY_US, DAY_US, 7 * DAY_US)
AS_OF = 20 * DAY_US


def traffic(rows: int = 4000) -> Rows:
    """Requests of twenty days in any order, a tenth of whose labels never come and a third of which are corrected."""
    rng = np.random.default_rng(3)
    time = rng.integers(0, 20 * DAY_US, rows)
    known = time + rng.exponential(1.5 * DAY_US, rows).astype(np.int64)
    lost = rng.random(rows) < 0.1
    until = np.where(rng.random(rows) < 0.3, known + DAY_US, NEVER_US)
    label = np.where(lost, np.nan, (rng.random(rows) < 0.4).astype(float))
    known[lost], until[lost] = NEVER_US, NEVER_US
    return Rows(time, known, label, rng.random((2, rows)), until_us=until, first=np.ones(rows, dtype=np.bool_))


def test_pieces_add_up_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere and added in any order, what is counted of late labels is that of all rows, to the last bit."""
    rows = traffic()
    whole = Waits.of(rows, QUESTION, AS_OF, compact=False)
    monkeypatch.setattr(importlib.import_module(Waits.__module__), "SOME", 100)
    cuts = [0, 7, 1900, 1901, 4000]
    parts = [Waits.of(rows.between(*cut), QUESTION, AS_OF) for cut in pairwise(cuts)]
    added = Waits.merged(parts[::-1])

    assert added.triangle.whole().asked.tobytes() == whole.triangle.asked.tobytes()
    assert (added.steps.tobytes(), added.longest_us.tobytes()) == (whole.steps.tobytes(), whole.longest_us.tobytes())
    for name in ("losses", "squares"):
        for model in QUESTION.models:
            ours, theirs = (getattr(each.triangle.whole(), name)[model] for each in (added, whole))
            assert ours.tobytes() == theirs.tobytes()


def test_the_curve_is_kaplan_and_meiers() -> None:
    """Counted in steps, the curve is the exact one at delays at most 1/128 longer, censored at the last look all the same."""
    rows = traffic()
    exact = DelayCurve.at(rows.time_us, rows.known_us, as_of_us=AS_OF, horizon_us=7 * DAY_US)
    found = Waits.of(rows, QUESTION, AS_OF).curve
    at = np.searchsorted(exact.delay_s, found.delay_s, side="right") - 1

    assert (found.requests, found.longest_s) == (exact.requests, exact.longest_s)
    assert found.waiting == pytest.approx(exact.waiting[at], abs=2e-3)
    for share in (0.1, 0.5, 0.8):
        assert 1.0 - 1e-12 <= found.quantile_s(share) / exact.quantile_s(share) <= 1.0 + 1.5 / 128


def test_where_no_label_came_in_time_the_curve_is_flat() -> None:
    """Requests without a label are all still waited for, the longest for the horizon."""
    rows = Rows(np.array([0, 1]), np.full(2, NEVER_US), np.full(2, np.nan), np.full((2, 2), 0.5))
    curve = Waits.of(rows, QUESTION, AS_OF).curve

    assert (curve.requests, len(curve.delay_s), curve.longest_s) == (2, 0, 7 * 86400.0)
