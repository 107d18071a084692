"""`windtunnel backtest`: logged predictions, judged as their labels came."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import digest_sources, read_source

from .alone import Done, run_alone

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.backtest import LeakCheck
    from windtunnel.config import BacktestFile
    from windtunnel.recording import Recording
    from windtunnel.report.section import Section
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


def backtest(
    file: Path, *, out: Path | None = None, seed: int = 1, leak_test: bool = False, progress: Progress = SILENT
) -> Done:
    """Replay a recording with logged predictions, as a `backtest.toml` asks.

    Args:
        file: the configuration; see docs/configuration.md.
        out: the run folder.
        seed: of the leak test.
        leak_test: whether to prove that nothing was known too early.
        progress: a line at the start and at the end.
    """
    from windtunnel.config import read_backtest

    config, home = read_backtest(file), file.resolve().parent
    inputs = digest_sources([config.recording], home)
    make = partial(_backtest, config=config, home=home, leaks=leak_test, seeds=Seeds(seed))
    parameters = {**config.model_dump(mode="json"), "leak_test": leak_test}
    return run_alone("backtest", out, parameters, inputs, make, seed=seed, progress=progress)


def _backtest(
    _work: Path, *, config: BacktestFile, home: Path, leaks: bool, seeds: Seeds
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.backtest import backtest as replay
    from windtunnel.backtest import draw, leak_test
    from windtunnel.recording import Columns, Recording

    columns = config.columns
    table = read_source(config.recording, home)
    parts = Columns(columns.time, columns.id, columns.label, columns.label_time)
    recording = Recording.from_table(table, parts, name=config.recording, file=config.recording)
    predictions = {name: _logged(recording, column, config.recording) for name, column in columns.predictions.items()}
    run = partial(
        replay, incumbent=config.incumbent, candidates=list(config.candidates), metric=config.metric, every_s=config.every,
        horizon_s=config.horizon, max_loss=config.max_loss, level=config.level,
    )  # fmt: skip
    compared = run(recording, predictions)
    result = compared.to_dict()
    section = draw(compared)
    if leaks:
        checks = leak_test(recording, predictions, run, seeds.stream("labels"))
        result["leak_test"] = {
            "passed": all(check.passed for check in checks),
            "checks": [_checked(check) for check in checks],
        }
        told = "passed" if result["leak_test"]["passed"] else "FAILED"
        section = replace(section, sentences=(*section.sentences, f"leak test {told}: {len(checks)} checks"))
    return result, section, compared.verdict


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
