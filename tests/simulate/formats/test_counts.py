from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.formats import Ask, read

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Write


@pytest.mark.parametrize(
    ("text", "bin_s"),
    [
        ("second,requests\n0,3\n1,0\n4,2\n", 1.0),
        ("minute,count\n0,3\n4,2\n", 60.0),
        ("timestamp,hits\n2024-05-01 10:00:00,3\n2024-05-01 10:05:00,0\n2024-05-01 10:20:00,2\n", 300.0),
        ("time,invocations\n1700000000,3\n1700000060,0\n1700000240,2\n", 60.0),
    ],
)
def test_counts_are_laid_out_in_their_bins(write: Write, text: str, bin_s: float) -> None:
    """As many requests as were counted lie in each bin: evenly where it is asked for, bins that are not there empty."""
    reading = read(write(text), Ask(spread="even"))
    first_s = bin_s * np.array([1, 3, 5]) / 6
    expected = np.concatenate([first_s, 4 * bin_s + bin_s * np.array([0.25, 0.75])])

    assert reading.format == "counts"
    assert np.allclose(expected - expected[0], reading.trace.arrivals_s, rtol=0.0, atol=1e-9)
    assert f"counts in bins of {bin_s:g} s" in reading.warnings


def test_random_places_within_a_bin(write: Write) -> None:
    """At random, the places in a minute are uniform, and every count is kept."""
    from scipy import stats as distributions

    counts = np.random.default_rng(0).poisson(40.0, size=60)
    path = write("minute,requests\n" + "".join(f"{n},{count}\n" for n, count in enumerate(counts)))
    arrivals_s = read(path).trace.arrivals_s
    shift = 60.0 - arrivals_s[counts[0]] % 60.0 if arrivals_s[counts[0]] < 60.0 else 0.0

    assert int(counts.sum()) == len(arrivals_s)
    assert shift < 60.0
    assert distributions.kstest(np.diff(arrivals_s) / np.diff(arrivals_s).mean(), "expon").pvalue > 0.001
    assert not np.array_equal(arrivals_s, read(path, None, Seeds(2)).trace.arrivals_s)


def test_impossible_counts(write: Write) -> None:
    """A count below zero, of a fraction, or not there is left out and counted; the rest stays."""
    reading = read(write("second,requests\n0,2\n1,-1\n2,1.5\n3,\n4,x\n5,1\n6,1\n7,3\n8,1\n"), Ask(spread="none"))

    assert reading.skipped == {"count_impossible": 4}
    assert reading.trace.arrivals_s.tolist() == [0.0, 0.0, 5.0, 6.0, 7.0, 7.0, 7.0, 8.0]


def test_counts_that_cannot_be_laid_out(write: Write) -> None:
    """Too many to hold, or a bin whose length nothing shows, are refused with the way out."""
    with pytest.raises(
        DataError, match="counts 10000000000 requests, and 500000000 are laid out at most; give a part of it"
    ):
        read(write("second,requests\n0,10000000000\n"))
    with pytest.raises(DataError, match="`time` does not show how long a bin is; say it with --bin 60s"):
        read(write("time,requests\n1700000000,5\n"))
    assert len(read(write("time,requests\n1700000000,5\n"), Ask(bin_s=60.0)).trace) == 5


FUNCTIONS = """\
HashOwner,HashApp,HashFunction,Trigger,1,2,3
o,a,f1,http,2,0,1
o,a,f2,queue,0,4,0
"""
DURATIONS = """\
HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,\
percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100
o,a,f2,5,4,1,9,1,2,3,4,5,6,9
"""


def test_azure_functions_2019(write: Write, tmp_path: Path) -> None:
    """Every invocation lies in its minute, with its function; its duration lies within its function's percentiles."""
    path = write(FUNCTIONS, "invocations_per_function_md.anon.d01.csv")
    assert "duration_s" not in read(path).trace.columns
    assert any("give it with --durations" in each for each in read(path).warnings)

    (tmp_path / "function_durations_percentiles.anon.d01.csv").write_text(DURATIONS)
    reading = read(path, Ask(spread="even"))
    durations_s, key = reading.trace.columns["duration_s"], reading.trace.columns["key"]

    assert reading.trace.arrivals_s.tolist() == [0.0, 30.0, 52.5, 67.5, 82.5, 97.5, 135.0]
    assert key.tolist() == [0, 0, 1, 1, 1, 1, 0]
    assert np.all(np.isnan(durations_s[key == 0]))
    assert np.all((durations_s[key == 1] >= 0.001) & (durations_s[key == 1] <= 0.009))
    assert reading.noticed["duration_unknown"] == 3
    with pytest.raises(
        DataError, match="`percentile_Average_0` is not a column; give the file of duration percentiles"
    ):
        read(path, Ask(durations=write("HashFunction\nf1\n", "other.csv")))


def test_drawn_durations_follow_the_percentiles(write: Write, tmp_path: Path) -> None:
    """Of many draws a quarter lies below the first quartile, half below the median: within four deviations."""
    path = write("HashOwner,HashApp,HashFunction,Trigger,1\no,a,f2,http,20000\n", "invocations.csv")
    (tmp_path / "durations.csv").write_text(DURATIONS)
    durations_s = read(path).trace.columns["duration_s"]

    for limit_s, share in ((0.002, 0.01), (0.003, 0.25), (0.004, 0.5), (0.005, 0.75), (0.006, 0.99)):
        assert abs(np.mean(durations_s <= limit_s) - share) < 4 * np.sqrt(share * (1 - share) / 20_000)
