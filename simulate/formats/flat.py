"""Formats that are one flat table, as CSV, JSON lines or Parquet: a row a request, told apart by their columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from windtunnel.errors import DataError, nearest

from .reading import Tally
from .rows import Rows
from .stamps import Clock, between_s, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windtunnel.seeds import Seeds

    from .reading import Ask
    from .source import Source


@dataclass(frozen=True)
class Flat:
    """A table whose columns say what it is.

    Args:
        name: what `--format` calls it.
        needs: the columns by which it is recognised.
        time: the column of time stamps.
        time_unit: of a column of numbers; empty to find it out.
        duration: the column of durations; empty where there is none.
        duration_unit: its unit; empty for what its name says, else seconds.
        end: the column of when a request ended, for formats that have no duration.
        ends: whether the time stamps mark the ends of requests.
        columns: our name → the file's; those that are not there are left out.
        identity: the column that names each request once.
        sampling: the column with the share of requests that were recorded.
        resolution_s: of the time stamps, where the format fixes it.
    """

    hears: ClassVar[frozenset[str]] = frozenset(
        {"time", "time_unit", "duration", "duration_unit", "stamped", "columns"}
    )

    name: str
    needs: frozenset[str]
    time: str
    time_unit: str = ""
    duration: str = ""
    duration_unit: str = ""
    end: str = ""
    ends: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    sampling: str = ""
    resolution_s: float = 0.0

    @property
    def looks(self) -> str:
        """The columns by which it is recognised."""
        return "columns " + ", ".join(sorted(self.needs))

    def matches(self, source: Source) -> bool:
        """Whether it has the columns."""
        return self.needs <= set(source.header)

    def asked(self, ask: Ask) -> Flat:
        """The same format with what the user says in place of what is usual."""
        return replace(
            self, time=ask.time or self.time, time_unit=ask.time_unit or ("" if ask.time else self.time_unit),
            duration=ask.duration or self.duration,
            duration_unit=ask.duration_unit or ("" if ask.duration else self.duration_unit),
            ends=ask.stamped == "end" if ask.stamped else self.ends, columns={**self.columns, **ask.columns},
        )  # fmt: skip

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the columns that it names, piece by piece.

        Raises:
            DataError: a column that the user named, or the time, is not there; no rows.
        """
        del seeds  # nothing here is left to chance
        form = self.asked(ask)
        form.check(source, ask)
        return form.rows_of(source, source.frames(form.wanted, tally), tally)

    @property
    def wanted(self) -> list[str]:
        """The columns that are read."""
        names = [self.time, self.duration, self.end, self.identity, self.sampling, *self.columns.values()]
        return list(dict.fromkeys(filter(None, names)))

    def rows_of(self, source: Source, frames: Iterable[pl.DataFrame], tally: Tally) -> Rows:
        """The rows of a table in pieces.

        Raises:
            DataError: there are none.
        """
        clock, ending = Clock(self.time, self.time_unit, tally), Clock(self.end, self.time_unit, Tally())
        parts = [self._piece(frame, clock, ending, tally) for frame in frames if frame.height]
        if not parts:
            raise DataError("has no rows", file=source.path, field=self.time, fix="record some traffic first")
        return Rows.join(parts)

    def check(self, source: Source, ask: Ask) -> None:
        """Refuse columns that were named and are not there, and an end without a duration to subtract."""
        for name in (self.time, ask.duration, *ask.columns.values()):
            if name and name not in source.header:
                fix = f"{nearest(name, source.header)} (the columns are: {', '.join(source.header[:30])})"
                raise DataError("is not a column", file=source.path, field=name, fix=fix)
        if self.ends and self.duration not in source.header:
            raise DataError(
                "marks the ends of requests, and there is no duration to subtract", file=source.path, field=self.time,
                fix="name its column with --duration, or say --stamped start",
            )  # fmt: skip

    def _piece(self, frame: pl.DataFrame, clock: Clock, ending: Clock, tally: Tally) -> Rows:
        there = set(frame.columns)
        times = clock.read(frame[self.time])
        durations_s = seconds_of(frame[self.duration], self.duration_unit) if self.duration in there else None
        if self.end in there:
            durations_s = between_s(times, ending.read(frame[self.end]))
        rows = Rows(
            self.time, times, durations_s, self.ends,
            {ours: _figures(frame[theirs], tells=ours == "key") for ours, theirs in self.columns.items() if theirs in there},
            identity=frame[self.identity].cast(pl.String) if self.identity in there else None,
            resolution_s=self.resolution_s,
        )  # fmt: skip
        return self._sampled(rows, frame[self.sampling], tally) if self.sampling in there else rows

    @staticmethod
    def _sampled(rows: Rows, shares: pl.Series, tally: Tally) -> Rows:
        known = shares.cast(pl.Float64, strict=False).fill_null(1.0).to_numpy()
        bad = ~((known > 0.0) & (known <= 1.0))
        tally.skip("sampling_fraction_impossible", int(bad.sum()), example=shares[int(np.argmax(bad))])
        return replace(rows.take(~bad), stand_for=1.0 / known[~bad])


def _figures(column: pl.Series, *, tells: bool = False) -> pl.Series:
    """Whole numbers where all are, else numbers, else text, to be coded when all pieces are there.

    What only tells requests apart (`tells`) stays text where it is no whole number of 64 bits: as a fraction it would lose digits.
    """
    if column.dtype != pl.String:
        return column if column.dtype.is_numeric() else column.cast(pl.String)
    for dtype in (pl.Int64,) if tells else (pl.Int64, pl.Float64):
        numbers = column.cast(dtype, strict=False)
        if numbers.count() == column.count():
            return numbers
    return column
