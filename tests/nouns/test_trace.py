from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.trace import Trace

AZURE = Path(__file__).parents[3] / "shared" / "data" / "azure_llm_2023_conv.csv.gz"


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "fewer than two"),
        ([1.0], r"\(=1\) has fewer than two"),
        ([0.0, math.nan, 2.0], "not a number in row 1"),
        ([0.0, 1.0, math.inf], "not a number in row 2"),
        ([-1.0, 0.0], r"\(=-1\.0\) has negative times"),
        ([0.0, 2.0, 1.0], "row 2 lies before row 1"),
        ([3.0, 3.0, 3.0], "at one instant"),
    ],
)
def test_impossible_times(times: list[float], message: str) -> None:
    """Times that no traffic can have are refused, with the trace's name and the row."""
    with pytest.raises(DataError, match=rf"`morning` .*{message}"):
        Trace("morning", np.array(times))


def test_columns() -> None:
    """What is known of each request is kept read-only, in the tunnel's own types, through scaling and between processes."""
    sizes = np.array([2.0, 0.0, 1.0])
    trace = Trace("t", np.array([0.0, 1.0, 4.0]), {"size": sizes, "tokens": np.array([5, 6, 7])})
    travelled = pickle.loads(pickle.dumps(trace.speed_up(2.0)))  # noqa: S301  # our own bytes

    assert trace.columns["size"].dtype == np.int32
    assert sizes.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        trace.columns["tokens"][0] = 9
    with pytest.raises(TypeError):
        trace.columns["more"] = sizes  # type: ignore[index]  # that it cannot be written is what is tested
    assert travelled.arrivals_s.tolist() == [0.0, 0.5, 2.0]
    assert {name: values.tolist() for name, values in travelled.columns.items()} == {
        "size": [2, 0, 1],
        "tokens": [5, 6, 7],
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], r"`t\.size` has 1 values for 2 requests"),
        ([1.0, math.nan], r"`t\.size` has values that are no whole numbers"),
    ],
)
def test_impossible_figures(values: list[float], message: str) -> None:
    """A column has one value a request, and a size class is a whole number."""
    with pytest.raises(DataError, match=message):
        Trace("t", np.array([0.0, 1.0]), {"size": np.array(values)})


def _write(path: Path, times: pl.Series) -> Path:
    table = pl.DataFrame({"tokens": range(len(times)), "timestamp": times})
    if path.suffix == ".parquet":
        table.write_parquet(path)
    elif path.suffix == ".jsonl":
        table.write_ndjson(path)
    else:
        table.write_csv(path, compression="gzip" if path.suffix == ".gz" else "uncompressed")
    return path


START = datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC)
SECONDS = [0.0, 0.25, 1.5, 90000.0]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.jsonl"])
@pytest.mark.parametrize("form", ["seconds", "stamps", "text"])
def test_from_file(tmp_path: Path, name: str, form: str) -> None:
    """Every kind of file gives the same arrivals, from numbers, time stamps and ISO text, counted from the first."""
    stamps = pl.Series([START + timedelta(seconds=s) for s in SECONDS])
    times = {
        "seconds": pl.Series([1e6 + s for s in SECONDS]),
        "stamps": stamps,
        "text": stamps.dt.to_string("iso:strict"),
    }[form]
    trace = Trace.from_file(_write(tmp_path / name, times))

    assert trace.arrivals_s.tolist() == SECONDS
    assert name == trace.name


