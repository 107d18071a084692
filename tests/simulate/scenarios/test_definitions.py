"""Each scenario does what its name says: its load and its losses are those that arithmetic gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.flight import Flight, fly
from windtunnel.simulate.scenarios import SCENARIOS, Day, read_scenarios
from windtunnel.simulate.scenarios.rehearsal import rehearse_worst_days
from windtunnel.simulate.system import System
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from windtunnel.simulate.scenarios import Scenario

SEEDS, SERVICE_S, STATIONS, RATE = Seeds(1), 0.002, 4, 1200.0


@pytest.fixture
def even() -> Trace:
    """A request every 1/1,200 s for ten seconds: six tenths of what the system can do."""
    return Trace("even", np.arange(12_000) / RATE)


@pytest.fixture
def fixed() -> System:
    """Four stations, 2 ms for every request."""
    return System(np.full((2, 1), SERVICE_S), stations=STATIONS)


def struck(text: str, trace: Trace, system: System) -> Day:
    day = Day.calm(trace, system)
    for each in read_scenarios(text):
        day = each.strike(day, SEEDS)
    return day


def flown(day: Day) -> Flight:
    return fly(day.system, day.trace, SEEDS, log=True)


@pytest.mark.parametrize(
    ("text", "each_s"),
    [
        ("flash-crowd(times=4)", SERVICE_S), ("thundering-herd(again=2)", SERVICE_S),
        ("cold-start-stampede(times=2)", SERVICE_S), ("payload-bomb(times=20)", 20 * SERVICE_S),
        ("slow-clients(hold=30ms)", SERVICE_S + 0.03),
    ],
)  # fmt: skip
def test_what_is_added_is_the_work_it_says(text: str, each_s: float, even: Trace, fixed: System) -> None:
    """Work is conserved: stations are busy longer than on the calm day by what each added request takes, to the last one."""
    day = struck(text, even, fixed)

    more_s = flown(day).summary.busy_s - len(even) * SERVICE_S
    assert day.added > 0
    assert abs(more_s - day.added * each_s) < 1e-6


def test_sponges_take_the_mean_of_their_law(even: Trace, fixed: System) -> None:
    """Log-uniform from 10 to 200: the mean factor is 190 / ln 20 = 63.4."""
    day = struck("sponge-inputs(share=50%)", even, replace(fixed, table=np.full((2, 256), SERVICE_S)))

    factor = (flown(day).summary.busy_s - len(even) * SERVICE_S) / (day.added * SERVICE_S)
    assert day.added == 120
    assert abs(factor - 190.0 / np.log(20.0)) < 4.0 * 50.6 / np.sqrt(120)


@pytest.mark.parametrize(
    ("text", "down_s"),
    [
        ("replica-loss(lost=2, lasts=300ms)", 0.6), ("poison-request(deliveries=3, restart=100ms, lasts=400ms)", 0.3),
        ("cold-start-stampede(times=1, cold_start=150ms)", 0.15 * STATIONS),
    ],
)  # fmt: skip
def test_stations_are_away_as_long_as_it_says(text: str, down_s: float, even: Trace, fixed: System) -> None:
    """Of the station-seconds of the whole flight those are missing for which stations were down."""
    summary = flown(struck(text, even, fixed)).summary

    assert abs(STATIONS * summary.seconds_simulated - summary.replica_s - down_s) < 1e-6


@pytest.mark.parametrize(
    ("text", "backlog"),
    [
        # (times · rate − capacity) · length, and all that waited and came again less nothing served meanwhile
        ("flash-crowd(times=5, lasts=200ms)", (5 * RATE - STATIONS / SERVICE_S) * 0.2),
        ("thundering-herd(again=1, lasts=200ms)", 2 * RATE * 0.2),
    ],
)
def test_a_backlog_is_worked_off_as_a_fluid_is(text: str, backlog: float, even: Trace, fixed: System) -> None:
    """Arrivals spread evenly: what is left goes at capacity less rate, and who waits longer than the bound is hurt until then."""
    bound_s, capacity = 0.03, STATIONS / SERVICE_S
    waits = capacity * (bound_s - SERVICE_S)

    (day,) = rehearse_worst_days(even, fixed, read_scenarios(text), SEEDS, slo_s=bound_s, runs=1).days

    assert day.harm.recovery_s is not None
    assert abs(day.harm.recovery_s.value - (backlog - waits) / (capacity - RATE)) < 0.03


def test_a_hot_key_overloads_one_station(even: Trace, fixed: System) -> None:
    """Half of the requests are more than one station's fourth of the capacity: what it cannot do waits, and others are idle."""
    day = struck("hot-key(share=50%, station=1, lasts=1s)", even, fixed)
    log = flown(day).log
    assert log is not None

    during = (log.scheduled_s >= day.from_s) & (log.scheduled_s < day.until_s)
    hot = during & (log.replica == 1)
    # 600/s come to a station that does 500/s: after a second 100 wait, for 0.2 s
    assert abs(np.mean(hot[during]) - 0.5) < 0.05
    assert abs(np.max(log.wait_s[hot]) - 100 * SERVICE_S) < 0.08
    assert np.max(log.wait_s[during & ~hot]) < 10 * SERVICE_S


