from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError
from windtunnel.simulate.arrivals import with_keys, with_priorities, with_sizes
from windtunnel.simulate.arrivals.columns import zipf_shares
from windtunnel.trace import Trace

TRACE = Trace("t", np.arange(50_000.0))


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.2])
def test_keys_follow_zipf(exponent: float) -> None:
    """The counts of the keys pass the χ² test of shares proportional to rank^−exponent."""
    keys = with_keys(TRACE, 50, exponent, seed=1).columns["key"]
    counts = np.bincount(keys, minlength=50)

    assert keys.dtype == np.int64
    assert distributions.chisquare(counts, zipf_shares(50, exponent) * len(TRACE)).pvalue > 1e-3


def test_mixes_have_their_shares() -> None:
    """Sizes and priorities come in the shares asked for, a class of none never, and a class's deadline with it."""
    sized = with_sizes(TRACE, [0.7, 0.3, 0.0], seed=2)
    both = with_priorities(sized, [0.1, 0.9], seed=2, deadlines_s=[0.05, np.inf])
    columns = both.columns

    assert np.bincount(columns["size"], minlength=3) / len(TRACE) == pytest.approx([0.7, 0.3, 0.0], abs=0.01)
    assert columns["size"].max() == 1
    assert np.mean(columns["priority"] == 0) == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(columns["deadline_s"] == 0.05, columns["priority"] == 0)
    assert {columns["size"].dtype, columns["priority"].dtype} == {np.dtype(np.int32)}


def test_columns_do_not_disturb_each_other() -> None:
    """Another mix of sizes leaves the keys as they were; one seed gives one column; sizes and keys are strangers."""
    plain, mixed = with_keys(TRACE, 9, 1.0, seed=3), with_keys(with_sizes(TRACE, [0.5, 0.5], seed=3), 9, 1.0, seed=3)
    together = np.corrcoef(mixed.columns["key"], mixed.columns["size"])[0, 1]

    assert np.array_equal(plain.columns["key"], mixed.columns["key"])
    assert abs(together) < 4.0 / len(TRACE) ** 0.5


def test_mixes_that_are_none_are_refused() -> None:
    """Shares add up to one, deadlines are one a class and above zero, keys exist."""
    with pytest.raises(ConfigError, match="add up to one"):
        with_sizes(TRACE, [0.5, 0.6], seed=1)
    with pytest.raises(ConfigError, match="one above zero a class"):
        with_priorities(TRACE, [0.5, 0.5], seed=1, deadlines_s=[1.0])
    with pytest.raises(ConfigError, match="outside 1 to 10,000,000"):
        with_keys(TRACE, 0, 1.0, seed=1)
    with pytest.raises(ConfigError, match="zero or more"):
        with_keys(TRACE, 5, -1.0, seed=1)
