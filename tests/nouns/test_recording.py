from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.recording import Columns, Recording, join_as_of

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = Columns(time="asked", id="key", label="late", label_time="landed")


def at(hours: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=hours)


TABLE = pl.DataFrame(
    {
        "key": ["a", "b", "c", "d"],
        "asked": [at(0), at(1), at(1), at(3)],
        "late": [0, 1, None, 1],
        "landed": [at(2), at(5), None, at(4)],
        "km": [10.0, 20.0, 30.0, 40.0],
    }
)


def _recording(**changes: Any) -> Recording:
    return Recording.from_table(TABLE.with_columns(**changes), COLUMNS, name="flights", file="f.parquet")


def test_parts() -> None:
    """Each column gets its part under one name; the rest are features, as they were."""
    recording = _recording()

    assert recording.frame.columns == ["id", "time", "label", "label_time", "km"]
    assert recording.frame["label"].to_list() == [0.0, 1.0, None, 1.0]
    assert recording.frame["km"].to_list() == TABLE["km"].to_list()
    assert (recording.start, recording.end, len(recording)) == (at(0), at(3), 4)
    assert recording.trace().arrivals_s.tolist() == [0.0, 3600.0, 3600.0, 10800.0]


def test_bare_table() -> None:
    """A table needs no more than a time: rows are numbered, and there are no labels."""
    recording = Recording.from_table(TABLE.select("asked", "km"), Columns(time="asked"), name="bare")

    assert recording.frame.columns == ["id", "time", "km"]
    assert recording.frame["id"].to_list() == [0, 1, 2, 3]


def test_labels_known_at_once() -> None:
    """Without a known time a label counts as known when it was asked about, which every row then must be."""
    table = TABLE.drop("landed").with_columns(late=pl.Series([True, False, True, True]))
    recording = Recording.from_table(table, Columns(time="asked", label="late"), name="instant")

    assert recording.frame["label_time"].to_list() == recording.frame["time"].to_list()
    assert recording.frame["label"].to_list() == [1.0, 0.0, 1.0, 1.0]


def test_text_times_and_zones() -> None:
    """Times as text or in another zone are the same instants."""
    text = TABLE["asked"].dt.to_string("iso:strict")
    zoned = TABLE["landed"].dt.convert_time_zone("Asia/Tokyo")

    assert _recording().frame.equals(_recording(asked=text, landed=zoned).frame)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asked": pl.Series([1, 2, 3, 4])}, "`asked` has dtype Int64 where time stamps are needed"),
        ({"asked": pl.Series(["x", "y", "z", "w"])}, r"`asked` \(='x'\) holds text that is no time stamp"),
        ({"asked": pl.Series([at(0), None, at(1), at(3)])}, "`asked` has no time in row 1"),
        ({"asked": pl.Series([at(0), at(2), at(1), at(3)])}, "`asked` is not sorted: row 2 lies before row 1"),
        ({"key": pl.Series(["a", "b", "b", "d"])}, r"`key` \(='b'\) is not unique"),
        ({"late": pl.Series(["no", "yes", None, "yes"])}, "`late` has dtype String where a label is a number"),
        ({"late": pl.Series([0.0, math.nan, None, 1.0])}, "`late` holds NaN; a label that never came is null"),
        ({"late": pl.Series([0, None, None, 1])}, "`landed` and `late` disagree in row 1"),
        ({"landed": pl.Series([at(2), None, None, at(4)])}, "`landed` and `late` disagree in row 1"),
        ({"landed": pl.Series([at(2), at(5), None, at(2)])}, r"1 labels were known before.*row 3.*time zone"),
        ({"landed": pl.Series([9, 9, None, 9])}, "`landed` has dtype Int64"),
        ({"label": pl.Series([1, 2, 3, 4])}, "`label` is a feature with a name that windtunnel uses itself; rename"),
        ({"id": pl.Series([1, 2, 3, 4])}, "`id` is a feature with a name that windtunnel uses itself; rename"),
    ],
)
def test_malformed(changes: dict[str, pl.Series], message: str) -> None:
    """What would make every figure after it wrong is refused by file, column and row."""
    with pytest.raises(DataError, match=rf"f\.parquet: .*{message}"):
        _recording(**changes)


