from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from windtunnel.backtest.compare import Path, follow
from windtunnel.backtest.evidence import Asymptotic, carry_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL = 0.05
REPEATS = 400


def follow_each(values: Floats, sequence: Asymptotic | None = None) -> Path:
    """Look once after each block."""
    times = np.arange(1, len(values) + 1)
    return follow(values, times, times, sequence or Asymptotic(LEVEL))


def series(rng: np.random.Generator, length: int, phi: float) -> Floats:
    """Noise of mean zero that carries over by φ from one value to the next."""
    return np.asarray(lfilter([1.0], [1.0, -phi], rng.normal(size=length + 100)))[100:]


def false_alarms(make: Callable[[np.random.Generator], Floats], *, stretched: bool = True) -> float:
    """In what share of repetitions the bounds ever leave zero out, though there is nothing to find."""
    alarms = 0
    for repeat in range(REPEATS):
        values = make(np.random.default_rng([11, repeat]))
        if stretched:
            path = follow_each(values)
            low, high = path.low, path.high
        else:
            low, high = Asymptotic(LEVEL, stretched=False).bounds(values)
        alarms += bool(np.any((low > 0.0) | (high < 0.0)))
    return alarms / REPEATS


@pytest.mark.parametrize(
    ("noise", "make"),
    [
        ("independent days", lambda rng: rng.normal(size=120)),
        ("rows carry over by 0.5 within days of 30", lambda rng: series(rng, 3600, 0.5).reshape(120, 30).mean(axis=1)),
        ("days carry over by 0.2", lambda rng: series(rng, 120, 0.2)),
        ("days carry over by 0.5", lambda rng: series(rng, 120, 0.5)),
    ],
)
def test_looking_every_day_keeps_the_level(noise: str, make: Callable[[np.random.Generator], Floats]) -> None:
    """Under no difference, looking after each of 120 days is fooled at most as often as the level says."""
    slack = 3.0 * (LEVEL * (1.0 - LEVEL) / REPEATS) ** 0.5

    assert false_alarms(make) <= LEVEL + slack, noise


def test_without_the_stretch_the_level_would_be_broken() -> None:
    """Days that carry over by a half fool the sequence that takes them for independent several times as often as they may."""
    assert false_alarms(lambda rng: series(rng, 120, 0.5), stretched=False) > 4.0 * LEVEL


@given(seed=st.integers(0, 10_000), phi=st.sampled_from([-0.4, 0.0, 0.4, 0.8]), shift=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_evidence_and_bounds_agree(seed: int, phi: float, shift: float) -> None:
    """The e-value reaches one over the level exactly where the bounds leave zero out."""
    path = follow_each(series(np.random.default_rng(seed), 80, phi) + shift)
    clear = np.abs(path.e_value * LEVEL - 1.0) > 1e-9
    excluded = (path.low > 0.0) | (path.high < 0.0)

    assert (excluded[clear] == (path.e_value * LEVEL >= 1.0)[clear]).all()


def test_burn_in_counts_days_that_are_worth_a_day() -> None:
    """Days that carry over say nothing for longer than independent ones."""
    alternating, sticky = np.tile([0.0, 1.0], 40), np.tile([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 14)[:80]
    first = [int(np.argmax(np.isfinite(follow_each(values).high))) + 1 for values in (alternating, sticky)]

    assert first[0] == Asymptotic.burn_in
    assert first[1] >= Asymptotic.burn_in * carry_over(sticky)[first[1] - 1] ** 2
