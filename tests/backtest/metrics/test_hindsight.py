"""What each morning showed, against what turned out true."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.metrics import CUMULATIVE, Clocks, Hindsight, Judged, Window, metric_named
from windtunnel.errors import ConfigError

DAY = 86_400_000_000
GRID = np.arange(1, 41) * DAY
LAST = Window("last", 3 * DAY)


def traffic(slow_losses: bool) -> tuple[Judged, Clocks]:
    """Forty days on which label 1 comes after six days where losses are slow, else all come after two hours."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 40 * DAY, size=8000))
    chance = rng.random(8000)
    label = (rng.random(8000) < chance).astype(float)
    known = time + np.where((label == 1.0) & slow_losses, 6 * DAY, DAY // 12)
    return Judged(label, np.full(8000, 0.5) + 0.4 * (chance > 0.5) - 0.2), Clocks(time, known)


def test_truth_and_show_agree_where_labels_come_at_once() -> None:
    """With fast labels every settled morning showed nearly what turned out true."""
    found = Hindsight.of(metric_named("brier"), *traffic(slow_losses=False), GRID, 7 * DAY, LAST)

    assert np.abs(found.gap[found.settled]).max() < 0.01
    assert (found.coverage_then[3:] > 0.9).all()


def test_slow_losses_make_the_morning_rosy_and_coverage_says_so() -> None:
    """Where label 1 is slow the dashboard shows too few of them, with half of the labels; the truth is known after the horizon."""
    found = Hindsight.of(metric_named("accuracy"), *traffic(slow_losses=True), GRID, 7 * DAY, LAST)
    told = found.draw("champion")

    assert found.settled.tolist() == [True] * 33 + [False] * 7
    assert np.isnan(found.true[33:]).all()
    assert np.allclose(found.coverage_now[:33], 1.0)
    assert (found.coverage_then[3:] < 0.6).all()
    assert "on 33 mornings" in told.sentences[0]
    assert len(told.figures[0].plotly["data"]) == 4
    assert found.to_dict()[-1]["true"] is None


def test_the_truth_is_that_of_the_last_version_within_the_horizon() -> None:
    """A corrected label was shown as it was and turned out as it became; one corrected too late stays."""
    never = int(np.iinfo(np.int64).max)
    clocks = Clocks(
        np.array([1, 1, 2, 2]), np.array([5, 12, 5, 60]), np.array([12, never, 60, never]), np.array([True, False] * 2)
    )
    rows = Judged(np.array([1.0, 0.0, 1.0, 0.0]), np.ones(4))
    found = Hindsight.of(metric_named("accuracy"), rows, clocks, np.array([10, 20, 80]), 15, Window("last", 10))

    assert (found.asked[0], found.shown[0], found.true[0]) == (2, 1.0, 0.5)


def test_only_a_window_of_the_last_days_has_a_hindsight() -> None:
    """What is never left behind is never settled."""
    with pytest.raises(ConfigError, match="must be one of the last days"):
        Hindsight.of(metric_named("brier"), *traffic(slow_losses=False), GRID, DAY, CUMULATIVE)
