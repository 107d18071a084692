from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.formats import FORMATS, Ask, read
from windtunnel.simulate.formats import write as write_own
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from .conftest import Write

AZURE_LLM = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
AZURE_LLM_2024 = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
2024-05-10 00:00:01+00:00,76,15
"""
AZURE_2021 = """\
app,func,end_timestamp,duration
a1,f2,3.5,2.5
a1,f1,1.25,0.25
a2,f2,2.0,2.0
"""
BURSTGPT = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5.25,1,3,ChatGPT,472,18,490,Conversation log
45.5,2,9,ChatGPT,1087,230,1317,Conversation log
118.75,3,0,GPT-4,417,0,417,API log
"""
BURSTGPT_OLD = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5.25,ChatGPT,472,18,490,Conversation log
45.5,ChatGPT,1087,230,1317,Conversation log
118.75,GPT-4,417,276,693,API log
"""
MOONCAKE = """\
{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 1250, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}
{"timestamp": 2500, "input_length": 7236, "output_length": 794, "hash_ids": [0, 28]}
"""
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\n0.75,30,40\n2.0,50,60\n"
SPLITWISE = """\
request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size
0,2,0,0.0,1,374,44
1,2,0,4.5,1,396,109
2,2,1,5.25,1,879,55
"""
LOCUST = """\
timestamp,request_type,name,response_time_ms,response_length,status_code,exception
1700000000.5,POST,/predict,12.5,120,200,
1700000000.75,POST,/predict,8.0,120,200,
1700000002.0,GET,/health,2.0,0,0,"ConnectionError(""refused, twice"")"
"""
DATABRICKS = """\
client_request_id,databricks_request_id,date,timestamp_ms,status_code,execution_time_ms,request,response,sampling_fraction
,r1,2024-05-10,1715299200500,200,12,"{""a"": ""x,
y""}","{}",1.0
,r2,2024-05-10,1715299200750,200,8,"{}","{}",1.0
,r3,2024-05-10,1715299202000,500,9,"{}","{}",1.0
"""
GATEWAY = """\
databricks_request_id,request_time,execution_duration_ms,status_code,served_entity_id,requester,sampling_fraction
r1,2024-05-10T00:00:00.500Z,12,200,e1,me,1.0
r2,2024-05-10T00:00:00.750Z,8,200,e1,me,1.0
r3,2024-05-10T00:00:02.000Z,9,500,e2,me,1.0
"""

SAMPLES: list[tuple[str, str, list[float], dict[str, list[Any]]]] = [
    ("azure-llm", AZURE_LLM, [0.0, 4.314579, 4.541877], {"context_tokens": [374, 396, 879], "generated_tokens": [44, 109, 55]}),
    ("azure-llm", AZURE_LLM_2024, [0.0, 0.007405, 0.99007], {"generated_tokens": [5, 6, 15]}),
    ("azure-functions-2021", AZURE_2021, [0.0, 1.0, 1.0], {"duration_s": [2.0, 2.5, 0.25], "key": [1, 1, 0]}),
    ("burstgpt", BURSTGPT, [0.0, 40.25, 113.5], {"generated_tokens": [18, 230, 0], "duration_s": [3.0, 9.0, 0.0], "key": [0, 0, 1]}),
    ("burstgpt", BURSTGPT_OLD, [0.0, 40.25, 113.5], {"context_tokens": [472, 1087, 417]}),
    ("mooncake", MOONCAKE, [0.0, 1.25, 2.5], {"context_tokens": [6758, 7322, 7236], "generated_tokens": [500, 490, 794]}),
    ("vidur", VIDUR, [0.0, 0.25, 1.5], {"context_tokens": [10, 30, 50]}),
    ("splitwise", SPLITWISE, [0.0, 4.5, 5.25], {"generated_tokens": [44, 109, 55], "key": [0, 0, 1]}),
    ("locust", LOCUST, [0.0, 0.25, 1.5], {"duration_s": [0.0125, 0.008, 0.002], "status": [200, 200, 0], "key": [1, 1, 0]}),
    ("databricks", DATABRICKS, [0.0, 0.25, 1.5], {"duration_s": [0.012, 0.008, 0.009], "status": [200, 200, 500]}),
    ("databricks-gateway", GATEWAY, [0.0, 0.25, 1.5], {"key": [0, 0, 1]}),
]  # fmt: skip


@pytest.mark.parametrize("name", ["recorded", "recorded.csv", "RECORDED.CSV.GZ", "recorded.gz"])
@pytest.mark.parametrize(("form", "text", "arrivals_s", "columns"), SAMPLES)
def test_tables(
    write: Write, name: str, form: str, text: str, arrivals_s: list[float], columns: dict[str, list[Any]]
) -> None:
    """A table is known by its columns, whatever the file is called, packed or not; each figure comes out in our units."""
    reading = read(write(text, name))

    assert form == reading.format
    assert np.allclose(arrivals_s, reading.trace.arrivals_s, rtol=0.0, atol=1e-7)
    assert reading.skipped == {}
    for column, values in columns.items():
        assert np.allclose(values, reading.trace.columns[column], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", ["parquet", "ndjson", "array", "parquet.gz"])
def test_other_containers(write: Write, tmp_path: Path, kind: str) -> None:
    """The same table is the same trace as Parquet (packed again or not), as JSON lines and as a JSON array."""
    table = pl.read_csv(write(DATABRICKS))
    path = tmp_path / "other"
    if kind == "ndjson":
        table.write_ndjson(path)
    elif kind == "array":
        path.write_text(json.dumps(table.to_dicts(), indent=1))
    else:
        table.write_parquet(path)
        path.write_bytes(gzip.compress(path.read_bytes()) if kind.endswith("gz") else path.read_bytes())
    reading = read(path)

    assert reading.format == "databricks"
    assert reading.trace.arrivals_s.tolist() == [0.0, 0.25, 1.5]
    assert reading.trace.columns["status"].tolist() == [200, 200, 500]


def test_azure_functions_2021_order_of_arrival(write: Write) -> None:
    """Rows come in the order of arrival, not of ending: who ended last may have come first."""
    reading = read(write("app,func,end_timestamp,duration\na,f,5,1\na,f,9.5,9\na,f,9,1\n"))

    assert reading.trace.arrivals_s.tolist() == [0.0, 3.5, 7.5]
    assert reading.trace.columns["duration_s"].tolist() == [9.0, 1.0, 1.0]
    assert reading.noticed == {"unsorted": 1}


MESSY = """\
time,size
3.5,1
nan,1
,1
-2.0,1
noon,1
1.25,0
1.25,0
inf,2
0.5,2
9.0,2
4.0,2
7.0,2
8.0,2
2.0"""


def test_what_is_impossible_is_counted(write: Write) -> None:
    """Rows without a usable time are left out and counted by reason; unsorted and identical ones are kept and counted."""
    reading = read(write(MESSY))

    assert reading.trace.arrivals_s.tolist() == [0.0, 0.75, 0.75, 3.0, 3.5, 6.5, 7.5, 8.5]
    assert reading.trace.columns["size"].tolist() == [2, 0, 0, 1, 2, 2, 2, 2]
    expected = {"last_line_breaks_off": 1, "time_missing": 3, "time_unreadable": 1, "time_negative": 1}
    assert expected == reading.skipped
    assert reading.noticed == {"unsorted": 6, "identical": 1}
    assert any("sorted: 6" in each for each in reading.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"recorded: is empty"),
        ("\n \n", r"recorded: is empty"),
        ("time\n", r"recorded: `time` has no rows"),
        ("time\n5\n", r"recorded: `time` \(=1\) has fewer than two requests; record longer"),
        ("time\n5\n5\n5\n", r"recorded: `time` has all its requests at one instant; give time stamps that are finer"),
        ("time\n-5\n-4\n-3\n1\n", r"recorded: `time` \(='-5'\) cannot be used in 3 of 4 rows \(`time_negative`: 3\); is it another"),
        ("time\nnan\nnan\nnan\n1\n", r"`time` .* cannot be used in 3 of 4 rows \(`time_missing`: 3\)"),
        ("time\nnoon\none\ntwo\n", r"`time` \(='noon'\) cannot be used in 3 of 3 rows \(`time_unreadable`: 3\)"),
        ("when,b\n1,2\n", r"recorded: is of no format that is known: its columns are when, b; say which with --format \(access-log, azure"),
        ("1 2 3\n", r"recorded: is of no format that is known: it begins with '1 2 3'; say which"),
        ("timestamp,input_length,output_length,arrived_at,num_prefill_tokens,num_decode_tokens\n", "may be mooncake or vidur"),
        (b"\x28\xb5\x2f\xfd1234", "packed in a way that is not read here"),
        (b"\x7fELF\x00\x00", "is no text and no Parquet"),
        (b"PAR1 and nothing of it", r"cannot be read"),
    ],
)  # fmt: skip
def test_refusals(write: Write, text: str | bytes, message: str) -> None:
    """What is no trace is refused with file, field, value and the way out."""
    with pytest.raises(DataError, match=message):
        read(write(text))


def test_named_format_and_columns(write: Write) -> None:
    """What a file does not say, the user may: the format, the columns, their units, and what a stamp marks."""
    path = write("ended;took;tokens;who\n1700000005000;1500;7;b\n1700000006000;500;8;a\n1700000009000;0;9;b\n")
    ask = Ask(
        time="ended", duration="took", duration_unit="ms", stamped="end", columns={"size": "tokens", "key": "who"}
    )
    reading = read(path, ask)

    assert reading.format == "csv"
    assert reading.trace.arrivals_s.tolist() == [0.0, 2.0, 5.5]
    assert reading.trace.columns["size"].tolist() == [7, 8, 9]
    assert reading.trace.columns["key"].tolist() == [1, 0, 1]
    assert reading.trace.columns["size"].dtype == np.int32
    assert "`ended` was read as milliseconds since 1970" in reading.warnings

    with pytest.raises(DataError, match="`token` is not a column; did you mean `tokens`"):
        read(path, Ask(time="ended", columns={"size": "token"}))
    with pytest.raises(DataError, match="there is no duration to subtract; name its column with --duration"):
        read(path, Ask(time="ended", stamped="end"))
    with pytest.raises(DataError, match="`TIMESTAMP` is not a column"):
        read(path, Ask(format="azure-llm"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"format": "azure-lm"}, r"`--format` \(='azure-lm'\) is not a format; did you mean `azure-llm`"),
        ({"spread": "evenly"}, r"`--spread` \(='evenly'\) is not known; known: random, even, none"),
        ({"time_unit": "min"}, r"`--time-unit` .*known: s, ms, us, ns"),
        ({"stamped": "middle"}, r"`--stamped` .*known: start, end"),
        ({"sampled": 0.0}, r"`--sampled` \(=0.0\) is no share"),
        ({"bin_s": -1.0}, r"`--bin` \(=-1.0\) is no length of time"),
    ],
)
def test_questions_that_cannot_be_asked(write: Write, words: dict[str, Any], message: str) -> None:
    """An option that is not understood is refused by its name, with what is understood."""
    with pytest.raises(ConfigError, match=message):
        read(write(VIDUR), Ask(**words))


@pytest.mark.parametrize(
    ("unit", "scale"), [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
@pytest.mark.parametrize("form", ["text", "whole", "decimal"])
def test_units_by_magnitude(tmp_path: Path, unit: str, scale: int, form: str) -> None:
    """Numbers since 1970 are read by their size in all four units, whole or decimal, typed or as text."""
    at = [1_700_000_000 * scale + step * max(1, scale // 4) for step in (0, 1, 5)]
    values = pl.Series("time", [float(each) for each in at] if form == "decimal" else at)
    path = tmp_path / ("t.csv" if form == "text" else "t.parquet")
    table = pl.DataFrame([values])
    table.write_csv(path) if form == "text" else table.write_parquet(path)
    reading = read(path)
    step_s = max(1, scale // 4) / scale

    assert np.allclose([0.0, step_s, 5 * step_s], reading.trace.arrivals_s, rtol=0.0, atol=1e-6)
    assert any(f"was read as {unit}" in each for each in reading.warnings)


def test_before_1970(write: Write) -> None:
    """Among stamps since 1970, zero and what lies before is impossible, counted and left out."""
    reading = read(write("time\n1700000000.5\n0\n1700000001.25\n-5\n1700000002\n1700000003\n"))

    assert reading.skipped == {"time_before_1970": 2}
    assert reading.trace.arrivals_s.tolist() == [0.0, 0.75, 1.5, 2.5]


@pytest.mark.parametrize("spread", ["random", "even", "none"])
def test_whole_seconds_are_spread(write: Write, spread: str) -> None:
    """Requests that share a whole second are laid out within it, in the file's order, and it is said."""
    seconds = np.repeat(np.arange(400), 5)
    reading = read(write("time,size\n" + "".join(f"{s},{n % 5}\n" for n, s in enumerate(seconds))), Ask(spread=spread))
    arrivals_s = reading.trace.arrivals_s + (0.1 if spread == "even" else 0.0)

    assert np.array_equal(np.arange(2000) % 5, reading.trace.columns["size"])
    if spread == "none":
        assert np.array_equal(seconds, arrivals_s)
        assert "were left so" in reading.warnings[-1]
    elif spread == "even":
        assert np.allclose(seconds + np.tile(np.arange(5) / 5 + 0.1, 400), arrivals_s)
    else:
        offset = arrivals_s[0]
        assert offset == 0.0
        assert {"identical": 0, "spread": 2000}["spread"] == reading.noticed["spread"]
        assert "resolution of 1 s: requests were laid at random, uniformly, from the seed" in reading.warnings[-1]


