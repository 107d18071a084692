"""Columns of time stamps, read as nanoseconds or as seconds; the unit of plain numbers is found out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from .reading import UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .reading import Tally

    Times = NDArray[np.int64] | NDArray[np.float64]

MISSING = np.iinfo(np.int64).min
"""What stands for no time among nanoseconds; among seconds it is NaN."""

EPOCH_FROM_S = 1e8
"""Numbers of seconds from here on are read as seconds since 1970; smaller ones count from some start of their own."""

SUFFIXES = {"ns": "ns", "nano": "ns", "nanos": "ns", "us": "us", "micros": "us", "ms": "ms", "millis": "ms"}

ISO = r"^(\d{4})[-/](\d\d)[-/](\d\d)(?:[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?$"
FORMS = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f%:z", "%d/%b/%Y:%H:%M:%S %z",
)  # fmt: skip
CLF = r"^(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})$"


def unit_of(name: str, numbers: NDArray[np.float64]) -> str:
    """Decide the unit of a column of numbers.

    First by its name: `_ms`, `Millis`, `_us`, `_ns`, `UnixNano` at its end. Else by the middle one of its numbers: from 1e17
    nanoseconds, from 1e14 microseconds, from 1e11 milliseconds (all since 1970, so from 1973 on), below that seconds.

    Example:
        >>> unit_of("timestamp_ms", np.array([5.0])), unit_of("t", np.array([1.7e12])), unit_of("t", np.array([1.7e9]))
        ('ms', 'ms', 's')
    """
    last = re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())[-1]
    if last in SUFFIXES:
        return SUFFIXES[last]
    known = np.abs(numbers[np.isfinite(numbers)])
    middle = float(np.median(known)) if len(known) else 0.0
    return "ns" if middle >= 1e17 else "us" if middle >= 1e14 else "ms" if middle >= 1e11 else "s"


class Clock:
    """Reads one column of times over many pieces of a file, all as its first piece was read.

    Args:
        name: the column's.
        unit: of plain numbers; empty to find it out.
        tally: told of what cannot be read and of what was decided.
    """

    def __init__(self, name: str, unit: str, tally: Tally) -> None:
        self.name, self.unit, self.tally = name, unit, tally
        self.form = ""

    def read(self, column: pl.Series) -> Times:
        """Times as int64 nanoseconds since 1970, or float64 seconds from a start of their own.

        What is null, NaN or no time becomes missing, and is counted.
        """
        if column.dtype == pl.String:
            return self._read_text(column)
        if column.dtype.is_temporal():
            return self._settled("stamps", _nanoseconds(column))
        return self._read_numbers(column)

    def _read_text(self, column: pl.Series) -> Times:
        numbers = column.cast(pl.Float64, strict=False)
        if self.form in {"", "numbers"} and numbers.count() >= column.count() - numbers.count():
            self._count(column, numbers.is_null())
            whole = column.cast(pl.Int64, strict=False)
            exact = whole.count() == numbers.count() and not self._in_seconds(numbers)
            return self._read_numbers(whole if exact else numbers)
        times = self._settled("stamps", parse_stamps(column))
        self._count(column, pl.Series(_missing(times)))
        return times

    def _count(self, column: pl.Series, missing: pl.Series) -> None:
        unreadable = column.filter(column.is_not_null() & missing)
        if len(unreadable):
            self.tally.skip("time_unreadable", len(unreadable), example=unreadable[0])

    def _in_seconds(self, numbers: pl.Series) -> bool:
        return (self.unit or unit_of(self.name, floats(numbers))) == "s"

    def _read_numbers(self, column: pl.Series) -> Times:
        numbers = floats(column)
        if not self.form:
            self._decide(numbers)
        if column.dtype.is_integer() and self.unit != "s":
            return (column.cast(pl.Int64, strict=False) * UNITS[self.unit]).fill_null(MISSING).to_numpy()
        seconds = numbers * (UNITS[self.unit] / 1e9)
        return _from_seconds(seconds) if self.unit != "s" else seconds

    def _decide(self, numbers: NDArray[np.float64]) -> None:
        self.form = "numbers"
        if self.unit:
            return
        self.unit = unit_of(self.name, numbers)
        known = np.abs(numbers[np.isfinite(numbers)])
        since_1970 = len(known) > 0 and float(np.median(known)) * UNITS[self.unit] / 1e9 >= EPOCH_FROM_S
        origin = "since 1970" if since_1970 else "from a start of their own"
        self.tally.warn(f"`{self.name}` was read as {_SPELT[self.unit]} {origin}")

    def _settled(self, form: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
        self.form = self.form or form
        return times


_SPELT = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def parse_stamps(column: pl.Series) -> NDArray[np.int64]:
    """Read text as nanoseconds since 1970: ISO 8601 (up to nine decimals; no zone is UTC) or an access log's stamp.

    Most rows are written as the first is, and are read at once; only the rest is looked at more patiently.

    Example:
        >>> parse_stamps(pl.Series(["1970-01-01 00:00:01.9799600", "1970-01-01T01:00:00+01:00", "01/Jan/1970:00:00:02 +0000"]))
        array([1979960000, 0, 2000000000])
    """
    times = _as_the_first(column)
    left = np.flatnonzero(_missing(times) & column.is_not_null().to_numpy())
    if len(left):
        rest = column.gather(left).str.strip_chars()
        patient = _parse_iso(rest)
        times[left] = patient.fill_null(_parse_clf(rest)).fill_null(MISSING).to_numpy()
    return times


def _as_the_first(column: pl.Series) -> NDArray[np.int64]:
    first = column.drop_nulls().head(1)
    for form in FORMS:
        if len(first) and first.str.to_datetime(form, time_unit="ns", strict=False).count():
            stamps = column.str.to_datetime(form, time_unit="ns", strict=False)
            return stamps.dt.timestamp("ns").fill_null(MISSING).to_numpy(writable=True)
    return np.full(len(column), MISSING)


def _parse_iso(column: pl.Series) -> pl.Series:
    parts = column.str.strip_chars().str.extract_groups(ISO).struct.unnest()
    return parts.select(
        (pl.concat_str("1", "2", "3", separator="-") + " " + pl.col("4").fill_null("00:00:00"))
        .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ns", strict=False)
        .dt.timestamp("ns")
        + pl.col("5").fill_null("").str.pad_end(9, "0").cast(pl.Int64)
        - _offset_s(pl.col("6")) * 1_000_000_000
    ).to_series()


def _parse_clf(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(CLF).struct.unnest()
    return parts.select(
        (pl.concat_str("1", "2", "3", separator="-") + " " + pl.col("4"))
        .str.to_datetime("%d-%b-%Y %H:%M:%S", time_unit="ns", strict=False)
        .dt.timestamp("ns")
        - _offset_s(pl.col("5")) * 1_000_000_000
    ).to_series()


def _offset_s(zone: pl.Expr) -> pl.Expr:
    """Seconds that a zone such as +01:00, -0400 or Z is ahead of UTC; none is UTC."""
    digits = zone.str.replace(":", "", literal=True)
    size = (
        digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 3600
        + digits.str.slice(3, 2).cast(pl.Int64, strict=False) * 60
    )
    return pl.when(digits.str.starts_with("-")).then(-size).otherwise(size).fill_null(0)


def _nanoseconds(column: pl.Series) -> NDArray[np.int64]:
    return column.cast(pl.Datetime("ns")).dt.timestamp("ns").fill_null(MISSING).to_numpy()


def floats(column: pl.Series) -> NDArray[np.float64]:
    """Read a column as float64; what is no number becomes NaN."""
    return column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _missing(times: Times) -> NDArray[np.bool_]:
    return times == MISSING if times.dtype == np.int64 else ~np.isfinite(times)


def _from_seconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole nanoseconds; what is no number or beyond the years 1677 to 2262 is missing."""
    fits = np.abs(seconds) < 9.2e9
    return np.where(fits, np.rint(np.where(fits, seconds, 0.0) * 1e9), MISSING).astype(np.int64)


