"""Databricks inference tables: a row a request, of which a share may have been recorded.

Columns `client_request_id,databricks_request_id,date,timestamp_ms,status_code,execution_time_ms,request,response,
sampling_fraction,request_metadata`; those of the AI gateway have `request_time` (a time stamp) and `execution_duration_ms`. Both
mark when the request was received. A row with `sampling_fraction` f stands for 1/f requests: `make_up` in `rows.py` adds the
others at random between their neighbours. As CSV, JSON lines or Parquet; of a Delta table, give the Parquet files joined.
Source: docs.databricks.com, "Inference tables for monitoring and debugging models", schema of the table.
"""

from __future__ import annotations

from .flat import Flat

DATABRICKS = Flat(
    "databricks", frozenset({"databricks_request_id", "timestamp_ms", "execution_time_ms"}), "timestamp_ms", "ms",
    "execution_time_ms", "ms", columns={"status": "status_code"}, identity="databricks_request_id",
    sampling="sampling_fraction",
)  # fmt: skip

DATABRICKS_GATEWAY = Flat(
    "databricks-gateway", frozenset({"databricks_request_id", "request_time", "execution_duration_ms"}), "request_time", "",
    "execution_duration_ms", "ms", columns={"status": "status_code", "key": "served_entity_id"},
    identity="databricks_request_id", sampling="sampling_fraction",
)  # fmt: skip
