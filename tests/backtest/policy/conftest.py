"""Recordings for policies: an incumbent and a candidate that is better or worse by a known amount, and a stream that drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest import Rows
from windtunnel.backtest.policy import Labels, Ledger, Trainer, Workshop
from windtunnel.backtest.policy.retraining import Bench, bench_of
from windtunnel.loss import LOSSES
from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

DAY_US = 86_400_000_000
DAY_S = 86_400.0
SHARES = (0.0, 0.01, 0.05, 0.25, 1.0)

FIT = """
import numpy as np

SAW = []


class Model:
    def __init__(self, rates):
        self.rates = rates

    def predict(self, rows):
        return np.where(rows["x"].to_numpy() > 0.0, self.rates[1], self.rates[0])


def fit(rows, seed, before=None):
    SAW.append((rows, seed, before))
    up, late = rows["x"].to_numpy() > 0.0, rows["label"].to_numpy()
    return Model([float((late[side].sum() + 1.0) / (side.sum() + 2.0)) for side in (~up, up)])
"""


@pytest.fixture(scope="session")
def make_ledger() -> Callable[..., Ledger]:
    """A ledger whose candidate loses a given amount more than the incumbent, in nats, from a given day on."""

    def make(
        worse: float, days: int = 120, per_day: int = 60, seed: int = 0, since: int = 0, never: float = 0.1
    ) -> Ledger:
        rng = np.random.default_rng(seed)
        n = days * per_day
        time_us = np.sort(rng.integers(days * DAY_US, size=n))
        known_us = time_us + rng.exponential(DAY_US, size=n).astype(np.int64)
        label = (rng.random(n) < 0.5).astype(np.float64)
        gone = rng.random(n) < never
        # the chance given to what turns out true sets the loss
        loss = rng.gamma(4.0, 0.15, size=n)
        theirs = np.maximum(loss + rng.normal(0.0, 0.05, size=n) + worse * (time_us >= since * DAY_US), 0.0)
        chance = np.exp(-np.stack([loss, theirs]))
        rows = Rows(
            time_us,
            np.where(gone, 2**63 - 1, known_us),
            np.where(gone, np.nan, label),
            np.where(label == 1.0, chance, 1.0 - chance),
        )
        looks_us = np.arange(DAY_US, (days + 1) * DAY_US, DAY_US)
        return Ledger.of(rows, rng.random(n), LOSSES["log_loss"], looks_us, 5.0 * DAY_S, SHARES)

    return make


@pytest.fixture(scope="session")
def make_stream() -> Callable[..., Recording]:
    """Labels that follow the sign of x by a chance that turns round in the course of the recording, known after two days or so."""

    def make(days: int = 120, per_day: int = 80, seed: int = 0, turns: float = 1.0) -> Recording:
        rng = np.random.default_rng(seed)
        n = days * per_day
        time_us = np.sort(rng.integers(days * DAY_US, size=n))
        known_us = time_us + rng.exponential(2.0 * DAY_US, size=n).astype(np.int64)
        x = rng.normal(size=n) + 3.0 * (time_us > 60 * DAY_US)
        chance = np.where(x > 0.0, 0.85, 0.15)
        turned = turns * time_us / (days * DAY_US)
        label = (rng.random(n) < chance + (1.0 - 2.0 * chance) * turned).astype(np.float64)
        return recorded(time_us, known_us, label, x)

    return make


def recorded(
    time_us: NDArray[np.int64], known_us: NDArray[np.int64], label: NDArray[np.float64], x: NDArray[np.float64]
) -> Recording:
    """A recording of one feature."""
    clocks = {
        name: pl.Series(us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        for name, us in (("asked", time_us), ("known", known_us))
    }
    table = pl.DataFrame({**clocks, "late": label, "x": x})
    return Recording.from_table(table, Columns("asked", "", "late", "known"), name="stream")


@pytest.fixture(scope="session")
def fit_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's `fit` that notes what it is given."""
    home = tmp_path_factory.mktemp("fits")
    (home / "fits.py").write_text(FIT)
    return home


@pytest.fixture(scope="session")
def make_bench(fit_home: Path) -> Callable[..., Bench]:
    """What schedules are replayed on, with looks at every midnight."""

    def make(
        recording: Recording, start: int = 32, *, keep: bool = False, corrections: pl.DataFrame | None = None
    ) -> Bench:
        first = recording.start.timestamp() // DAY_S + 1
        last = recording.end.timestamp() // DAY_S + 1
        looks_us = np.arange(first, last + 1).astype(np.int64) * DAY_US
        labels = Labels.of(recording, corrections)
        shop = Workshop(recording, labels, looks_us, Trainer("fits.py:fit", fit_home, 7), LOSSES["log_loss"], keep)
        return bench_of(shop, 10.0 * DAY_S, start)

    return make
