"""Recordings small enough to check by hand, and long enough to decide something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

START_US = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
DAY_US = 86_400_000_000


@pytest.fixture(scope="session")
def make_recording() -> Callable[..., Recording]:
    """A recording from two clocks in microseconds since 2013 and labels; None: never."""
    return _recording


def _recording(
    time_us: Sequence[int],
    known_us: Sequence[int | None],
    label: Sequence[float | None],
    ids: Sequence[int] | None = None,
) -> Recording:
    table = pl.DataFrame(
        {
            "key": pl.Series(range(len(time_us)) if ids is None else ids, dtype=pl.Int64),
            "asked": pl.Series([START_US + us for us in time_us], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "truth": pl.Series(label, dtype=pl.Float64),
            "known": pl.Series([None if us is None else START_US + us for us in known_us], dtype=pl.Int64).cast(
                pl.Datetime("us", "UTC")
            ),
        }
    )
    return Recording.from_table(table, Columns("asked", "key", "truth", "known"), name="made")


@pytest.fixture(scope="session")
def make_traffic(make_recording: Callable[..., Recording]) -> Callable[..., tuple[Recording, NDArray[np.float64]]]:
    """A recording of some days with 0/1 labels that come after some hours, and the true probabilities."""

    def make(days: int, per_day: int = 60, seed: int = 0, never: float = 0.05) -> tuple[Recording, NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        rows = days * per_day
        time_us = np.sort(rng.integers(days * DAY_US, size=rows))
        known_us = time_us + rng.exponential(DAY_US, size=rows).astype(np.int64)
        truth = rng.beta(2.0, 3.0, size=rows)
        label = (rng.random(rows) < truth).astype(float).tolist()
        gone = rng.random(rows) < never
        known = [None if lost else int(us) for us, lost in zip(known_us, gone, strict=True)]
        shown = [None if lost else y for y, lost in zip(label, gone, strict=True)]
        return make_recording(time_us.tolist(), known, shown), truth

    return make
