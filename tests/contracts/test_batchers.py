"""What every batcher promises, walked through by each on random traffic with many ties."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.simulate.batching import BATCHERS, MEMO, TritonBatching, timetable
from windtunnel.simulate.batching.timetable import Compiled

if TYPE_CHECKING:
    from windtunnel.simulate.batching import Batch, Batcher, Decision

    Traffic = tuple[list[float], list[float], int]

MAX_BATCH = st.integers(1, 8)
SIZES = st.sets(MAX_BATCH, max_size=3)
WAIT_S = st.sampled_from([0.0, 0.25, 1.0, 1 / 3, 0.01])


def triton(max_batch: int, max_wait_s: float, sizes: set[int], **fields: Any) -> TritonBatching:
    """Preferred sizes beyond the largest batch are left out."""
    return TritonBatching(max_batch, max_wait_s, tuple(sorted(size for size in sizes if size <= max_batch)), **fields)


EVERY: dict[str, st.SearchStrategy[Any]] = {
    "ideal": st.builds(BATCHERS["ideal"], MAX_BATCH, WAIT_S),
    "fixed": st.builds(BATCHERS["fixed"], MAX_BATCH, WAIT_S),
    "ray-serve": st.builds(BATCHERS["ray-serve"], MAX_BATCH, WAIT_S, st.integers(1, 3)),
    "ray-serve blocking": st.builds(
        BATCHERS["ray-serve"], MAX_BATCH, WAIT_S, st.integers(1, 3), st.just(value=True),
        st.sampled_from([(3, 11), (3, 12)]),
    ),
    "tf-serving": st.builds(BATCHERS["tf-serving"], MAX_BATCH, WAIT_S, look_s=st.sampled_from([0.0, 0.001, 0.25])),
    "triton": st.builds(triton, MAX_BATCH, WAIT_S, SIZES, instances=st.integers(1, 2)),
    "triton not prefetching": st.builds(triton, MAX_BATCH, WAIT_S, SIZES, queue_timeout_s=st.sampled_from([0.0, 0.5]), priorities=st.just(value=True)),
    "cork": st.builds(BATCHERS["cork"], MAX_BATCH, st.sampled_from([0.02, 0.5, 5.0])),
}  # fmt: skip
"""Settings to draw from, by name; a name may have more than one way of working."""


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    """Arrivals that meet each other and the ends of batches, or do not; service times by size; executors."""
    unit_s = draw(st.sampled_from([1 / 4, 1 / 3, 1 / 64, 1e-3]))
    arrivals_s = sorted(each * unit_s for each in draw(st.lists(st.integers(0, 40), min_size=1, max_size=50)))
    service_s = st.sampled_from([0.25, 0.5, 1.0, 1 / 3, 1e-3, 0.02])
    return arrivals_s, draw(st.lists(service_s, min_size=9, max_size=9)), draw(st.integers(1, 3))


class Watched:
    """The compiled batcher; says at once when it breaks its word."""

    def __init__(self, batcher: Batcher) -> None:
        self.compiled, self.max_batch, self.left = Compiled(batcher), batcher.max_batch, 0

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """Ask, and look at the answer."""
        count, drop, wake_s = self.compiled.close(now_s, idle, waiting, oldest_s, newest_s)
        assert 0 <= count <= min(self.max_batch, waiting)
        assert drop in {0, 1}
        assert not (count and drop)
        assert drop <= waiting
        assert wake_s > now_s
        self.left += count + drop
        return count, drop, wake_s

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """Pass it on."""
        self.compiled.learn(now_s, batch, service_s, wait_s)


def run(decide: Any, batcher: Batcher, scenario: Traffic) -> list[Batch]:
    arrivals_s, service_s, executors = scenario
    return timetable(decide, arrivals_s, lambda size: service_s[size], batcher.executors or executors)


def test_every_batcher_is_walked_through() -> None:
    """No batcher is registered that is not drawn here."""
    assert set(BATCHERS) == {name.split()[0] for name in EVERY}


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_batcher_keeps_the_contract(name: str, data: st.DataObject) -> None:
    """Never more than wait or than `max_batch`, asked again later only, everyone leaves, and twice the same is the same."""
    batcher: Batcher = data.draw(EVERY[name])
    scenario = data.draw(traffic())
    watched = Watched(batcher)

    batches = run(watched, batcher, scenario)

    assert len(scenario[0]) == watched.left
    requests = list(itertools.chain.from_iterable(batch.requests for batch in batches))
    assert len(requests) == len(set(requests))
    assert all(batch.closed_s <= batch.started_s < batch.finished_s for batch in batches)
    assert batches == run(batcher, batcher, scenario)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_compiled_equals_twin(name: str, data: st.DataObject) -> None:
    """The compiled function and plain Python make the same batches at the same instants, to the last bit."""
    batcher: Batcher = data.draw(EVERY[name])
    scenario = data.draw(traffic())

    assert run(batcher.twin(), batcher, scenario) == run(batcher, batcher, scenario)


@pytest.mark.parametrize("name", BATCHERS)
def test_batcher_says_what_the_kernel_needs(name: str) -> None:
    """Settings fit their vector, the memo fits, and what is run is never smaller than what is closed."""
    batcher = BATCHERS[name]()

    assert batcher.settings().shape == (16,)
    assert 0 <= batcher.memo <= MEMO
    padded = batcher.padded(batcher.max_batch)
    assert len(padded) == batcher.max_batch + 1
    assert all(size <= run_as for size, run_as in enumerate(padded.tolist()))
    assert batcher.max_waiting >= -1
    assert not math.isnan(batcher.settings().sum())
