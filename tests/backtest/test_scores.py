from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest import backtest, backtest_stream
from windtunnel.backtest.reading import Ask, Ingest, Roles
from windtunnel.backtest.scores import edges_of, metric_of_bins
from windtunnel.errors import ConfigError
from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.backtest import Comparison

ROLES = Roles("time", {"old": "p_old", "new": "p_new"}, id="id", label="label", label_time="label_time")


def both(
    folder: Path, frame: pl.DataFrame, metric: str, monkeypatch: pytest.MonkeyPatch, bins: int = 2**16, **more: Any
) -> tuple[Comparison, Comparison]:
    """What memory says, and what a stream says with so many bins."""
    monkeypatch.setattr("windtunnel.backtest.scores.MOST_BINS", bins)
    frame.write_parquet(folder / "a.parquet")
    recording = Recording.from_table(
        frame.drop("p_old", "p_new"), Columns("time", "id", "label", "label_time"), name="made"
    )
    asked: dict[str, Any] = {"incumbent": "old", "candidates": ["new"], "metric": metric, **more}
    models = {name: frame[column].to_numpy() for name, column in (("old", "p_old"), ("new", "p_new"))}
    ingest = Ingest(Ask("a.parquet", ROLES), folder, 700)
    return backtest(recording, models, **asked), backtest_stream(ingest, name="made", **asked).comparison


@pytest.fixture(scope="module")
def logged(make_traffic: Callable[..., Any]) -> pl.DataFrame:
    """Forty days of requests with two models' scores; the old one's in steps of a tenth."""
    recording, truth = make_traffic(40, per_day=50)
    old = np.clip(truth + np.random.default_rng(1).normal(0.0, 0.3, len(truth)), 0.0, 1.0)
    frame: pl.DataFrame = recording.frame
    return frame.with_columns(p_old=pl.Series(old), p_new=pl.Series(truth))


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_few_scores_are_told_apart_to_the_bit(
    tmp_path: Path, logged: pl.DataFrame, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each score has a bin of its own nothing is lost: every figure is that of memory, and the stated error is zero."""
    rounded = logged.with_columns(pl.col("p_old", "p_new").round(1))
    exact, binned = (each.to_dict() for each in both(tmp_path, rounded, metric, monkeypatch))
    told = binned.pop("binned")

    assert exact.pop("binned") is None
    assert binned == exact
    assert (told["metric_error"], told["difference_error"]) == ({"old": 0.0, "new": 0.0}, {"new": 0.0})


@pytest.mark.parametrize("bins", [16, 256])
@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_the_stated_error_holds(
    tmp_path: Path, logged: pl.DataFrame, metric: str, bins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few bins cost what is said and no more, at the last look and in the mean difference of days; finer ones cost less."""
    monkeypatch.setattr("windtunnel.backtest.scores.FEWEST_BINS", 16)
    exact, binned = both(tmp_path, logged, metric, monkeypatch, bins)
    told = binned.binned

    assert told is not None
    assert told.bins == bins
    for model in ("old", "new"):
        off = abs(binned.timeline.metric[model][-1] - exact.timeline.metric[model][-1])
        assert 0.0 < off <= told.metric_error[model] + 1e-12
    off = abs(binned.candidates[0].difference - exact.candidates[0].difference)
    assert 0.0 < off <= told.difference_error["new"] + 1e-12
    assert told.metric_error["new"] < 4.0 / bins


def test_the_error_of_a_bin_is_the_worst_order_in_it() -> None:
    """Four rows in one bin may be in any order: the area lies anywhere from none to all of their pairs."""
    one, flat = np.array([2]), np.array([False])

    assert metric_of_bins(one, one, flat, False) == (0.5, 0.5)
    assert metric_of_bins(one, one, flat, True) == (0.5, 0.5)
    assert metric_of_bins(one, one, np.array([True]), False) == (0.5, 0.0)


def test_a_score_that_many_share_has_a_bin_of_its_own() -> None:
    """However many scores there are, one that a tenth of the rows share is kept apart from its neighbours."""
    rng = np.random.default_rng(2)
    scores = np.where(rng.random(5000) < 0.1, 0.25, rng.random(5000))
    edges = edges_of(scores, 256)
    bins = np.searchsorted(edges, scores, side="right")

    assert len(edges) < 256
    assert set(scores[bins == np.searchsorted(edges, 0.25, side="right")]) == {0.25}


def test_too_many_looks_are_refused(tmp_path: Path, logged: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks every second of forty days cannot each have a histogram, which is said before room is made for them."""
    with pytest.raises(ConfigError, match="too many to count scores for; look less often"):
        both(tmp_path, logged.head(60), "roc_auc", monkeypatch, every_s=1.0)