def test_spread_is_uniform_seeded_and_keeps_counts(write: Write) -> None:
    """The places within the second are uniform, the same for the same seed, and every request stays in its second."""
    from scipy import stats as distributions

    seconds = np.repeat(np.arange(500), 8)
    path = write("time\n" + "".join(f"{s}\n" for s in seconds))
    first, again, other = (read(path, None, Seeds(seed)).trace.arrivals_s for seed in (1, 1, 2))
    # counted from the first arrival: its own place within its second is unknown, and below 1
    shifts = np.arange(0.0, 1.0, 0.001)
    fitting = [shift for shift in shifts if np.array_equal(np.floor(first + shift), seconds)]

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert fitting
    assert distributions.kstest((first + fitting[0]) % 1.0, "uniform").pvalue > 0.001


def test_seconds_that_nobody_shares_stay(write: Write) -> None:
    """Whole seconds of which no two are alike may be exact: they are left as they are."""
    assert read(write("time\n3\n5\n90\n")).trace.arrivals_s.tolist() == [0.0, 2.0, 87.0]


def test_coarse_grids(write: Write) -> None:
    """A grid of minutes, or of three seconds give or take some milliseconds, is found once there are enough stamps on it."""
    minutes = "time\n" + "".join(f"{60 * (n // 4)}\n" for n in range(200))
    timer = "time\n" + "".join(f"{3.0 * (n // 4) + 0.001 * (n // 4 % 3)}\n" for n in range(200))

    assert "resolution of 60 s" in read(write(minutes)).warnings[-1]
    assert "resolution of 3 s" in read(write(timer)).warnings[-1]
    assert "resolution of 1 s" in read(write("time\n0\n0\n3600\n")).warnings[-1]


