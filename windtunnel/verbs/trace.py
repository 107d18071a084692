"""`windtunnel trace`: what a recording of arrivals holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.formats import Ask


def describe_trace(path: Path, ask: Ask, seeds: Seeds, out: Path | None = None) -> tuple[dict[str, Any], Section]:
    """Say what a recording holds, how it was read, and what was left out; with `out`, write it as our own Parquet."""
    from windtunnel.simulate.formats import read, write

    reading = read(path, ask, seeds)
    document = {"schema": "windtunnel.trace/1", "file": str(path), **reading.describe()}
    if out is not None:
        document["written"] = str(write(reading.trace, out))
    rows = tuple((name.replace("_", " "), f"{value:,.6g}") for name, value in reading.trace.describe().items())
    tables = [Table("What it holds", ("figure", "value"), rows)]
    columns = tuple((name, str(values.dtype)) for name, values in reading.trace.columns.items())
    tables += [Table("What is known of each request", ("column", "kept as"), columns)] if columns else []
    for title, counts in (("Left out", reading.skipped), ("Kept though odd", reading.noticed)):
        lines = tuple((reason.replace("_", " "), f"{count:,}") for reason, count in counts.items())
        tables += [Table(title, ("rows", "how many"), lines)] if lines else []
    said = (f"{path}, read as {reading.format}", *reading.warnings)
    return document, Section("Trace", "", said, tuple(tables))


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """Read `name=column` pairs.

    Raises:
        ConfigError: no such pair, or a name given twice.

    Example:
        >>> parse_columns(["size=tokens", "key=user"])
        {'size': 'tokens', 'key': 'user'}
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column) or name in columns:
            raise ConfigError(
                "is no name=column", field="--column", value=pair, fix="write --column size=tokens, each name once"
            )
        columns[name] = column
    return columns
