"""What was read of each request, and how it becomes a trace: mended, spread, sorted, and counted from the first arrival."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import DataError, naming
from windtunnel.trace import KNOWN, Trace

from .reading import Reading
from .stamps import EPOCH_FROM_S, MISSING, anything, is_text, names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally

    Floats = NDArray[np.float64]

SECOND = 1_000_000_000
MANY_STAMPS = 20
"""From how many different stamps on a grid coarser than a second is believed."""

WHOLE = frozenset(name for name, dtype in KNOWN.items() if np.issubdtype(dtype, np.integer))
"""The tunnel's own columns that cannot be missing for some requests only."""

NEARLY = 0.01
"""How far from a whole multiple of the grid a stamp may lie."""


@dataclass(frozen=True)
class Rows:
    """Requests in the order of the file.

    Args:
        time_column: what the file calls the time, for messages.
        times: int64 nanoseconds since 1970 (`stamps.MISSING` where there is none), or float64 seconds from a start of their
            own (NaN where there is none).
        durations_s: how long each took, NaN where not known; None where nothing is.
        ends: whether the times mark the ends of requests.
        columns: figures by name, one a request.
        stand_for: of how many requests each is a sample, at least 1; None where every request was recorded.
        identity: what names each request once; None where nothing does.
        counted: whether the rows were made from counts, so that it means nothing if two are the same.
        resolution_s: of the time stamps, where the format says it; 0 where their numbers must show it.
    """

    time_column: str
    times: NDArray[np.int64] | Floats
    durations_s: Floats | None = None
    ends: bool = False
    columns: Mapping[str, Any] = field(default_factory=dict)
    stand_for: Floats | None = None
    identity: pl.Series | None = None
    counted: bool = False
    resolution_s: float = 0.0

    def __len__(self) -> int:
        return len(self.times)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Some of the rows, by mask."""
        kept = pl.Series(rows)
        return replace(
            self, times=self.times[rows], durations_s=None if self.durations_s is None else self.durations_s[rows],
            columns={n: v.filter(kept) if isinstance(v, pl.Series) else v[rows] for n, v in self.columns.items()},
            stand_for=None if self.stand_for is None else self.stand_for[rows],
            identity=None if self.identity is None else self.identity.filter(kept),
        )  # fmt: skip

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        """The rows of all pieces, one after another; all have the same columns."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return replace(
            first, times=np.concatenate([each.times for each in parts]), durations_s=_joined([each.durations_s for each in parts]),
            columns={name: _joined_column([each.columns[name] for each in parts]) for name in first.columns},
            stand_for=_joined([each.stand_for for each in parts]),
            identity=None if first.identity is None else pl.concat([each.identity for each in parts if each.identity is not None]),
        )  # fmt: skip


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    known = [each for each in parts if each is not None]
    return np.concatenate(known) if known else None


def _joined_column(parts: Sequence[Any]) -> Any:
    if not isinstance(parts[0], pl.Series):
        return np.concatenate(parts)
    kinds = {part.dtype for part in parts}
    if len(kinds) > 1:  # numbers in one piece, text or fractions in another
        common = pl.Float64 if all(kind.is_numeric() for kind in kinds) else pl.String
        parts = [part.cast(common) for part in parts]
    return pl.concat(parts)


def settle(path: Path, form: str, rows: Rows, ask: Ask, tally: Tally, seeds: Seeds) -> Reading:
    """Turn rows into a trace.

    In this order: what is impossible is left out and counted; a request that was logged twice under one name is kept once;
    coarse stamps are spread; where stamps mark the end, the duration is subtracted; the rest is sorted; samples are made up
    to what they stand for.

    Raises:
        DataError: most rows cannot be used, or what is left is no trace.
    """
    rows = _once(_possible(rows, tally), tally)
    _check(path, rows, tally)
    stamps_s = _from_first(rows.times)
    _notice(rows, stamps_s, tally)
    rng = seeds.stream("spread")
    arrivals_s = _spread(stamps_s, rows, ask.spread, tally, rng)
    columns = {name: _column(name, values) for name, values in rows.columns.items()}
    if rows.durations_s is not None:
        columns["duration_s"] = rows.durations_s
        arrivals_s = arrivals_s - (rows.durations_s if rows.ends else 0.0)
    order = np.argsort(arrivals_s, kind="stable")
    arrivals_s, columns = arrivals_s[order], {name: values[order] for name, values in columns.items()}
    if rows.stand_for is not None or ask.sampled < 1.0:
        stand_for = rows.stand_for[order] if rows.stand_for is not None else np.ones(len(order))
        arrivals_s, columns = make_up(arrivals_s, columns, stand_for / ask.sampled, tally, rng)
    with naming(file=path, field=rows.time_column):
        bare = Trace(path.name, arrivals_s - arrivals_s[0] if len(arrivals_s) else arrivals_s)
    with naming(file=path):
        trace = replace(bare, columns=columns)
    _notice_silence(trace, tally)
    coded = frozenset(name for name, values in rows.columns.items() if is_text(values))
    return Reading(trace, form, dict(tally.skipped), tuple(tally.warnings), dict(tally.noticed), coded)


