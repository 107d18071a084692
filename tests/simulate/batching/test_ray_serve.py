from __future__ import annotations

import asyncio
import math
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import RayServeBatching, timetable
from windtunnel.simulate.batching.timetable import Compiled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Batches = list[tuple[float, float, tuple[int, ...]]]
    Serve = Callable[..., Batches]

HERE = (sys.version_info[0], sys.version_info[1])
SEEDS = 16
GRID_S = 2.0**-10
"""Ties are exact in floats where every time is a multiple of it; about a millisecond."""


async def wait_for_of_3_12(awaitable: Awaitable[Any], timeout: float) -> Any:  # noqa: ASYNC109  # its signature
    """What asyncio.wait_for does from Python 3.12 on: no task for the wait, unless the timeout is zero."""
    if timeout <= 0:
        return await asyncio.wait_for(awaitable, timeout)
    now_s = asyncio.get_running_loop().time()
    # rounding may leave a wait too short to move the clock: a real one would move meanwhile
    async with asyncio.timeout_at(max(now_s + timeout, math.nextafter(now_s, math.inf))):
        return await awaitable


def ours(arrivals_s: list[float], service_s: list[float], batching: RayServeBatching) -> Batches:
    """The timetable of the simulated queue; a batch takes what its first request says."""
    first = 0

    def service(size: int) -> float:
        nonlocal first
        taken_s, first = service_s[first], first + size
        return taken_s

    assert batching.executors is not None
    batches = timetable(batching, arrivals_s, service, batching.executors)
    return sorted((batch.started_s, batch.finished_s, batch.requests) for batch in batches)


def scenario(seed: int, wait_s: float, *, ties: bool) -> tuple[list[float], list[float], int]:
    """A few dozen requests, in bursts or spread, quick or slow to serve: all kinds of load."""
    rng = random.Random(seed)
    gap_s = rng.choice([0.0005, 0.002, 0.01, 0.04])
    arrivals_s, now_s = [], 0.0
    for _ in range(rng.choice([12, 30, 50])):
        now_s += 0.0 if rng.random() < 0.2 else rng.expovariate(1.0 / gap_s)
        arrivals_s.append(now_s)
    slow_s = rng.choice([0.001, 0.01, 0.05, 0.11])
    service_s = [slow_s * rng.choice([0.3, 1.0, 1.0, 2.5]) for _ in arrivals_s]
    if ties:
        arrivals_s = [round(each / GRID_S) * GRID_S for each in arrivals_s]
        service_s = [max(round(each / GRID_S), 1) * GRID_S for each in service_s]
        service_s = [wait_s if wait_s and rng.random() < 0.1 else each for each in service_s]
    return arrivals_s, service_s, rng.choice([1, 2, 3, 5, 8, 32])


@pytest.mark.parametrize("concurrent", [1, 2])
@pytest.mark.parametrize("wait_ms", [0, 10, 100])
@pytest.mark.parametrize("blocking", [False, True], ids=["awaiting", "blocking"])
@pytest.mark.parametrize("ties", [False, True], ids=["no-ties", "ties"])
def test_batches_are_ray_serves_own(
    ray_batches: Serve, ties: bool, blocking: bool, wait_ms: int, concurrent: int
) -> None:
    """Ray Serve's own queue makes the same batches of the same arrivals, request by request."""
    wait_s = wait_ms * GRID_S if ties else wait_ms / 1000
    for seed in range(SEEDS):
        arrivals_s, service_s, max_batch = scenario(seed, wait_s, ties=ties)
        batching = RayServeBatching(max_batch, wait_s, concurrent, blocking, HERE)

        expected = ray_batches(arrivals_s, service_s, batching)
        actual = ours(arrivals_s, service_s, batching)

        assert [each[2] for each in expected] == [each[2] for each in actual], seed
        assert [each[:2] for each in expected] == [pytest.approx(each[:2], abs=1e-9) for each in actual], seed


