"""What every scaler keeps to, and Ray Serve's held against the real functions."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import ConfigError
from windtunnel.simulate.scaling import SCALERS, HPAScaling, KnativeScaling, RayServeScaling, desired

if TYPE_CHECKING:
    from windtunnel.simulate.scaling import Scaler

ALL: list[Scaler] = [
    *(scaler() for scaler in SCALERS.values()),
    RayServeScaling(1.0, up_s=0.0, down_s=0.0, look_back_s=0.1),
    RayServeScaling(1.5, up_s=0.25, down_s=0.5, look_back_s=0.3, up_factor=2.0, down_factor=0.3),
    HPAScaling(1.0, tolerance=0.0, down_s=0.0),
    HPAScaling(3.0, down_s=45.0, up_pods=1, up_share=0.5),
    HPAScaling(0.1, down_s=100.0, up_pods=0),
    KnativeScaling(1.0, stable_s=10.0, grace_s=0.0),
    KnativeScaling(10.0, stable_s=20.0, panic_s=2.0, grace_s=6.0, max_up=1.5, max_down=1.1),
]
"""Every scaler as it comes, and in more of a hurry."""

NOBODY = -7.0
each_scaler = pytest.mark.parametrize("scaler", ALL, ids=repr)
ongoing = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 7.3, 30.0, 1e3]) | st.floats(0.0, 50.0)


class Asked:
    """The compiled scaler with its memo, asked at its interval as the loop does."""

    def __init__(self, scaler: Scaler) -> None:
        self.scaler, self.looks = scaler, 0
        self.memo = np.zeros(scaler.memo + 1)
        self.memo[-1] = NOBODY

    def desired(self, running: int, ongoing_mean: float) -> int:
        """Ask once more; nothing may be written beyond the memo."""
        self.looks += 1
        told = desired(self.scaler.code, self.now_s, running, ongoing_mean, self.scaler.settings(), self.memo[:-1])
        assert self.memo[-1] == NOBODY
        return told

    @property
    def now_s(self) -> float:
        """The time of the last look."""
        return self.looks * self.scaler.interval_s


def follow(scaler: Scaler, load: list[float], running: int = 1, most: int = 1000) -> list[int]:
    """How many there are after each look, where its word is followed."""
    asked, told = Asked(scaler), []
    for mean in load:
        running = min(max(asked.desired(running, mean), 0), most)
        told.append(running)
    return told


@each_scaler
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ongoing, st.none() | st.integers(0, 9)), min_size=1, max_size=60), st.integers(0, 9))
def test_scaler_equals_its_twin(scaler: Scaler, load: list[tuple[float, int | None]], running: int) -> None:
    """A scaler says what its twin in plain Python says, each time it is asked, whether its word is followed or not."""
    asked, twin, expected, told = Asked(scaler), scaler.twin(), [], []
    for mean, otherwise in load:
        told.append(asked.desired(running, mean))
        expected.append(twin.desired(asked.now_s, running, mean))
        running = told[-1] if otherwise is None else otherwise

    assert expected == told
    assert min(told) >= 0


@each_scaler
def test_first_replica_starts_at_once(scaler: Scaler) -> None:
    """Where nothing runs and something waits, one is started at the next look, however little waits."""
    first, second, third = follow(scaler, [0.0, 0.0, 0.001], running=0)

    assert first == second == 0
    assert third >= 1


@each_scaler
def test_quiet_ends_in_as_few_as_may_be(scaler: Scaler) -> None:
    """Where nothing is left to do, replicas go, and not before time makes them."""
    told = follow(scaler, [0.0] * (math.ceil(700.0 / scaler.interval_s) * 4), running=8)

    assert told == sorted(told, reverse=True)
    assert told[-1] == 0


@each_scaler
def test_steady_load_is_met(scaler: Scaler) -> None:
    """Under a steady load the number of replicas settles, near what the target asks for."""
    load = 6.3 * target(scaler)

    told = follow(scaler, [load] * math.ceil(3000.0 / scaler.interval_s))

    assert len(set(told[-10:])) == 1
    assert 6.3 / 1.1 <= told[-1] <= 8


def target(scaler: Scaler) -> float:
    return scaler.concurrency * scaler.utilization if isinstance(scaler, KnativeScaling) else scaler.target


def test_codes_are_distinct() -> None:
    """No two scalers share a name or a code."""
    assert len({scaler.code for scaler in SCALERS.values()}) == len(SCALERS)
    assert all(name == scaler.name for name, scaler in SCALERS.items())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(ongoing, st.none() | st.integers(0, 60)), min_size=1, max_size=60), st.integers(0, 60),
    st.sampled_from([1.0, 2.0, 0.3]), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([1.0, 0.5, 3.0]), st.sampled_from([1.0, 0.3, 2.0]),
)  # fmt: skip
def test_ray_serve_equals_the_real_thing(
    load: list[tuple[float, int | None]],
    running: int,
    target: float,
    up_s: float,
    down_s: float,
    up: float,
    down: float,
) -> None:
    """`replica_queue_length_autoscaling_policy` with Ray's own scaling factors and delays says the same at every look."""
    policy = pytest.importorskip("ray.serve.autoscaling_policy", reason="Ray Serve is not installed here")
    from ray.serve.config import AutoscalingConfig

    config = AutoscalingConfig(
        min_replicas=0, max_replicas=10**6, target_ongoing_requests=target, upscale_delay_s=up_s, downscale_delay_s=down_s,
        upscaling_factor=up, downscaling_factor=down,
    )  # fmt: skip
    decide = policy._apply_autoscaling_config(policy.replica_queue_length_autoscaling_policy)
    asked = Asked(RayServeScaling(target, up_s, down_s, 0.1, up, down))
    state: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "time", SimpleNamespace(time=lambda: asked.now_s))
        for mean, otherwise in load:
            told = asked.desired(running, mean)
            expected, state = decide(SimpleNamespace(
                current_num_replicas=running, target_num_replicas=running, total_num_requests=mean, config=config,
                policy_state=state,
            ))  # fmt: skip
            assert expected == told
            running = told if otherwise is None else otherwise