def _possible(rows: Rows, tally: Tally) -> Rows:
    """Leave out rows without a time, before 1970 or before the start, and without a duration that can be."""
    missing = rows.times == MISSING if rows.times.dtype == np.int64 else ~np.isfinite(rows.times)
    # what could not be read is among the missing, and was counted by that name
    tally.skip("time_missing", int(missing.sum()) - tally.skipped["time_unreadable"], example="empty or not a number")
    rows = rows.take(~missing) if missing.any() else rows
    seconds = np.asarray(rows.times / (SECOND if rows.times.dtype == np.int64 else 1.0), dtype=np.float64)
    since_1970 = len(seconds) > 0 and float(np.median(seconds)) >= EPOCH_FROM_S
    early = seconds <= 0.0 if since_1970 else seconds < 0.0
    rows = _leave_out(rows, early, "time_before_1970" if since_1970 else "time_negative", seconds, tally)
    if rows.durations_s is not None:
        rows = _leave_out(rows, rows.durations_s < 0.0, "duration_negative", rows.durations_s, tally)
    if rows.durations_s is not None and rows.ends:
        rows = _leave_out(rows, ~np.isfinite(rows.durations_s), "duration_missing", rows.durations_s, tally)
    for name in sorted(WHOLE & set(rows.columns)):
        values = np.asarray(_column(name, rows.columns[name]), dtype=np.float64)
        rows = _leave_out(rows, ~np.isfinite(values), f"{name}_missing", values, tally)
    return rows


def _column(name: str, values: Any) -> NDArray[Any]:
    """As numbers; a key only tells requests apart."""
    return names(values) if name == "key" else anything(values)


def _leave_out(rows: Rows, bad: NDArray[np.bool_], reason: str, values: Floats, tally: Tally) -> Rows:
    if not bad.any():
        return rows
    tally.skip(reason, int(bad.sum()), example=f"{float(values[int(np.argmax(bad))]):g}")
    return rows.take(~bad)


def _once(rows: Rows, tally: Tally) -> Rows:
    """Keep a request that was logged twice under one name once."""
    if rows.identity is None:
        return rows
    again = (rows.identity.is_not_null() & ~rows.identity.is_first_distinct()).to_numpy()
    tally.skip("duplicate", int(again.sum()), bad=False)
    return rows.take(~again) if again.any() else rows


def _check(path: Path, rows: Rows, tally: Tally) -> None:
    """Refuse a file of which more rows are bad than good, naming the commonest reason."""
    if tally.bad <= len(rows):
        return
    reason, count = tally.skipped.most_common(1)[0]
    raise DataError(
        f"cannot be used in {tally.bad} of {tally.bad + len(rows)} rows (`{reason}`: {count})",
        file=path, field=rows.time_column, value=tally.examples.get(reason) or None,
        fix="is it another format or column? say so with --format, --time, --time-unit or --duration",
    )  # fmt: skip


def _from_first(times: NDArray[Any]) -> Floats:
    """Seconds since the earliest: subtracted before the division, so that nanoseconds survive."""
    if len(times) == 0:
        return np.empty(0)
    return np.asarray((times - times.min()) / SECOND if times.dtype == np.int64 else times - times.min())


def _notice(rows: Rows, stamps_s: Floats, tally: Tally) -> None:
    """Count rows that lie before an earlier one, and rows that are the same in everything that was read."""
    late = int(np.sum(stamps_s < np.maximum.accumulate(stamps_s))) if len(stamps_s) else 0
    tally.notice("unsorted", late)
    if late:
        tally.warn(f"rows that lay before an earlier one, and were sorted: {late}")
    same = 0 if rows.identity is not None or rows.counted else _identical(rows, stamps_s)
    tally.notice("identical", same)
    if same:
        tally.warn(
            f"rows that are the same as another in all that was read, and were kept, as two requests may be: {same}"
        )


def _identical(rows: Rows, stamps_s: Floats) -> int:
    order = np.argsort(stamps_s, kind="stable")
    ties = np.flatnonzero(np.diff(stamps_s[order]) == 0.0)
    if len(ties) == 0:
        return 0
    chosen = order[np.union1d(ties, ties + 1)]
    figures = {"time": stamps_s, "duration": rows.durations_s, **rows.columns}
    table = pl.DataFrame({name: _gather(values, chosen) for name, values in figures.items() if values is not None})
    return table.height - table.n_unique()


def _gather(values: Any, rows: NDArray[np.int64]) -> pl.Series:
    return (values if isinstance(values, pl.Series) else pl.Series(values)).gather(rows)


