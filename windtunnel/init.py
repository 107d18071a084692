"""Writing a first windtunnel.toml for a model and a recording, from what the two say of themselves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import write_atomically
from windtunnel.errors import ConfigError, DataError
from windtunnel.feed import feed_table
from windtunnel.quantity import format_duration
from windtunnel.recording import Columns, Recording
from windtunnel.source import is_function, load_function
from windtunnel.table import read_table, take_column

if TYPE_CHECKING:
    import polars as pl

    from windtunnel.variant import Signature

TIMES = ("asked_at", "time", "timestamp", "request_time", "created_at", "ts")
LABELS = ("label", "target", "y", "outcome", "actual")
LABEL_TIMES = ("label_time", "known_at", "labelled_at", "label_ts", "resolved_at")
EVERY = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))
"""How far apart looks may be; the longest of which thirty fit into the recording."""
IDS = ("id", "request_id", "event_id")

TEMPLATE = """\
# Written by `windtunnel init`. Every key that is not here has a default: see docs/configuration.md.
name = {name}
seed = 1

[recording]
source = {data}
develop_until = {until}  # the model is made from what was known before; the backtest starts here
holdout = "{holdout}"  # the end of that past, which no step learns from: quality is proven on it

[recording.columns]
{id}time = {time}
label = {label}
label_time = {label_time}  # null: never

[model]
{kind} = {model}

[optimize]
metric = "{metric}"
max_drop = 0.01  # a variant may lose so much, at the far end of its interval
batch = [1, 32]

[benchmark]
batch = [1, 2, 4, 8, 16, 32]
hardware = ["azure:D2s_v5", "aws:c6i.2xlarge", "aws:g5.xlarge"]

[simulate]
slo = "p99<=50ms"
hardware = "azure:D2s_v5"
replicas = [1, 2, 3, 4]
max_batch = [1, 2, 4, 8, 16, 32]
max_wait = ["0ms", "1ms", "2ms", "5ms", "10ms"]

