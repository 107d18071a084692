"""windtunnel's own log, the schema of record: what `windtunnel serve --log` writes and a backtest reads as it is.

One row a request, in Parquet: `id` (text, unique), `time` (µs, UTC: when it was received), `model` and `version` (text: who answered), `latency_s`
(float64: from received to answered), `prediction` (float64: the number it answered with; `prediction[0]`, `prediction[1]`, … of classes),
`prediction.NAME` for a model that ran in the shadow, and the features under their own names. Labels come later and lie
elsewhere: see `LabelSource`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .format import Format
from .tables import read

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG: Mapping[str, pl.DataType] = {
    "id": pl.String(), "time": pl.Datetime("us", "UTC"), "model": pl.String(), "version": pl.String(), "latency_s": pl.Float64(),
}  # fmt: skip
"""The columns that every log has."""

OWN = Format(
    "windtunnel", "Parquet with id, time, model, version, latency_s and prediction",
    lambda names: set(LOG) <= names and any(name.split("[")[0].split(".")[0] == "prediction" for name in names),
    {"id": "id", "time": "time", "model_version": "version"}, read,
)  # fmt: skip
