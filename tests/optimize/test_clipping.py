from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import ConfigError
from windtunnel.optimize.clipping import METHODS, check_method, clip, squared_error
from windtunnel.optimize.observer import Observer

RNG = np.random.default_rng(4)
RELU = np.maximum(RNG.normal(size=20_003), 0).astype(np.float32)
SIGNED = (RNG.normal(size=20_003) * 2).astype(np.float32)
OUTLIERS = np.concatenate([SIGNED, np.array([90.0, -70.0], np.float32)])


def _seen(values: np.ndarray) -> Observer:
    seen = Observer()
    seen.observe(values)
    return seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values", [RELU, SIGNED, OUTLIERS, RELU + 5, -RELU - 5], ids=["relu", "signed", "outliers", "high", "low"]
)
def test_range_holds_zero_and_nothing_unseen(values: np.ndarray, method: str) -> None:
    """Every range holds zero, and reaches no further than the values did."""
    low, high = clip(_seen(values), method, 99.99)

    assert min(0.0, float(values.min())) <= low <= 0.0 <= high <= max(0.0, float(values.max()))
    assert high > low


def test_minmax_is_exact() -> None:
    """From the smallest value to the largest."""
    assert clip(_seen(OUTLIERS), "minmax", 99.0) == (-70.0, 90.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
@pytest.mark.parametrize("values", [RELU, SIGNED, OUTLIERS], ids=["relu", "signed", "outliers"])
def test_percentile_within_a_bin(values: np.ndarray, percentile: float) -> None:
    """Both ends lie within one bin of numpy's percentiles."""
    seen = _seen(values)
    low, high = clip(seen, "percentile", percentile)
    cut = (100.0 - percentile) / 2

    lowest, highest = (
        -np.percentile(-values, 100 - cut, method="inverted_cdf"),
        np.percentile(values, 100 - cut, method="inverted_cdf"),
    )
    assert low == pytest.approx(min(0.0, lowest), abs=seen.width)
    assert high == pytest.approx(max(0.0, highest), abs=seen.width)


def test_entropy_by_hand() -> None:
    """The threshold is the one that a slow, direct search finds least divergent."""
    seen = _seen(np.abs(OUTLIERS))
    counts = seen.counts[: int(np.flatnonzero(seen.counts)[-1]) + 1].astype(float)
    divergences = {kept: _divergence(counts, kept) for kept in range(128, len(counts) + 1, len(counts) // 128)}
    least = min(divergences.values())
    low, high = clip(seen, "entropy", 99.0)

    assert divergences[round(high / seen.width)] == pytest.approx(least)
    assert (low, high < 20.0) == (0.0, True)


def test_entropy_may_keep_all() -> None:
    """The full range is among what is compared: what ends in a heap at its far end is not cut."""
    values = np.concatenate([np.linspace(0.0, 0.7, 2000), np.full(40_000, 0.99)]).astype(np.float32)
    low, high = clip(_seen(values), "entropy", 99.0)

    assert (low, high) == (0.0, float(np.float32(0.99)))


def _divergence(counts: np.ndarray, kept: int) -> float:
    p = counts[:kept].copy()
    p[-1] += counts[kept:].sum()
    q = np.zeros(kept)
    for level in range(128):
        bins = [place for place in range(kept) if place * 128 // kept == level and counts[place]]
        for place in bins:
            q[place] = counts[bins].sum() / len(bins)
    if ((p > 0) & (q == 0)).any():
        return float("inf")
    p, q = p / p.sum(), q / q.sum()
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def test_least_squares_by_hand() -> None:
    """No range that shrinks both ends alike loses less than the one found, counted value by value."""
    low, high = clip(_seen(OUTLIERS), "mse", 99.0)
    lost = squared_error(np.ones(len(OUTLIERS)), OUTLIERS.astype(float), low, high)
    others = [
        squared_error(np.ones(len(OUTLIERS)), OUTLIERS.astype(float), -70.0 * share, 90.0 * share)
        for share in np.linspace(0.02, 1.0, 60)
    ]

    assert lost <= 1.02 * min(others)
    assert lost < others[-1]


def test_moving_average() -> None:
    """From the mean of the batches' smallest to the mean of their largest."""
    seen = Observer()
    for high in (1.0, 2.0, 6.0):
        seen.observe(np.array([-1.0, high], np.float32))

    assert clip(seen, "moving-average", 99.0) == pytest.approx((-1.0, 3.0))


def test_zeros() -> None:
    """A tensor of zeros has a range without width, whatever the method."""
    assert {clip(_seen(np.zeros(9, np.float32)), method, 99.0) for method in METHODS} == {(0.0, 0.0)}


def test_unknown_method() -> None:
    """A method that is not there is refused, and the nearest named."""
    with pytest.raises(ConfigError, match=r"`calibrator` .='minmx'. is not a calibrator; did you mean `minmax`?"):
        check_method("minmx")
