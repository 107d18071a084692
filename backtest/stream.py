"""Recordings larger than memory, counted piece by piece where they are read, and added up.

What is held at a time is one piece a worker and one small tally a stretch of pieces, and beside them a sample of the requests, whole,
for whatever cannot be added up. Tallies add up exactly, so one process, eight workers, and workers that were lost and replaced
all come to the same bytes, which are those of a recording in memory.

There are two ways to read. Whatever `Ingest` reads, forgives or puts together comes through it, a piece after the other, in one process;
pieces are counted by threads meanwhile. Plain Parquet, whose rows need no mending, can be cut into pieces of so many rows, which any
worker reads by itself: so it is read on Ray.

Rows of one id are versions of one label, or a mistake. Where the ids of every piece rise and no two pieces overlap, as those of a
counter do, none can stand twice and no more is asked. Else the ids are read by themselves, a part of them at a time, and rows
of ids that stand more than once are set aside, put together at the end, and counted like one more piece.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain, pairwise
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import fan_out
from windtunnel.hardware import allowed_cores
from windtunnel.recording import Columns, Recording
from windtunnel.table import take_column, timestamps_of

from .conclusion import Terms, conclude
from .kernel import DAY_US, NEVER_US, span_of
from .question import RANKED, Question, first_look_us
from .reading.ingest import Ingest
from .reading.plain import kind_of
from .reading.repeats import among, hashes_of, kind_of_ids, repeated
from .reading.versioned import rows_of
from .replay import asked, loss_of, named_candidates
from .rows import Rows, check_scale, halves, versions
from .sample import MOST_SAMPLED, Sample, thin_for
from .score import score
from .scores import Scores
from .tally import Tally, merged
from .waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from windtunnel.fanout import Workers
    from windtunnel.loss import Loss
    from windtunnel.session import Session

    from .comparison import Comparison
    from .reading import Intake

    Further = Callable[[pl.DataFrame, Rows, Question, int], Any]

PIECE_ROWS = 2**20
"""Rows read at a time: some 100 MB with all that is made of them."""

MOST_HASHES = 2**25
"""So many hashes of ids are compared at a time, which takes half a gigabyte."""

MOST_ASIDE = 2**23
"""So many rows of repeated ids are held, which takes about a gigabyte."""

MOST_STRETCHES = 64
"""Work is handed out in at most so many stretches, so that their tallies stay few."""


@dataclass(frozen=True)
class Streamed:
    """What a recording of any length came to.

    Args:
        comparison: who would have won, counted on all of it.
        question: what was counted.
        waits: what was counted of late labels, on all of it; None where it was not asked for.
        sample: canonical rows of some requests; none where they were not asked for.
        share: of all requests, how many are in the sample.
        intake: what reading took; None where no sample was asked for.
        read: the share of the requests that `intake` tells of.
        further: what else was counted, on all of it, where that was asked for.
    """

    comparison: Comparison
    question: Question
    waits: Waits | None = None
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    share: float = 1.0
    intake: Intake | None = None
    read: float = 1.0
    further: Any = None


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
        as_of_us: the last look of the whole recording, by which late labels are counted; None where they are not.
    """

    columns: Columns
    predictions: tuple[tuple[str, ...], ...]
    question: Question
    threads: int = 1
    amount: str = ""
    weight: str = ""
    repeated: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    as_of_us: int | None = None

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
        waits: of their labels; None where all were set aside, or where late labels are not counted.
        further: what else was counted.
    """

    tally: Tally | None
    spans: tuple[tuple[Any, Any] | None, ...]
    aside: tuple[tuple[Piece, pl.DataFrame], ...]
    waits: Waits | None = None
    further: Any = None

    @staticmethod
    def of(counts: Iterable[Count]) -> Count:
        """All of them together."""
        each = list(counts)
        tallies = [count.tally for count in each if count.tally is not None]
        waits = [count.waits for count in each if count.waits is not None]
        further = [count.further for count in each if count.further is not None]
        return Count(
            merged(tallies) if tallies else None, tuple(chain(*(count.spans for count in each))),
            tuple(chain(*(count.aside for count in each))), Waits.merged(waits) if waits else None,
            reduce(add, further) if further else None,
        )  # fmt: skip

    @staticmethod
    def of_rows(rows: Rows, question: Question, as_of_us: int | None) -> Count:
        """Count the rows of one piece."""
        waits = None if as_of_us is None else Waits.of(rows, question, as_of_us)
        return Count(Tally.of(rows, question), (), (), waits)

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
    told = _of_files(
        files, columns, predictions, incumbent=incumbent, candidates=candidates, name=name, challenger=challenger, metric=metric,
        terms=Terms(challenger, max_loss, level, every_s, horizon_s), amount=amount, weight=weight, workers=workers,
        piece_rows=piece_rows, lateness=False,
    )  # fmt: skip
    return told.comparison


def backtest_stream(
    ingest: Ingest,
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
    sessions: Mapping[str, Session] | None = None,
    workers: Workers | None = None,
    most_sampled: int = MOST_SAMPLED,
    further: Further | None = None,
    apart: bool = False,
) -> Streamed:
    """Compare candidates with the incumbent on a recording of any length, in any format; the same figures as `backtest` gives, to the last bit.

    Args:
        ingest: reads it.
        incumbent: the model that runs now.
        candidates: those that might replace it.
        name: the recording's.
        challenger: see `backtest`; so are the others.
        metric: as `loss_named` takes it, or a loss.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        sessions: models that are asked, beside those whose predictions were logged.
        workers: where they are on Ray, they read and count plain Parquet; all else is read by this process.
        most_sampled: how many rows are sampled at most; 0: no sample is taken.
        further: counts something else of each piece, from its canonical rows, the same as the engine takes them, what is asked and the
            last look; its results are added up.
        apart: whether plain Parquet is read in pieces by themselves even where no worker is on Ray.

    Raises:
        ConfigError: an unknown model or metric, a number that makes no sense, or too many looks for a metric of ranks.
        DataError: rows that cannot be judged.
    """
    terms = Terms(challenger, max_loss, level, every_s, horizon_s)
    settings: dict[str, Any] = {
        "incumbent": incumbent, "candidates": candidates, "name": name, "challenger": challenger, "metric": metric, "terms": terms,
    }  # fmt: skip
    alone = not sessions and further is None and loss_of(metric, 0).family not in RANKED
    if alone and (apart or on_ray(workers)) and (files := plain_files(ingest)):
        roles = ingest.roles
        parts = Columns(roles.time, roles.id, roles.label, roles.label_time)
        try:
            told = _of_files(
                files, parts, roles.predictions, **settings, amount=roles.amount, weight=roles.weight, workers=workers,
                piece_rows=ingest.piece_rows, lateness=True,
            )  # fmt: skip
        except DataError:
            # what is not plain sailing is forgiven, put together, or refused by the reader that speaks of it best
            pass
        else:
            if not most_sampled:
                return told
            thin = thin_for(told.comparison.rows, most_sampled)
            some = Ingest(ingest.ask, ingest.home, ingest.piece_rows, thin=thin)
            return replace(told, sample=some.held(), share=1.0 / thin, intake=some.intake, read=1.0 / thin)
    return _of_ingest(ingest, **settings, sessions=sessions or {}, most_sampled=most_sampled, further=further)


def on_ray(workers: Workers | None) -> bool:
    """Whether other processes are asked for."""
    return workers is not None and (workers.count > 1 or bool(workers.ray_address))


def plain_files(ingest: Ingest) -> list[Path]:
    """The Parquet files of a recording that is nothing else, with its labels in it; none where it is not so."""
    roles, ask = ingest.roles, ingest.ask
    local = all("://" not in each and kind_of(each) == "parquet" for each in ingest.files)
    plain = ingest.form.name == "table" and roles.label and ask.labels is None and not roles.label_event_time
    return [Path(each) for each in ingest.files] if local and plain else []


def _of_files(
    files: Sequence[Path],
    columns: Columns,
    predictions: Mapping[str, str | Sequence[str]],
    *,
    incumbent: str,
    candidates: Sequence[str],
    name: str,
    challenger: str | None,
    metric: str | Loss,
    terms: Terms,
    amount: str,
    weight: str,
    workers: Workers | None,
    piece_rows: int,
    lateness: bool,
) -> Streamed:
    """Read Parquet files in pieces, on whichever workers."""
    named = (incumbent, *named_candidates(list(predictions), incumbent, candidates, challenger))
    pieces = pieces_of(files, piece_rows)
    _check_ids(files, columns.id)
    columns_of = tuple((each,) if isinstance(each := predictions[model], str) else tuple(each) for model in named)
    loss = loss_of(metric, len(columns_of[0]) if len(columns_of[0]) > 1 else 0)
    scales = [part for part, column in (("amount", amount), ("weight", weight)) if column]
    threads = 1 if on_ray(workers) else max(1, int(allowed_cores()))
    if lateness:
        spans = fan_out(_span_of, pieces, shared=columns, workers=workers).results
        first_us, last_us = min(first for first, _ in spans), max(last for _, last in spans)
    else:
        first_us = int(_clock(read_columns(pieces[0].file, [columns.time], 0, 1), columns.time, pieces[0].file).min())
    question = asked(named, loss, first_us, terms, scales)
    if question.ranked:
        raise ConfigError(
            "needs all rows at once, in order of their scores, and these are read in pieces", field="metric", value=loss.name,
            fix="give a recording that fits into memory to `backtest`, or any to `backtest_stream`, or choose log_loss or brier",
        )  # fmt: skip
    as_of_us = _last_look_us(question, last_us) if lateness else None
    reading = Reading(columns, columns_of, question, threads, amount, weight, as_of_us=as_of_us)
    reading, count_of = _counted(pieces, reading, workers)
    assert count_of.tally is not None
    return Streamed(conclude(count_of.tally, reading.question, terms, name), reading.question, count_of.waits)


def _last_look_us(question: Question, last_us: int) -> int:
    """The last look of a recording that tells nothing after some moment; the first where even that lies before it."""
    return question.first_us + max(0, (last_us - question.first_us) // question.every_us) * question.every_us


def _of_ingest(
    ingest: Ingest,
    *,
    incumbent: str,
    candidates: Sequence[str],
    name: str,
    challenger: str | None,
    metric: str | Loss,
    terms: Terms,
    sessions: Mapping[str, Session],
    most_sampled: int,
    further: Further | None,
) -> Streamed:
    """Count canonical rows as they come, and once more where the looks turn out to be others than the clocks had it."""
    said = {**ingest.roles.predictions, **{model: model for model in sessions}}
    named = (incumbent, *named_candidates(list(said), incumbent, candidates, challenger))
    columns = [
        each if isinstance(each, str) else [f"{model}[{place}]" for place in range(len(each))]
        for model, each in ((model, model if isinstance(said[model], str) else said[model]) for model in named)
    ]
    loss = loss_of(metric, 0 if isinstance(columns[0], str) else len(columns[0]))
    scales = [part for part in ("amount", "weight") if getattr(ingest.roles, part)]
    first_us, last_us = ingest.span()
    question = asked(named, loss, first_us, terms, scales)
    as_of_us = _last_look_us(question, last_us)
    while True:
        sample = Sample(most_sampled)
        scores = None
        if question.ranked:
            _, some = next(_scored(ingest, sessions, Sample(0), name))
            scores = Scores(question, rows_of(some, columns).predictions, first_us // DAY_US, last_us)
        counter = partial(_count_frame, columns, question, as_of_us, name, scores, further)
        counts = list(_counted_meanwhile(counter, _scored(ingest, sessions, sample, name)))
        found = Count.of(counts)
        assert found.tally is not None
        first_us, last_us = found.tally.first_us, found.tally.last_us
        again = replace(question, first_us=first_look_us(first_us))
        ended_us = _last_look_us(again, last_us)
        if (again, ended_us) == (question, as_of_us):
            break
        question, as_of_us = again, ended_us
    if scores is None:
        compared = conclude(found.tally, question, terms, name)
    else:
        figures, binned = scores.figures(found.tally, question.looks(last_us))
        compared = replace(conclude(found.tally, question, terms, name, figures=figures), binned=binned)
    return Streamed(compared, question, found.waits, sample.rows, sample.share, ingest.intake, further=found.further)


def _scored(
    ingest: Ingest, sessions: Mapping[str, Session], sample: Sample, name: str
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Canonical rows with what models say that are asked, and how many rows came before; some of them go into the sample."""
    before = 0
    for rows in ingest:
        answers = score(Recording(name, rows), sessions) if sessions else {}
        told = rows.with_columns(pl.Series(model, each) for model, each in answers.items())
        if sample.most:
            sample.add(told)
        yield before, told
        before += len(told)