@pytest.mark.parametrize("part", ["time", "id", "label", "label_time"])
def test_missing_columns(part: str) -> None:
    """A column that is not there is answered with all that are."""
    columns = Columns(**({"time": "asked", "label": "late"} | {part: "nowhere"}))

    with pytest.raises(DataError, match=r"`nowhere` is not a column.*key, asked, late, landed, km"):
        Recording.from_table(TABLE, columns, name="flights")


def test_labels_without_known_time() -> None:
    """Labels that are partly missing need a column that says when they came."""
    with pytest.raises(DataError, match=r"`late` has rows without a label but no known time.*label_time"):
        Recording.from_table(TABLE, Columns(time="asked", label="late"), name="flights")


def test_known_time_without_labels() -> None:
    """A known time is of no use, and not a feature either, where no label is named."""
    with pytest.raises(DataError, match="`landed` says when labels came, but no column is named as label"):
        Recording.from_table(TABLE, Columns(time="asked", label_time="landed"), name="flights")


@pytest.mark.parametrize("name", ["label", "label_time"])
def test_unnamed_label(name: str) -> None:
    """A column called as a label is, that was not named as one, is no feature that slips in unchecked."""
    table = TABLE.select("asked", pl.lit("yes").alias(name))

    with pytest.raises(DataError, match=f"`{name}` is a feature with a name that windtunnel uses itself"):
        Recording.from_table(table, Columns(time="asked"), name="flights")


def test_windows_by_event_time() -> None:
    """A window has its start and lacks its end, so that windows in a row hold each request once."""
    recording = _recording()

    def ids(start: datetime | None, end: datetime | None) -> list[str]:
        return recording.asked_between(start, end).frame["id"].to_list()

    assert ids(at(1), at(3)) == ["b", "c"]
    assert ids(None, at(1)) + ids(at(1), at(3)) + ids(at(3), None) == ["a", "b", "c", "d"]
    assert ids(at(3.5), None) == []


def test_windows_by_known_time() -> None:
    """A label that becomes known at an instant is not known before it; one that never came never is."""
    recording = _recording()

    known = {hours: recording.known_before(at(hours)).frame["id"].to_list() for hours in (2, 2.001, 4, 5, 99)}
    assert known == {2: [], 2.001: ["a"], 4: ["a"], 5: ["a", "d"], 99: ["a", "b", "d"]}


def _join(requests: pl.DataFrame, features: pl.DataFrame, **changes: Any) -> pl.DataFrame:
    settings: dict[str, Any] = {
        "time": "asked", "by": ["place"], "known_time": "known", "take": ["wind"], "max_age": timedelta(hours=2), "file": "w.csv",
    }  # fmt: skip
    return join_as_of(requests, features, **(settings | changes))


REQUESTS = pl.DataFrame({"asked": [at(0), at(1), at(3), at(9)], "place": ["JFK", "JFK", "LGA", "JFK"]})
FEATURES = pl.DataFrame(
    {"place": ["JFK", "LGA", "JFK"], "known": [at(1), at(1), at(0)], "wind": [5.0, 7.0, 3.0], "other": [1, 2, 3]}
)


def test_a_tie_is_not_known_yet() -> None:
    """What becomes known at the instant of the question is not known to it; the one before is."""
    joined = _join(REQUESTS, FEATURES)

    assert joined.columns == ["asked", "place", "wind"]
    assert joined["wind"].to_list() == [None, 3.0, 7.0, None]