def test_a_sample_is_made_up(write: Write) -> None:
    """A sampled request stands for 1/f: the rate is restored in the mean, between its neighbours, and it is said."""
    times = np.cumsum(np.random.default_rng(3).exponential(0.1, size=4000))
    rows = "".join(
        f"r{n},{1_700_000_000_000 + int(1000 * t)},200,5,{0.3 if n < 2000 else 1.0}\n" for n, t in enumerate(times)
    )
    header = "databricks_request_id,timestamp_ms,status_code,execution_time_ms,sampling_fraction\n"
    reading = read(write(header + rows))
    added = 2000 * (1 / 0.3 - 1)

    assert abs(reading.noticed["made_up"] - added) < 4.5 * math.sqrt(2000 * (1 / 3) * (2 / 3))
    middle = times[1999] - times[0]
    before = int(np.sum(reading.trace.arrivals_s <= middle))
    assert abs(before - 2000 / 0.3) < 200
    assert any("the file is a sample" in each for each in reading.warnings)

    thrice = read(write(VIDUR), Ask(sampled=1 / 3))
    assert len(thrice.trace) == 9
    assert thrice.trace.duration_s == 1.5


def test_impossible_fractions_and_repeated_ids(write: Write) -> None:
    """A fraction of nothing or more than all is impossible; a request logged twice under one id is one."""
    header = "databricks_request_id,timestamp_ms,execution_time_ms,sampling_fraction\n"
    reading = read(
        write(
            header
            + "a,1700000000000,1,1\nb,1700000000500,1,0\nc,1700000001000,1,2\na,1700000000000,1,1\nd,1700000002500,1,\n"
        )
    )

    assert reading.skipped == {"sampling_fraction_impossible": 2, "duplicate": 1}
    assert reading.trace.arrivals_s.tolist() == [0.0, 2.5]


