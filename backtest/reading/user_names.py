"""What the user calls things, so that a refusal speaks of their columns and their files, and not of ours."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, DataError, InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

LABELLING = ("label", "label_time", "label_event_time", "label_version", "labels.id")
"""The parts that a table of labels has, where there is one."""


@contextlib.contextmanager
def naming_inputs(inputs: Mapping[str, str]) -> Iterator[None]:
    """Let refusals of a column say which model wants it, where no one else does.

    Args:
        inputs: by column, the model that is fed from it.

    Example:
        >>> with naming_inputs({"km": "new.onnx"}):
        ...     raise DataError("is not a column", file="log.csv", field="km")
        Traceback (most recent call last):
        windtunnel.errors.DataError: log.csv: `km` (input of new.onnx) is not a column
    """
    try:
        yield
    except DataError as error:
        if error.role or error.field not in inputs:
            raise
        role = f"input of {inputs[error.field]}"
        raise DataError(
            error.problem, file=error.file, field=error.field, value=error.value, fix=error.fix, role=role
        ) from error


@dataclass(frozen=True)
class UserNames:
    """The user's words for parts and places.

    Args:
        home: the folder of the configuration; what lies below it is named from there.
        config: the configuration, as it was named.
        keys: the keys of its `[backtest]`, by which a refusal of a key is known.
        columns: by part or model, the column that plays it, or several by commas.
        recording: as it was written.
        labels: the table of labels, as it was written; empty where labels stand in the recording.
        places: what was laid down as a file of ours, by its path: what it is called.

    Example:
        >>> names = UserNames(Path("/home/me"), "backtest.toml", ("metric",), {"label_time": "known_at"}, "log.csv")
        >>> with names.in_refusals():
        ...     raise DataError("is early", file="/home/me/log.csv", field="label_time")
        Traceback (most recent call last):
        windtunnel.errors.DataError: log.csv: `known_at` (label_time) is early
        >>> with names.in_refusals():
        ...     raise ConfigError("is no mean", field="metric", value="rmse")
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: backtest.toml: `backtest.metric` (='rmse') is no mean
    """

    home: Path
    config: str
    keys: Collection[str]
    columns: Mapping[str, str]
    recording: str
    labels: str = ""
    places: Mapping[str, str] | None = None

    @contextlib.contextmanager
    def in_refusals(self) -> Iterator[None]:
        """Let refusals from within speak in these words."""
        try:
            yield
        except (ConfigError, DataError, ModelError) as error:
            raise self.reworded(error) from error

    def reworded(self, error: InputError) -> InputError:
        """The same refusal in these words."""
        field, role, file = error.field, error.role, self._file(error.file)
        if isinstance(error, ConfigError) and file is None and field.partition(".")[0] in self.keys:
            field, file = f"backtest.{field}", self.config
        if isinstance(error, DataError) and field in self.columns:
            if self.labels and field in LABELLING and file in {None, self.recording}:
                file = self.labels
            file = file or self.recording
            column = self.columns[field]
            field, role = column, field if column != field else ""
        return type(error)(error.problem, file=file, field=field, value=error.value, fix=error.fix, role=role)

    def _file(self, file: Path | str | None) -> str | None:
        if file is None:
            return None
        name = (self.places or {}).get(str(file), str(file))
        return str(Path(name).relative_to(self.home)) if Path(name).is_relative_to(self.home) else name