def test_age() -> None:
    """A row of exactly the greatest age is used, an older one is not."""
    just = _join(REQUESTS, FEATURES, max_age=timedelta(hours=1))["wind"].to_list()
    under = _join(REQUESTS, FEATURES, max_age=timedelta(minutes=59))["wind"].to_list()

    assert just == [None, 3.0, None, None]
    assert under == [None, None, None, None]


def test_join_without_keys() -> None:
    """Features of the whole world need no key."""
    assert _join(REQUESTS, FEATURES.drop("place"), by=[])["wind"].to_list() == [None, 3.0, 7.0, None]


@given(
    asked=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b", None])), min_size=1, max_size=12),
    known=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b", None])), max_size=12),
    max_age=st.integers(1, 6),
    keyed=st.booleans(),
)
def test_join_against_brute_force(
    asked: list[tuple[int, str | None]], known: list[tuple[int, str | None]], max_age: int, *, keyed: bool
) -> None:
    """The join gives each request what searching all rows gives: the newest strictly before it, and of equals the last."""
    asked = sorted(asked, key=lambda each: each[0])
    requests = pl.DataFrame(
        {"asked": [at(t) for t, _ in asked], "place": [p for _, p in asked]}, schema_overrides={"place": pl.String}
    )
    features = pl.DataFrame(
        {"known": [at(t) for t, _ in known], "place": [p for _, p in known], "wind": range(len(known))},
        schema={"known": pl.Datetime("us", "UTC"), "place": pl.String, "wind": pl.Int64},
    )

    def search(time: int, place: str | None) -> int | None:
        usable = [
            (t, row)
            for row, (t, p) in enumerate(known)
            if time - max_age <= t < time and (not keyed or (p == place and p is not None))
        ]
        return max(usable)[1] if usable else None

    joined = _join(requests, features, by=["place"] if keyed else [], max_age=timedelta(hours=max_age))

    assert [search(*each) for each in asked] == joined["wind"].to_list()
    assert [at(t) for t, _ in asked] == joined["asked"].to_list()


def test_equal_known_times_in_a_large_table() -> None:
    """Of many rows known at one instant the last in the table counts, however large the table: runs must not differ."""
    n = 20_000
    features = pl.DataFrame({"known": [at(i % 3) for i in range(n)], "place": ["JFK"] * n, "wind": range(n)})
    requests = pl.DataFrame({"asked": [at(0.5), at(1.5), at(2.5)], "place": ["JFK"] * 3})

    assert [n - 1 - (n - 1 - k) % 3 for k in range(3)] == _join(requests, features)["wind"].to_list()


@pytest.mark.parametrize(
    ("requests", "features", "changes", "message"),
    [
        (REQUESTS, FEATURES, {"take": ["wnid"]}, r"`wnid` is not a column; did you mean `wind`"),
        (REQUESTS, FEATURES, {"known_time": "when"}, "`when` is not a column"),
        (REQUESTS, FEATURES, {"time": "when"}, "`when` is not a column"),
        (REQUESTS, FEATURES.drop("place"), {}, "`place` is not a column"),
        (REQUESTS.drop("place"), FEATURES, {}, "`place` is not a column"),
        (REQUESTS, FEATURES.with_columns(place=1), {}, "`place` has dtype Int32 where the requests have String"),
        (REQUESTS.with_columns(wind=1.0), FEATURES, {}, "`wind` is a column of the requests already"),
        (REQUESTS.reverse(), FEATURES, {}, "`asked` is not sorted"),
        (REQUESTS, FEATURES.with_columns(known=1), {}, "`known` has dtype Int32"),
        (
            REQUESTS,
            FEATURES.with_columns(known=pl.Series([at(0), None, at(1)])),
            {},
            "`known` has no value in some rows",
        ),
    ],
)
def test_join_refused(requests: pl.DataFrame, features: pl.DataFrame, changes: dict[str, Any], message: str) -> None:
    """A join that would be wrong in silence is refused by file and column."""
    with pytest.raises(DataError, match=rf"w\.csv: {message}"):
        _join(requests, features, **changes)
