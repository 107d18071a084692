"""Recordings larger than memory: Parquet read in pieces of a fixed size, each counted where it is read, and added up.

A piece is so many rows of one file, whoever reads it; what is held at a time is one piece a worker and one small tally a stretch
of pieces. Tallies add up exactly, so one process, eight workers, and workers that were lost and replaced all come to the
same bytes.

Rows of one id are versions of one label, or a mistake. Where the ids of every piece rise and no two pieces overlap, as those of a
counter do, none can stand twice and no more is asked. Else the ids are read by themselves, a part of them at a time, and rows
of ids that stand more than once are set aside, put together at the end, and counted like one more piece.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import fan_out
from windtunnel.hardware import allowed_cores
from windtunnel.table import take_column, timestamps_of

from .conclusion import Terms, conclude
from .kernel import NEVER_US
from .question import Question, first_look_us
from .reading.repeats import among, hashes_of, kind_of_ids, repeated
from .replay import asked, loss_of, named_candidates
from .rows import Rows, check_scale, halves, versions
from .tally import Tally, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.fanout import Workers
    from windtunnel.loss import Loss
    from windtunnel.recording import Columns

    from .comparison import Comparison

PIECE_ROWS = 2**20
"""Rows read at a time: some 100 MB with all that is made of them."""

MOST_HASHES = 2**25
"""So many hashes of ids are compared at a time, which takes half a gigabyte."""

MOST_ASIDE = 2**23
"""So many rows of repeated ids are held, which takes about a gigabyte."""

MOST_STRETCHES = 64
"""Work is handed out in at most so many stretches, so that their tallies stay few."""


@dataclass(frozen=True)
class Piece:
    """Some rows of one file.

    Args:
        file: a Parquet file.
        start: its first row of the piece.
        rows: how many there are.
        before: how many rows of the recording come before it.
    """

    file: Path
    start: int
    rows: int
    before: int


@dataclass(frozen=True)
class Reading:
    """What a worker needs to read a piece and to count it.

    Args:
        columns: which columns play which part.
        predictions: the columns of each model, in the question's order: one, or one a class.
        question: what is asked of the rows.
        threads: how many pieces a worker reads and counts at a time.
        amount: the column of what a row's loss is multiplied by; empty: none.
        weight: the column of how many rows it counts for; empty: none.
        repeated: hashes of the ids that stand more than once, sorted; their rows are set aside.
    """

    columns: Columns
    predictions: tuple[tuple[str, ...], ...]
    question: Question
    threads: int = 1
    amount: str = ""
    weight: str = ""
    repeated: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def wanted(self) -> list[str]:
        """The columns that are read, each once."""
        parts = self.columns
        named = [parts.time, parts.label, parts.label_time, parts.id, self.amount, self.weight]
        return list(dict.fromkeys(name for name in (*named, *chain(*self.predictions)) if name))


@dataclass(frozen=True)
class Count:
    """What some pieces came to.

    Args:
        tally: of their rows; None where all were set aside.
        spans: the first and the last id of each piece whose ids rise; None for one whose ids do not, or that has none.
        aside: the rows of repeated ids, as they were read, each with the piece that it is of.
    """

    tally: Tally | None
    spans: tuple[tuple[Any, Any] | None, ...]
    aside: tuple[tuple[Piece, pl.DataFrame], ...]

    @staticmethod
    def of(counts: Iterable[Count]) -> Count:
        """All of them together."""
        each = list(counts)
        tallies = [count.tally for count in each if count.tally is not None]
        return Count(
            merged(tallies) if tallies else None, tuple(chain(*(count.spans for count in each))),
            tuple(chain(*(count.aside for count in each))),
        )  # fmt: skip

    @property
    def apart(self) -> bool:
        """Whether it is certain that no id stands twice: the ids of every piece rise, and no two pieces overlap."""
        if None in self.spans:
            return False
        spans = sorted(span for span in self.spans if span is not None)
        return all(before[1] < after[0] for before, after in pairwise(spans))


def backtest_files(
    files: Sequence[Path],
    columns: Columns,
    predictions: Mapping[str, str | Sequence[str]],
    *,
    incumbent: str,
    candidates: Sequence[str],
    name: str,
    challenger: str | None = None,
    metric: str | Loss = "log_loss",
    every_s: float = 86400.0,
    horizon_s: float = 604800.0,
    max_loss: float = 0.0,
    level: float = 0.05,
    amount: str = "",
    weight: str = "",
    workers: Workers | None = None,
    piece_rows: int = PIECE_ROWS,
) -> Comparison:
    """Compare candidates with the incumbent on Parquet files of any size; the same figures as `backtest` gives, to the last bit.

    Rows may stand in any order, though time and memory are least where they are sorted by time and their ids rise. Rows of one id
    and one time that were known at different times are versions of one label.

    Args:
        files: Parquet files with the same columns.
        columns: which columns play which part.
        predictions: the column of each model's logged predictions, or its columns, one a class.
        incumbent: the model that runs now.
        candidates: those that might replace it.
        name: the recording's.
        challenger: see `backtest`; so are the others.
        metric: as `loss_named` takes it, or a loss.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        amount: the column of what each request's loss is multiplied by; empty: none.
        weight: the column of how many requests each counts for; empty: none.
        workers: who reads and counts.
        piece_rows: how many rows are read at a time.

    Raises:
        ConfigError: an unknown model or metric, a number that makes no sense, or a metric of ranks, which needs all rows at once.
        DataError: a file that cannot be read, or rows that cannot be judged.
    """
    terms = Terms(challenger, max_loss, level, every_s, horizon_s)
    named = (incumbent, *named_candidates(list(predictions), incumbent, candidates, challenger))
    pieces = pieces_of(files, piece_rows)
    _check_ids(files, columns.id)
    columns_of = tuple((each,) if isinstance(each := predictions[model], str) else tuple(each) for model in named)
    loss = loss_of(metric, len(columns_of[0]) if len(columns_of[0]) > 1 else 0)
    first_us = int(_clock(read_columns(pieces[0].file, [columns.time], 0, 1), columns.time, pieces[0].file).min())
    scales = [part for part, column in (("amount", amount), ("weight", weight)) if column]
    question = asked(named, loss, first_us, terms, scales)
    if question.ranked:
        raise ConfigError(
            "needs all rows at once, in order of their scores, and these are read in pieces", field="metric", value=loss.name,
            fix="give a recording that fits into memory, or choose log_loss or brier",
        )  # fmt: skip
    on_ray = workers is not None and (workers.count > 1 or workers.ray_address)
    threads = 1 if on_ray else max(1, int(allowed_cores()))
    reading = Reading(columns, columns_of, question, threads, amount, weight)
    reading, tally = _counted(pieces, reading, workers)
    return conclude(tally, reading.question, terms, name)


def _counted(pieces: Sequence[Piece], reading: Reading, workers: Workers | None) -> tuple[Reading, Tally]:
    """Count all, and once more where it turns out that the looks begin at another midnight or that ids stand twice."""
    searched = not reading.columns.id
    while True:
        found = count(pieces, reading, workers)
        if not searched and not found.apart:
            searched = True
            reading = replace(reading, repeated=repeated_ids(pieces, reading.columns.id, workers))
            _check_aside(2 * len(reading.repeated), pieces[0].file, reading.columns.id)
            if len(reading.repeated):
                continue
        tally = merged([*([found.tally] if found.tally else []), *_settled(found.aside, reading)])
        first_us = first_look_us(tally.first_us)
        if first_us == reading.question.first_us:
            return reading, tally
        reading = replace(reading, question=replace(reading.question, first_us=first_us))


def _check_ids(files: Sequence[Path], column: str) -> None:
    """Refuse ids that cannot be told apart: of several kinds, or no single values.

    Raises:
        DataError: see above, or a file without such a column.
    """
    kinds: dict[pl.DataType, Path] = {}
    for file in files if column else ():
        dtype = take_column(_collected(pl.scan_parquet(file).head(0), file), column, file=file).dtype
        kind = kind_of_ids(dtype)
        kinds.setdefault(kind if kind == pl.Int64() else dtype, file)
        if dtype.is_nested() or len(kinds) > 1:
            raise DataError(
                f"has dtype {dtype} where ids are single values{'' if dtype.is_nested() else f' of {next(iter(kinds))}'}",
                file=file, field=column, fix="store whole numbers or text, alike in all files",
            )  # fmt: skip


def pieces_of(files: Sequence[Path], piece_rows: int = PIECE_ROWS) -> list[Piece]:
    """Cut files into pieces, always in the same way.

    Raises:
        DataError: a file that cannot be read, or no rows in any.
    """
    pieces, before = [], 0
    for file in files:
        rows = _collected(pl.scan_parquet(file).select(pl.len()), file).item()
        pieces += [
            Piece(file, start, min(piece_rows, rows - start), before + start) for start in range(0, rows, piece_rows)
        ]
        before += rows
    if not pieces:
        raise DataError("has no rows", file=files[0] if files else None, fix="record some traffic first")
    return pieces


def count(pieces: Sequence[Piece], reading: Reading, workers: Workers | None = None) -> Count:
    """Read and count all pieces, on whichever workers."""
    each = max(reading.threads, -(-len(pieces) // MOST_STRETCHES))
    stretches = [tuple(pieces[first : first + each]) for first in range(0, len(pieces), each)]
    return Count.of(fan_out(count_stretch, stretches, shared=reading, workers=workers).results)


def count_stretch(reading: Reading, stretch: tuple[Piece, ...]) -> Count:
    """Read and count some pieces; polars and the kernel both let other threads run meanwhile."""
    if reading.threads == 1 or len(stretch) == 1:
        return Count.of(_count_piece(reading, piece) for piece in stretch)
    with ThreadPoolExecutor(reading.threads) as pool:
        return Count.of(pool.map(partial(_count_piece, reading), stretch))


def _count_piece(reading: Reading, piece: Piece) -> Count:
    table, ids = read_columns(piece.file, reading.wanted, piece.start, piece.rows), reading.columns.id
    aside: tuple[tuple[Piece, pl.DataFrame], ...] = ()
    span = _span(table[ids], piece) if ids else None
    if len(reading.repeated):
        again = pl.Series(among(hashes_of(table[ids]), reading.repeated))
        aside = ((piece, table.filter(again)),) if again.any() else ()
        table = table.filter(~again)
    tally = Tally.of(rows_in(table, piece, reading), reading.question) if len(table) else None
    return Count(tally, (span,), aside)


def _span(ids: pl.Series, piece: Piece) -> tuple[Any, Any] | None:
    """The first and the last id where they rise from row to row."""
    if ids.null_count():
        raise DataError(
            "has rows without an id", file=piece.file, field=ids.name, fix="drop or mend the rows without one"
        )
    # most ids that do not rise show it at once
    risen = all((part.slice(1) > part.slice(0, len(part) - 1)).all() for part in (ids.head(100), ids))
    return (ids[0], ids[-1]) if risen else None


def repeated_ids(pieces: Sequence[Piece], column: str, workers: Workers | None = None) -> NDArray[np.uint64]:
    """The hashes of ids that stand more than once, sorted, found a part of all hashes at a time."""
    parts = -(-sum(piece.rows for piece in pieces) // MOST_HASHES)
    shared = tuple(pieces), column, parts
    return np.sort(np.concatenate(fan_out(_repeated_in, range(parts), shared=shared, workers=workers).results))


def _repeated_in(shared: tuple[tuple[Piece, ...], str, int], part: int) -> NDArray[np.uint64]:
    pieces, column, parts = shared
    hashes = (hashes_of(read_columns(piece.file, [column], piece.start, piece.rows)[column]) for piece in pieces)
    return repeated(each[each % np.uint64(parts) == part] if parts > 1 else each for each in hashes)


def _settled(aside: Sequence[tuple[Piece, pl.DataFrame]], reading: Reading) -> list[Tally]:
    """Put together what is known of each id that stands more than once, and count it.

    Raises:
        DataError: rows of one id that are no versions of one label, or too many of them to hold.
    """
    if not aside:
        return []
    file, ids = aside[0][0].file, reading.columns.id
    _check_aside(sum(len(table) for _, table in aside), file, ids)
    rows = _joined([rows_in(table, piece, reading) for piece, table in aside])
    keys = pl.concat([table.select(ids) for _, table in aside], how="vertical_relaxed")[ids]
    _, place = np.unique(keys.rank("dense").to_numpy(), return_inverse=True)
    kept, until_us, first = versions(place, rows.known_us)
    alone = np.bincount(place)[place] == 1
    torn = (rows.known_us == NEVER_US) & ~alone
    same = np.ones(len(kept), dtype=np.bool_)
    same[1:] = (place[kept][1:] != place[kept][:-1]) | (rows.time_us[kept][1:] == rows.time_us[kept][:-1])
    if torn.any() or len(kept) < len(rows) or not same.all():
        row = int(torn.argmax()) if torn.any() else _not_kept(kept, same, len(rows))
        raise DataError(
            "is not unique, and its rows are no versions of one label", file=file, field=ids, value=keys[row],
            fix="give each request an id of its own; versions share id and time, and are known at different times",
        )  # fmt: skip
    # what is known of a request beside its label is taken from its first version, as in memory
    earliest = kept[first][np.cumsum(first) - 1]
    return [
        Tally.of(rows.versions_of(earliest, rows.known_us[kept], rows.label[kept], until_us, first), reading.question)
    ]


def _check_aside(rows: int, file: Path, ids: str) -> None:
    """Refuse more rows of repeated ids than are held; asked first of the fewest that there can be, before any is set aside."""
    if rows > MOST_ASIDE:
        raise DataError(
            f"stands more than once in over {MOST_ASIDE:,} rows, more than are held", file=file, field=ids,
            fix="keep corrected labels in fewer rows, or replay a shorter recording",
        )  # fmt: skip


def _not_kept(kept: NDArray[np.int64], same: NDArray[np.bool_], rows: int) -> int:
    """A row that is left out, or that was asked at another time than the version before it."""
    left_out = np.setdiff1d(np.arange(rows), kept)
    return int(left_out[0]) if len(left_out) else int(kept[np.argmin(same)])


def _joined(parts: Sequence[Rows]) -> Rows:
    """Rows one after another; none of them is corrected yet."""

    def joined(part: str) -> NDArray[Any]:
        return np.concatenate([getattr(each, part) for each in parts])

    predictions = np.concatenate([each.predictions for each in parts], axis=1)
    return Rows(
        joined("time_us"), joined("known_us"), joined("label"), predictions, joined("half"), amount=joined("amount"),
        weight=joined("weight"),
    )  # fmt: skip


def rows_in(table: pl.DataFrame, piece: Piece, reading: Reading) -> Rows:
    """Check what was read of a piece.

    Raises:
        DataError: it holds what cannot be judged.
    """
    parts, question, file = reading.columns, reading.question, piece.file
    time_us = _clock(table, parts.time, file)
    known = timestamps_of(take_column(table, parts.label_time or parts.time, file=file), file=file)
    known_us = known.dt.timestamp("us").fill_null(NEVER_US).to_numpy()
    label = _numbers(table, parts.label, file, nulls=True)
    question.loss.check_labels(label)
    _check_labels(time_us, known_us, label, parts, piece)
    predictions = np.empty(
        (len(reading.predictions), len(table), *[question.loss.classes] * bool(question.loss.classes))
    )
    for place, columns in enumerate(reading.predictions):
        numbers = [_numbers(table, column, file, nulls=False) for column in columns]
        predictions[place] = np.stack(numbers, axis=1) if question.loss.classes else numbers[0]
        question.loss.check_predictions(columns[0], predictions[place], len(table), piece.before)
    ids = table[parts.id] if parts.id else pl.Series(range(piece.before, piece.before + piece.rows), dtype=pl.Int64)
    amount, weight = (
        _scale(table, column, part, file) for part, column in (("amount", reading.amount), ("weight", reading.weight))
    )
    return Rows(time_us, known_us, label, predictions, halves(ids), amount=amount, weight=weight)


def _scale(table: pl.DataFrame, column: str, part: str, file: Path) -> NDArray[np.float64]:
    """A column of amounts or weights, float64 [rows]; empty where none is named."""
    if not column:
        return np.empty(0)
    values = _numbers(table, column, file, nulls=False)
    check_scale(values, part, len(table), str(file), column)
    return values


def read_columns(file: Path, columns: list[str], start: int, rows: int) -> pl.DataFrame:
    """Some rows of a Parquet file: polars (2.1, `scan_parquet` and `slice`) reads the row groups that hold them and no others."""
    scan = pl.scan_parquet(file)
    empty = _collected(scan.head(0), file)
    for column in columns:
        take_column(empty, column, file=file)
    return _collected(scan.select(columns).slice(start, rows), file)


def _collected(scan: pl.LazyFrame, file: Path) -> pl.DataFrame:
    try:
        return scan.collect()
    # some corrupt Parquet makes polars panic, which is no PolarsError
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot be read ({reason})", file=file, fix="is it truncated? write it again") from error


def _clock(table: pl.DataFrame, column: str, file: Path) -> NDArray[np.int64]:
    """A time that every request has, int64 [rows]."""
    times = timestamps_of(take_column(table, column, file=file), file=file)
    if times.null_count():
        raise DataError("has rows without a time", file=file, field=column, fix="drop or mend the rows without one")
    return times.dt.timestamp("us").to_numpy()


def _numbers(table: pl.DataFrame, column: str, file: Path, *, nulls: bool) -> NDArray[np.float64]:
    """A column of numbers, float64 [rows]; NaN for null where there may be any."""
    values = take_column(table, column, file=file)
    if not (values.dtype.is_numeric() or (nulls and values.dtype == pl.Boolean)) or (values.null_count() and not nulls):
        raise DataError(
            "is not a number in every row", file=file, field=column,
            fix="store 0 and 1" if nulls else "a logged prediction is a float, never null",
        )  # fmt: skip
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _check_labels(
    time_us: NDArray[np.int64], known_us: NDArray[np.int64], label: NDArray[np.float64], parts: Columns, piece: Piece
) -> None:
    """Refuse labels without a known time, known times without a label, and labels known before they were asked about."""
    torn = np.isnan(label) != (known_us == NEVER_US)
    if torn.any():
        raise DataError(
            f"and `{parts.label_time}` disagree in row {piece.before + int(torn.argmax())}: one is null, the other is not",
            file=piece.file, field=parts.label, fix="a label and its known time come together or never",
        )  # fmt: skip
    early = known_us < time_us
    if early.any():
        raise DataError(
            f"says that {early.sum()} labels were known before they were asked about, first in row {piece.before + int(early.argmax())}",
            file=piece.file, field=parts.label_time, fix="check its time zone",
        )  # fmt: skip
