from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.deployment import BatchPolicy, Deployment, Slo
from windtunnel.errors import ConfigError


@given(st.integers(1, 999), st.integers(1, 10_000), st.sampled_from(["", " "]))
def test_slo_parse(permille: int, milliseconds: int, gap: str) -> None:
    """A promise is read as a quantile of one and a bound in seconds."""
    slo = Slo.parse(f"p{permille / 10:g}{gap}<={gap}{milliseconds}ms")

    assert math.isclose(permille / 1000, slo.quantile)
    assert math.isclose(milliseconds / 1000, slo.latency_s)


@pytest.mark.parametrize(
    "text",
    ["", "p99", "p99<50ms", "99<=50ms", "p99<=", "p99<=50", "p0<=50ms", "p100<=50ms", "p100.5<=1s", "p-1<=1s",
     "p99<=0ms", "p99<=0", "p99<=-1ms", "p99<=1e400s", "p99>=50ms", "P99<=50ms", "pnan<=1s"],
)  # fmt: skip
def test_slo_refused(text: str) -> None:
    """What is no promise, or one that nothing or anything keeps, is refused."""
    with pytest.raises(ConfigError):
        Slo.parse(text)


def test_slo_as_text() -> None:
    """A promise is written for people as it would be said."""
    assert [str(Slo.parse(text)) for text in ("p99<=50ms", "p99.9<=1.5s", "p50<=1ms")] == [
        "p99 ≤ 50 ms",
        "p99.9 ≤ 1.5 s",
        "p50 ≤ 1 ms",
    ]


@pytest.mark.parametrize(("max_batch", "max_wait_s"), [(0, 0.0), (-1, 0.0), (1, -0.1), (1, math.inf), (1, math.nan)])
def test_batch_policy_refused(max_batch: int, max_wait_s: float) -> None:
    """A policy without room for one request, or with a wait that is no duration, is refused."""
    with pytest.raises(ConfigError, match=r"max_batch|max_wait"):
        BatchPolicy(max_batch, max_wait_s)


def test_deployment() -> None:
    """A deployment says in one line what would be bought; one without replicas is refused."""
    assert (
        str(Deployment("int8", 3, BatchPolicy(8, 0.002), 1, 0.17)) == "3 × int8, batches of up to 8, waiting up to 2 ms"
    )
    assert str(Deployment("int8", 1, BatchPolicy(), 1, 0.17)) == "1 × int8, batches of up to 1, never waiting"
    with pytest.raises(ConfigError, match="replicas"):
        Deployment("int8", 0, BatchPolicy(), 1, 0.17)
