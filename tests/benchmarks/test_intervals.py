from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import signal
from scipy import stats as distributions

from windtunnel.stats import dependent_quantile_interval, quantile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPETITIONS = 300
SLACK = 2.6 * np.sqrt(REPETITIONS * 0.95 * 0.05)


def _autoregressive(rows: int, phi: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A stationary AR(1) series with standard normal values: the quantiles are known, the neighbours alike."""
    noise = rng.normal(size=rows + 500) * np.sqrt(1 - phi**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -phi], noise)[500:], dtype=np.float64)


def _covered(interval: object, rows: int, phi: float, quantile: float) -> int:
    rng, truth, covered = np.random.default_rng(8), float(distributions.norm.ppf(quantile)), 0
    for _ in range(REPETITIONS):
        found = interval(_autoregressive(rows, phi, rng), quantile)  # type: ignore[operator]  # one of the two below
        covered += found.low <= truth <= found.high
    return covered


@pytest.mark.parametrize(
    ("phi", "quantile", "rows"), [(0.0, 0.5, 2000), (0.9, 0.5, 4000), (0.9, 0.9, 4000), (0.8, 0.99, 12_000)]
)
def test_batches_cover_where_neighbours_are_alike(phi: float, quantile: float, rows: int) -> None:
    """The interval by batches covers the true quantile in about 95 of 100 series, though one slow moment slows many calls."""
    assert _covered(dependent_quantile_interval, rows, phi, quantile) >= REPETITIONS * 0.95 - SLACK - REPETITIONS * 0.02


def test_single_observations_claim_too_much() -> None:
    """Order statistics of single calls cover where calls are independent, and far too seldom where they are not."""
    assert _covered(quantile_interval, 2000, 0.0, 0.5) >= REPETITIONS * 0.95 - SLACK
    assert _covered(quantile_interval, 4000, 0.9, 0.5) < REPETITIONS * 0.6


@pytest.mark.parametrize(
    ("rows", "quantile", "known"), [(23, 0.5, False), (24, 0.5, True), (1199, 0.99, False), (1200, 0.99, True)]
)
def test_what_a_series_can_carry(rows: int, quantile: float, known: bool) -> None:
    """A quantile is told only where six stretches have two calls each beyond it."""
    assert (dependent_quantile_interval(np.arange(float(rows)), quantile) is not None) == known