@pytest.mark.parametrize(("share", "lives"), [(0.8, False), (1.2, True)])
def test_a_storm_lives_above_its_threshold(share: float, lives: bool, even: Trace, fixed: System) -> None:
    """Nobody served in time sends `1 + retries` attempts: where rate times that is above capacity the storm feeds itself."""
    retries = 2
    system = replace(fixed, table=np.full((2, 1), share * STATIONS / (RATE * (1 + retries))))
    text = f"retry-storm(retries={retries}, timeout=30ms, slowdown=50, lasts=300ms)"

    (day,) = rehearse_worst_days(even, system, read_scenarios(text), SEEDS, runs=1).days

    assert (day.harm.recovered, day.harm.metastable) == (not lives, lives)


def test_each_scenario_has_a_stream_of_its_own() -> None:
    """No two draw the same, nor the same as the generator, or the growth of a plan, which have the streams 0 and 1."""
    streams = [cls().chance(SEEDS) for cls in SCENARIOS.values()]
    others = [SEEDS.stream("arrivals", item) for item in range(64)]

    assert len({each.random() for each in (*streams, *others)}) == len(SCENARIOS) + 64


@pytest.mark.parametrize("name", ["flash-crowd", "payload-bomb", "sponge-inputs", "slow-clients", "thundering-herd"])
def test_another_scenario_changes_nothing_of_what_one_draws(name: str, even: Trace, fixed: System) -> None:
    """What a scenario adds comes when it comes alone too, whichever others strike before."""
    sized = Trace("sized", even.arrivals_s, {"size": np.zeros(len(even), dtype=np.int32), "key": np.arange(len(even))})
    before = next(each for each in ("flash-crowd(times=3)", "payload-bomb(share=3%)") if not each.startswith(name))

    alone, first, both = (struck(text, sized, fixed) for text in (name, before, f"{before}, {name}"))

    def comers(day: Day) -> set[tuple[float, int]]:
        new = np.setdiff1d(np.arange(len(day.trace)), day.recorded)
        return set(zip(day.trace.arrivals_s[new].tolist(), day.trace.columns["key"][new].tolist(), strict=True))

    assert comers(alone) | comers(first) <= comers(both)
    if name != "thundering-herd":  # whom the crowd makes larger
        assert alone.added + first.added == both.added


def test_scenarios_by_name_are_scenarios() -> None:
    """Every name leads to a class that says it, and to one part."""
    made: list[Scenario] = [cls() for cls in SCENARIOS.values()]

    assert [each.name for each in made] == list(SCENARIOS)
    assert all(each.parts == (each,) for each in made)
