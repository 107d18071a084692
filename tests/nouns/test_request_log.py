from __future__ import annotations

import numpy as np

from windtunnel.request_log import COMPLETED, RequestLog


def _log() -> RequestLog:
    ones = np.ones(3, np.int32)
    return RequestLog(
        scheduled_s=np.array([0.0, 1.0, 2.0]),
        sent_s=np.array([0.0, 1.5, 2.5]),
        started_s=np.array([0.25, 1.75, 3.0]),
        finished_s=np.array([1.0, 2.0, 4.5]),
        replica=ones * 0,
        batch_size=ones,
        attempt=ones * 0,
        status=ones * COMPLETED,
    )


def test_latency_counts_from_the_schedule() -> None:
    """A request that was sent late has waited since it was due: coordinated omission stays visible."""
    log = _log()

    assert log.latency_s.tolist() == [1.0, 1.0, 2.5]
    assert log.wait_s.tolist() == [0.25, 0.75, 1.0]
    assert len(log) == 3


def test_as_a_table() -> None:
    """The table has the log's columns in their order, with their dtypes and values."""
    log = _log()
    frame = log.to_frame()

    assert frame.columns == [
        "scheduled_s", "sent_s", "started_s", "finished_s", "replica", "batch_size", "attempt", "status",
    ]  # fmt: skip
    assert [str(dtype) for dtype in frame.dtypes] == ["Float64"] * 4 + ["Int32"] * 4
    assert frame["finished_s"].to_list() == log.finished_s.tolist()
