"""Databricks inference tables, of MLflow models behind Model Serving: a row a call, request and response as JSON text.

The older table has `timestamp_ms`, `execution_time_ms` and `date`; that of the AI gateway `request_time`, `execution_duration_ms`,
`served_entity_id`. Both have `databricks_request_id`, `client_request_id`, `status_code`, `request`, `response`, `sampling_fraction`. A row
with `sampling_fraction` f stands for 1/f calls: its `weight`. Calls that failed are left out. Columns here: `id` (the client's where it gave one),
`time`, `weight`, `served_entity_id`, and those of the payloads. Export the table to Parquet, CSV or JSON lines; the files of a Delta
table's own folder also hold what was deleted.
Source: docs.databricks.com, "Inference tables for monitoring and debugging models" and "Monitor served models using AI Gateway-enabled inference
tables", schema of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from .flat import instances, tabled
from .format import Format
from .payload import PayloadError, decode, rows_of
from .plain import columns_of, frames, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .intake import Tally
    from .roles import Wanted

OWN = ("id", "time", "weight", "served_entity_id")
CALL = (
    "client_request_id", "databricks_request_id", "timestamp_ms", "request_time", "status_code", "sampling_fraction",
    "served_entity_id", "request", "response",
)  # fmt: skip
PIECE = 2**15
"""Calls that are taken apart together."""


def read(file: str, wanted: Wanted, rows: int, tally: Tally) -> Iterator[pl.DataFrame]:
    """The calls that were answered."""
    bare = set(wanted.columns) <= {"id"}
    yield from tabled(_calls(file, min(rows, PIECE), tally, bare=bare), wanted, OWN, file)


def _calls(file: str, rows: int, tally: Tally, *, bare: bool) -> Iterator[dict[str, Any]]:
    table = scan(file, texts=("client_request_id", "databricks_request_id", "request", "response"))
    there = [name for name in CALL if name in columns_of(table, file)]
    for piece in frames(table, there, rows, file):
        tally.rows += len(piece)
        for call in piece.with_columns(_time(piece)).iter_rows(named=True):
            yield from _rows(call, tally, bare=bare)


def _time(piece: pl.DataFrame) -> pl.Expr:
    """When each call came, as text in UTC."""
    if "timestamp_ms" in piece.columns:
        time = pl.from_epoch(pl.col("timestamp_ms").cast(pl.Int64), time_unit="ms")
    elif piece["request_time"].dtype == pl.String:
        return pl.col("request_time").alias("time")
    else:
        stamps = pl.col("request_time")
        zoned = getattr(piece["request_time"].dtype, "time_zone", None)
        time = stamps.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else stamps
    return time.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").alias("time")


def _rows(call: dict[str, Any], tally: Tally, *, bare: bool) -> Iterator[dict[str, Any]]:
    if call.get("status_code") not in {None, 200}:
        tally.skip("calls that failed", example=call.get("status_code"))
        return
    share = call.get("sampling_fraction")
    event = {
        "id": str(call.get("client_request_id") or call["databricks_request_id"]), "time": call["time"],
        "weight": 1.0 / share if share else 1.0, "served_entity_id": call.get("served_entity_id"),
    }  # fmt: skip
    if share is not None and share != 1.0:
        tally.say(
            "Only a sample of the calls was recorded: each row's `weight` says how many it stands for; counts are of rows."
        )
    try:
        inputs = rows_of(decode(call.get("request"), "JSON", ""), "input")
        outputs = [] if bare else rows_of(decode(call.get("response"), "JSON", ""), "output", len(inputs))
    except PayloadError:
        tally.skip("calls with a payload that cannot be read", example=call.get("request"), bad=True)
        return
    yield from instances(event, inputs, outputs)


DATABRICKS = Format(
    "databricks", "a table with databricks_request_id, request and response",
    lambda names: {"databricks_request_id", "request", "response"} <= names, {"id": "id", "time": "time", "weight": "weight"}, read,
)  # fmt: skip
