"""Writing a first windtunnel.toml for a model and a recording, from what the two say of themselves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.digest import write_atomically
from windtunnel.errors import ConfigError, DataError
from windtunnel.recording import Columns, Recording
from windtunnel.source import is_function, load_function
from windtunnel.table import read_table, take_column

if TYPE_CHECKING:
    import polars as pl

TIMES = ("asked_at", "time", "timestamp", "request_time", "created_at", "ts")
LABELS = ("label", "target", "y", "outcome", "actual")
LABEL_TIMES = ("label_time", "known_at", "labelled_at", "label_ts", "resolved_at")
IDS = ("id", "request_id", "event_id")

TEMPLATE = """\
# Written by `windtunnel init`. Every key that is not here has a default: see docs/configuration.md.
name = "{name}"
seed = 1

[recording]
source = "{data}"
develop_until = {until}  # the model is made from what was known before; the backtest starts here
holdout = "{holdout}"  # the end of that past, which no step learns from: quality is proven on it

[recording.columns]
{id}time = "{time}"
label = "{label}"
label_time = "{label_time}"  # null: never

[model]
{kind} = "{model}"

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
max_loss = 0.01  # a candidate may be so much worse, at the far end of its interval
horizon = "{horizon}"  # a label not known by then has expired
"""


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
) -> None:
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

    Raises:
        ConfigError: `out` exists, or the function cannot be loaded.
        DataError: a column cannot be told, or the recording cannot be used.
    """
    if out.exists():
        raise ConfigError("exists", field="--out", value=str(out), fix="choose another file, or remove it")
    _check_model(model)
    table = read_table(data)
    columns = Columns(
        _tell(table, time, TIMES, "--time", data), identity or _first(table, IDS), _tell(table, label, LABELS, "--label", data),
        _tell(table, label_time, LABEL_TIMES, "--label-time", data),
    )  # fmt: skip
    recording = Recording.from_table(table, columns, name=data.stem, file=data)
    text = _fill(recording, columns, model, data, out, fit=fit)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)


def _check_model(model: str) -> None:
    if is_function(model):
        load_function(model, Path.cwd())
    else:
        from windtunnel.variant import Variant

        Variant.from_file(Path(model))


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
    span = recording.end - recording.start
    labels = recording.frame["label"].drop_nulls()
    binary = bool(labels.is_in([0.0, 1.0]).all())
    delays = (recording.frame["label_time"] - recording.frame["time"]).drop_nulls()
    slowest = delays.quantile(0.99) if len(delays) else None
    horizon_h = max(1, round(slowest.total_seconds() * 2 / 3600)) if isinstance(slowest, timedelta) else 24
    home = out.resolve().parent
    return TEMPLATE.format(
        name=data.stem, data=_relative(str(data), home), until=(recording.start + span / 3).isoformat(timespec="seconds"),
        holdout=f"{max(1, round(span.total_seconds() / 15 / 3600))}h", time=columns.time, label=columns.label,
        label_time=columns.label_time, id=f'id = "{columns.id}"\n' if columns.id else "",
        kind="fit" if fit else "factory" if is_function(model) else "path", model=_relative(model, home),
        metric="roc_auc" if binary else "mae", loss="log_loss" if binary else "absolute_error", horizon=f"{horizon_h}h",
    )  # fmt: skip


def _relative(text: str, home: Path) -> str:
    """A path as it is seen from the configuration's folder; a function's file likewise."""
    import os

    place, colon, name = text.rpartition(":") if is_function(text) else (text, "", "")
    if is_function(text) and not place.endswith(".py"):
        return text
    return Path(os.path.relpath(Path(place).resolve(), home)).as_posix() + colon + name
