"""The leak test of a recording larger than memory: some of its requests, whole, through the very code that reads files in pieces."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME, Columns, Recording
from windtunnel.table import take_column, timestamps_of

from .leak import LeakCheck, leak_test
from .reading.repeats import hashes_of
from .stream import Piece, backtest_files, pieces_of, read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .comparison import Comparison

    Floats = NDArray[np.float64]

SAMPLE_ROWS = 100_000
"""About so many rows are tested: a leak that moves one request in a thousand still moves a hundred."""

SAMPLE_PIECES = 7
"""The sample is read in so many pieces, so that what goes from piece to piece is tested too."""

OURS = Columns(TIME, ID, LABEL, LABEL_TIME)


def leak_test_files(
    files: Sequence[Path],
    columns: Columns,
    predictions: Mapping[str, str | Sequence[str]],
    rng: np.random.Generator,
    *,
    name: str,
    rows: int = SAMPLE_ROWS,
    times: int = 5,
    amount: str = "",
    weight: str = "",
    **settings: Any,
) -> tuple[tuple[LeakCheck, ...], float]:
    """Take some requests with all versions of their labels, change everything known after a look, and judge them as files again.

    Which requests is decided by their ids alone, so that neither order nor labels has a say in it.

    Args:
        files: Parquet files with the same columns.
        columns: which columns play which part.
        predictions: the column of each model's logged predictions, or its columns, one a class.
        rng: chooses the looks and what stands in place of the future.
        name: the recording's.
        rows: about how many rows to take.
        times: how many looks.
        amount: as `backtest_files` takes it, as is `weight`.
        weight: see there.
        settings: what else `backtest_files` is asked, such as its metric.

    Returns:
        The checks, and the share of the recording that was tested.

    Raises:
        DataError: what `backtest_files` refuses, or no look between the first and the last request taken.
    """
    pieces = pieces_of(files)
    parts = max(1, sum(piece.rows for piece in pieces) // rows)
    models = {model: (each,) if isinstance(each, str) else tuple(each) for model, each in predictions.items()}
    named = [*(each for group in models.values() for each in group), *filter(None, (amount, weight))]
    logged = {each: f"logged {each}" for each in named}
    taken = pl.concat([_taken(piece, columns, logged, parts) for piece in pieces])
    if taken.is_empty():
        raise DataError("has no request in the sample that is tested", file=name, fix="test a larger recording")
    first, later = _parted(taken)
    recording = Recording.from_table(first.drop(*logged.values()), OURS, name=name, file=name)
    said = {
        model: np.stack([first[logged[each]].cast(pl.Float64).to_numpy() for each in group], axis=1)
        for model, group in models.items()
    }
    scales = {part: first[logged[each]] for part, each in (("amount", amount), ("weight", weight)) if each}
    run = partial(_streamed, scales=scales, settings=settings)
    return leak_test(recording, said, run, rng, times, later), 1.0 / parts


def _taken(piece: Piece, columns: Columns, logged: Mapping[str, str], parts: int) -> pl.DataFrame:
    """The rows of a piece whose ids are taken, with our names for what has a part and for what was logged, lest the two clash."""
    wanted = [columns.time, columns.label, columns.label_time, columns.id, *logged]
    table = read_columns(piece.file, list(dict.fromkeys(filter(None, wanted))), piece.start, piece.rows)
    ids = table[columns.id] if columns.id else pl.Series(range(piece.before, piece.before + piece.rows), dtype=pl.Int64)
    known = timestamps_of(take_column(table, columns.label_time or columns.time, file=piece.file), file=piece.file)
    ours = {
        ID: ids, TIME: timestamps_of(table[columns.time], file=piece.file), LABEL: table[columns.label].cast(pl.Float64),
        LABEL_TIME: known,
    }  # fmt: skip
    chosen = pl.Series(hashes_of(ids) % np.uint64(parts) == 0)
    return (
        pl.DataFrame([each.alias(part) for part, each in ours.items()])
        .hstack(table.select(**{alias: pl.col(theirs) for theirs, alias in logged.items()}))
        .filter(chosen)
    )


def _parted(taken: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The first version of each label in order of requests, and the later ones."""
    ordered = taken.sort(TIME, ID, LABEL_TIME, nulls_last=True, maintain_order=True)
    first = ordered.select(again=pl.col(ID).is_first_distinct())["again"]
    later = ordered.filter(~first).select(ID, LABEL, LABEL_TIME)
    return ordered.filter(first), None if later.is_empty() else later


def _streamed(
    recording: Recording,
    predictions: Mapping[str, Floats],
    corrections: pl.DataFrame | None = None,
    *,
    scales: Mapping[str, pl.Series],
    settings: Mapping[str, Any],
) -> Comparison:
    """Write it down and judge it in pieces."""
    columns = {model: [f"{model}[{place}]" for place in range(each.shape[1])] for model, each in predictions.items()}
    logged = [
        pl.Series(name, predictions[model][:, place])
        for model, names in columns.items()
        for place, name in enumerate(names)
    ]
    frame = recording.frame.with_columns(*logged, *(each.alias(part) for part, each in scales.items()))
    if corrections is not None:
        later = corrections.join(frame.drop(LABEL, LABEL_TIME), on=ID, maintain_order="left")
        frame = pl.concat([frame, later], how="diagonal_relaxed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sample.parquet"
        frame.write_parquet(file)
        return backtest_files(
            [file], OURS, columns, name=recording.name, piece_rows=-(-len(frame) // SAMPLE_PIECES),
            amount="amount" if "amount" in scales else "", weight="weight" if "weight" in scales else "", **settings,
        )  # fmt: skip
