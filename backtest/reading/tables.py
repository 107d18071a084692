"""Tables whose columns are what they are called: the user says which plays which part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .format import Format
from .plain import frames, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from .intake import Tally
    from .roles import Wanted


def read(file: str, wanted: Wanted, rows: int, tally: Tally) -> Iterator[pl.DataFrame]:
    """The wanted columns, piece by piece."""
    for piece in frames(scan(file, wanted.texts, wanted.numbers), wanted.columns, rows, file):
        tally.rows += len(piece)
        yield piece


TABLE = Format("table", "Parquet, CSV or JSON lines", lambda _: True, {}, read)
"""What is none of the others."""
