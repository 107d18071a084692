"""Locust's request log: a row a request, stamped when it was sent.

Columns `timestamp,request_type,name,response_time_ms,response_length,status_code,exception`; `timestamp` in seconds since 1970 to
the microsecond, at sending (`start_time`), so nothing is subtracted though rows are written at the end. `key` numbers the
names. These are the arrivals that a load test *made*: a closed loop of users, not traffic.
Source: locust 2.46, `locust/contrib/csv_request_logger.py`.
"""

from __future__ import annotations

from .flat import Flat

LOCUST = Flat(
    "locust", frozenset({"timestamp", "request_type", "name", "response_time_ms"}), "timestamp", "s",
    "response_time_ms", "ms", columns={"key": "name", "bytes": "response_length", "status": "status_code"},
)  # fmt: skip