def resolution_s(rows: Rows, stamps_s: Floats) -> float:
    """How coarse the time stamps are: 0 where they are finer than a second, or where no two share one.

    Stamps are coarse if some requests share one and different ones are about whole multiples (within a hundredth) of one
    distance of a second or more: recorders that wake by a timer are some milliseconds off. Below `MANY_STAMPS` different
    ones a second is believed, not more.

    Example:
        >>> stamps_s = np.repeat(np.arange(0.0, 90.0, 3.0) + [0.0, 0.001, -0.002] * 10, 5)
        >>> round(resolution_s(Rows("t", stamps_s), stamps_s), 2)
        3.0
    """
    if rows.resolution_s:
        return rows.resolution_s
    different = np.unique(stamps_s)
    if len(different) in {0, 1, len(stamps_s)}:
        return 0.0
    steps = np.diff(different)
    if steps.min() < 1.0 - NEARLY:
        return 0.0
    common = float(np.median(steps[steps < 1.5 * steps.min()]))
    multiples = steps / common
    if not np.all(np.abs(multiples - np.rint(multiples)) <= NEARLY):
        common = 1.0 if np.all(np.abs(steps - np.rint(steps)) < 1e-6) else 0.0
    return 1.0 if common and len(different) < MANY_STAMPS else common


def _spread(stamps_s: Floats, rows: Rows, how: str, tally: Tally, rng: np.random.Generator) -> Floats:
    coarse_s = resolution_s(rows, stamps_s)
    if coarse_s == 0.0 or how == "none":
        if coarse_s:
            tally.warn(f"time stamps are {coarse_s:g} s apart or equal, and were left so")
        return stamps_s
    laid = "evenly" if how == "even" else "at random, uniformly, from the seed,"
    tally.warn(
        f"time stamps have a resolution of {round(coarse_s, 2):g} s: requests were laid {laid} within it, in the file's order"
    )
    tally.notice("spread", len(stamps_s))
    return spread(stamps_s, coarse_s, how, rng)


def spread(stamps_s: Floats, coarse_s: float, how: str, rng: np.random.Generator) -> Floats:
    """Lay requests that share a stamp out over [stamp, stamp + coarse_s), in the order they have.

    Args:
        stamps_s: float64, in the order of the file, not necessarily sorted.
        coarse_s: the resolution of the stamps.
        how: "random", each uniform and independent of the others, then put in order; or "even", the k-th of n at
            (k + ½) / n.
        rng: the stream that "random" draws from.

    Example:
        >>> spread(np.array([0.0, 0.0, 7.0]), 1.0, "even", np.random.default_rng(0))
        array([0.25, 0.75, 7.5 ])
    """
    order = np.argsort(stamps_s, kind="stable")
    within = np.empty(len(stamps_s))
    if how == "random":
        draws = rng.random(len(stamps_s))
        within[order] = draws[np.lexsort((draws, stamps_s))]
    else:
        _, first, counts = np.unique(stamps_s[order], return_index=True, return_counts=True)
        place = np.arange(len(stamps_s)) - np.repeat(first, counts)
        within[order] = (place + 0.5) / np.repeat(counts, counts)
    return np.asarray(stamps_s + coarse_s * within)


def make_up(
    arrivals_s: Floats, columns: dict[str, NDArray[Any]], stand_for: Floats, tally: Tally, rng: np.random.Generator
) -> tuple[Floats, dict[str, NDArray[Any]]]:
    """Make a sample up to what it stands for.

    A request that was kept with chance f stands for 1/f: ⌊1/f⌋ − 1 like it are added, and one more with the chance of the
    rest. Each lies uniformly between the sampled request before and the one after, so the rate follows the recording as
    far as the sample can show it. Bunching within the gaps of the sample is lost for good: traffic made up is calmer there
    than it was.

    Args:
        arrivals_s: sorted.
        columns: copied to those that are added.
        stand_for: 1/f a request, at least 1.
        tally: told what was added.
        rng: the stream of the added ones' instants.
    """
    more = np.floor(stand_for).astype(np.int64) - 1 + (rng.random(len(stand_for)) < stand_for % 1.0)
    added = int(more.sum())
    if added == 0:
        return arrivals_s, columns
    low = np.repeat(np.concatenate([arrivals_s[:1], arrivals_s[:-1]]), more)
    high = np.repeat(np.concatenate([arrivals_s[1:], arrivals_s[-1:]]), more)
    every_s = np.concatenate([arrivals_s, low + (high - low) * rng.random(added)])
    order = np.argsort(every_s, kind="stable")
    tally.notice("made_up", added)
    tally.warn(
        f"the file is a sample: {added} requests were added to {len(arrivals_s)}, at random between their neighbours"
    )
    return every_s[order], {n: np.concatenate([v, np.repeat(v, more)])[order] for n, v in columns.items()}


def _notice_silence(trace: Trace, tally: Tally) -> None:
    longest_s = float(np.diff(trace.arrivals_s).max())
    if len(trace) > MANY_STAMPS and longest_s > trace.duration_s / 2:
        tally.warn(f"more than half of it is one silence of {longest_s:g} s: is a time stamp wrong?")
