from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.leak_files import leak_test_files
from windtunnel.recording import Columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLUMNS = Columns("asked_at", "key", "truth", "came_at")
MODELS = {"old": "p_old", "new": "p_new"}
SETTINGS: dict[str, Any] = {"incumbent": "old", "candidates": ["new"], "horizon_s": 3 * 86400.0}


@pytest.fixture
def file(tmp_path: Path, make_traffic: Callable[..., Any]) -> Path:
    """Thirty days of requests, a tenth of whose labels are turned half a day later."""
    recording, truth = make_traffic(30, per_day=40)
    frame = recording.frame.rename({"time": "asked_at", "id": "key", "label": "truth", "label_time": "came_at"})
    frame = frame.with_columns(p_old=pl.lit(0.4), p_new=pl.Series(truth), stake=pl.Series(truth * 10.0))
    came = frame.filter(pl.col("truth").is_not_null()).gather_every(10)
    later = came.with_columns((1.0 - pl.col("truth")).alias("truth"), pl.col("came_at").dt.offset_by("12h"))
    pl.concat([frame, later]).write_parquet(tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_files_read_in_pieces_do_not_leak(file: Path) -> None:
    """Nothing said of files moves with what became known later, corrections and amounts included; the share tested is told."""
    rng = np.random.default_rng(1)
    checks, share = leak_test_files(
        [file], COLUMNS, MODELS, rng, name="made", rows=500, times=2, amount="stake", **SETTINGS
    )

    assert share == 0.5
    assert len(checks) == 4
    assert all(check.passed for check in checks)
    assert min(check.labels for check in checks) > 0


def test_a_leak_in_the_reading_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pieces are counted as if each label had been known a thousand times as soon, the test of files says so."""
    stream = importlib.import_module("windtunnel.backtest.stream")
    honest = stream.rows_in
    monkeypatch.setattr(stream, "rows_in", partial(_known_too_soon, honest))
    checks, _ = leak_test_files([file], COLUMNS, MODELS, np.random.default_rng(1), name="made", times=2, **SETTINGS)

    assert not any(check.passed for check in checks if check.change == "deleted")


def _known_too_soon(honest: Callable[..., Any], *arguments: Any) -> Any:
    rows = honest(*arguments)
    return replace(
        rows,
        known_us=np.where(np.isnan(rows.label), rows.known_us, rows.time_us + (rows.known_us - rows.time_us) // 1000),
    )


def test_a_prediction_may_be_called_as_we_call_the_label(file: Path) -> None:
    """A column that the file calls `label` though it holds predictions is tested like any other."""
    pl.read_parquet(file).rename({"p_new": "label"}).write_parquet(file)
    models, rng = {"old": "p_old", "new": "label"}, np.random.default_rng(1)
    checks, _ = leak_test_files([file], COLUMNS, models, rng, name="made", rows=500, times=1, **SETTINGS)

    assert all(check.passed for check in checks)