def seconds_of(column: pl.Series, unit: str) -> NDArray[np.float64]:
    """Read a column of durations as float64 seconds; what is no number becomes NaN."""
    if column.dtype == pl.Duration:
        return floats(column.dt.total_nanoseconds()) / 1e9
    if column.dtype == pl.String:
        column = column.str.strip_chars().str.strip_suffix("s")
    numbers = floats(column)
    return numbers * (UNITS[unit or unit_of(column.name, np.zeros(1))] / 1e9)


def between_s(starts: Times, ends: Times) -> NDArray[np.float64]:
    """Seconds from starts to ends, NaN where either is missing."""
    missing = _missing(starts) | _missing(ends)
    scale = 1e9 if starts.dtype == np.int64 else 1.0
    return np.where(missing, np.nan, (np.where(missing, 0, ends) - np.where(missing, 0, starts)) / scale)


def is_text(values: Any) -> bool:
    """Whether a column holds anything that is no number, so that `anything` gives it codes.

    Example:
        >>> is_text(pl.Series(["9", "n/a"])), is_text(pl.Series(["9", "10", None])), is_text([9, 10])
        (True, False, False)
    """
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return bool(series.dtype == pl.String and series.cast(pl.Float64, strict=False).count() < series.count())


def anything(values: Any) -> NDArray[Any]:
    """Whatever stands in a column, as numbers: text becomes codes in the order of the alphabet.

    Whole numbers stay as they are, to the last digit.

    Example:
        >>> anything(pl.Series(["b", "a", "b"])), anything(pl.Series([2**53 + 1, 7]))
        (array([1, 0, 1]), array([9007199254740993,                7]))
    """
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    if series.dtype.is_integer() and not series.null_count():
        return series.to_numpy()
    if is_text(series):
        return _codes(series)
    known = floats(series)
    whole = bool(np.all(np.isfinite(known)) and np.all(known == np.rint(known)) and np.all(np.abs(known) < 2**53))
    return known.astype(np.int64) if whole else known


def names(values: Any) -> NDArray[Any]:
    """A column that only tells things apart: whole numbers of 64 bits, else codes in the order of the alphabet, else NaN.

    Example:
        >>> names(pl.Series(["18446744073709551615", "9"])), names(pl.Series([1.5, 0.5, 1.5]))
        (array([0, 1]), array([1, 0, 1]))
    """
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    if series.dtype.is_float() and ((series == series.round()) & (series.abs() < 2**53)).all():
        return anything(series)
    # what pieces of the file read as numbers is text again where it would lose digits
    if not series.dtype.is_signed_integer():
        series = series.cast(pl.String)
        exact = series.cast(pl.Int64, strict=False)
        return _codes(series) if exact.count() < series.count() else anything(exact)
    return anything(series)


def _codes(series: pl.Series) -> NDArray[Any]:
    codes = floats(series.rank("dense")) - 1.0
    return codes if series.null_count() else codes.astype(np.int64)
