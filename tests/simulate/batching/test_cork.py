from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import CorkBatching, timetable
from windtunnel.simulate.batching.cork import CorkTwin

HOLD, CANCEL = (0, 0), (0, 1)


def trained(a: float, b: float, wait_s: float, *, max_batch: int = 8, max_latency_s: float = 0.1) -> CorkTwin:
    """A dispatcher that believes a·n + b, and that requests wait `wait_s` on average."""
    twin = CorkTwin(CorkBatching(max_batch, max_latency_s))
    twin.to_train, twin.a, twin.b, twin.wait_s = [], a, b, wait_s
    return twin


@pytest.mark.parametrize(
    ("idle", "waiting", "first_s", "last_s", "expected"),
    [
        # n·(wn + dt + a) ≤ 0.95·w with a = 2 ms, dt = 1 ms, w = 20 ms: n·(wn + 3 ms) ≤ 19 ms
        (1, 1, 0.010, 0.010, HOLD),  # 1·13 ≤ 19
        (1, 1, 0.017, 0.017, (1, 0)),  # 1·20 > 19
        (1, 3, 0.010, 0.001, HOLD),  # 3·4 = 12
        (1, 3, 0.010, 0.004, (3, 0)),  # 3·7 = 21
        (1, 8, 0.010, 0.000, (8, 0)),  # no more than 8
        (1, 9, 0.010, 0.000, (8, 0)),
        # w0 + a·n + b ≥ 100 ms with b = 10 ms
        (1, 2, 0.087, 0.0, CANCEL),  # 87 + 4 + 10 = 101
        (1, 2, 0.085, 0.050, (2, 0)),  # 85 + 4 + 10 = 99
        (1, 1, 0.150, 0.150, (1, 0)),  # the last one is served, late as it is
        # while a batch is in flight
        (0, 3, 0.010, 0.004, HOLD),
        (0, 2, 0.087, 0.0, CANCEL),
        (0, 1, 0.099, 0.099, HOLD),
        (0, 1, 0.101, 0.101, CANCEL),
    ],
)
def test_head_is_held_sent_or_cancelled(
    idle: int, waiting: int, first_s: float, last_s: float, expected: tuple[int, int]
) -> None:
    """The decision is the one of the controller's inequalities, worked out by hand."""
    twin = trained(a=0.002, b=0.010, wait_s=0.020)

    assert expected == twin.close(1.0, idle, waiting, 1.0 - first_s, 1.0 - last_s)[:2]


def test_training_serves_nine_alone_and_then_waits_for_company() -> None:
    """Nine leave at once. With all of one size at 20 ms, a = b = 10 ms: the tenth waits until 2a + b + w0 exceeds 5a + b."""
    arrivals_s = [float(second) for second in range(11)]

    batches = timetable(CorkBatching(max_batch=8, max_latency_s=10.0), arrivals_s, lambda _: 0.02)

    held_s = [batch.started_s - arrivals_s[batch.requests[0]] for batch in batches]
    assert held_s[:9] == [0.0] * 9
    assert pytest.approx(0.031, abs=1.1e-3) == held_s[9]  # the first tick beyond 30 ms
    assert pytest.approx(0.041, abs=1.1e-3) == held_s[10]  # 3a + b + w0 beyond 7a + b


def test_ticks_are_a_millisecond_from_the_arrival_that_found_the_queue_empty() -> None:
    """A request that comes while the controller sleeps is seen at the next tick, not at its arrival."""
    twin = trained(a=0.002, b=0.010, wait_s=0.020)

    assert twin.close(1.0, 0, 1, 1.0, 1.0) == (0, 0, 1.001)
    assert twin.close(1.0005, 1, 8, 1.0, 1.0005) == (0, 0, 1.001)
    assert twin.close(1.001, 1, 8, 1.0, 1.0005)[:2] == (8, 0)


@pytest.mark.parametrize("largest", [1, 7])
def test_line_is_the_one_of_least_squares(largest: int) -> None:
    """The line and the wait are numpy's over the last fifty, also where all batches are of one size."""
    rng = np.random.default_rng(2)
    twin = CorkTwin(CorkBatching())
    sizes, wait_s = rng.integers(1, largest + 1, 80), rng.random(80)
    service_s = 0.01 + 0.002 * sizes + 0.001 * rng.random(80)
    for number in range(80):
        twin.learn(10.0 * number, int(sizes[number]), float(service_s[number]), float(wait_s[number]))

    line = np.linalg.lstsq(np.c_[sizes[30:], np.ones(50)], service_s[30:], rcond=None)[0]

    assert line == pytest.approx((twin.a, twin.b), rel=1e-9)
    assert np.mean(wait_s[30:]) == pytest.approx(twin.wait_s)


def test_line_is_fitted_at_most_every_five_seconds() -> None:
    """Between two fits what is believed stays, whatever batches take."""
    twin = CorkTwin(CorkBatching())
    believed = []
    for second in range(12):
        twin.learn(float(second), 1, 0.1 * second, 0.0)
        believed.append(twin.a)

    # the first two are skipped; fitted at 2, 7
    assert [1 + at for at in range(1, 12) if believed[at] != believed[at - 1]] == [3, 8]


def test_settings_that_cannot_be_are_refused() -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=r"`max_latency` .=0.0. must be above zero"):
        CorkBatching(max_latency_s=0.0)
    with pytest.raises(ConfigError, match=r"`max_batch` .=0. must be at least 1"):
        CorkBatching(max_batch=0)
