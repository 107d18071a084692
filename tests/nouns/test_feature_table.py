from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.feature_table import FeatureTable, Freshness

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")


def at(hours: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=hours)


def table_of(rows: list[tuple[int, int, str]], max_age: float | None = None, **changes: Any) -> FeatureTable:
    """Features from known, happened, place; the feature is the number of the row."""
    frame = pl.DataFrame(
        {"known": [at(k) for k, _, _ in rows], "happened": [at(h) for _, h, _ in rows], "place": [p for _, _, p in rows], "wind": range(len(rows))},
        schema={"known": TIME, "happened": TIME, "place": pl.String, "wind": pl.Int64},
    )  # fmt: skip
    settings: dict[str, Any] = {
        "by": ["place"],
        "known_time": "known",
        "event_time": "happened",
        "take": ["wind"],
        "file": "w.parquet",
    }
    return FeatureTable.of(frame, max_age=None if max_age is None else timedelta(hours=max_age), **(settings | changes))


def ask(table: FeatureTable, asked: list[tuple[int, str]]) -> tuple[list[int | None], Freshness]:
    """What each request is given."""
    requests = pl.DataFrame(
        {"asked": [at(t) for t, _ in asked], "place": [p for _, p in asked]}, schema={"asked": TIME, "place": pl.String}
    )
    joined, freshness = table.join(requests, "asked")
    assert joined.columns == ["asked", "place", "wind"]
    assert joined["asked"].to_list() == [at(t) for t, _ in asked]
    return joined["wind"].to_list(), freshness


def test_a_backfill_displaces_nothing() -> None:
    """What is written late about what happened earlier does not stand in for what is newer and known."""
    table = table_of([(1, 0, "JFK"), (3, 2, "JFK"), (5, 1, "JFK")])

    assert ask(table, [(9, "JFK"), (2, "JFK"), (4, "JFK")])[0] == [1, 0, 1]


def test_what_has_not_happened_yet() -> None:
    """A row that was written ahead of its time is used once it has happened, strictly before the question."""
    table = table_of([(0, 5, "JFK")])

    assert ask(table, [(5, "JFK"), (6, "JFK")])[0] == [None, 0]


def test_a_correction_of_the_same_moment() -> None:
    """Of two rows about one moment the one known later counts once it is known."""
    table = table_of([(1, 1, "JFK"), (4, 1, "JFK")])

    assert ask(table, [(3, "JFK"), (5, "JFK")])[0] == [0, 1]


def test_freshness() -> None:
    """What was missing, too old, or late is counted; age is counted from when a row happened."""
    table = table_of([(1, 1, "JFK"), (8, 2, "JFK")], max_age=3)
    found, freshness = ask(table, [(2, "JFK"), (3, "JFK"), (9, "JFK"), (2, "LGA")])

    assert found == [0, 0, None, None]
    assert freshness == Freshness(asked=4, missing=1, stale=1, late=1)
    assert freshness + Freshness(1, 1, 1, 1) == Freshness(5, 2, 2, 2)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from("ab")), max_size=10),
    asked=st.lists(st.tuples(st.integers(0, 11), st.sampled_from("ab")), min_size=1, max_size=8),
    max_age=st.none() | st.integers(1, 6),
)
def test_against_brute_force(
    rows: list[tuple[int, int, str]], asked: list[tuple[int, str]], max_age: int | None
) -> None:
    """Each request is given what searching all rows gives: of those that had happened and were known, the newest."""

    def search(time: int, place: str) -> tuple[int | None, bool, bool, bool]:
        usable = [(h, k, row) for row, (k, h, p) in enumerate(rows) if p == place and k < time and h < time]
        newest = max((h for _, h, p in rows if p == place and h < time), default=None)
        if not usable:
            return None, True, False, newest is not None
        best = max(usable)
        stale = max_age is not None and time - best[0] > max_age
        return (None if stale else best[2]), False, stale, newest is not None and newest > best[0]

    expected = [search(*each) for each in asked]
    found, freshness = ask(table_of(rows, max_age), asked)

    assert [each[0] for each in expected] == found
    counts = [sum(bool(each[place]) for each in expected) for place in (1, 2, 3)]
    assert Freshness(len(asked), *counts) == freshness


def test_refused() -> None:
    """A time with gaps, and keys of another kind, are refused by file and column."""
    with pytest.raises(DataError, match=r"w\.parquet: `gone` is not a column"):
        table_of([(1, 1, "JFK")], event_time="gone")
    with pytest.raises(DataError, match=r"w\.parquet: `place` has dtype String where the requests have Int64"):
        table_of([(1, 1, "JFK")]).join(pl.DataFrame({"asked": [at(1)], "place": [1]}), "asked")
    with pytest.raises(DataError, match=r"w\.parquet: `asked` has no value in some rows"):
        table_of([(1, 1, "JFK")]).join(
            pl.DataFrame({"asked": [None], "place": ["JFK"]}, schema_overrides={"asked": TIME}), "asked"
        )
