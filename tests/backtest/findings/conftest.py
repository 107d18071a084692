"""A held recording of some months, with everything logged that a finding may ask for, and one that fits on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.findings import Held
from windtunnel.backtest.replay import backtest
from windtunnel.loss import loss_named
from windtunnel.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

START_US = 1_704_067_200_000_000
"""Midnight of 1 January 2024, UTC."""

DAY_US = 86_400_000_000


@pytest.fixture(scope="session")
def make_held() -> Callable[..., Held]:
    """Traffic of some days, 50 requests each: `new` says the truth, `old` half of it; `km` moves on day 60."""
    return _held


def _held(days: int = 100, metric: str = "log_loss", seed: int = 1, **columns: Any) -> Held:
    rng = np.random.default_rng(seed)
    n = days * 50
    asked = np.sort(rng.integers(days * DAY_US, size=n))
    km = rng.normal(size=n) + (asked >= 60 * DAY_US)
    truth = 1.0 / (1.0 + np.exp(-km))
    known = asked + rng.exponential(1.0 * DAY_US, size=n).astype(np.int64)
    label = (rng.random(n) < truth).astype(float)
    frame = pl.DataFrame(
        {
            "id": range(n), "time": _instants(asked), "label": label, "label_time": _instants(known), "km": km,
            "carrier": rng.choice(["UA", "AA", "DL"], size=n), **{name: make(rng, n) for name, make in columns.items()},
        }
    )  # fmt: skip
    predictions = {"old": 1.0 / (1.0 + np.exp(-0.5 * km)), "new": truth}
    recording = Recording("made", frame)
    compared = backtest(recording, predictions, incumbent="old", candidates=["new"], metric=metric)
    return Held.of(recording, predictions, compared, loss_named(metric), features=("km", "carrier"))


def _instants(us: np.ndarray[Any, np.dtype[np.int64]]) -> pl.Series:
    return pl.Series(START_US + us).cast(pl.Datetime("us", "UTC"))


@pytest.fixture(scope="session")
def page() -> Held:
    """Three requests of one day; the first label is corrected twice, the second correction too late; the last label never comes."""
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    asked = [begin + timedelta(hours=hour) for hour in (1, 2, 30)]
    frame = pl.DataFrame({
        "id": [7, 8, 9], "time": asked, "label": [1.0, 0.0, None],
        "label_time": [begin + timedelta(hours=5), begin + timedelta(hours=6), None],
        "carrier": ["UA", None, "AA"],
    }).with_columns(pl.col("time", "label_time").cast(pl.Datetime("us", "UTC")))  # fmt: skip
    later = pl.DataFrame({
        "id": [7, 7], "label": [0.0, 1.0],
        "label_time": pl.Series([begin + timedelta(hours=20), begin + timedelta(hours=40)]).cast(pl.Datetime("us", "UTC")),
    })  # fmt: skip
    predictions = {"old": np.array([0.5, 0.5, 0.5]), "new": np.array([0.9, 0.2, 0.3])}
    recording = Recording("page", frame)
    compared = backtest(
        recording, predictions, incumbent="old", candidates=["new"], corrections=later, horizon_s=86400.0
    )
    return Held.of(recording, predictions, compared, loss_named("brier"), later)