def _count_frame(
    columns: Sequence[str | Sequence[str]],
    question: Question,
    as_of_us: int,
    name: str,
    scores: Scores | None,
    further: Further | None,
    piece: tuple[int, pl.DataFrame],
) -> Count:
    before, frame = piece
    rows, loss = rows_of(frame, columns), question.loss
    loss.check_labels(rows.label)
    for model, said in zip(question.models, rows.predictions, strict=True):
        loss.check_predictions(model, said, len(rows), before, ids=frame["id"])
    for part in ("amount", "weight"):
        if part in frame.columns:
            check_scale(getattr(rows, part), part, len(rows), name, ids=frame["id"])
    if scores is not None:
        scores.add(rows)
    told = Count.of_rows(rows, question, as_of_us)
    return told if further is None else replace(told, further=further(frame, rows, question, as_of_us))


def _counted_meanwhile(counter: partial[Count], pieces: Iterator[tuple[int, pl.DataFrame]]) -> Iterator[Count]:
    """Count pieces in threads while others are read; no more of them are held than there are threads, and counts are added up as they come."""
    threads = max(1, int(allowed_cores()))
    waiting: deque[Future[Count]] = deque()
    so_far: list[Count] = []
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            waiting.append(pool.submit(counter, piece))
            if len(waiting) > threads:
                so_far = [Count.of([*so_far, waiting.popleft().result()])]
        so_far += [each.result() for each in waiting]
    yield from so_far


