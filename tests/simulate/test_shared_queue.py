from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from windtunnel.simulate import chance, reference, shared_queue

if TYPE_CHECKING:
    from numpy.typing import NDArray

Served = list[tuple[float, float, int, int]]

# quarters of a second meet each other at the same instant; thirds meet nobody
QUARTERS = st.integers(0, 12).map(lambda n: n / 4)
THIRDS = st.integers(0, 12).map(lambda n: n / 3)


def serve(
    arrivals_s: list[float], table: NDArray[np.float64], max_batch: int, max_wait_s: float, replicas: int, seed: int
) -> Served:
    requests = len(arrivals_s)
    started_s, finished_s = np.full(requests, np.nan), np.full(requests, np.nan)
    replica, batch_size = np.full(requests, -1, dtype=np.int32), np.full(requests, -1, dtype=np.int32)
    shared_queue.serve(
        np.array(arrivals_s), table, max_batch, max_wait_s, replicas, np.uint64(seed),
        started_s, finished_s, replica, batch_size,
    )  # fmt: skip
    return list(zip(started_s.tolist(), finished_s.tolist(), replica.tolist(), batch_size.tolist(), strict=True))


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[list[float], NDArray[np.float64], int, float, int, int]:
    """Few requests, many ties, every size of batch and fleet."""
    times = draw(st.sampled_from([QUARTERS, THIRDS, QUARTERS | THIRDS]))
    arrivals_s = sorted(draw(st.lists(times, min_size=1, max_size=40)))
    max_batch = draw(st.integers(1, 5))
    points = draw(st.integers(1, 3))
    service_s = st.sampled_from([0.25, 0.5, 1.0, 1 / 3, 2.75, 1e-3])
    row = st.lists(service_s, min_size=points, max_size=points)
    table = np.array(draw(st.lists(row, min_size=max_batch + 1, max_size=max_batch + 2)))
    max_wait_s = draw(st.sampled_from([0.0, 0.25, 1.0, 1 / 3, 50.0]))
    return arrivals_s, table, max_batch, max_wait_s, draw(st.integers(1, 4)), draw(st.integers(0, 2**64 - 1))


@settings(max_examples=1500, deadline=None)
@given(scenarios())
def test_kernel_equals_reference(scenario: tuple[list[float], NDArray[np.float64], int, float, int, int]) -> None:
    """The compiled loop and the calendar of events agree on every request, to the last bit and through every tie."""
    arrivals_s, table, max_batch, max_wait_s, replicas, seed = scenario

    expected = reference.serve_slowly(arrivals_s, table.tolist(), max_batch, max_wait_s, replicas, seed)

    assert expected == serve(arrivals_s, table, max_batch, max_wait_s, replicas, seed)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize(("max_batch", "max_wait_s"), [(1, 0.0), (4, 0.002), (16, 0.02)])
def test_kernel_equals_reference_over_many_requests(replicas: int, max_batch: int, max_wait_s: float) -> None:
    """They still agree after thousands of requests near saturation."""
    rng = np.random.default_rng(3)
    table = np.outer(0.001 + 0.0004 * np.arange(max_batch + 1), rng.exponential(size=64) + 0.1)
    rate_per_s = 0.95 * replicas * max_batch / table[max_batch].mean()
    arrivals_s = np.cumsum(rng.exponential(1 / rate_per_s, size=4000)).tolist()

    expected = reference.serve_slowly(arrivals_s, table.tolist(), max_batch, max_wait_s, replicas, 11)

    assert expected == serve(arrivals_s, table, max_batch, max_wait_s, replicas, 11)


def test_arrival_at_the_moment_of_departure_is_taken() -> None:
    """Requests that arrive at the instant at which a batch leaves are still in it."""
    expected = [(1.0, 4.0, 0, 3)] * 3

    assert expected == serve([0.0, 1.0, 1.0], np.array([[0.0], [1.0], [2.0], [3.0]]), 3, 1.0, 1, 0)


def test_batch_grows_while_all_are_busy() -> None:
    """A batch that is due but has no replica takes in what arrives until one is idle."""
    expected = [(0.0, 2.0, 0, 1), (2.0, 4.0, 0, 3), (2.0, 4.0, 0, 3), (2.0, 4.0, 0, 3)]

    assert expected == serve([0.0, 0.5, 1.0, 2.0], np.full((5, 1), 2.0), 4, 0.0, 1, 0)


def test_lowest_idle_replica_serves() -> None:
    """Of the idle replicas the one with the lowest index serves, whichever has been idle longest."""
    expected = [0, 1, 0, 1]

    served = serve([0.0, 0.1, 5.0, 5.1], np.array([[0.0], [1.0]]), 1, 0.0, 3, 0)

    assert expected == [replica for _, _, replica, _ in served]


def test_last_batch_waits_for_company() -> None:
    """The server does not know that nothing more will come."""
    expected = [(0.5, 1.5, 0, 1)]

    assert expected == serve([0.0], np.ones((9, 1)), 8, 0.5, 1, 0)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_uniform_equals_reference(seed: int, counter: int) -> None:
    """Both write the same stream of random numbers, at any position, in [0, 1)."""
    expected = reference.uniform(seed, counter)

    assert expected == chance.uniform(np.uint64(seed), counter)
    assert 0.0 <= expected < 1.0


def test_uniform_is_known() -> None:
    """SplitMix64's finalizer gives what its published stream from seed 0 starts with."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

    assert published == [reference.mix(count * 0x9E3779B97F4A7C15 % 2**64) for count in (1, 2, 3)]


def test_uniform_is_uniform() -> None:
    """Numbers of one seed, and the first numbers of neighbouring seeds, look uniform and independent."""
    along = np.array([reference.uniform(1, counter) for counter in range(20_000)])
    across = np.array([reference.uniform(seed, 0) for seed in range(20_000)])

    for numbers in (along, across):
        assert distributions.kstest(numbers, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4 / np.sqrt(len(numbers))


def test_luck_does_not_depend_on_batching_before() -> None:
    """The same request at the head of a batch meets the same luck, whatever was batched before it."""
    table = np.tile(np.linspace(0.1, 0.2, 64), (3, 1))
    apart = [0.0, 1.0, 2.0]
    together = [0.0, 0.0, 2.0]

    alone, paired = (serve(arrivals_s, table, 2, 0.0, 1, 5) for arrivals_s in (apart, together))

    assert [size for *_, size in alone] == [1, 1, 1]
    assert [size for *_, size in paired] == [2, 2, 1]
    assert alone[2] == paired[2]