def test_column_by_name(tmp_path: Path) -> None:
    """A column that is named is taken; the usual names are found; else the columns are listed."""
    path = tmp_path / "t.csv"
    path.write_text("when,time,b\n5,1,x\n7,4,y\n")
    assert Trace.from_file(path).duration_s == 3.0
    assert Trace.from_file(path, "when").duration_s == 2.0

    with pytest.raises(DataError, match=r"t\.csv: `wehn` is not a column; did you mean `when`.*when, time, b"):
        Trace.from_file(path, "wehn")
    path.write_text("when,b\n5,x\n7,y\n")
    with pytest.raises(DataError, match=r"`time` is not a column.*the columns are: when, b"):
        Trace.from_file(path)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (pl.Series([1.0, None, 2.0]), "not a number in row 1"),
        (pl.Series([None, None], dtype=pl.Float64), "not a number in row 0"),
        (pl.Series([None, None], dtype=pl.Datetime), "not a number in row 0"),
        (pl.Series([1.0, math.inf]), "not a number in row 1"),
        (pl.Series([-math.inf, 1.0]), "not a number in row 0"),
        (pl.Series([2.0, 1.0]), "row 1 lies before row 0"),
        (pl.Series([True, False]), "dtype Boolean where time stamps are needed"),
        (pl.Series(["noon", "one"]), r"\(='noon'\) holds text that is no time stamp"),
        (pl.Series([1.0]), "fewer than two"),
    ],
)
def test_impossible_columns(tmp_path: Path, times: pl.Series, message: str) -> None:
    """A column that is no time, or has holes, is refused without a warning of anyone's beside it."""
    with pytest.raises(DataError, match=message):
        Trace.from_file(_write(tmp_path / "t.parquet", times))


@given(st.lists(st.floats(0.001, 1e4), min_size=2, max_size=50), st.floats(0.01, 100.0))
def test_speed_up(steps: list[float], factor: float) -> None:
    """The same requests in the same order, so much faster: rates are multiplied, shapes stay."""
    trace = Trace("t", np.cumsum(steps))
    fast = trace.speed_up(factor)

    assert math.isclose(trace.duration_s, fast.duration_s * factor, rel_tol=1e-9)
    assert math.isclose(trace.rate_per_s * factor, fast.rate_per_s, rel_tol=1e-9)
    assert len(trace) == len(fast)
    assert math.isclose(
        trace.describe()["interarrival_cv"], fast.describe()["interarrival_cv"], rel_tol=1e-6, abs_tol=1e-9
    )


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan])
def test_speed_up_refused(factor: float) -> None:
    """Time cannot stop or run backwards."""
    with pytest.raises(DataError, match="speed"):
        Trace("t", np.array([0.0, 1.0])).speed_up(factor)


def test_poisson_is_not_bursty() -> None:
    """Poisson traffic has burstiness 1 (four deviations of an index of dispersion over 1,000 bins) and CV 1."""
    steps = np.random.default_rng(8).exponential(0.1, size=100_000)
    described = Trace("poisson", np.cumsum(steps)).describe()

    assert abs(described["burstiness"] - 1.0) < 4 * math.sqrt(2 / 1000)
    assert abs(described["interarrival_cv"] - 1.0) < 0.02
    assert abs(described["rate_per_s"] - 10.0) < 0.13
    assert described["same_instant_share"] == 0.0


def test_clocked_and_bunched_traffic() -> None:
    """Clocked traffic has no burstiness; the same requests in bunches of twenty have twenty times Poisson's."""
    clocked = Trace("clock", np.arange(20_000.0)).describe()
    starts = np.cumsum(np.random.default_rng(9).exponential(20.0, size=1000))
    bunched = Trace("bunches", np.repeat(starts, 20)).describe()

    assert clocked["burstiness"] < 0.05
    assert clocked["interarrival_cv"] == 0.0
    assert 15 < bunched["burstiness"] < 25
    assert math.isclose(0.95, bunched["same_instant_share"], abs_tol=0.001)
    assert bunched["peak_rate_per_s"] >= 3 * clocked["peak_rate_per_s"]


def test_real_trace() -> None:
    """The Azure LLM trace of 2023 reads as it was published: its requests, length, rate and burstiness."""
    if not AZURE.exists():
        pytest.skip("the gathered Azure trace is not beside this checkout")
    described = Trace.from_file(AZURE).describe()

    assert described["requests"] == 19_366
    assert round(described["seconds"], 1) == 3501.7
    assert round(described["rate_per_s"], 2) == 5.53
    assert round(described["interarrival_cv"], 2) == 1.09