def _span_of(columns: Columns, piece: Piece) -> tuple[int, int]:
    """The first request of a piece, and the last moment that it tells anything about."""
    named = list(dict.fromkeys([columns.time, columns.label_time or columns.time]))
    table = read_columns(piece.file, named, piece.start, piece.rows)
    time_us, known_us = _clocks(table, columns, piece.file)
    first_us, _, last_us = span_of(time_us, known_us)
    return int(first_us), int(last_us)


def _counted(pieces: Sequence[Piece], reading: Reading, workers: Workers | None) -> tuple[Reading, Count]:
    """Count all, and once more where it turns out that the looks are others or that ids stand twice."""
    searched = not reading.columns.id
    while True:
        found = count(pieces, reading, workers)
        if not searched and not found.apart:
            searched = True
            reading = replace(reading, repeated=repeated_ids(pieces, reading.columns.id, workers))
            _check_aside(2 * len(reading.repeated), pieces[0].file, reading.columns.id)
            if len(reading.repeated):
                continue
        found = Count.of([found, *_settled(found.aside, reading)])
        assert found.tally is not None
        question = replace(reading.question, first_us=first_look_us(found.tally.first_us))
        as_of_us = None if reading.as_of_us is None else _last_look_us(question, found.tally.last_us)
        if (question.first_us, as_of_us) == (reading.question.first_us, reading.as_of_us):
            return reading, found
        reading = replace(reading, question=question, as_of_us=as_of_us)


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
    if not len(table):
        return Count(None, (span,), aside)
    found = Count.of_rows(rows_in(table, piece, reading), reading.question, reading.as_of_us)
    return replace(found, spans=(span,), aside=aside)


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


def _settled(aside: Sequence[tuple[Piece, pl.DataFrame]], reading: Reading) -> list[Count]:
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
    told = rows.versions_of(earliest, rows.known_us[kept], rows.label[kept], until_us, first)
    return [Count.of_rows(told, reading.question, reading.as_of_us)]


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
    time_us, known_us = _clocks(table, parts, file)
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
    ids = table[parts.id] if parts.id else pl.int_range(piece.before, piece.before + piece.rows, eager=True)
    amount, weight = (
        _scale(table, column, part, file) for part, column in (("amount", reading.amount), ("weight", reading.weight))
    )
    return Rows(
        time_us, known_us, label, predictions, halves(ids.cast(kind_of_ids(ids.dtype))), amount=amount, weight=weight
    )


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


def _clocks(table: pl.DataFrame, parts: Columns, file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When requests were asked and labels known, int64 [rows] each."""
    known = timestamps_of(take_column(table, parts.label_time or parts.time, file=file), file=file)
    return _clock(table, parts.time, file), known.dt.timestamp("us").fill_null(NEVER_US).to_numpy()


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
