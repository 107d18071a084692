"""`windtunnel trace`: what a recording of arrivals holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration, format_figure, format_share
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    tables = [Table("What it holds", ("", "", "which is"), _figures(reading.trace.describe()))]
    columns = tuple((name, str(values.dtype)) for name, values in reading.trace.columns.items())
    tables += [Table("What is known of each request", ("column", "kept as"), columns)] if columns else []
    for title, counts in (("Left out", reading.skipped), ("Kept though odd", reading.noticed)):
        lines = tuple((reason.replace("_", " "), f"{count:,}") for reason, count in counts.items())
        tables += [Table(title, ("rows", "how many"), lines)] if lines else []
    said = (f"{path}, read as {reading.format}", *reading.warnings)
    return document, Section("Trace", "", said, tuple(tables))


def _figures(told: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """What a trace's figures are to people: name, value with its unit, and what it is."""
    each = format_duration(told["bin_s"])
    return (
        ("requests", f"{told['requests']:,}", ""),
        ("length", format_duration(told["seconds"]), "from the first request to the last"),
        ("rate", f"{format_figure(told['rate_per_s'])} a second", "mean"),
        ("peak rate", f"{format_figure(told['peak_rate_per_s'])} a second", f"in the busiest {each}"),
        ("burstiness", format_figure(told["burstiness"]), f"variance ÷ mean of counts in {each}; Poisson: 1"),
        ("gaps", format_figure(told["interarrival_cv"]), "standard deviation ÷ mean between requests; Poisson: 1"),
        ("same instant", format_share(told["same_instant_share"]), "of the requests come with the one before"),
    )  # fmt: skip


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
