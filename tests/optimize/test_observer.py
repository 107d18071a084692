from __future__ import annotations

import numpy as np
import pytest

from windtunnel.optimize.observer import BINS, Observer

RNG = np.random.default_rng(3)
VALUES = {
    "one-sided": np.abs(RNG.normal(size=5000)).astype(np.float32),
    "two-sided": (RNG.normal(size=5000) * 300 - 40).astype(np.float32),
    "heavy-tailed": RNG.standard_cauchy(size=5000).astype(np.float32),
    "far from zero": (RNG.uniform(size=5000) + 1e6).astype(np.float32),
    "below zero": -np.exp(RNG.normal(size=5000)).astype(np.float32),
    "zeros": np.zeros(5000, np.float32),
    "tiny": (RNG.normal(size=5000) * 1e-30).astype(np.float32),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_extremes_and_counts_are_exact(values: np.ndarray) -> None:
    """The extremes are those of the values, and each bin counts what numpy counts between its edges."""
    seen = Observer()
    for part in np.array_split(values, 7):
        seen.observe(part)
    edges = (seen.first + np.arange(BINS + 1)) * seen.width
    index = np.floor(values.astype(np.float64) / seen.width).astype(np.int64) - seen.first

    assert (seen.low, seen.high) == (float(values.min()), float(values.max()))
    assert np.array_equal(seen.counts, np.bincount(index, minlength=BINS))
    assert edges[0] <= min(seen.low, 0.0)
    assert edges[-1] > max(seen.high, 0.0)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_bins_are_fine(values: np.ndarray) -> None:
    """At least half of the bins lie between the extremes, zero counted among them, unless all values are nothing."""
    seen = Observer()
    seen.observe(values)
    span = max(seen.high, 0.0) - min(seen.low, 0.0)

    assert span == 0.0 or span / seen.width > BINS / 2 - 2


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_parts_are_one_pass(values: np.ndarray) -> None:
    """What is counted depends on the values alone: parts seen in any order make the bins of one look at all."""
    whole, parts = Observer(), np.array_split(values, 5)
    whole.observe(values)
    seen = Observer()
    for place in (3, 0, 4, 1, 2):
        seen.observe(parts[place])

    assert (seen.low, seen.high, seen.exponent, seen.first) == (whole.low, whole.high, whole.exponent, whole.first)
    assert np.array_equal(seen.counts, whole.counts)


def test_moving_average_follows() -> None:
    """The first hundred batches weigh the same; from then on the newest weighs a hundredth."""
    seen = Observer()
    for high in [*range(1, 101), 301]:
        seen.observe(np.array([-1.0, high], np.float32))

    assert seen.mean_low == pytest.approx(-1.0)
    assert seen.mean_high == pytest.approx(50.5 + 0.01 * (301 - 50.5))


@pytest.mark.parametrize("sign", [np.nan, np.inf, -np.inf, -3.4e38])
def test_no_numbers_no_range(sign: float) -> None:
    """A tensor that holds something that is no number, or the mask of an attention, is not bounded; others are."""
    masked, plain = Observer(), Observer()
    masked.observe(np.array([1.0, sign], np.float32))
    plain.observe(np.array([1.0, -2.0], np.float32))

    assert not masked.bounded
    assert plain.bounded
    assert not Observer().bounded


def test_integers_are_passed_over() -> None:
    """Of a tensor of integers nothing is kept."""
    seen = Observer()
    seen.observe(np.arange(5))

    assert (seen.is_float, seen.bounded, seen.total) == (False, False, 0)