@pytest.mark.skipif(HERE >= (3, 12), reason="this Python's own asyncio is the one that is stood in for")
@pytest.mark.parametrize("concurrent", [1, 2])
@pytest.mark.parametrize("wait_ms", [0, 10, 100])
@pytest.mark.parametrize("ties", [False, True], ids=["no-ties", "ties"])
def test_blocking_batches_are_ray_serves_own_on_python_3_12(
    ray_batches: Serve, ties: bool, wait_ms: int, concurrent: int
) -> None:
    """They also are with the asyncio.wait_for of Python 3.12, which does not give way before a wait that is over."""
    wait_s = wait_ms * GRID_S if ties else wait_ms / 1000
    for seed in range(SEEDS):
        arrivals_s, service_s, max_batch = scenario(seed, wait_s, ties=ties)
        batching = RayServeBatching(max_batch, wait_s, concurrent, blocking=True, python=(3, 12))

        expected = ray_batches(arrivals_s, service_s, batching, wait_for=wait_for_of_3_12)

        assert [each[2] for each in expected] == [each[2] for each in ours(arrivals_s, service_s, batching)], seed


@pytest.mark.parametrize(
    ("wait_s", "blocking", "mean_batch", "per_s"),
    [(0.0, False, 1.0, 20), (0.01, False, 3.0, 59), (0.1, False, 20.0, 186), (0.01, True, 11.8, 190)],
)
def test_batches_as_measured_on_the_real_queue(wait_s: float, blocking: bool, mean_batch: float, per_s: float) -> None:
    """At 200 requests a second, 50 ms a batch and at most 32, batches are as many and as large as measured in wall time, within a tenth."""
    rng = random.Random(1)
    arrivals_s = [0.0]
    while arrivals_s[-1] < 20.0:
        arrivals_s.append(arrivals_s[-1] + rng.expovariate(200.0))
    batches = timetable(RayServeBatching(32, wait_s, blocking=blocking, python=(3, 11)), arrivals_s, lambda _: 0.05)

    served = [len(batch.requests) for batch in batches if batch.finished_s <= 20.0]

    assert mean_batch == pytest.approx(sum(served) / len(served), rel=0.1)
    assert per_s == pytest.approx(sum(served) / 20.0, rel=0.1)


def test_a_blocked_loop_and_a_free_one_batch_differently() -> None:
    """The scenarios tell the machines apart: blocking from awaiting, and Python 3.11 from 3.12."""
    machines = [(False, (3, 11)), (True, (3, 11)), (True, (3, 12))]
    told_apart = set()
    for seed in range(SEEDS):
        arrivals_s, service_s, max_batch = scenario(seed, 0.01, ties=False)
        batches = [ours(arrivals_s, service_s, RayServeBatching(max_batch, 0.01, 1, *each)) for each in machines]
        told_apart |= {pair for pair in ((0, 1), (1, 2)) if batches[pair[0]] != batches[pair[1]]}

    assert told_apart == {(0, 1), (1, 2)}


@pytest.mark.parametrize("python", [(3, 11), (3, 12)])
def test_a_batch_that_nobody_waits_for_does_not_stop_the_loop(python: tuple[int, int]) -> None:
    """A batch may be closed and never end, where all its clients went away before it started: gathering goes on."""
    batching = RayServeBatching(2, 0.01, blocking=True, python=python)
    for decide in (Compiled(batching), batching.twin()):
        assert decide.close(0.0, 1, 2, 0.0, 0.0)[0] == 2
        assert decide.close(1.0, 1, 3, 0.5, 1.0)[0] == 2


def test_settings_that_cannot_be_are_refused() -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=r"`max_batch` .=0. must be at least 1"):
        RayServeBatching(max_batch=0)
    with pytest.raises(ConfigError, match=r"`max_wait` .=-1.0. must be zero or more"):
        RayServeBatching(max_wait_s=-1.0)
    with pytest.raises(ConfigError, match=r"`max_concurrent_batches` .=0. must be at least 1"):
        RayServeBatching(max_concurrent_batches=0)
