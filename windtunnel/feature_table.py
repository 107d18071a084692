"""A FeatureTable: features in a table of their own, and what of them was known when a question was asked.

A row may be used by a question only if it was known *strictly before* it: a tie is not known yet. Of the rows that may be, the
newest counts, by when it happened if the table says so, else by when it became known; of equal ones the later in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError
from windtunnel.table import take_column, timestamps_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

ASKED, USABLE, HAPPENED, ROW = "__asked", "__usable", "__happened", "__row"


@dataclass(frozen=True)
class Freshness:
    """What a join found, in requests.

    Args:
        asked: all of them.
        missing: nothing was known for their keys.
        stale: what was known was too old.
        late: something newer had happened but was not known yet; counted only where the table says when rows happened.
    """

    asked: int = 0
    missing: int = 0
    stale: int = 0
    late: int = 0

    def __add__(self, other: Freshness) -> Freshness:
        return Freshness(
            self.asked + other.asked, self.missing + other.missing, self.stale + other.stale, self.late + other.late
        )


@dataclass(frozen=True)
class FeatureTable:
    """Rows in the order in which they became usable.

    Args:
        known: keys, features, and when each row became usable, in that order; rows that were outdated when they became
            known are left out.
        happened: keys and when rows happened, in that order; without rows where the table does not say.
        by: the keys that requests and features share.
        take: the features.
        max_age: how old a row may be at most; None: any age.
        file: named in messages.

    Example:
        >>> from datetime import datetime, timedelta
        >>> rows = pl.DataFrame({"known": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "wind": [3.0, 5.0]})
        >>> table = FeatureTable.of(rows, by=(), known_time="known", take=("wind",), max_age=timedelta(days=2))
        >>> requests = pl.DataFrame({"asked": [datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 9)]})
        >>> joined, freshness = table.join(requests, "asked")
        >>> joined["wind"].to_list(), freshness
        ([None, 3.0, None], Freshness(asked=3, missing=1, stale=1, late=0))
    """

    known: pl.DataFrame
    happened: pl.DataFrame
    by: tuple[str, ...]
    take: tuple[str, ...]
    max_age: timedelta | None
    file: Path | str | None = None

    @staticmethod
    def of(
        features: pl.DataFrame,
        *,
        by: Sequence[str],
        known_time: str,
        take: Sequence[str],
        max_age: timedelta | None,
        event_time: str = "",
        file: Path | str | None = None,
    ) -> FeatureTable:
        """Put a table, in any order, into the order in which its rows became usable.

        Where `event_time` is given a row is usable once it happened *and* was known, and one that happened before
        another that was usable already is never used: a backfill does not displace what is newer.

        Args:
            features: the table.
            by: columns that requests and features share, such as a station; none: the features are those of the whole world.
            known_time: the column that says when a row could first be known.
            take: the columns to add.
            max_age: how old a row may be at most, by `event_time` if given, else by `known_time`.
            event_time: the column that says when a row happened; empty where there is none.
            file: named in messages.

        Raises:
            DataError: a missing column, or a time of the wrong dtype or with nulls.
        """
        for column in (*by, *take):
            take_column(features, column, file=file)
        known = _whole(features, known_time, file)
        happened = _whole(features, event_time, file) if event_time else known
        rows = features.select(*by, *take, known.alias("__known"), happened.alias(HAPPENED)).with_row_index(ROW)
        rows = rows.with_columns(pl.max_horizontal("__known", HAPPENED).alias(USABLE))
        ordered = rows.sort(USABLE, HAPPENED, "__known", ROW)
        newest = pl.col(HAPPENED).cum_max()
        kept = ordered.filter(pl.col(HAPPENED) >= (newest.over(*by) if by else newest)).drop("__known", ROW)
        told = rows.select(*by, HAPPENED).sort(HAPPENED) if event_time else rows.select(*by, HAPPENED).clear()
        return FeatureTable(kept, told, tuple(by), tuple(take), max_age, file)

    def join(self, table: pl.DataFrame, time: str) -> tuple[pl.DataFrame, Freshness]:
        """Add the features as they were known when each request was asked; null where nothing was, or nothing fresh.

        Args:
            table: the requests, in any order, which is kept.
            time: their column that says when they were asked.

        Raises:
            DataError: a missing column, keys of different dtypes, a request without a time, or a feature that the requests
                have already.
        """
        self._check(table)
        asked = _whole(table, time, self.file)
        left = table.with_columns(asked.alias(ASKED))
        ordered = asked.is_sorted()
        if not ordered:
            left = left.with_row_index(ROW).sort(ASKED, maintain_order=True)
        found = self._newest(left, self.known, USABLE)
        late = self._late(left, found)
        missing = found[HAPPENED].null_count()
        if self.max_age is not None:
            stale = pl.col(ASKED) - pl.col(HAPPENED) > self.max_age
            too_old = int(found.select(stale.sum()).item())
            found = found.with_columns(pl.when(~stale).then(pl.col(name)).alias(name) for name in self.take)
        else:
            too_old = 0
        if not ordered:
            found = found.sort(ROW).drop(ROW)
        return found.drop(ASKED, USABLE, HAPPENED, strict=False), Freshness(len(table), missing, too_old, late)

    def _check(self, table: pl.DataFrame) -> None:
        for column in self.by:
            ours, theirs = take_column(table, column, file=self.file).dtype, self.known[column].dtype
            if ours != theirs:
                raise DataError(
                    f"has dtype {theirs} where the requests have {ours}", file=self.file, field=column, fix="store both alike"
                )  # fmt: skip
        for column in self.take:
            if column in table.columns:
                raise DataError(
                    "is a column of the requests already", file=self.file, field=column, fix="rename one of them"
                )

    def _newest(self, left: pl.DataFrame, right: pl.DataFrame, order: str) -> pl.DataFrame:
        return left.join_asof(
            right, left_on=ASKED, right_on=order, by=list(self.by) or None, strategy="backward",
            allow_exact_matches=False, check_sortedness=False, coalesce=False,
        )  # fmt: skip

    def _late(self, left: pl.DataFrame, found: pl.DataFrame) -> int:
        """How many requests would have got something newer had it been known when it happened."""
        if self.happened.is_empty():
            return 0
        newest = self._newest(left.select(ASKED, *self.by), self.happened, HAPPENED)[HAPPENED]
        return int((newest.is_not_null() & (found[HAPPENED].is_null() | (newest > found[HAPPENED]))).sum())


def _whole(table: pl.DataFrame, column: str, file: Path | str | None) -> pl.Series:
    """A column of times without a gap."""
    times = timestamps_of(take_column(table, column, file=file), file=file)
    if times.null_count():
        raise DataError(
            "has no value in some rows", file=file, field=column, fix="what nobody can place in time is no feature"
        )
    return times
