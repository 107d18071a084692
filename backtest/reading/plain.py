"""Plain tables (Parquet, CSV, JSON lines) read in pieces: what is held at a time is a piece, however large the file.

Paths that name a scheme (`s3://…`, `gs://…`, `az://…`, `https://…`) are handed to polars as they are, with the credentials of the
environment; so are globs in them. Text may be packed with gzip (polars 2.1, `scan_csv`, `scan_ndjson`, `scan_lines`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError, nearest
from windtunnel.table import check_file, check_last_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILE, LINE = "__file", "__line"
INFERRED = 10_000
"""Rows of a text file by which the dtypes of its columns are decided."""

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
"""What a suffix says; before `.gz` it says the same."""


def kind_of(file: str) -> str:
    """Parquet, csv, tsv or json, by the end of the name; whatever else is taken for JSON lines, as capture files without a suffix are.

    Example:
        >>> kind_of("s3://bucket/day=1/*.parquet"), kind_of("a.csv.gz"), kind_of("2024/01/01/00/part-0001")
        ('parquet', 'csv', 'json')
    """
    name = file.lower().removesuffix(".gz")
    return KINDS.get("." + name.rpartition(".")[2] if "." in name.rpartition("/")[2] else "", "json")


def scan(file: str, texts: Sequence[str] = (), numbers: Sequence[str] = ()) -> pl.LazyFrame:
    """A table that is not read yet.

    Args:
        file: path or URI.
        texts: columns that a CSV is to keep as text, such as ids and times.
        numbers: columns that a CSV holds as numbers, whatever its first rows look like.

    Raises:
        DataError: missing, empty, or a CSV that ends in the middle of a row.
    """
    kind = kind_of(file)
    if "://" not in file:
        check_file(Path(file))
        if kind == "csv" and not file.endswith(".gz"):
            check_last_row(Path(file))
    if kind == "parquet":
        return pl.scan_parquet(file, glob="://" in file)
    if kind == "json":
        return pl.scan_ndjson(file, infer_schema_length=INFERRED)
    separator = "\t" if kind == "tsv" else ","
    with reading(file):
        header = pl.scan_csv(file, separator=separator, infer_schema=False, glob="://" in file).collect_schema().names()
    dtypes = {**dict.fromkeys(texts, pl.String), **dict.fromkeys(numbers, pl.Float64)}
    known = {name: dtype for name, dtype in dtypes.items() if name in header}
    return pl.scan_csv(
        file, separator=separator, schema_overrides=known, infer_schema_length=INFERRED, glob="://" in file
    )


def columns_of(table: pl.LazyFrame, file: str) -> dict[str, pl.DataType]:
    """Which columns there are, and of which dtype."""
    with reading(file):
        return dict(table.collect_schema())


def frames(table: pl.LazyFrame, columns: Sequence[str], rows: int, file: str) -> Iterator[pl.DataFrame]:
    """Some columns of a table, piece by piece, in its order.

    Raises:
        DataError: a missing column, or a file that cannot be read.
    """
    there = columns_of(table, file)
    for column in columns:
        if column not in there:
            raise DataError("is not a column", file=file, field=column, fix=nearest(column, there))
    with reading(file):
        yield from table.select(columns).collect_batches(chunk_size=rows, maintain_order=True, lazy=True)


def lines(file: str, rows: int) -> Iterator[pl.DataFrame]:
    """The lines of a text, piece by piece: columns `LINE` and `FILE`, of which file it is.

    Raises:
        DataError: a file that cannot be read.
    """
    if "://" not in file:
        check_file(Path(file))
    with reading(file):
        found = pl.scan_lines(file, name=LINE, include_file_paths=FILE, glob="://" in file)
        yield from found.filter(pl.col(LINE).str.strip_chars() != "").collect_batches(chunk_size=rows, lazy=True)


@contextlib.contextmanager
def reading(file: str) -> Iterator[None]:
    """Turn what polars says about an unreadable file into a refusal that names the file.

    Raises:
        DataError: as said.
    """
    try:
        yield
    # some corrupt Parquet makes polars panic, which is no PolarsError
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot be read ({reason})", file=file, fix="is it truncated? write it again") from error
