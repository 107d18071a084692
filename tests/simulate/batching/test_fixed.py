from __future__ import annotations

import math

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import FixedBatching, timetable


def test_only_full_batches_leave() -> None:
    """Without a limit to its patience the batcher waits for exactly `max_batch`, and the rest never leaves."""
    batches = timetable(FixedBatching(max_batch=3), [0.0, 1.0, 50.0, 51.0], lambda _: 1.0)

    assert [(batch.started_s, batch.requests) for batch in batches] == [(50.0, (0, 1, 2))]


def test_what_is_run_is_the_full_size() -> None:
    """A batch that leaves for its wait is run at the full size all the same."""
    batching = FixedBatching(max_batch=3, max_wait_s=0.5)

    assert batching.padded(3).tolist() == [0, 3, 3, 3]
    assert [(batch.started_s, batch.requests) for batch in timetable(batching, [0.0], lambda _: 1.0)] == [(0.5, (0,))]


def test_settings_that_cannot_be_are_refused() -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=r"`max_wait` .=nan. must be zero or more"):
        FixedBatching(max_wait_s=math.nan)
    with pytest.raises(ConfigError, match=r"`max_batch` .=5. is larger than the one size that is run, 4"):
        FixedBatching(max_batch=4).padded(5)
