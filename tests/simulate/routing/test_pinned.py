from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import ConfigError
from windtunnel.simulate.routing import Ask, LeastOutstanding, Pinned, PowerOfTwo, RandomChoice, RoundRobin, route

ROUTERS = st.sampled_from([RoundRobin(), RandomChoice(), LeastOutstanding(), PowerOfTwo(), PowerOfTwo(0.5)])
DRAW = st.floats(0.0, 1.0, exclude_max=True)
NONE = np.zeros((5, 1), dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(
    ROUTERS,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 4),
    st.lists(st.tuples(DRAW, DRAW), min_size=1, max_size=30),
)
def test_compiled_equals_plain(
    otherwise: RoundRobin, share: float, station: int, draws: list[tuple[float, float]]
) -> None:
    """Whatever router gets the rest, compiled and plain agree on every request, before, while and after it is pinned."""
    pinned = Pinned(share, station, 1.0, 2.0, otherwise)
    slow, memo, count = pinned.twin(), np.zeros(14), 4
    accepting, ongoing = np.array([0, 1, 3, 4, 0]), np.array([2, 0, 0, 1, 5])
    for at, draw in enumerate(draws):
        now_s = 3.0 * at / len(draws)
        chosen = route(pinned.code, now_s, accepting, count, ongoing, draw, 1, NONE, pinned.settings(), memo)
        assert chosen == slow.route(now_s, accepting[:count].tolist(), ongoing.tolist(), Ask(draw, 1))
        ongoing[chosen] += 1


def test_share_goes_home() -> None:
    """Of many draws the share goes to the home station and the rest to anywhere; where home is away, to the next."""
    pinned, draws = Pinned(0.4, 2, 0.0, 1.0, RandomChoice()), np.random.default_rng(1).random((20_000, 2))
    memo, ongoing = np.zeros(12), np.zeros(4, dtype=np.int64)

    def at(accepting: list[int], now_s: float) -> list[float]:
        all_of_them = np.array(accepting)
        chosen = [
            route(
                pinned.code, now_s, all_of_them, len(accepting), ongoing, (one, two), 1, NONE, pinned.settings(), memo
            )
            for one, two in draws.tolist()
        ]
        return [chosen.count(each) / len(draws) for each in range(4)]

    # five standard deviations of a share of 20,000
    assert at([0, 1, 2, 3], 0.5) == pytest.approx([0.15, 0.15, 0.55, 0.15], abs=0.018)
    assert at([0, 1, 3], 0.5) == pytest.approx([0.2, 0.2, 0.0, 0.6], abs=0.018)
    assert at([0, 1], 0.5) == pytest.approx([0.7, 0.3, 0.0, 0.0], abs=0.018)
    assert at([0, 1, 2, 3], 1.0) == pytest.approx([0.25] * 4, abs=0.018)


def test_unpinned_is_as_if_it_were_not_there() -> None:
    """Before and after, the other router chooses, on the same draws."""
    other = PowerOfTwo()
    pinned, memo, ongoing = Pinned(0.9, 1, 1.0, 2.0, other), np.zeros(12), np.array([3, 1, 4, 1])
    for now_s in (0.0, 2.0):
        for one in np.linspace(0.0, 0.99, 20):
            draw = float(one), 0.5
            arguments = now_s, np.arange(4), 4, ongoing, draw, 1, NONE
            assert route(pinned.code, *arguments, pinned.settings(), memo) == route(
                other.code, *arguments, other.settings(), memo
            )


def test_bad_pins_are_refused() -> None:
    """No share, no station, no time, and no pin upon a pin."""
    for share, station, from_s, until_s in ((1.5, 0, 0.0, 1.0), (0.5, -1, 0.0, 1.0), (0.5, 0, 2.0, 1.0)):
        with pytest.raises(ConfigError):
            Pinned(share, station, from_s, until_s, RoundRobin())
    with pytest.raises(ConfigError, match="one hot key"):
        Pinned(0.5, 0, 0.0, 1.0, Pinned(0.5, 0, 0.0, 1.0, RoundRobin()))
