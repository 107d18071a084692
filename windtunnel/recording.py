"""A Recording: requests with their features and labels, under two clocks.

*Event time* is when a request was asked; *known time* is when its label could first be known. Nothing computed for a
time may use what became known at or after it, and `Recording` offers no way to do so by accident: `asked_before` cuts by
the first clock, `known_before` by the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError
from windtunnel.feature_table import FeatureTable
from windtunnel.table import take_column, timestamps_of
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

ID, TIME, LABEL, LABEL_TIME = "id", "time", "label", "label_time"
"""The columns that windtunnel gives a meaning; every other column is a feature or a logged prediction."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a user's table play which part.

    Args:
        time: when the prediction was asked.
        id: the request; the row number where empty.
        label: what turned out true; null where it never did.
        label_time: when that could first be known; null: never.
    """

    time: str
    id: str = ""
    label: str = ""
    label_time: str = ""


@dataclass(frozen=True)
class Recording:
    """Recorded traffic in order of event time, checked.

    Args:
        name: what it is a recording of.
        frame: columns `id`, `time`, `label` (float64, null: never known), `label_time` (null: never), and features.
    """

    name: str
    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    @property
    def start(self) -> datetime:
        """When the first request was asked."""
        first: datetime = self.frame[TIME][0]
        return first

    @property
    def end(self) -> datetime:
        """When the last request was asked."""
        last: datetime = self.frame[TIME][-1]
        return last

    @property
    def features(self) -> pl.DataFrame:
        """The columns that a model may be fed with: neither the label nor the times."""
        return self.frame.drop(ID, TIME, LABEL, LABEL_TIME, strict=False)

    def asked_between(self, start: datetime | None = None, end: datetime | None = None) -> Recording:
        """Only the requests asked from `start` (included) to `end` (left out)."""
        frame = self.frame
        if start is not None:
            frame = frame.filter(pl.col(TIME) >= start)
        if end is not None:
            frame = frame.filter(pl.col(TIME) < end)
        return Recording(self.name, frame)

    def known_before(self, as_of: datetime) -> Recording:
        """Only the requests whose label was known before a time."""
        return Recording(self.name, self.frame.filter(pl.col(LABEL_TIME) < as_of))

    def trace(self) -> Trace:
        """The arrivals alone."""
        microseconds = self.frame[TIME].dt.timestamp("us")
        return Trace(self.name, (microseconds - microseconds[0]).cast(pl.Float64).to_numpy() / 1e6)

    @staticmethod
    def from_table(table: pl.DataFrame, columns: Columns, *, name: str, file: Path | str | None = None) -> Recording:
        """Check a table and give its columns their parts.

        Raises:
            DataError: a missing column, a wrong dtype, a null or unsorted time, a repeated id, a label that is NaN or
                known before it was asked about, a known time without a label.
        """
        parts = {
            ID: take_column(table, columns.id, file=file)
            if columns.id
            else pl.Series(ID, range(table.height), pl.Int64),
            TIME: timestamps_of(take_column(table, columns.time, file=file), file=file),
        }
        if columns.label_time and not columns.label:
            raise DataError(
                "says when labels came, but no column is named as label", file=file, field=columns.label_time,
                fix="name the label too, or leave label_time out",
            )  # fmt: skip
        if columns.label:
            parts[LABEL] = _number(take_column(table, columns.label, file=file), file)
            known = columns.label_time or columns.time
            parts[LABEL_TIME] = timestamps_of(take_column(table, known, file=file), file=file)
        taken = {columns.id, columns.time, columns.label, columns.label_time}
        features = [column for column in table.columns if column not in taken]
        for feature in features:
            if feature in (ID, TIME, LABEL, LABEL_TIME):
                raise DataError(
                    "is a feature with a name that windtunnel uses itself", file=file, field=feature, fix="rename it"
                )
        frame = pl.DataFrame([series.alias(part) for part, series in parts.items()]).hstack(table.select(features))
        _check(frame, columns, file)
        return Recording(name, frame)


def _number(column: pl.Series, file: Path | str | None) -> pl.Series:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(
            f"has dtype {column.dtype} where a label is a number", file=file, field=column.name, fix="store 0 and 1"
        )
    return column.cast(pl.Float64)


def _check(frame: pl.DataFrame, columns: Columns, file: Path | str | None) -> None:
    """Refuse what would make every figure after it wrong."""
    times = frame[TIME]
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise DataError(
            f"has no time in row {row}", file=file, field=columns.time, fix="drop or mend the rows without one"
        )
    if not times.is_sorted():
        row = int((times.diff().dt.total_microseconds() < 0).arg_max() or 0)
        raise DataError(
            f"is not sorted: row {row} lies before row {row - 1}", file=file, field=columns.time, fix="sort by it"
        )
    if frame[ID].n_unique() != frame.height:
        twice = frame[ID].filter(frame[ID].is_duplicated())[0]
        raise DataError(
            "is not unique", file=file, field=columns.id, value=twice, fix="give each request an id of its own"
        )
    if columns.label:
        _check_labels(frame, columns, file)


def _check_labels(frame: pl.DataFrame, columns: Columns, file: Path | str | None) -> None:
    label, known, asked = frame[LABEL], frame[LABEL_TIME], frame[TIME]
    if label.is_nan().any():
        raise DataError("holds NaN", file=file, field=columns.label, fix="a label that never came is null, not NaN")
    if not columns.label_time and label.null_count():
        raise DataError(
            "has rows without a label but no known time says when labels arrive",
            file=file,
            field=columns.label,
            fix="name the column as label_time",
        )
    torn = label.is_null() != known.is_null()
    if torn.any():
        row = int(torn.arg_max() or 0)
        raise DataError(
            f"and `{columns.label}` disagree in row {row}: one is null, the other is not",
            file=file,
            field=columns.label_time,
            fix="a label and its known time come together or never",
        )
    early = (known < asked).fill_null(value=False)
    if early.any():
        row = int(early.arg_max() or 0)
        raise DataError(
            f"says that {early.sum()} labels were known before they were asked about, first in row {row}",
            file=file,
            field=columns.label_time,
            value=str(known[row]),
            fix="check its time zone",
        )


def join_as_of(
    table: pl.DataFrame,
    features: pl.DataFrame,
    *,
    time: str,
    by: list[str],
    known_time: str,
    take: list[str],
    max_age: timedelta,
    event_time: str = "",
    file: Path | str | None = None,
) -> pl.DataFrame:
    """Add features from a table of their own, as they were known when each request was asked.

    A row of `features` is used only where its known time lies *strictly before* the request's and at most `max_age`
    back; ties are not known yet. Where nothing was known the features are null.

    Args:
        table: the requests, sorted by `time`.
        features: the feature table, in any order.
        time: the column of `table` that says when the request was asked.
        by: columns that both tables share, such as a station.
        known_time: the column of `features` that says when a row could first be known.
        take: the columns to add.
        max_age: how old a row may be at most.
        event_time: the column of `features` that says when a row happened, where that is another; see `FeatureTable.of`.
        file: named in messages.

    Raises:
        DataError: a missing column, a time of the wrong dtype, keys of different dtypes, or a column to add that the
            requests have already.
    """
    table_of = FeatureTable.of(
        features, by=by, known_time=known_time, take=take, max_age=max_age, event_time=event_time, file=file
    )
    if not timestamps_of(take_column(table, time, file=file), file=file).is_sorted():
        raise DataError("is not sorted", file=file, field=time, fix="sort by it")
    return table_of.join(table, time)[0]