def test_durations_that_cannot_be(write: Write) -> None:
    """Where the duration is subtracted, a negative or missing one makes its row useless; both are counted."""
    reading = read(write("app,func,end_timestamp,duration\na,f,1,0.5\na,f,2,-1\na,f,3,\na,f,4.5,1\na,f,6,1\n"))

    assert reading.skipped == {"duration_negative": 1, "duration_missing": 1}
    assert reading.trace.arrivals_s.tolist() == [0.0, 3.0, 4.5]


def test_own_parquet(tmp_path: Path) -> None:
    """Our own Parquet gives back every time and column bit for bit."""
    rng = np.random.default_rng(5)
    trace = Trace(
        "t", np.cumsum(rng.exponential(size=50)) * (1 / 3), {"size": rng.integers(0, 3, 50), "wait_s": rng.random(50)}
    )
    trace = Trace("t", trace.arrivals_s - trace.arrivals_s[0], trace.columns)
    reading = read(write_own(trace, tmp_path / "t.parquet"))

    assert reading.format == "windtunnel"
    assert np.array_equal(trace.arrivals_s, reading.trace.arrivals_s)
    assert {name: (v.dtype, v.tolist()) for name, v in trace.columns.items()} == {
        name: (v.dtype, v.tolist()) for name, v in reading.trace.columns.items()
    }
    assert reading.warnings == ()
    with pytest.raises(ConfigError, match=r"`--out` .* is no Parquet file; end it in \.parquet"):
        write_own(trace, tmp_path / "t.csv")


