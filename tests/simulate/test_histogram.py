from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.simulate.histogram import Histogram

if TYPE_CHECKING:
    from pathlib import Path

TIMES_S = np.random.default_rng(0).lognormal(-4.0, 2.0, size=50_000)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles_are_right_to_a_bin(share: float) -> None:
    """A quantile is within 1/512 of that of the times themselves."""
    expected = float(np.quantile(TIMES_S, share, method="inverted_cdf"))

    assert Histogram.of_series(TIMES_S).quantile_s(share) == pytest.approx(expected, rel=1 / 512)


def test_mean_and_extremes() -> None:
    """What is not counted in bins is as exact as the times are."""
    times = Histogram.of_series(TIMES_S)

    assert len(times) == len(TIMES_S)
    assert times.mean_s == pytest.approx(TIMES_S.mean(), abs=1e-9)
    assert (times.least_s, times.greatest_s) == (TIMES_S.min(), TIMES_S.max())


def test_one_time_alone_is_exact() -> None:
    """Where all times are the same, every quantile is that time, to the last bit."""
    times = Histogram.of_series(np.full(100, 0.0123))

    assert {0.0123} == {times.quantile_s(share) for share in (0.0, 0.5, 0.999, 1.0)}


def test_zero_is_zero() -> None:
    """Requests that did not wait waited no time, not half a bin."""
    times = Histogram.of_series(np.array([0.0, 0.0, 0.0, 1.0]))

    assert [times.quantile_s(share) for share in (0.5, 0.75)] == [0.0, 0.0]
    assert times.quantile_s(1.0) == 1.0


def test_share_above_a_bound() -> None:
    """The share that broke a promise is right to the requests in the bin of its bound."""
    times = Histogram.of_series(TIMES_S)
    bound_s = 0.05

    expected = float(np.mean(bound_s < TIMES_S))
    doubt = float(np.mean(np.abs(TIMES_S / bound_s - 1.0) < 1 / 512))
    assert times.share_above(bound_s) == pytest.approx(expected, abs=doubt)


@pytest.mark.parametrize("other", [0, 10, 3000, 50_000])
def test_merging_adds_up(other: int) -> None:
    """Two runs together count what each counted, request by request of the same number, whichever comes first."""
    series = TIMES_S[::-1][:other] * 2.0
    a, b = Histogram.of_series(TIMES_S), Histogram.of_series(series)
    together = a.merged(b)

    assert len(together) == len(TIMES_S) + other
    assert together.mean_s == pytest.approx(np.concatenate([TIMES_S, series]).mean(), abs=1e-9)
    for each, turned in zip(together.arrays().values(), b.merged(a).arrays().values(), strict=True):
        assert np.array_equal(each, turned)
    length = 1 << together.shift
    assert together.block_counts[0] == length + min(length, other)


def test_merging_is_associative() -> None:
    """Runs may be added up in any order and grouping, by any number of workers."""
    a, b, c = (Histogram.of_series(TIMES_S[:size]) for size in (100, 5000, 50_000))

    for one, other in zip(
        a.merged(b).merged(c).arrays().values(), a.merged(b.merged(c)).arrays().values(), strict=True
    ):
        assert np.array_equal(one, other)


def test_survives_a_file(tmp_path: Path) -> None:
    """Saved and read again, it says the same."""
    times = Histogram.of_series(TIMES_S)
    np.savez_compressed(tmp_path / "times.npz", **times.arrays())  # type: ignore[arg-type]  # numpy's stub takes names for options
    with np.load(tmp_path / "times.npz") as arrays:
        read = Histogram.from_arrays(arrays)

    assert (times.mean_s, times.quantile_s(0.99), times.shift) == (read.mean_s, read.quantile_s(0.99), read.shift)
    assert np.array_equal(times.block_counts, read.block_counts)


def test_nothing() -> None:
    """Of no requests nothing is known, and nothing is refused."""
    nothing = Histogram.of_series(np.empty(0))

    assert len(nothing) == 0
    assert np.isnan([nothing.mean_s, nothing.quantile_s(0.5)]).all()
    assert len(nothing.merged(Histogram.of_series(TIMES_S))) == len(TIMES_S)
