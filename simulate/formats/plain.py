"""Plain tables: CSV, JSON lines or Parquet with a column of times, and whatever the user says about the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from windtunnel.errors import DataError
from windtunnel.trace import KNOWN

from .flat import Flat

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .rows import Rows
    from .source import Source

TIMES = (
    "arrived_at", "arrival_s", "time", "timestamp", "ts", "arrival", "arrival_time", "arrival_timestamp", "datetime",
    "@timestamp", "start_time", "timestamp_ms", "time_s", "seconds", "date",
)  # fmt: skip
"""The usual names of a column of times, in the order in which they are taken; case does not matter."""


def time_column(source: Source) -> str:
    """The first usual name among the columns; empty where there is none."""
    names = {name.lower(): name for name in reversed(source.header)}
    return next((names[name] for name in TIMES if name in names), "")


@dataclass(frozen=True)
class Plain:
    """A table of which only the time must be known; the tunnel's own columns are carried along under their names."""

    hears: ClassVar[frozenset[str]] = Flat.hears

    kind: str
    name: str

    @property
    def looks(self) -> str:
        """What it needs."""
        return f"any {self.name} with a column of times (--time COLUMN, else one of {', '.join(TIMES[:5])}, …)"

    def matches(self, source: Source) -> bool:
        """Whether it is a table with a column of times."""
        return source.kind == self.kind and bool(time_column(source))

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the times, the tunnel's own columns, and those that the user named."""
        name = ask.time or time_column(source)
        if not name:
            raise DataError(
                "has no column of times that is known by its name", file=source.path, field="time",
                fix=f"name it with --time (the columns are: {', '.join(source.header[:30])})",
            )  # fmt: skip
        own = {each: each for each in KNOWN if each in source.header}
        return Flat(self.name, frozenset(), name, columns=own, identity="request_id").read(source, ask, tally, seeds)


CSV, JSON_LINES, PARQUET = Plain("csv", "csv"), Plain("json", "json-lines"), Plain("parquet", "parquet")
