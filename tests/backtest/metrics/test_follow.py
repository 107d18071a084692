"""Metrics over a grid against a brute-force reading of the definitions, and what they may not know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.metrics import (
    CUMULATIVE,
    Clocks,
    Judged,
    Window,
    follow_by_slice,
    follow_metric,
    metric_named,
)
from windtunnel.errors import ConfigError, DataError

NEVER = int(np.iinfo(np.int64).max)
GRID = np.arange(10, 80, 10)
HORIZON = 20
WINDOWS = (CUMULATIVE, Window("last", 15), Window("decayed", 12))


def rows_of(seed: int, n: int = 60) -> tuple[Judged, Clocks]:
    """Rows on small whole times, so that ties are common; a third of the labels are corrected, some never come."""
    rng = np.random.default_rng(seed)
    time = rng.integers(0, 60, size=n)
    known = time + rng.integers(0, 30, size=n)
    until = np.where(rng.random(n) < 0.4, known + rng.integers(1, 20, size=n), NEVER)
    lost = rng.random(n) < 0.1
    known[lost], until[lost] = NEVER, NEVER
    label = np.where(lost, np.nan, rng.integers(0, 2, size=n).astype(float))
    return Judged(label, rng.integers(0, 11, size=n) / 10.0), Clocks(time, known, until)


def counted(clocks: Clocks, tau: int, window: Window) -> list[int]:
    """Which rows count at a time, straight from the definition."""
    told = []
    for row in range(len(clocks)):
        time, known, until = (int(each[row]) for each in (clocks.time_us, clocks.known_us, clocks.until_us))
        superseded = until <= tau and until <= time + HORIZON
        inside = window.kind != "last" or time >= tau - window.span_us
        if time < tau and known <= tau and known <= time + HORIZON and not superseded and inside:
            told.append(row)
    return told


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "name",
    ["log_loss", "rmse", "roc_auc", "average_precision", "f1", "precision@0.7", "mcc", "balanced_accuracy", "ece"],
)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_look_is_the_metric_of_the_rows_that_count_then(name: str, window: Window, seed: int) -> None:
    """Sums, pairs in order and looks one by one all give what the definition gives, row by row."""
    metric, (rows, clocks) = metric_named(name), rows_of(seed)
    found = follow_metric(metric, rows, clocks, GRID, HORIZON, window)

    for look, tau in enumerate(GRID):
        places = np.array(counted(clocks, int(tau), window), dtype=np.int64)
        taken = rows.take(places)
        if window.kind == "decayed":
            taken = taken.weighing(0.5 ** ((tau - clocks.time_us[places]) / window.span_us))
        expected = metric.settle(taken)
        assert found.rows[look] == len(places)
        assert found.value[look] == pytest.approx(expected.value, rel=1e-9, nan_ok=True)
        assert (found.why[look] == "") == math.isfinite(expected.value)


@pytest.mark.parametrize("window", WINDOWS[:2])
@pytest.mark.parametrize("name", ["macro_f1", "class_auc"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_metrics_of_classes_at_every_look(name: str, window: Window, seed: int) -> None:
    """Counted in one pass they are what scikit-learn makes of the rows of each look, and say why where they have no value."""
    metric, (two, clocks) = metric_named(name), rows_of(seed)
    rng = np.random.default_rng(seed)
    label = np.where(np.isnan(two.label), np.nan, rng.integers(0, 3, size=len(two)))
    rows = Judged(label, rng.dirichlet(np.ones(3), size=len(two)).round(1))
    found = follow_metric(metric, rows, clocks, GRID, HORIZON, window)

    for look, tau in enumerate(GRID):
        expected = metric.settle(rows.take(np.array(counted(clocks, int(tau), window), dtype=np.int64)))
        assert (int(found.rows[look]), found.why[look]) == (expected.rows, expected.why)
        assert found.value[look] == pytest.approx(expected.value, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["log_loss", "roc_auc", "recall"])
def test_nothing_known_later_moves_a_bit_of_an_earlier_look(name: str, window: Window) -> None:
    """Scrambling every label known after τ, or deleting those rows, leaves the looks up to τ bit-identical."""
    metric, (rows, clocks) = metric_named(name), rows_of(1, n=300)
    tau = int(GRID[3])
    full = follow_metric(metric, rows, clocks, GRID, HORIZON, window)
    late = clocks.known_us > tau
    scrambled = Judged(np.where(late, 1.0 - rows.label, rows.label), rows.prediction)
    until = np.where(clocks.until_us > tau, NEVER, clocks.until_us)
    cut = Clocks(clocks.time_us, clocks.known_us, until).take(~late)

    again = follow_metric(metric, scrambled, clocks, GRID, HORIZON, window)
    deleted = follow_metric(metric, rows.take(~late), cut, GRID, HORIZON, window)

    assert full.value[:4].tobytes() == again.value[:4].tobytes() == deleted.value[:4].tobytes()


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_constant_predictions_at_every_look(name: str) -> None:
    """Where all scores are tied, the quick way says what the slow one says: half the pairs, or the share of ones."""
    rows, clocks = rows_of(2)
    constant = Judged(rows.label, np.full(len(rows), 0.3))
    found = follow_metric(metric_named(name), constant, clocks, GRID, HORIZON)

    there = rows.label[counted(clocks, int(GRID[-1]), CUMULATIVE)]
    assert found.value[-1] == pytest.approx(0.5 if name == "roc_auc" else there.mean())
    assert metric_named(name).measure(constant.take(~np.isnan(rows.label))).why == ""
    assert not any(found.why[1:])  # at the first look there is no label yet


def test_slices_are_followed_each_by_itself() -> None:
    """A slice's path is that of its rows alone."""
    rows, clocks = rows_of(3)
    inside = np.arange(len(rows)) % 2 == 0
    found = follow_by_slice(metric_named("brier"), rows, clocks, GRID, HORIZON, {"even": inside})
    alone = follow_metric(metric_named("brier"), rows.take(inside), clocks.take(inside), GRID, HORIZON)

    assert found["even"].value.tobytes() == alone.value.tobytes()


def test_what_cannot_be_followed_is_refused() -> None:
    """A metric that cannot weigh rows cannot fade; times must be there for every row; a window has a length."""
    rows, clocks = rows_of(4)
    with pytest.raises(ConfigError, match="so it cannot fade"):
        follow_metric(metric_named("spearman"), rows, clocks, GRID, HORIZON, Window("decayed", 5))
    with pytest.raises(DataError, match="give one time a row"):
        follow_metric(metric_named("brier"), rows.take(np.arange(3)), clocks, GRID, HORIZON)
    with pytest.raises(ConfigError, match="must be above zero"):
        Window.last(0.0)
