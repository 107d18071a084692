from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.request_log import COMPLETED, FAILED
from windtunnel.seeds import Seeds
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.fault import Crash
from windtunnel.simulate.flight import Flight, fly
from windtunnel.simulate.multiplex import MOST_MODELS, Multiplex
from windtunnel.simulate.phrase import build_from
from windtunnel.simulate.routing import Multiplexed, Pinned, PowerOfTwo, Router
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


def system(
    models: int, load_s: float, *, stations: int = 1, executors: int = 1, max_batch: int = 1, **more: object
) -> System:
    """Stations that take a second for any batch."""
    table = np.full((max_batch + 1, 1), 1.0)
    batcher = IdealBatching(max_batch, 0.0)
    return System(table, stations, executors, batcher, multiplex=Multiplex(models, load_s), **more)  # type: ignore[arg-type]  # by name


def flown(asked: System, times_s: list[float], keys: list[int]) -> Flight:
    return fly(asked, Trace("by hand", np.array(times_s), {"key": np.array(keys)}), Seeds(1), log=True)


def ended_s(flight: Flight) -> list[float]:
    assert flight.log is not None
    return [float(each) for each in flight.log.finished_s]


def counts(flight: Flight) -> tuple[int, int, int, float]:
    return flight.parts, flight.misses, flight.loads, flight.loading_s


def test_a_miss_costs_a_load() -> None:
    """The first request for a model waits for its load and the second does not; the wait is until the service begins."""
    flight = flown(system(2, 5.0), [0.0, 10.0], [3, 3])

    assert ended_s(flight) == [6.0, 11.0]
    assert flight.log is not None
    assert flight.log.wait_s.tolist() == [5.0, 0.0]
    assert counts(flight) == (2, 1, 1, 5.0)


def test_least_recently_used_makes_room() -> None:
    """Of two models at hand, the one that was used longer ago makes room: 0, 1, 0 again, then 2 takes the place of 1."""
    flight = flown(system(2, 5.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0], [0, 1, 0, 2, 0, 1])

    assert ended_s(flight) == [6.0, 16.0, 21.0, 36.0, 41.0, 56.0]
    assert counts(flight) == (6, 4, 4, 20.0)


def test_a_batch_is_cut_by_model() -> None:
    """Six requests for models 1, 2, 1, 3, 2, 1 are closed together and served as 1 1 1, 2 2 and 3, one part after another."""
    flight = flown(system(3, 0.5, max_batch=6), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25], [1, 2, 1, 3, 2, 1, 1])

    assert ended_s(flight) == [1.5, 3.0, 1.5, 4.5, 3.0, 1.5, 5.5]
    assert flight.log is not None
    assert flight.log.batch_size.tolist() == [3, 2, 3, 1, 2, 3, 1]
    assert counts(flight) == (4, 3, 3, 1.5)


def test_loads_of_one_station_wait_for_each_other() -> None:
    """Two executors want two models: the second load begins when the first has ended."""
    flight = flown(system(2, 5.0, executors=2), [0.0, 0.0, 1.0], [0, 1, 0])

    assert ended_s(flight) == [6.0, 11.0, 7.0]
    assert counts(flight) == (3, 2, 2, 10.0)


def test_who_waited_for_the_lock_looks_again() -> None:
    """Two executors want the same model: it is loaded once, and both begin then; that is two misses and one load."""
    flight = flown(system(2, 5.0, executors=2), [0.0, 2.0], [7, 7])

    assert ended_s(flight) == [6.0, 6.0]
    assert counts(flight) == (2, 2, 1, 5.0)


def test_crash_forgets_the_models() -> None:
    """What comes up after a crash has nothing at hand; what was being loaded for fails."""
    asked = system(2, 5.0, faults=(Crash(0, 20.0, 1.0), Crash(0, 42.0, 1.0)))

    flight = flown(asked, [0.0, 10.0, 30.0, 40.0, 50.0], [0, 0, 0, 1, 1])

    assert flight.log is not None
    assert flight.log.status.tolist() == [COMPLETED, COMPLETED, COMPLETED, FAILED, COMPLETED]
    assert [flight.log.finished_s[each] for each in (0, 1, 2, 4)] == [6.0, 11.0, 36.0, 56.0]
    assert flight.loads == 4


def test_loads_by_chance() -> None:
    """Exponential loads take on average what they should."""
    asked = System(np.full((2, 1), 0.001), multiplex=Multiplex(1, 2.0, "exponential"))
    times_s = [100.0 * each for each in range(4000)]

    flight = flown(asked, times_s, [each % 2 for each in range(4000)])

    assert flight.loads == 4000
    # four standard errors
    assert flight.loading_s / flight.loads == pytest.approx(2.0, abs=4 * 2.0 / 4000**0.5)


def misses(router: Router, models: int) -> float:
    """The share of misses behind a router, with six stations of two models each."""
    rng = np.random.default_rng(5)
    times_s = np.cumsum(rng.exponential(0.5, 5000))
    trace = Trace("t", times_s, {"key": rng.integers(0, models, size=5000)})
    flight = fly(system(2, 0.5, stations=6, router=router), trace, Seeds(1))
    assert flight.summary.completed == 5000
    return flight.misses / flight.parts


def test_router_that_looks_for_models() -> None:
    """Where all models have room somewhere, the router that looks for them loads little more than each once; others go on loading."""
    assert misses(Multiplexed(), 6) < 0.01
    assert misses(PowerOfTwo(), 6) > 0.5
    assert misses(Multiplexed(), 40) > 0.5


def test_follows_who_was_sent_before() -> None:
    """While a model is being loaded, later requests for it go where the first went; another model goes to the emptier station."""
    flight = flown(system(1, 5.0, stations=2, router=Multiplexed()), [0.0, 0.5, 1.0, 1.5], [4, 4, 9, 4])

    assert flight.log is not None
    first, *rest = flight.log.replica.tolist()
    assert rest == [first, 1 - first, first]
    assert flight.loads == 2


@pytest.mark.parametrize("keys", [[0, -1], [0, MOST_MODELS]])
def test_keys_that_are_no_models(keys: list[int]) -> None:
    """A key that is no number of a model is refused, and so is a trace without keys."""
    with pytest.raises(DataError, match="key"):
        flown(system(1, 1.0), [0.0, 1.0], keys)
    with pytest.raises(DataError, match="key"):
        fly(system(1, 1.0), Trace("t", np.array([0.0, 1.0])), Seeds(1))


def test_as_it_is_spelled() -> None:
    """The command line's spelling names every setting."""
    told = build_from("models_per_replica=4, load=2s, law=exponential", Multiplex, field="--multiplex")

    assert told == Multiplex(4, 2.0, "exponential")


def test_refused() -> None:
    """No place for a model, no such load; and a router that looks for models where there is one."""
    for models, load_s in ((0, 1.0), (1, -1.0), (1, np.inf)):
        with pytest.raises(ConfigError):
            Multiplex(models, load_s)
    with pytest.raises(ConfigError, match="law"):
        Multiplex(law="slow")  # type: ignore[arg-type]  # that is the point
    for router in (Multiplexed(), Pinned(0.5, 0, 0.0, 1.0, Multiplexed())):
        with pytest.raises(ConfigError, match="--multiplex"):
            System(np.full((2, 1), 1.0), 2, router=router)
