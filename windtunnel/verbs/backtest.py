"""`windtunnel backtest`: logged predictions, judged as their labels came."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, DataError
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import digest_sources, is_function, read_source

from .alone import Done, run_alone

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.backtest import Comparison, LeakCheck
    from windtunnel.config import BacktestFile
    from windtunnel.fanout import Workers
    from windtunnel.loss import Loss
    from windtunnel.recording import Columns, Recording
    from windtunnel.report.section import Section
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]

MOST_HELD = 4_000_000
"""A recording of more rows is read in pieces: whole it would take some gigabytes."""


def backtest(
    file: Path,
    *,
    out: Path | None = None,
    seed: int = 1,
    leak_test: bool = False,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Replay a recording with logged predictions, as a `backtest.toml` asks.

    Args:
        file: the configuration; see docs/configuration.md.
        out: the run folder.
        seed: of the leak test.
        leak_test: whether to prove that nothing was known too early.
        workers: who reads a recording that is larger than memory.
        progress: a line at the start and at the end.
    """
    from windtunnel.config import read_backtest

    config, home = read_backtest(file), file.resolve().parent
    files = _files(config.recording, home)
    inputs = digest_sources([config.recording] if is_function(config.recording) else list(map(str, files)), home)
    make = partial(
        _backtest, config=config, home=home, files=files, leaks=leak_test, seeds=Seeds(seed), workers=workers
    )
    parameters = {**config.model_dump(mode="json"), "leak_test": leak_test}
    return run_alone("backtest", out, parameters, inputs, make, seed=seed, progress=progress)


def _files(recording: str, home: Path) -> list[Path]:
    """The files that a recording is in, relative to the configuration: itself, all Parquet below a folder, or what a glob means."""
    if is_function(recording):
        return []
    place = home / recording
    found = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
    if not place.exists() and any(mark in recording for mark in "*?["):
        found = sorted(home.glob(recording))
    if not found:
        raise DataError("holds no file", file=recording, fix="give a Parquet file, a folder of them, or a glob")
    return [path.relative_to(home) if path.is_relative_to(home) else path for path in found]


