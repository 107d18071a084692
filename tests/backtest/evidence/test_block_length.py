from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.signal import lfilter

from windtunnel.backtest.evidence import Asymptotic, BlockLength, merge
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL, REPEATS, BURN_IN, BLOCKS = 0.05, 150, 1500, 100


def traffic(phi: float, length: int, rng: np.random.Generator) -> Floats:
    """Rows of mean zero that carry over by φ."""
    return np.asarray(lfilter([1.0], [1.0, -phi], rng.normal(size=length + 200)))[200:]


def captured(phi: float, length: int) -> float:
    """The share of the long-run variance that blocks of AR(1) rows show by their own, by theory."""
    return 1.0 - 2.0 * phi * (1.0 - phi**length) / (length * (1.0 - phi**2))


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_blocks_of_the_measured_length_keep_the_level(phi: float) -> None:
    """The length is measured on a burn-in, what follows is judged in blocks of it at every block: no more alarms than meant."""
    alarms, lengths = 0, []
    for repeat in range(REPEATS):
        rng = np.random.default_rng([1, repeat])
        length = BlockLength.of(traffic(phi, BURN_IN, rng)).length
        rows = traffic(phi, BLOCKS * length, rng)
        means, _ = merge(rows, np.ones(len(rows), dtype=np.int64), length)
        low, high = Asymptotic(LEVEL).bounds(means)
        alarms += bool(((low > 0.0) | (high < 0.0)).any())
        lengths.append(length)

    assert alarms / REPEATS <= LEVEL + 3.0 * (LEVEL * (1.0 - LEVEL) / REPEATS) ** 0.5
    # long enough in the middle, though single burn-ins err
    assert captured(phi, int(np.median(lengths))) >= 0.85


def test_rows_taken_one_by_one_break_the_level() -> None:
    """The same rows, carrying over by a half and counted as independent, fool the sequence in a third of the cases or more."""
    rows = np.stack([traffic(0.5, 2000, np.random.default_rng([2, repeat])) for repeat in range(REPEATS)])
    low, high = Asymptotic(LEVEL, stretched=False).bounds(rows)

    assert np.mean(((low > 0.0) | (high < 0.0)).any(axis=-1)) > 0.3


def test_independent_rows_need_no_blocks() -> None:
    """Noise makes blocks of one or two."""
    rng = np.random.default_rng(3)

    assert np.median([BlockLength.of(rng.normal(size=1000)).length for _ in range(20)]) <= 2


def test_politis_white_is_its_formula() -> None:
    """For an exact AR(1) autocovariance the optimum is (2G²/D)^⅓ n^⅓, whose G and g have closed forms."""
    series = traffic(0.5, 20_000, np.random.default_rng(4))
    phi, n = 0.5, len(series)
    slope, spectrum = 2.0 * phi / (1.0 - phi) ** 2, (1.0 + phi) / (1.0 - phi)
    wanted = (1.5 * slope**2 / spectrum**2 * n) ** (1.0 / 3.0)

    assert pytest.approx(wanted, rel=0.25) == BlockLength.of(series).politis_white


def test_a_length_that_is_cut_short_says_so() -> None:
    """A short burn-in of rows that hardly change cannot show a long enough block, and the share captured tells it."""
    found = BlockLength.of(np.cumsum(np.random.default_rng(5).normal(size=60)))

    assert found.length == 20
    assert found.captured < 0.9


def test_what_does_not_vary_is_one_block_each() -> None:
    """Differences that are all alike show no dependence."""
    assert BlockLength.of(np.full(50, 0.3)).length == 1


def test_too_short_a_burn_in_is_refused() -> None:
    """With fewer than 30 values nothing is measured."""
    with pytest.raises(DataError, match="29 values, too few"):
        BlockLength.of(np.zeros(29))


def test_merge_weighs_rows_and_leaves_the_rest_waiting() -> None:
    """Longer blocks are the mean of their rows; one without rows is unknown; an unfinished one is not there yet."""
    means, rows = merge(np.array([[4.0, 0.0, 0.0, 0.0, 7.0]]), np.array([1, 3, 0, 0, 1]), 2)

    assert rows.tolist() == [4, 0]
    assert pytest.approx([1.0, np.nan], nan_ok=True) == means[0].tolist()


def test_values_that_are_missing_are_refused() -> None:
    """A block without rows would make every autocorrelation NaN and the block as long as it may be."""
    with pytest.raises(DataError, match="not finite in some places"):
        BlockLength.of(np.where(np.arange(60) == 7, np.nan, 1.0))


@pytest.mark.parametrize("phi", [0.0, 0.6, -0.5])
def test_the_whole_rule_is_the_papers(phi: float) -> None:
    """Lag by lag as Politis & White write it: the first m followed by K lags within noise, a flat top to 2m, then the optimum."""
    for n in (40, 333, 1200):
        x = traffic(phi, n, np.random.default_rng([9, n]))
        centred = x - x.mean()
        r = [float(sum(centred[k:] * centred[: n - k])) / n for k in range(n)]
        run, noise = max(5, math.ceil(math.log10(n) ** 0.5)), 2.0 * math.sqrt(math.log10(n) / n)
        m = 0
        while not all(abs(r[m + k] / r[0]) < noise for k in range(1, run + 1)):
            m += 1
        g = sum(2.0 * min(1.0, 2.0 * (1.0 - k / (2.0 * m))) * k * r[k] for k in range(1, 2 * m + 1))
        spectrum = r[0] + sum(2.0 * min(1.0, 2.0 * (1.0 - k / (2.0 * m))) * r[k] for k in range(1, 2 * m + 1))
        wanted = max(1.0, (2.0 * g**2 / (4.0 / 3.0 * spectrum**2)) ** (1.0 / 3.0) * n ** (1.0 / 3.0))
        found = BlockLength.of(x)

        assert found.lag == m
        assert pytest.approx(wanted, rel=1e-9) == found.politis_white