def test_files_that_break_off(write: Write) -> None:
    """A packed file, a JSON line or a CSV row that breaks off costs what is lost, not what was there."""
    whole = "time,size\n" + "".join(f"{n * 0.37},{n % 3}\n" for n in range(40_000))
    packed = read(write(gzip.compress(whole.encode())[:-20000]))
    assert packed.skipped["packed_file_breaks_off"] == 1
    assert 1000 < len(packed.trace) < 40_000

    cut = read(write(MOONCAKE + '{"timestamp": 9000, "input_len'))
    assert cut.skipped == {"last_line_breaks_off": 1}
    assert len(cut.trace) == 3

    odd = read(write(MOONCAKE + "no json\n[1]\n" + '{"timestamp": 3500, "input_length": 1, "output_length": 1}\n'))
    assert odd.skipped == {"line_is_no_json_object": 2}
    assert odd.trace.arrivals_s.tolist() == [0.0, 1.25, 2.5, 3.5]


@pytest.mark.parametrize(
    ("text", "ask", "message"),
    [
        (
            "second,requests\n0,5\n1,7\n",
            Ask(columns={"size": "requests"}),
            "`--column` means nothing to a file of format counts",
        ),
        ("time\n1\n2\n", Ask(bin_s=60.0), "`--bin` means nothing to a file of format csv; leave it out"),
        (AZURE_LLM, Ask(durations=Path("d.csv")), "`--durations` means nothing to a file of format azure-llm"),
    ],
)
def test_what_a_format_does_not_hear_is_refused(write: Write, text: str, ask: Ask, message: str) -> None:
    """Nothing that is said about a file is passed over in silence."""
    with pytest.raises(ConfigError, match=message):
        read(write(text), ask)


