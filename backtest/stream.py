"""Recordings larger than memory: Parquet read in pieces of a fixed size, each counted where it is read, and added up.

A piece is so many rows of one file, whoever reads it; what is held at a time is one piece a worker and one small tally a stretch
of pieces. Tallies add up exactly, so one process, eight workers, and workers that were lost and replaced all come to the
same bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.fanout import fan_out
from windtunnel.hardware import allowed_cores
from windtunnel.loss import Loss, loss_named
from windtunnel.table import take_column, timestamps_of

from .conclusion import Terms, conclude
from .kernel import NEVER_US
from .question import Question, first_look_us
from .replay import named_candidates
from .rows import Rows, halves
from .tally import Tally, merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.fanout import Workers
    from windtunnel.recording import Columns

    from .comparison import Comparison

PIECE_ROWS = 2**20
"""Rows read at a time: some 100 MB with all that is made of them."""

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
        predictions: the column of each model, in the question's order.
        question: what is asked of the rows.
        threads: how many pieces a worker reads and counts at a time.
    """

    columns: Columns
    predictions: tuple[str, ...]
    question: Question
    threads: int = 1


def backtest_files(
    files: Sequence[Path],
    columns: Columns,
    predictions: Mapping[str, str],
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
    workers: Workers | None = None,
    piece_rows: int = PIECE_ROWS,
) -> Comparison:
    """Compare candidates with the incumbent on Parquet files of any size; the same figures as `backtest` gives, to the last bit.

    Rows may stand in any order, though time and memory are least where they are sorted by time. That no id stands
    twice is not checked, and labels come in one version; a recording that fits into memory is better given to `backtest`.

    Args:
        files: Parquet files with the same columns.
        columns: which columns play which part.
        predictions: the column of each model's logged predictions.
        incumbent: the model that runs now.
        candidates: those that might replace it.
        name: the recording's.
        challenger: see `backtest`; so are the others.
        metric: as `loss_named` takes it, or a loss.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        workers: who reads and counts.
        piece_rows: how many rows are read at a time.

    Raises:
        ConfigError: an unknown model or metric, or a number that makes no sense.
        DataError: a file that cannot be read, or rows that cannot be judged.
    """
    terms = Terms(challenger, max_loss, level, every_s, horizon_s)
    named = (incumbent, *named_candidates(list(predictions), incumbent, candidates, challenger))
    pieces = pieces_of(files, piece_rows)
    loss = metric if isinstance(metric, Loss) else loss_named(metric)
    first_us = int(_clock(_read(pieces[0].file, [columns.time], 0, 1), columns.time, pieces[0].file).min())
    columns_of = tuple(predictions[each] for each in named)
    on_ray = workers is not None and (workers.count > 1 or workers.ray_address)
    threads = 1 if on_ray else max(1, int(allowed_cores()))
    while True:
        question = Question(named, loss, first_look_us(first_us), terms.every_us, terms.horizon_us)
        tally = count(pieces, Reading(columns, columns_of, question, threads), workers)
        if first_look_us(tally.first_us) == question.first_us:
            break
        first_us = tally.first_us  # not sorted: the looks begin at another midnight, so all is read once more
    note = "Read in pieces: that no request stands twice was not checked."
    return conclude(tally, question, terms, name, (note,))


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


def count(pieces: Sequence[Piece], reading: Reading, workers: Workers | None = None) -> Tally:
    """Read and count all pieces, on whichever workers."""
    each = max(reading.threads, -(-len(pieces) // MOST_STRETCHES))
    stretches = [tuple(pieces[first : first + each]) for first in range(0, len(pieces), each)]
    return merged(fan_out(count_stretch, stretches, shared=reading, workers=workers).results)


def count_stretch(reading: Reading, stretch: tuple[Piece, ...]) -> Tally:
    """Read and count some pieces; polars and the kernel both let other threads run meanwhile."""
    if reading.threads == 1 or len(stretch) == 1:
        return merged(_count_piece(reading, piece) for piece in stretch)
    with ThreadPoolExecutor(reading.threads) as pool:
        return merged(pool.map(partial(_count_piece, reading), stretch))


def _count_piece(reading: Reading, piece: Piece) -> Tally:
    return Tally.of(read_piece(piece, reading), reading.question)


def read_piece(piece: Piece, reading: Reading) -> Rows:
    """Read one piece and check it.

    Raises:
        DataError: it cannot be read, lacks a column, or holds what cannot be judged.
    """
    parts, loss = reading.columns, reading.question.loss
    wanted = [
        parts.time,
        parts.label,
        parts.label_time or parts.time,
        *reading.predictions,
        *([parts.id] * bool(parts.id)),
    ]
    table = _read(piece.file, list(dict.fromkeys(wanted)), piece.start, piece.rows)
    time_us = _clock(table, parts.time, piece.file)
    known = timestamps_of(take_column(table, parts.label_time or parts.time, file=piece.file), file=piece.file)
    label = _numbers(table, parts.label, piece.file, nulls=True)
    loss.check_labels(label)
    ids = table[parts.id] if parts.id else pl.Series(range(piece.before, piece.before + piece.rows), dtype=pl.Int64)
    predictions = np.empty((len(reading.predictions), piece.rows))
    for place, column in enumerate(reading.predictions):
        predictions[place] = _numbers(table, column, piece.file, nulls=False)
        loss.check_predictions(column, predictions[place], piece.rows, piece.before)
    known_us = known.dt.timestamp("us").fill_null(NEVER_US).to_numpy()
    _check_labels(time_us, known_us, label, parts, piece)
    return Rows(time_us, known_us, label, predictions, halves(ids))


def _read(file: Path, columns: list[str], start: int, rows: int) -> pl.DataFrame:
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