[backtest]
metric = "{loss}"
every = "{every}"
max_loss = 0.01  # a candidate may be so much worse, at the far end of its interval
horizon = "{horizon}"  # a label not known by then has expired
"""


@dataclass(frozen=True)
class Cut:
    """Where the recording's past ends and how it is looked at: chosen so that every part has something in it.

    Args:
        holdout: the end of the past, on which quality is proven.
        horizon: after which a label has expired.
        every: how far apart the backtest's looks are.
    """

    holdout: timedelta
    horizon: timedelta
    every: timedelta


def write_config(
    model: str,
    data: Path,
    out: Path,
    *,
    time: str = "",
    label: str = "",
    label_time: str = "",
    identity: str = "",
    fit: bool = False,
) -> dict[str, Any]:
    """Write a configuration that runs as it stands, or refuse and say which column to name.

    Args:
        model: an ONNX file, or a function.
        data: the recording.
        out: the file to write; never overwritten.
        time: the column of questions; guessed by name and dtype where empty.
        label: the column of labels; guessed likewise.
        label_time: the column that says when a label was known.
        identity: the column that names requests.
        fit: whether the function takes rows and a seed.

    Returns:
        The JSON document: the file that was written, and the column that was taken for each part.

    Raises:
        ConfigError: `out` exists, or the function cannot be loaded.
        ModelError: the ONNX file is not whole.
        DataError: a column cannot be told, the recording cannot be used, or the model cannot be fed from it.
    """
    if out.exists():
        raise ConfigError("exists", field="--out", value=str(out), fix="choose another file, or remove it")
    signature = _look_at(model, fit=fit)
    table = read_table(data)
    columns = Columns(
        _tell(table, time, TIMES, "--time", data), _identity(table, identity, data), _tell(table, label, LABELS, "--label", data),
        _tell(table, label_time, LABEL_TIMES, "--label-time", data),
    )  # fmt: skip
    recording = Recording.from_table(table, columns, name=data.stem, file=data)
    if signature is not None:
        feed_table(recording.features.head(1), signature, file=data)
    text = _fill(recording, columns, model, data, out, fit=fit)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    parts = {"time": columns.time, "id": columns.id, "label": columns.label, "label_time": columns.label_time}
    return {"schema": "windtunnel.init/1", "file": str(out), "columns": parts, "requests": len(recording)}


def _look_at(model: str, *, fit: bool) -> Signature | None:
    """What an ONNX file takes; of a function only that it can be loaded."""
    if is_function(model):
        load_function(model, Path())
        return None
    if fit:
        raise ConfigError("needs a function", field="--fit", value=model, fix="write module.py:function as MODEL")
    from windtunnel.variant import Variant

    return Variant.from_file(Path(model)).signature


def _identity(table: pl.DataFrame, given: str, file: Path) -> str:
    if given:
        take_column(table, given, file=file)
    return given or _first(table, IDS)


def _first(table: pl.DataFrame, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in table.columns), "")


def _tell(table: pl.DataFrame, given: str, names: tuple[str, ...], option: str, file: Path) -> str:
    """The column that was given, or the first that has one of the usual names."""
    if given:
        take_column(table, given, file=file)
        return given
    found = _first(table, names)
    if not found:
        raise DataError(f"cannot be told: no column is called {', '.join(names)}", file=file, field=option,
                        fix=f"name it with {option} (the columns are: {', '.join(table.columns)})")  # fmt: skip
    return found


def _fill(recording: Recording, columns: Columns, model: str, data: Path, out: Path, *, fit: bool) -> str:
    labels = recording.frame["label"].drop_nulls()
    binary = bool(labels.is_in([0.0, 1.0]).all())
    until = recording.start + (recording.end - recording.start) / 3
    cut, home = _cut(recording, data), out.resolve().parent
    return TEMPLATE.format(
        name=_quote(data.stem), data=_quote(_relative(str(data), home)), until=until.isoformat(timespec="milliseconds"),
        holdout=_period(cut.holdout), time=_quote(columns.time), label=_quote(columns.label),
        label_time=_quote(columns.label_time), id=f"id = {_quote(columns.id)}\n" if columns.id else "",
        kind="fit" if fit else "factory" if is_function(model) else "path", model=_quote(_relative(model, home)),
        metric="roc_auc" if binary else "mae", loss="log_loss" if binary else "absolute_error",
        horizon=_period(cut.horizon), every=_period(cut.every),
    )  # fmt: skip


def _cut(recording: Recording, file: Path) -> Cut:
    """Hold out the last fifth of the past, and as much more as the slow labels take.

    Raises:
        DataError: no label ever came, or they take too long to come for a recording of this length.
    """
    delays = (recording.frame["label_time"] - recording.frame["time"]).drop_nulls()
    slow_us = delays.dt.total_microseconds().quantile(0.99)
    if slow_us is None:
        raise DataError("has no label that ever came", file=file, fix="record until some have come")
    span, slow = recording.end - recording.start, timedelta(microseconds=slow_us)
    holdout = span / 15 + slow
    until = recording.start + span / 3
    past = recording.asked_between(end=until - holdout).known_before(until - holdout)
    held = recording.asked_between(until - holdout, until).known_before(until)
    if min(len(past), len(held)) < 2:
        raise DataError(
            f"is too short: it spans {_shown(span)}, and labels take up to {_shown(slow)} to come",
            file=file,
            fix="record longer",
        )
    every = next((each for each in EVERY if span > 30 * each), EVERY[-1])
    return Cut(holdout, max(2 * slow, every), every)


def _shown(period: timedelta) -> str:
    """A period for people."""
    return format_duration(period.total_seconds())


def _period(period: timedelta) -> str:
    """A period as the configuration writes it, rounded up, in the largest unit that tells it well enough.

    Example:
        >>> _period(timedelta(days=1)), _period(timedelta(minutes=1)), _period(timedelta(minutes=101, seconds=1))
        ('24h', '1m', '102m')
    """
    seconds = period.total_seconds()
    size, unit = next(
        (size, unit)
        for size, unit in ((3600, "h"), (60, "m"), (1, "s"))
        if seconds >= 10 * size or seconds % size == 0 or size == 1
    )
    return f"{math.ceil(seconds / size)}{unit}"


def _quote(text: str) -> str:
    """A text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False)


def _relative(text: str, home: Path) -> str:
    """A path as it is seen from the configuration's folder; a function's file likewise."""
    import os

    place, colon, name = text.rpartition(":") if is_function(text) else (text, "", "")
    if is_function(text) and not place.endswith(".py"):
        return text
    return Path(os.path.relpath(Path(place).resolve(), home)).as_posix() + colon + name
