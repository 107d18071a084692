from __future__ import annotations

import ast

import pytest

from windtunnel.batch_settings import batch_settings
from windtunnel.deployment import BatchPolicy


def test_each_server_is_told_the_same() -> None:
    """Ray Serve counts seconds, Triton microseconds, KServe milliseconds; all get the same batch, wait and replicas."""
    told = batch_settings(BatchPolicy(8, 0.0025), 3, (1, 2, 4, 8, 16))
    calls = {
        keyword.arg: ast.literal_eval(keyword.value)
        for node in ast.walk(ast.parse(told["ray_serve.py"]))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }

    assert calls == {"num_replicas": 3, "max_ongoing_requests": 16, "max_batch_size": 8, "batch_wait_timeout_s": 0.0025}
    assert "max_batch_size: 8\n" in told["triton.pbtxt"]
    assert "preferred_batch_size: [2, 4, 8] max_queue_delay_microseconds: 2500 }" in told["triton.pbtxt"]
    # whole milliseconds, rounded up
    assert (
        "    minReplicas: 3\n    maxReplicas: 3\n    batcher:\n      maxBatchSize: 8\n      maxLatency: 3\n"
        in told["kserve.yaml"]
    )


def test_no_wait_is_not_taken_for_the_default() -> None:
    """KServe takes a wait of zero for five seconds: it is told a millisecond, the least it knows."""
    assert "maxLatency: 1\n" in batch_settings(BatchPolicy(8, 0.0), 1)["kserve.yaml"]


@pytest.mark.parametrize("name", ["triton.pbtxt", "kserve.yaml"])
def test_a_batch_of_one_is_no_batching(name: str) -> None:
    """Where the best batch is one request no batcher is asked for."""
    assert "batcher:" not in batch_settings(BatchPolicy(1, 0.0), 1)[name]
    assert "dynamic_batching" not in batch_settings(BatchPolicy(1, 0.0), 1)[name]
