from __future__ import annotations

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import TFServingBatching, timetable

AT_ONCE = TFServingBatching(max_batch=4, max_wait_s=0.25, look_s=0.0)
BY_LOOKS = TFServingBatching(max_batch=4, max_wait_s=0.25, look_s=0.2)

# batching, arrivals, and when which requests start; every batch takes one second
TIMETABLES: dict[str, tuple[TFServingBatching, list[float], list[tuple[float, tuple[int, ...]]]]] = {
    # without a timeout the open batch may be taken as soon as there is one request in it
    "no timeout": (TFServingBatching(max_batch=4), [0.0, 0.5, 0.75, 3.0], [(0.0, (0,)), (1.0, (1, 2)), (3.0, (3,))]),
    # 0 waits out the timeout; the open batch is topped up until the thread is free, at 1.25
    "the open batch is topped up": (
        AT_ONCE, [0.0, 0.5, 0.75, 1.25], [(0.25, (0,)), (1.25, (1, 2, 3))],
    ),
    # 1 to 4 are closed when 5 comes; 5 is in the open batch, and by 2.25 its timeout is over
    "full batches are closed": (
        AT_ONCE, [0.0, 0.5, 0.5, 0.5, 0.5, 0.5], [(0.25, (0,)), (1.25, (1, 2, 3, 4)), (2.25, (5,))],
    ),
    # at 1.25 the thread is free, but 1 has waited no longer than 0.125: it leaves when that is 0.25
    "a free thread waits for the timeout": (
        AT_ONCE, [0.0, 1.125], [(0.25, (0,)), (1.375, (1,))],
    ),
    # the thread looks at 0, 0.2, 0.4 ...: the timeout of 0 ends at 0.25, seen at 0.4. It is free from 1.4 on, and looks at 1.6,
    # 1.8 ...: the timeout of 1 ends at 1.75, seen at 1.8.
    "nobody looks when a timeout ends": (
        BY_LOOKS, [0.0, 1.5], [(0.4, (0,)), (1.8, (1,))],
    ),
    # the timeout ended at 0.25; 1 comes at 0.3, before the next look, and finds the batch ready: the thread is notified
    "an arrival shows the thread a batch whose time is over": (
        BY_LOOKS, [0.0, 0.3], [(0.3, (0, 1))],
    ),
    # a full batch needs no look
    "a full batch is seen at once": (BY_LOOKS, [0.0, 0.1, 0.1, 0.1], [(0.1, (0, 1, 2, 3))]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMETABLES)
def test_batches_leave_by_the_timetable(name: str) -> None:
    """Batches are those that shared_batch_scheduler.h makes, followed line by line by hand."""
    batching, arrivals_s, expected = TIMETABLES[name]

    batches = timetable(batching, arrivals_s, lambda _: 1.0)

    assert [requests for _, requests in expected] == [batch.requests for batch in batches]
    assert [at_s for at_s, _ in expected] == pytest.approx([batch.started_s for batch in batches], abs=1e-12)


def test_batches_are_padded_up_to_the_next_allowed_size() -> None:
    """GetNextAllowedBatchSize: the smallest allowed size that is not smaller."""
    batching = TFServingBatching(max_batch=8, allowed_sizes=(1, 2, 8))

    assert batching.padded(5).tolist() == [0, 1, 2, 8, 8, 8]
    assert TFServingBatching(max_batch=8).padded(3).tolist() == [0, 1, 2, 3]


def test_the_queue_holds_so_many_full_batches() -> None:
    """`max_enqueued_batches` batches, of which all but the last are full when one more request is refused."""
    assert TFServingBatching(max_batch=8, max_enqueued_batches=3).max_waiting == 24


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_batch": 8, "allowed_sizes": (2, 2, 8)}, "`allowed_sizes` .* must rise"),
        ({"max_batch": 8, "allowed_sizes": (2, 4)}, r"`allowed_sizes` .* must end with max_batch \(=8\)"),
        ({"max_enqueued_batches": 0}, "`max_enqueued_batches` .=0. must be at least 1"),
        ({"look_s": float("inf")}, "`look` .=inf. must be zero or more, and finite"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=message):
        TFServingBatching(**settings)  # type: ignore[arg-type]  # a table of settings of all types
