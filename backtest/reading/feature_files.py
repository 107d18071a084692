"""Feature tables from files: plain tables with a known time, and files of Feast's offline store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError, nearest
from windtunnel.feature_table import FeatureTable
from windtunnel.source import find_files

from .clock import Clock
from .intake import NEVER_US, Tally
from .plain import columns_of, frames, scan

if TYPE_CHECKING:
    from pathlib import Path

    from .roles import FeatureSource

CREATED, HAPPENED = ("created_timestamp", "created"), "event_timestamp"
"""What files of Feast's offline store call when a row was written (either of them) and when it happened.

Source: Feast's documentation, "Sources" (event timestamp column, created timestamp column); the names are a convention, so others can be named.
"""

PIECE_ROWS = 2**20


def read_feature_table(source: FeatureSource, home: Path, tally: Tally | None = None) -> FeatureTable:
    """Read a feature table, whole; its times may come in every form in which a recording's may.

    Args:
        source: where it lies, and which columns count.
        home: the folder that paths are relative to.
        tally: told of zones, and of what was decided.

    Raises:
        DataError: it cannot be read, or does not say when its rows were known.
    """
    files = find_files(source.source, home)
    known, event = source.known_time, source.event_time
    if not known:
        there = columns_of(scan(files[0]), files[0])
        known, event = next((name for name in CREATED if name in there), CREATED[0]), event or HAPPENED
        _check_feast(there, (known, event), source.source)
    columns = list(dict.fromkeys([*source.by, *source.take, known, *([event] if event else [])]))
    clocks = [Clock(column, tally or Tally(), source.source) for column in dict.fromkeys((known, event)) if column]
    pieces = [
        piece.with_columns(_instants(clock, piece, file) for clock in clocks)
        for file in files
        for piece in frames(scan(file, (known, event)), columns, PIECE_ROWS, file)
    ]
    if not pieces:
        raise DataError("has no rows", file=source.source, fix="give a table with some")
    age = None if source.max_age_s == float("inf") else timedelta(seconds=source.max_age_s)
    return FeatureTable.of(
        pl.concat(pieces, how="vertical_relaxed"), by=source.by, known_time=known, take=source.take, max_age=age,
        event_time=event, file=source.source,
    )  # fmt: skip


def _instants(clock: Clock, piece: pl.DataFrame, file: str) -> pl.Series:
    """A column of times as stamps in UTC."""
    times = pl.Series(clock.column, clock.read(piece[clock.column], file))
    return times.set(times == NEVER_US, None).cast(pl.Datetime("us", "UTC"))


def _check_feast(there: dict[str, pl.DataType], needed: tuple[str, str], file: str) -> None:
    for column in needed:
        if column not in there:
            raise DataError(
                "is not a column, and no known_time is named: when its rows were known is not known", file=file, field=column,
                fix=f"name it; {nearest('known_time', there)}",
            )  # fmt: skip
