"""Reading a column of times over many pieces, all as its first was read: text, stamps with and without zones, and plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.table import timestamps_of

from .intake import NEVER_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .intake import Tally

ZONE = r"(?:Z|UTC|[+-]\d\d:?\d\d)\s*$"
"""How text ends that says its zone."""

FROM_US = (
    (1e17, -1000, "nanoseconds"),
    (1e14, 1, "microseconds"),
    (1e11, 1000, "milliseconds"),
    (1e8, 1_000_000, "seconds"),
)
"""Numbers from so many on are of this unit since 1970, from 1973 to 5138; how many µs it is, or its inverse below zero."""


@dataclass
class Clock:
    """One column of times.

    Args:
        column: its name.
        tally: told of zones, and of what was decided.
        table: the source that the column stands in, where it is not the recording.
        factor: µs of the unit of plain numbers, once it is known.
    """

    column: str
    tally: Tally
    table: str = ""
    factor: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """The column, and the table if it is another than the recording.

        Example:
            >>> from windtunnel.backtest.reading.intake import Tally
            >>> Clock("at", Tally()).name, Clock("at", Tally(), "wind.csv").name
            ('at', 'at of wind.csv')
        """
        return f"{self.column} of {self.table}" if self.table else self.column

    def read(self, values: pl.Series, file: str) -> NDArray[np.int64]:
        """Whole µs since 1970, int64 [n]; `NEVER_US` for null. Times without a zone count as UTC.

        Raises:
            DataError: another dtype, text that is no time, or numbers that are none.
        """
        if values.dtype == pl.String:
            times = self._texts(values, file)
        elif values.dtype.is_integer() or values.dtype.is_float():
            return self._numbers(values, file)
        else:
            if isinstance(values.dtype, pl.Datetime) and values.count():
                self.tally.zone(self.name, values.dtype.time_zone or "")
            if values.dtype == pl.Date:
                values = values.cast(pl.Datetime("us"))
                self.tally.zone(self.name, "")
            times = timestamps_of(values.alias(self.column), file=file)
        return times.dt.timestamp("us").fill_null(NEVER_US).to_numpy()

    def _texts(self, values: pl.Series, file: str) -> pl.Series:
        values = values.alias(self.column)
        zoned = values.str.contains(ZONE).fill_null(value=False)
        if not zoned.any():
            if values.count():
                self.tally.zone(self.name, "")
            return timestamps_of(values, file=file)
        aware = values.set(~zoned, None)
        times = aware.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        if times.null_count() > aware.null_count():
            raise DataError(
                "holds text that is no time stamp", file=file, field=self.column,
                value=aware.filter(times.is_null() & aware.is_not_null())[0], fix="write ISO 8601, such as 2013-04-01T10:00:00Z",
            )  # fmt: skip
        self.tally.zone(self.name, "in the text")
        bare = values.set(zoned, None)
        if bare.count():
            self.tally.zone(self.name, "")
            times = times.fill_null(timestamps_of(bare, file=file))
        return times

    def _numbers(self, values: pl.Series, file: str) -> NDArray[np.int64]:
        whole = values.cast(pl.Float64).fill_nan(None)
        least = whole.abs().min()
        if least is None:
            return np.full(len(values), NEVER_US)
        if not self.factor:
            found = [(factor, unit) for start, factor, unit in FROM_US if float(least) >= start]  # type: ignore[arg-type]  # a float column's least
            if not found:
                raise DataError(
                    f"has dtype {values.dtype} where time stamps are needed", file=file, field=self.column,
                    value=values.drop_nulls()[0], fix="store a datetime, ISO 8601 text, or seconds (ms, µs, ns) since 1970",
                )  # fmt: skip
            self.factor, unit = found[0]
            self.tally.say(f"`{self.name}` holds numbers: they were read as {unit} since 1970.")
        if values.dtype.is_integer():
            exact = values.cast(pl.Int64)
            times = exact * self.factor if self.factor > 0 else exact // -self.factor
        else:
            scale = float(self.factor) if self.factor > 0 else -1.0 / self.factor
            times = (whole * scale).round().cast(pl.Int64)
        return times.fill_null(NEVER_US).to_numpy()
