"""Envoy's access log in its default format, also as Istio writes it.

`[%START_TIME%] "METHOD PATH PROTOCOL" CODE FLAGS RECEIVED SENT DURATION UPSTREAM …`; Istio has three fields more after the flags. A
line is written at the end of a request, but `%START_TIME%` is its *start*, to the millisecond, so nothing is subtracted; where a log
was set up to stamp the end, say `--stamped end`. `%DURATION%` is in milliseconds.
Source: Envoy 1.32, configuration/observability/access_log/usage (default format string); Istio 1.24, default access log format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from .access_log import QUOTED, split
from .rows import Rows
from .stamps import Clock, floats, seconds_of

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .source import Source

LINE = rf"^\[([^\]]+)\] {QUOTED} (\d+) \S+ (?:\S+ \S+ {QUOTED} )?(\d+) (\d+) (\d+|-) "


@dataclass(frozen=True)
class Envoy:
    """Lines of Envoy's default access log."""

    hears: ClassVar[frozenset[str]] = frozenset({"duration_unit", "stamped"})

    name: str = "envoy"
    looks: str = 'lines such as [2024-05-01T10:00:00.123Z] "GET / HTTP/1.1" 200 - 0 123 12 11 "-" "curl" …'

    def matches(self, source: Source) -> bool:
        """Whether the first line is one of them."""
        return bool(pl.Series([source.first]).str.contains(LINE)[0])

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the lines; those that are none are counted."""
        del seeds  # nothing here is left to chance
        clock = Clock("start_time", "", tally)
        tables = (
            split(lines, LINE, ("stamp", "status", "received", "sent", "took"), tally) for lines in source.lines(tally)
        )
        parts = [_piece(table, clock, ask) for table in tables if table.height]
        return Rows.join(parts) if parts else Rows("start_time", np.empty(0))


def _piece(table: pl.DataFrame, clock: Clock, ask: Ask) -> Rows:
    columns = {"status": floats(table["status"]), "bytes": floats(table["sent"])}
    took_s = seconds_of(table["took"], ask.duration_unit or "ms")
    return Rows("start_time", clock.read(table["stamp"]), took_s, ask.stamped == "end", columns)


ENVOY = Envoy()
