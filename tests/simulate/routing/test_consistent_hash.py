from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import ConfigError
from windtunnel.seeds import Seeds
from windtunnel.simulate.arrivals import with_keys
from windtunnel.simulate.flight import Flight, fly
from windtunnel.simulate.routing import ConsistentHash, route
from windtunnel.simulate.system import System
from windtunnel.trace import Trace

NONE = np.zeros((9, 1), dtype=np.int64)


def chosen(
    router: ConsistentHash, keys: list[int], accepting: list[int], ongoing: list[int], draw: float = 0.5
) -> list[int]:
    """Where each of some keys goes."""
    memo, stations, busy = router.memory(len(ongoing)), np.array(accepting), np.array(ongoing)
    rules = router.settings()
    return [
        route(router.code, 0.0, stations, len(accepting), busy, (draw, 0.5), key, NONE, rules, memo) for key in keys
    ]


def test_only_keys_of_what_is_lost_move() -> None:
    """Without station 3 its keys go elsewhere, to several others, and every other key stays where it was."""
    router, keys = ConsistentHash(), list(range(3000))

    before = chosen(router, keys, list(range(8)), [0] * 8)
    after = chosen(router, keys, [0, 1, 2, 4, 5, 6, 7], [0] * 8)

    moved = [key for key in keys if before[key] != after[key]]
    assert moved == [key for key in keys if before[key] == 3]
    assert len({after[key] for key in moved}) > 3


def test_shares_of_the_ring() -> None:
    """With a hundred places each, stations have shares that differ by some tenths; with ten thousand hardly."""
    few, many = (
        np.bincount(chosen(ConsistentHash(nodes), list(range(8000)), list(range(8)), [0] * 8)) / 1000
        for nodes in (100, 10_000)
    )

    assert 0.6 < few.min() < few.max() < 1.5
    # a place is an exponential share: the sum of ten thousand of them is within 4%, the count of keys within 4 deviations
    assert 0.85 < many.min() < many.max() < 1.15


def test_requests_without_a_key_lie_anywhere() -> None:
    """Without a key the request's own draw says where it goes."""
    router = ConsistentHash()

    told = [chosen(router, [-1], [0, 1, 2, 3], [0] * 4, draw)[0] for draw in np.linspace(0.0, 0.999, 200)]

    assert set(told) == {0, 1, 2, 3}


def test_bound_by_hand() -> None:
    """HAProxy's parts: 7 ongoing and this one, times 125%, are 10 places for 4 stations: 2, 3, 2, 3 of them."""
    router = ConsistentHash(100, 1.25)
    home = {station: chosen(router, list(range(99)), [station], [0] * 4)[0] for station in range(4)}
    assert home == {station: station for station in range(4)}

    told = chosen(router, list(range(500)), [0, 1, 2, 3], [2, 2, 1, 2])

    # station 0 has its two; 1 and 3 may have three, and 2 has one of two
    assert set(told) == {1, 2, 3}
    assert set(chosen(router, list(range(500)), [0, 1, 2, 3], [1, 3, 2, 1])) == {0, 3}
    # one is never left without a place
    assert set(chosen(router, list(range(500)), [0, 1, 2, 3], [0, 0, 0, 0])) == {0, 1, 2, 3}


def flown(router: ConsistentHash) -> tuple[Flight, np.ndarray]:
    """Twenty keys of which one is asked for in a third of all requests, through eight stations at three fifths of what they can."""
    times_s = np.cumsum(np.random.default_rng(3).exponential(1.0 / 4.8, 20_000))
    trace = with_keys(Trace("t", times_s), 20, 1.2, seed=2)
    flight = fly(System(np.full((2, 1), 1.0), 8, router=router), trace, Seeds(1), log=True)
    assert flight.log is not None
    return flight, np.bincount(flight.log.replica, minlength=8) / len(trace)


def test_hot_key_hurts_its_station() -> None:
    """A hot key drowns the station that has it while others idle; with a bound on the load they help, and all drains."""
    unbounded, shares = flown(ConsistentHash())
    bounded, shared = flown(ConsistentHash(100, 1.25))

    assert shares.max() > 0.3
    assert unbounded.drift_per_s > 0.0
    assert bounded.drift_per_s == 0.0
    assert shared.max() < 0.2
    hurt_s, spared_s = (flight.summary.latency.to_dict()["p99_s"] for flight in (unbounded, bounded))
    assert hurt_s is not None
    assert spared_s is not None
    assert spared_s < hurt_s / 10


@pytest.mark.parametrize(
    "asked", [{"virtual_nodes": 0}, {"virtual_nodes": 1 << 20}, {"balance": 0.5}, {"balance": np.inf}]
)
def test_refused(asked: dict[str, float]) -> None:
    """No place on the ring, or a bound below what all need together."""
    with pytest.raises(ConfigError, match=next(iter(asked))):
        ConsistentHash(**asked)  # type: ignore[arg-type]  # that is the point
