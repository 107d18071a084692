"""Counts a second, a minute or an hour: a row a bin, with how many requests came in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import DataError

from .plain import TIMES
from .rows import SECOND, Rows
from .stamps import MISSING, Clock, floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .source import Source

COUNTS = ("requests", "count", "counts", "invocations", "hits", "calls", "num_requests", "n")
BINS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
"""Columns that number the bins, and how long those are."""

MOST = 500_000_000
"""As many requests as are laid out at most: 4 GB of times."""


@dataclass(frozen=True)
class Counts:
    """A table of bins. Within a bin the requests are laid out as `--spread` says: that is a choice, not a record.

    The bins are as long as their name says (`second`, `minute`, `hour`), as the user says (`--bin`), or else as the greatest
    common divisor of their distances; bins that are not there hold nothing.
    """

    hears: ClassVar[frozenset[str]] = frozenset({"time", "time_unit", "bin_s"})

    name: str = "counts"
    looks: str = f"two columns: second, minute, hour or a time, and one of {', '.join(COUNTS[:5])}"

    def matches(self, source: Source) -> bool:
        """Whether it has two columns, one of bins and one of counts."""
        return source.kind != "text" and len(source.header) == 2 and all(_columns(source))

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Lay as many rows at the start of each bin as were counted in it."""
        del seeds  # they are spread when all formats' coarse stamps are
        bins, counts = _columns(source)
        bins = ask.time or bins
        if bins not in source.header or not counts:
            raise DataError(
                "has no column of bins and one of counts", file=source.path, field=bins or "time",
                fix=f"call them second and requests (the columns are: {', '.join(source.header[:30])})",
            )  # fmt: skip
        width_s = ask.bin_s or BINS.get(bins.lower().rstrip("s"), 0.0)
        clock = Clock(bins, "s" if _numbered(bins) else ask.time_unit, tally)
        pieces = [(clock.read(f[bins]), floats(f[counts])) for f in source.frames([bins, counts], tally) if f.height]
        if not pieces:
            raise DataError("has no rows", file=source.path, field=bins, fix="count some traffic first")
        starts = np.concatenate([start for start, _ in pieces])
        numbers = np.concatenate([number for _, number in pieces])
        if _numbered(bins):
            starts = np.asarray(starts * BINS[bins.lower().rstrip("s")])
        return lay_out(source, bins, starts, numbers, width_s, tally)


def _columns(source: Source) -> tuple[str, str]:
    known = {name.lower(): name for name in source.header}
    counts = next((known[name] for name in COUNTS if name in known), "")
    bins = next((name for name in source.header if _numbered(name) or name.lower() in (*TIMES, "bin")), "")
    return bins, counts


def _numbered(name: str) -> bool:
    return name.lower().rstrip("s") in BINS


def lay_out(
    source: Source,
    name: str,
    starts: NDArray[np.int64] | NDArray[np.float64],
    counts: NDArray[np.float64],
    width_s: float,
    tally: Tally,
) -> Rows:
    """Repeat each bin's start as often as requests were counted in it.

    Raises:
        DataError: more requests than fit into memory, or a width that cannot be found out.
    """
    usable = np.isfinite(counts) & (counts >= 0.0) & (counts == np.rint(counts))
    tally.skip("count_impossible", int((~usable).sum()), example=counts[int(np.argmin(usable))])
    starts, times = starts[usable], counts[usable].astype(np.int64)
    total = int(times.sum())
    if total > MOST:
        raise DataError(
            f"counts {total} requests, and {MOST} are laid out at most",
            file=source.path,
            field=name,
            fix="give a part of it",
        )
    width_s = width_s or _width_s(starts)
    if not width_s:
        raise DataError("does not show how long a bin is", file=source.path, field=name, fix="say it with --bin 60s")
    tally.warn(f"counts in bins of {width_s:g} s")
    return Rows(name, starts.repeat(times), counted=True, resolution_s=width_s)


def _width_s(starts: NDArray[np.int64] | NDArray[np.float64]) -> float:
    """The greatest common divisor of the distances between bins."""
    if starts.dtype == np.int64:
        known = starts[starts != MISSING]
    else:
        known = np.rint(starts[np.isfinite(starts)] * SECOND).astype(np.int64)
    return float(np.gcd.reduce(known - known.min())) / SECOND if len(known) > 1 else 0.0


COUNTED = Counts()
