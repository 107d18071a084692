"""Event logs as tables: documents are taken apart one by one, and what is asked for is put into columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.errors import DataError, nearest

from .plain import FILE, LINE, lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .intake import Tally
    from .roles import Wanted

    Row = dict[str, Any]

KEEP = 2**16
"""Rows that are put into columns together; Python's own objects take much room."""


def documents(file: str, tally: Tally) -> Iterator[tuple[str, Row]]:
    """The JSON objects of a file, a line each, and the file that each is in; lines that hold none are counted."""
    for piece in lines(file, KEEP):
        for line, place in zip(piece[LINE], piece[FILE], strict=True):
            tally.rows += 1
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            if isinstance(found, dict):
                yield place, found
            else:
                tally.skip("lines that are no JSON object", example=line, bad=True)


def instances(event: Row, inputs: list[Row], outputs: list[Row]) -> Iterator[Row]:
    """One row an instance: what the event says, what was sent and what was answered; of several the ids are `ID#0`, `ID#1`, ….

    What a payload calls as the event calls something of its own is `input.NAME`.
    """
    for place, sent in enumerate(inputs):
        row = {name if name not in event else f"input.{name}": value for name, value in sent.items()}
        row |= outputs[place] if outputs else {}
        row |= event
        if len(inputs) > 1:
            row["id"] = f"{event['id']}#{place}"
        yield row


def tabled(rows: Iterable[Row], wanted: Wanted, own: Iterable[str], file: str) -> Iterator[pl.DataFrame]:
    """Rows as tables of the columns that were asked for, piece by piece; what a row lacks is null, and so is text for a number.

    Args:
        rows: flat.
        wanted: what is asked for.
        own: those that the format has, whether or not a row says anything there.
        file: named in messages.

    Raises:
        DataError: a column that is in none of the first rows.
    """
    kept: dict[str, list[Any]] = {name: [] for name in wanted.columns}
    seen: set[str] = set(own)
    held, checked = 0, False
    for row in rows:
        for name, values in kept.items():
            values.append(row.get(name))
        seen.update(() if checked else row)
        held += 1
        if held == KEEP:
            _check(wanted.columns, seen, file)
            yield _frame(kept, wanted.numbers)
            kept, held, checked = {name: [] for name in wanted.columns}, 0, True
    if held:
        if not checked:
            _check(wanted.columns, seen, file)
        yield _frame(kept, wanted.numbers)


def _check(columns: Sequence[str], seen: set[str], file: str) -> None:
    for name in columns:
        if name not in seen:
            raise DataError("is in none of the requests", file=file, field=name, fix=nearest(name, seen))


def _frame(kept: dict[str, list[Any]], numbers: Sequence[str]) -> pl.DataFrame:
    """Columns of text or of float64; where a column holds both, all is text, unless numbers were asked for."""
    columns = [_column(name, values) for name, values in kept.items()]
    return pl.DataFrame([each.cast(pl.Float64, strict=False) if each.name in numbers else each for each in columns])


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {float, int, bool}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
