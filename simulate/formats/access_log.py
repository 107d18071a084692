"""Access logs of nginx and Apache: common or combined, with or without a duration and a finer stamp at the end of the line.

nginx stamps a line when it writes it, at the end of the request, to the second (`$time_local`) or the millisecond (`$msec`, in the
brackets or among what follows), and `$request_time` is in seconds with three decimals: arrival = end − duration. Apache stamps `%t`
when the request was *received*, and `%D` is in whole microseconds: nothing is subtracted. Which of the two wrote a log is told by its
durations: decimals, or a name such as `rt=0.012`, are nginx's; a whole number at the end of the line, or `%T/%D`, is Apache's.
Without a duration nothing can be subtracted, and of nginx's lines each request then arrives late by its own duration.
Source: nginx 1.27, ngx_http_log_module and ngx_http_core_module (variables); Apache HTTP Server 2.4, mod_log_config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from .rows import Rows
from .stamps import Clock, floats, seconds_of

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .source import Source

QUOTED = r'"(?:[^"\\]|\\.)*"'
LINE = rf"^[^\[]*\[([^\]]+)\] {QUOTED} (\d{{3}}) (\d+|-)(?: {QUOTED} {QUOTED})?(.*)$"
STAMP = r"^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}$|^\d{10}(\.\d+)?$"
MSEC = r'(?:^|[\s"=])(\d{10}\.\d{3})(?:$|[\s"])'
DURATIONS = {
    "named": (r'(?:^|[\s"])(?:rt|request_time|reqtime|urt)[=:]"?(\d+(?:\.\d+)?)', "s", True),
    "nginx": (r'(?:^|[\s"])(\d{1,6}\.\d{3})(?:$|[\s"])', "s", True),
    "both": (r"(?:^|\s)\d+/(\d+)\s*$", "us", False),
    "apache": (r"(?:^|\s)(\d+)\s*$", "us", False),
}
"""How a duration is written after the combined line, its unit, and whether the line is stamped at the end."""


@dataclass(frozen=True)
class AccessLog:
    """Lines of an access log of nginx or Apache."""

    hears: ClassVar[frozenset[str]] = frozenset({"duration_unit", "stamped"})

    name: str = "access-log"
    looks: str = 'lines such as 1.2.3.4 - - [10/Oct/2023:13:55:36 +0000] "GET / HTTP/1.1" 200 123 "-" "curl" 0.012'

    def matches(self, source: Source) -> bool:
        """Whether the first line is one of them."""
        parts = pl.Series([source.first]).str.extract(LINE, 1).str.contains(STAMP)
        return bool(parts.fill_null(value=False)[0])

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the lines; those that are none are counted."""
        del seeds  # stamps are spread when all formats' are
        style: tuple[str, str, bool] | None = None
        clock = Clock("time", "s", tally)
        parts: list[Rows] = []
        for lines in source.lines(tally):
            table = split(lines, LINE, ("stamp", "status", "bytes", "tail"), tally)
            if table.height and not parts:
                style = _style(table["tail"], ask, tally)
            if table.height:
                parts.append(_piece(table, style, clock))
        return Rows.join(parts) if parts else Rows("time", np.empty(0))


def split(lines: pl.Series, pattern: str, names: tuple[str, ...], tally: Tally) -> pl.DataFrame:
    """Take lines apart; those that do not fit are counted and left out."""
    table = lines.str.extract_groups(pattern).struct.unnest()
    table.columns = list(names)
    strange = table[names[0]].is_null()
    if strange.any():
        tally.skip("line_unreadable", int(strange.sum()), example=lines.filter(strange)[0])
        table = table.filter(~strange)
    return table


def _style(tails: pl.Series, ask: Ask, tally: Tally) -> tuple[str, str, bool] | None:
    """How the durations are written: the first way that fits most lines."""
    rest = tails.str.replace(MSEC, " ")
    for pattern, unit, ends in DURATIONS.values():
        if rest.str.contains(pattern).mean() > 0.5:  # type: ignore[operator]  # of bools it is a float
            marked = ask.stamped or ("end" if ends else "start")
            tally.warn(
                f"durations were read in {ask.duration_unit or unit}, stamps as marking the {marked} of a request"
            )
            return pattern, ask.duration_unit or unit, marked == "end"
    tally.warn("there is no duration in the log: where nginx wrote it, each request arrived earlier by its duration")
    return None


def _piece(table: pl.DataFrame, style: tuple[str, str, bool] | None, clock: Clock) -> Rows:
    fine = table["tail"].str.extract(MSEC)
    is_fine = fine.count() == len(fine) or not table["stamp"].str.contains("/", literal=True).any()
    stamps = fine if fine.count() == len(fine) else table["stamp"]
    columns = {"status": floats(table["status"]), "bytes": floats(table["bytes"].replace("-", "0"))}
    durations, ends = None, False
    if style is not None:
        rest = table["tail"].str.replace(MSEC, " ")
        durations, ends = seconds_of(rest.str.extract(style[0]), style[1]), style[2]
    return Rows("time", clock.read(stamps), durations, ends, columns, resolution_s=0.0 if is_fine else 1.0)


ACCESS_LOG = AccessLog()