def _backtest(
    _work: Path,
    *,
    config: BacktestFile,
    home: Path,
    files: list[Path],
    leaks: bool,
    seeds: Seeds,
    workers: Workers | None,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.backtest import draw
    from windtunnel.recording import Columns

    columns = config.columns
    parts = Columns(columns.time, columns.id, columns.label, columns.label_time)
    checks: tuple[LeakCheck, ...] = ()
    if _rows(files, home) > MOST_HELD:
        if leaks:
            raise ConfigError(
                f"is asked of a recording of more than {MOST_HELD:,} rows", field="--leak-test", fix="test a part of it"
            )
        compared = _streamed(config, parts, [home / file for file in files], workers)
    else:
        compared, checks = _held(config, parts, home, files, seeds if leaks else None)
    result, section = compared.to_dict(), draw(compared)
    if leaks:
        passed = all(check.passed for check in checks)
        result["leak_test"] = {"passed": passed, "checks": [_checked(check) for check in checks]}
        told = f"leak test {'passed' if passed else 'FAILED'}: {len(checks)} checks"
        section = replace(section, sentences=(*section.sentences, told))
    return result, section, compared.verdict


def _rows(files: list[Path], home: Path) -> int:
    """How many rows some files hold, where that can be told without reading them; else zero."""
    from windtunnel.backtest import pieces_of

    if not files or any(file.suffix != ".parquet" or not (home / file).exists() for file in files):
        return 0
    return sum(piece.rows for piece in pieces_of([home / file for file in files]))


def _judged(config: BacktestFile) -> dict[str, Any]:
    """What is asked, however the recording is read."""
    from windtunnel.loss import cost_loss, loss_named

    loss: Loss = cost_loss(config.cost, config.threshold) if config.cost is not None else loss_named(config.metric)
    return {
        "incumbent": config.incumbent, "candidates": list(config.candidates), "metric": loss, "every_s": config.every,
        "horizon_s": config.horizon, "max_loss": config.max_loss, "level": config.level,
    }  # fmt: skip


def _streamed(config: BacktestFile, parts: Columns, files: list[Path], workers: Workers | None) -> Comparison:
    """Judge a recording larger than memory."""
    from windtunnel.backtest import backtest_files

    return backtest_files(
        files, parts, config.columns.predictions, name=config.recording, workers=workers, **_judged(config)
    )


def _held(
    config: BacktestFile, parts: Columns, home: Path, files: list[Path], seeds: Seeds | None
) -> tuple[Comparison, tuple[LeakCheck, ...]]:
    """Judge a recording that is held whole, and test it for leaks where seeds for that are given."""
    from windtunnel.backtest import backtest as replay
    from windtunnel.backtest import leak_test
    from windtunnel.recording import Recording

    name = config.recording
    table, corrections = _parted(_table(name, home, files), parts, name)
    recording = Recording.from_table(table, parts, name=name, file=name)
    predictions = {model: _logged(recording, column, name) for model, column in config.columns.predictions.items()}
    run: Any = partial(replay, **_judged(config))
    compared = run(recording, predictions, corrections=corrections)
    if seeds is None:
        return compared, ()
    return compared, leak_test(recording, predictions, run, seeds.stream("labels"), corrections=corrections)


def _table(name: str, home: Path, files: list[Path]) -> pl.DataFrame:
    """The recording as one table."""
    import polars as pl

    if len(files) < 2:
        return read_source(str(files[0]) if files else name, home)
    tables = [read_source(str(file), home) for file in files]
    for file, table in zip(files, tables, strict=True):
        if table.schema != tables[0].schema:
            raise DataError("has other columns than the first file", file=file, fix="give files of one form")
    return pl.concat(tables)


def _parted(table: pl.DataFrame, parts: Columns, file: str) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The first version of each label, and the later ones as corrections: rows of one id and one time, known at different times."""
    import polars as pl

    from windtunnel.table import take_column, timestamps_of

    if (
        not parts.id
        or not parts.label
        or not parts.label_time
        or take_column(table, parts.id, file=file).is_unique().all()
    ):
        return table, None
    known = timestamps_of(take_column(table, parts.label_time, file=file), file=file)
    times = take_column(table, parts.time, file=file)
    rows = pl.DataFrame(
        {"id": table[parts.id], "time": times, "known": known, "label": take_column(table, parts.label, file=file)}
    )
    again = pl.struct("id", "time")
    marked = rows.with_columns(
        earliest=pl.col("known").rank("ordinal").over("id", "time").fill_null(1) == 1,
        versions=pl.col("known").is_not_null().all().over("id", "time")
        & (pl.col("known").n_unique().over("id", "time") == again.len().over("id", "time")),
    )
    # what stands twice without being a version of one label is left where it is, and refused as a repeated id
    first = marked["earliest"] | ~marked["versions"]
    later = marked.filter(~first).select(
        pl.col("id"), pl.col("label").cast(pl.Float64), pl.col("known").alias("label_time")
    )
    return table.filter(first), later


def _checked(check: LeakCheck) -> dict[str, Any]:
    return {
        "as_of": check.as_of.isoformat(), "change": check.change, "labels": check.labels, "looks": check.looks,
        "moved": check.moved, "passed": check.passed,
    }  # fmt: skip


def _logged(recording: Recording, column: str, file: str) -> NDArray[np.float64]:
    from windtunnel.table import take_column

    values = take_column(recording.frame, column, file=file)
    if not values.dtype.is_numeric() or values.null_count():
        raise DataError(
            "is not a number in every row", file=file, field=column, fix="a logged prediction is a float, never null"
        )
    array: NDArray[np.float64] = values.cast(float).to_numpy()
    return array