def test_keys_are_told_apart_to_the_last_digit(write: Write) -> None:
    """Whole numbers of 64 bits stay as they are; longer ones, fractions and names become codes: no two keys become one."""
    lines = (
        ("9007199254740993", "9007199254740992"), ("18446744073709551615", "18446744073709551614"), ("0.5", "1.5"), ("b", "a"),
    )  # fmt: skip
    keys = [
        read(write(f"time,key\n1,{first}\n2,{second}\n3,{first}\n")).trace.columns["key"].tolist()
        for first, second in lines
    ]

    assert keys == [[2**53 + 1, 2**53, 2**53 + 1], [1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(("column", "value"), [("priority", "1.7"), ("size", "3000000000")])
def test_no_class_is_cut(write: Write, column: str, value: str) -> None:
    """A class that is no whole number, or does not fit, is refused with file, column, value and row."""
    with pytest.raises(DataError, match=rf"recorded: `.*{column}` \(={value}\) has 1 values .* first in row 1"):
        read(write(f"time,{column}\n1,0\n2,{value}\n3,1\n"))


def test_pieces_do_not_show(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file read in small pieces is the same trace as one read at once, quoted line breaks and mixed columns included."""
    from windtunnel.simulate.formats import source

    lines = [f'{1.7e9 + n * 0.25},"a\nb, {n}",{n if n < 50 else f"u{n}"}\n' for n in range(100)]
    path = write("\ufefftime,text,key\r\n" + "".join(lines))
    at_once = read(path)
    monkeypatch.setattr(source, "CHUNK", 64)
    piecewise = read(path)

    assert len(at_once.trace) == 100
    assert np.array_equal(at_once.trace.arrivals_s, piecewise.trace.arrivals_s)
    assert np.array_equal(at_once.trace.columns["key"], piecewise.trace.columns["key"])
    assert piecewise.skipped == {}


def test_mixed_stamps(write: Write) -> None:
    """Stamps with and without a fraction, a zone or a T in one column all mean what they say."""
    rows = (
        "2024-05-10 00:00:00.5\n2024-05-10T02:00:01+02:00\n2024/05/10 00:00:02\n2024-05-10T00:00:03.25Z\n2024-05-10\n"
    )

    assert read(write("time\n" + rows)).trace.arrivals_s.tolist() == [0.0, 0.5, 1.0, 2.0, 3.25]


def test_registry() -> None:
    """Every format says what it is called, once, and what it looks like."""
    assert len(FORMATS) == len(set(FORMATS))
    assert all(name == each.name and each.looks for name, each in FORMATS.items())


@pytest.mark.parametrize(
    ("name", "form", "requests", "seconds"),
    [
        ("azure_llm_2023_conv.csv.gz", "azure-llm", 19_366, 3501.7),
        ("mooncake_conversation.jsonl.gz", "mooncake", 12_031, 3538.8),
        ("azure_functions_2019_100fn_invocations.csv.gz", "azure-functions-2019", 339_657, 28_799.9),
        ("nasa_http_1995-08-04_14d_per_second.csv.gz", "counts", 733_258, 1_209_591.9),
    ],
)  # fmt: skip
def test_real_files(shared: Path, name: str, form: str, requests: int, seconds: float) -> None:
    """The published traces are known without being told, and hold what their publishers say."""
    reading = read(shared / name)

    assert form == reading.format
    assert requests == len(reading.trace)
    assert seconds == pytest.approx(reading.trace.duration_s, abs=0.1)
    assert reading.skipped == {}
