"""Refusals in the user's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.backtest.reading import UserNames, naming_inputs
from windtunnel.errors import ConfigError, DataError, InputError, ModelError

HOME = Path("/home/me")
NAMES = UserNames(
    HOME, "b.toml", ("metric", "drift"), {"label": "late", "label_time": "at", "new": "p_new", "weight": "weight"},
    "log.csv", "labels.csv", {"/home/me/run/labels.parquet": "mine.py:labels"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("is odd", file="/home/me/logs/a.csv", field="km"), "logs/a.csv: `km` is odd"),
        (DataError("is odd", file="/elsewhere/a.csv"), "/elsewhere/a.csv: is odd"),
        (DataError("is odd", file="log.csv", field="label_time"), "labels.csv: `at` (label_time) is odd"),
        (DataError("is odd", field="label", value=2.0), "labels.csv: `late` (label) (=2.0) is odd"),
        (DataError("is odd", field="new"), "log.csv: `p_new` (new) is odd"),
        (DataError("is odd", field="weight"), "log.csv: `weight` is odd"),
        (DataError("is odd", file="/home/me/run/labels.parquet"), "mine.py:labels: is odd"),
        (ConfigError("is odd", field="drift.rate"), "b.toml: `backtest.drift.rate` is odd"),
        (ConfigError("is odd", field="burn-in"), "`burn-in` is odd"),
        (ModelError("is odd", file="new.onnx", field="label"), "new.onnx: `label` is odd"),
    ],
)
def test_words(error: InputError, told: str) -> None:
    """Files are named from the configuration's folder, columns as in the file, keys with their section; others stay."""
    with pytest.raises(type(error)) as raised, NAMES.in_refusals():
        raise error

    assert str(raised.value) == told


def test_other_columns_are_no_inputs() -> None:
    """Only a column that a model wants is said to be its input, and a part that has been named stays."""
    for error in (DataError("is odd", field="hour"), DataError("is odd", field="km", role="label")):
        with pytest.raises(DataError) as raised, naming_inputs({"km": "new.onnx"}):
            raise error

        assert raised.value is error
