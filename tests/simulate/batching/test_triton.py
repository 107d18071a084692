from __future__ import annotations

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import TritonBatching, timetable

# batching, arrivals, and when which requests start; every batch takes one second
TIMETABLES: dict[str, tuple[TritonBatching, list[float], list[tuple[float, tuple[int, ...]]]]] = {
    # 0 finds the instance idle. 1, 2 and 3 fill one payload, which grows until the instance takes it.
    "no delay: what waits makes the next batch": (
        TritonBatching(max_batch=8), [0.0, 0.1, 0.2, 0.3], [(0.0, (0,)), (1.0, (1, 2, 3))],
    ),
    # 1 to 8 fill a payload of the largest size; 9 begins the next.
    "no delay: full is full": (
        TritonBatching(max_batch=8), [0.0] + [0.1] * 9, [(0.0, (0,)), (1.0, tuple(range(1, 9))), (2.0, (9,))],
    ),
    # 1 to 4 make a payload of a preferred size, which is saturated as there is no delay. 5 begins the second payload; with two
    # an instance nothing more is filled ahead, so 6 waits in the queue. At 1 the first payload leaves, and 6 joins 5.
    "no delay: a preferred size is not topped up": (
        TritonBatching(max_batch=8, preferred_sizes=(4, 8)), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [(0.0, (0,)), (1.0, (1, 2, 3, 4)), (2.0, (5, 6))],
    ),
    # as above with priorities, hence without prefetching: at 1 six wait, of which the largest preferred size leaves.
    "no prefetching: the largest preferred size that is there": (
        TritonBatching(max_batch=8, preferred_sizes=(2, 4), priorities=True), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [(0.0, (0,)), (1.0, (1, 2, 3, 4)), (2.0, (5, 6))],
    ),
    # two make a preferred size and leave at once; one alone waits for the delay.
    "delay: preferred sizes do not wait": (
        TritonBatching(max_batch=8, max_wait_s=0.25, preferred_sizes=(2, 8)), [0.0, 0.1, 2.0],
        [(0.1, (0, 1)), (2.25, (2,))],
    ),
    # 0 waits out the delay and runs until 1.125. 1 and 2 leave as a payload at 0.375, not full. 3 does not wake the thread: it
    # wants 8. At 0.875 the thread ends its nap, finds 3 late, and adds it. 4 does not wake it either. At 1.125 the payload
    # leaves; that wakes the thread, which waits for the delay of 4.
    "delay: a payload that left for the delay grows only by the thread's naps": (
        TritonBatching(max_batch=8, max_wait_s=0.125), [0.0, 0.25, 0.25, 0.5, 1.0625],
        [(0.125, (0,)), (1.125, (1, 2, 3)), (2.125, (4,))],
    ),
    # 0 and 1 leave at once as a pair. 2 and 3 are a payload; 4 makes it larger than any preferred size, which saturates it. 5 and
    # 6 are the second payload. At 1 the instance takes the first, and the second too: it is older than the delay and fits.
    "delay: an instance takes what is behind the first payload, if it is late": (
        TritonBatching(max_batch=8, max_wait_s=0.125, preferred_sizes=(2,)), [0.0, 0.0, 0.25, 0.25, 0.375, 0.5, 0.5],
        [(0.0, (0, 1)), (1.0, (2, 3, 4, 5, 6))],
    ),
    # the same with 5 and 6 younger than the delay at 1: they are left for the next.
    "delay: an instance leaves what is behind the first payload, if it is not late": (
        TritonBatching(max_batch=8, max_wait_s=0.125, preferred_sizes=(2,)), [0.0, 0.0, 0.25, 0.25, 0.375, 0.9375, 0.9375],
        [(0.0, (0, 1)), (1.0, (2, 3, 4)), (2.0, (5, 6))],
    ),
    # 1 has waited 0.8 when the instance is idle again, longer than it may, and is rejected; 2 has not.
    "timeout: who waited too long is rejected when the thread looks": (
        TritonBatching(max_batch=8, queue_timeout_s=0.5), [0.0, 0.2, 0.7], [(0.0, (0,)), (1.0, (2,))],
    ),
    # two instances are idle: 0 and 1 leave at once. 2 and 3 make one payload.
    "two instances": (
        TritonBatching(max_batch=8, instances=2), [0.0, 0.25, 0.5, 0.75], [(0.0, (0,)), (0.25, (1,)), (1.0, (2, 3))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMETABLES)
def test_batches_leave_by_the_timetable(name: str) -> None:
    """Batches are those that dynamic_batch_scheduler.cc makes, followed line by line by hand."""
    batching, arrivals_s, expected = TIMETABLES[name]

    batches = timetable(batching, arrivals_s, lambda _: 1.0, batching.instances)

    assert expected == [(batch.started_s, batch.requests) for batch in batches]


def test_what_the_configuration_means_for_the_station() -> None:
    """A limit of the queue is the station's; any of limit, timeout and priorities ends prefetching."""
    assert TritonBatching().prefetches
    assert TritonBatching().max_waiting == -1
    assert TritonBatching(max_queue_size=7).max_waiting == 7
    assert not TritonBatching(max_queue_size=7).prefetches
    assert not TritonBatching(queue_timeout_s=0.1).prefetches
    assert not TritonBatching(priorities=True).prefetches


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preferred_sizes": (4, 2)}, "`preferred_sizes` .* must rise, from 1 to 8 at most"),
        ({"preferred_sizes": (16,)}, "`preferred_sizes` .* must rise, from 1 to 8 at most"),
        (
            {"max_batch": 64, "preferred_sizes": tuple(range(1, 10))},
            "`preferred_sizes` .* must be at most 8; leave some out",
        ),
        ({"instances": 17}, "`instances` .=17. must be at most 16"),
        ({"queue_timeout_s": float("nan")}, "`queue_timeout` .=nan. must be zero or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=message):
        TritonBatching(**settings)  # type: ignore[arg-type]  # a table of settings of all types