def test_ray_serve_looks_back() -> None:
    """What Ray Serve follows is the mean over the look-back, not the last look."""
    scaler = RayServeScaling(1.0, up_s=0.0, down_s=0.0, look_back_s=0.4)

    assert follow(scaler, [4.0, 0.0, 0.0, 0.0, 0.0]) == [4, 2, 2, 1, 0]


def test_hpa_by_hand() -> None:
    """It rises by four or doubles, stays within the tolerance, and falls to the most of the last five minutes."""
    rising = follow(HPAScaling(1.0), [100.0] * 6)
    nearly = follow(HPAScaling(1.0), [5.4, 4.6, 5.6], running=5)
    falling = follow(HPAScaling(1.0), [9.0, *[2.0] * 21], running=9)

    assert rising == [5, 10, 20, 40, 80, 100]
    assert nearly == [5, 5, 6]
    # nine were asked for at the first look; 300 s later, 20 looks, that no longer counts
    assert falling == [9] * 20 + [2] * 2


def test_knative_by_hand() -> None:
    """A surge in the short window makes it panic, and it does not fall before the long window has passed."""
    scaler = KnativeScaling(10.0, 0.5)

    surge = follow(scaler, [5.0] * 30 + [50.0] * 3 + [5.0] * 60)

    assert surge[29] == 1
    # one look of 50 in a short window of three: 20 in the mean, four times what is there
    assert surge[30:33] == [4, 7, 10]
    # at the second, seven are less than twice the four that are there: 60 s run from the first
    assert surge[33:61] == [10] * 28
    # it falls to half at most at a look
    assert surge[61:65] == [5, 2, 1, 1]


def test_last_replica_stays_for_the_grace() -> None:
    """Knative keeps the last replica for as long as it may wait for its activator."""
    scaler = KnativeScaling(10.0, 0.5, stable_s=6.0, panic_s=2.0, grace_s=4.0)

    assert follow(scaler, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]) == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("scaler", "field"),
    [
        (lambda: HPAScaling(target=0.0), "target"), (lambda: HPAScaling(tolerance=-1.0), "tolerance"),
        (lambda: HPAScaling(up_pods=0, up_share=0.0), "up_pods"), (lambda: KnativeScaling(concurrency=0.0), "concurrency"),
        (lambda: KnativeScaling(max_down=1.0), "max_down"), (lambda: KnativeScaling(panic_s=90.0), "panic"),
        (lambda: KnativeScaling(grace_s=-1.0), "grace"), (lambda: RayServeScaling(target=0.0), "target"),
    ],
)  # fmt: skip
def test_figures_that_mean_nothing_are_refused(scaler: type[Scaler], field: str) -> None:
    """A scaler with a figure that means nothing cannot be made; the message names it."""
    with pytest.raises(ConfigError, match=field):
        scaler()
