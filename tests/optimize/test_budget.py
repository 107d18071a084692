from __future__ import annotations

import time

from windtunnel.optimize.budget import Budget


def test_time_is_told() -> None:
    """Exploring ends before the whole does, and what is left goes below zero when it is over."""
    now_s = time.monotonic()
    fresh, exploring_over, over = (Budget(100.0, started_s=now_s - spent_s) for spent_s in (10.0, 70.0, 120.0))

    assert tuple(each.exploring_is_over for each in (fresh, exploring_over, over)) == (False, True, True)
    assert tuple(each.is_over for each in (fresh, exploring_over, over)) == (False, False, True)
    assert fresh.left_s > 80.0
    assert 35.0 > exploring_over.left_s > 0.0 > over.left_s


def test_endless() -> None:
    """An exhaustive search is never out of time."""
    over = Budget(1.0, endless=True, started_s=time.monotonic() - 100.0)

    assert not over.exploring_is_over
    assert not over.is_over
