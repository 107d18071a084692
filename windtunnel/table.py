"""Reading tables: Parquet, CSV, JSON lines, npz; each refused with its reason where it cannot be read."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.digest import write_atomically
from windtunnel.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

READERS: dict[str, Callable[..., pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".gz": pl.read_csv,
    ".jsonl": pl.read_ndjson,
}


SAVE = "write numbers or text with numpy.savez"


def check_file(path: Path) -> None:
    """Refuse what is not a file with something in it.

    Raises:
        DataError: missing, a directory, or empty.
    """
    if not path.exists():
        raise DataError("does not exist", file=path, fix="give the path of a file that does")
    if path.is_dir():
        raise DataError("is a directory", file=path, fix="give a file in it")
    if path.stat().st_size == 0:
        raise DataError("is empty", file=path, fix="record it again")


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet, CSV (also gzipped) or JSON-lines file whole.

    Raises:
        DataError: missing, a directory, empty, truncated, without rows, or of a kind not read here.
    """
    check_file(path)
    if path.suffix not in READERS:
        raise DataError("is of a kind that is not read here", file=path, fix="known: " + ", ".join(READERS))
    if path.suffix == ".csv":
        check_last_row(path)
    try:
        table = READERS[path.suffix](path)
    # some corrupt Parquet makes polars panic, which is no PolarsError
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot be read ({reason})", file=path, fix="is it truncated? write it again") from error
    if table.height == 0:
        raise DataError("has no rows", file=path, fix="record some traffic first")
    return table


def check_last_row(path: Path) -> None:
    """Refuse a CSV that ends in the middle of a row, which would be read as a row whose last fields are null."""
    with path.open("rb") as file:
        header = file.readline()
        file.seek(max(0, path.stat().st_size - 2**16))
        end = file.read()
    last = end.rpartition(b"\n")[2]
    if last and len(_fields(last)) < len(_fields(header)):
        raise DataError(
            "ends in the middle of a row", file=path, value=last.decode(errors="replace")[-80:], fix="write it again"
        )


def _fields(line: bytes) -> list[str]:
    return next(csv.reader([line.decode(errors="replace")]), [])


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an npz file: arrays by name, rows on axis 0, never unpickled.

    Raises:
        DataError: missing, truncated, empty, holding pickles, or arrays of different length.
    """
    check_file(path)
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, and say how to open that
        raise DataError("cannot be read (it is no npz archive, or a torn one)", file=path, fix=SAVE)
    try:
        # opened here: numpy leaves a file open that it cannot make sense of
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # TypeError: a bare array (.npy) holds no names
    # RuntimeError: encrypted, or packed in a way that is not known here
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise DataError(f"cannot be read ({error})", file=path, fix=SAVE) from error
    # what is no array in the archive comes out as bytes
    lengths = {name: len(array) if np.ndim(array) else 0 for name, array in arrays.items()}
    if not lengths:
        raise DataError("holds no arrays", file=path, fix="save one for each input of the model, rows on axis 0")
    if set(lengths.values()) == {0} and all(np.ndim(array) for array in arrays.values()):
        raise DataError("holds no rows", file=path, value=lengths, fix="rows go on axis 0")
    if 0 in lengths.values() or len(set(lengths.values())) != 1:
        raise DataError(
            "needs the same number of rows in each array", file=path, value=lengths, fix="rows go on axis 0"
        )
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file, the same bytes for the same arrays: unlike `numpy.savez` it carries no time of day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    write_atomically(path, buffer.getvalue())


def take_column(table: pl.DataFrame, name: str, *, file: Path | str | None = None) -> pl.Series:
    """Take a column, or say which there are.

    Raises:
        DataError: no such column.
    """
    if name not in table.columns:
        columns, close = f"the columns are: {', '.join(table.columns)}", nearest(name, table.columns)
        fix = f"{close} ({columns})" if close.startswith("did") else columns
        raise DataError("is not a column", file=file, field=name, fix=fix)
    return table[name]


def timestamps_of(column: pl.Series, *, file: Path | str | None = None) -> pl.Series:
    """Read a column as UTC time stamps in microseconds; ISO text is parsed, time stamps without a zone count as UTC.

    Raises:
        DataError: another dtype, or text that is no time stamp.
    """
    if column.dtype == pl.String:
        try:
            column = column.str.to_datetime(time_unit="us", strict=True)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                "holds text that is no time stamp",
                file=file,
                field=column.name,
                value=_first_bad(column),
                fix="write ISO 8601, such as 2013-04-01T10:00:00",
            ) from error
    if not isinstance(column.dtype, pl.Datetime):
        raise DataError(
            f"has dtype {column.dtype} where time stamps are needed",
            file=file,
            field=column.name,
            fix="store it as a datetime or as ISO 8601 text",
        )
    zoned = column.dt.replace_time_zone("UTC") if column.dtype.time_zone is None else column.dt.convert_time_zone("UTC")
    return zoned.cast(pl.Datetime("us", "UTC"))


def _first_bad(column: pl.Series) -> str:
    """The first text that is no time stamp in the form of the others; the first of all where they have no form."""
    texts = column.drop_nulls()
    try:
        bad = texts.filter(texts.str.to_datetime(time_unit="us", strict=False).is_null())
    except pl.exceptions.PolarsError:
        bad = texts
    return str(bad[0] if len(bad) else texts[0])
