"""What every scenario promises, and what each one says that it does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.client import Client
from windtunnel.simulate.fault import Crash, ProxyStall, Slow
from windtunnel.simulate.proxy import Proxy
from windtunnel.simulate.routing import Pinned, RoundRobin
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.scenarios import SCENARIOS, Day, read_scenarios, worsen_trace
from windtunnel.simulate.system import Scaling
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from windtunnel.simulate.system import System

SEEDS = Seeds(1)


def struck(text: str, trace: Trace, system: System, seeds: Seeds = SEEDS) -> Day:
    day = Day.calm(trace, system)
    for each in read_scenarios(text):
        day = each.strike(day, seeds)
    return day


def added(day: Day) -> np.ndarray[Any, np.dtype[np.bool_]]:
    new = np.ones(len(day.trace), dtype=bool)
    new[day.recorded] = False
    return new


@pytest.mark.parametrize("name", SCENARIOS)
def test_recorded_requests_stay(name: str, trace: Trace, system: System) -> None:
    """Every scenario leaves each recorded request when it came and as it was, and those given to it untouched."""
    before = trace.arrivals_s.copy()

    day = struck(name, trace, system)

    assert np.array_equal(day.trace.arrivals_s[day.recorded], before)
    assert all(np.array_equal(day.trace.columns[each][day.recorded], trace.columns[each]) for each in trace.columns)
    assert np.array_equal(trace.arrivals_s, before)
    assert system.faults == ()
    assert trace.arrivals_s[0] <= day.from_s < day.until_s < trace.arrivals_s[-1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_only_its_window_changes(name: str, trace: Trace, system: System) -> None:
    """What is added comes within the window, its last instant included."""
    day = struck(name, trace, system)

    extra_s = day.trace.arrivals_s[added(day)]
    assert np.all((extra_s >= day.from_s) & (extra_s <= day.until_s))


@pytest.mark.parametrize("name", SCENARIOS)
def test_same_seed_same_day(name: str, trace: Trace, system: System) -> None:
    """The seed decides; where chance adds requests, another seed puts them elsewhere."""
    one, again, other = (struck(name, trace, system, Seeds(seed)) for seed in (1, 1, 2))

    assert np.array_equal(one.trace.arrivals_s, again.trace.arrivals_s)
    assert np.array_equal(one.system.by_group, again.system.by_group)
    assert one.system.faults == again.system.faults
    if one.added and name != "thundering-herd":
        assert not np.array_equal(one.trace.arrivals_s, other.trace.arrivals_s)


@pytest.mark.parametrize(
    "text",
    [
        "flash-crowd(times=0.5)", "flash-crowd(start_share=1)", "flash-crowd(lasts=-1s)", "retry-storm(slowdown=1)",
        "retry-storm(retries=-1)", "thundering-herd(again=-1)", "hot-key(share=0)", "hot-key(share=2)", "hot-key(station=-1)",
        "slow-clients(share=0)", "payload-bomb(times=1)", "sponge-inputs(least=20, most=10)", "sponge-inputs(least=0.5)",
        "poison-request(deliveries=0)", "replica-loss(lost=0)", "cold-start-stampede(times=0)", "flash-crowd, flash-crowd",
        "flash-crowds", "flash-crowd(size=3)", "flash-crowd(times=1)", "flash-crowd(after=-1s)", "sponge-inputs(least=1, most=1)",
        "flash-crowd(after=1s, start_share=20%)", "flash-crowd + flash-crowd", "flash-crowd+", "+", "replica-loss(after=1s)",
        "flash-crowd, hot-key + flash-crowd",
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(text: str) -> None:
    """Figures that mean nothing, unknown names and names said twice are refused, with the option's name."""
    with pytest.raises(ConfigError, match="--scenario"):
        read_scenarios(text)


@pytest.mark.parametrize(
    "text",
    ["flash-crowd(start_share=99%)", "replica-loss(lost=5)", "hot-key(station=4)", "poison-request(restart=60ms, lasts=50ms)",
     "replica-loss(lasts=60s)", "poison-request(first=4)", "flash-crowd(after=1h)", "cold-start-stampede(cold_start=1h)"],
)  # fmt: skip
def test_what_cannot_happen_here_is_refused(text: str, trace: Trace, system: System) -> None:
    """A scenario that outlasts the trace, or strikes a station that there is not, says so."""
    with pytest.raises(ConfigError):
        struck(text, trace, system)


@pytest.mark.parametrize(
    "name", ["flash-crowd", "thundering-herd", "payload-bomb", "cold-start-stampede(cold_start=1ns)"]
)
def test_silence_is_refused(name: str, system: System) -> None:
    """Where nothing was recorded in the window there is nothing to multiply, to hold or to poison."""
    night = Trace("night", np.concatenate([np.arange(10.0), 90.0 + np.arange(10.0)]))

    if name.startswith("cold"):
        assert struck(name, night, system).added == 2
        return
    with pytest.raises(DataError, match="no request"):
        struck(name, night, system)


def test_flash_crowd_multiplies_its_window(trace: Trace, system: System) -> None:
    """Within the window the rate is five times as high to the request; what comes on top is like what was there."""
    day = struck("flash-crowd(times=5, start_share=50%, lasts=500ms)", trace, system)

    rows = day.between(day.from_s, day.until_s)
    recorded = int(np.sum((trace.arrivals_s >= day.from_s) & (trace.arrivals_s < day.until_s)))
    assert rows.stop - rows.start == 5 * recorded
    assert day.added == 4 * recorded
    assert abs(float(np.mean(day.trace.columns["size"][added(day)])) - 0.5) < 0.05


def test_a_start_in_seconds(trace: Trace, system: System) -> None:
    """`after` counts from the first request, wherever in time that lies."""
    later = Trace("later", trace.arrivals_s + 100.0, trace.columns)

    assert struck("flash-crowd(after=2s, lasts=1s)", later, system).from_s == later.arrivals_s[0] + 2.0


def test_plus_signs_make_one_day(trace: Trace, system: System) -> None:
    """`a+b` is one scenario that strikes with both, in their order; commas part days."""
    both, alone = read_scenarios("flash-crowd(start_share=30%)+replica-loss, hot-key")

    assert (both.name, [each.name for each in both.parts], alone.name) == (
        "flash-crowd+replica-loss", ["flash-crowd", "replica-loss"], "hot-key"
    )  # fmt: skip
    day = both.strike(Day.calm(trace, system), SEEDS)
    apart = struck("flash-crowd(start_share=30%), replica-loss", trace, system)
    assert np.array_equal(day.trace.arrivals_s, apart.trace.arrivals_s)
    assert day.system.faults == apart.system.faults


def test_retry_storm_slows_all_and_makes_clients_impatient(trace: Trace, system: System) -> None:
    """Every station is slow in the window; clients that had no timeout wait ten services and retry three times at once."""
    day = struck("retry-storm(slowdown=8)", trace, system)

    assert [(each.station, each.factor) for each in day.system.faults if isinstance(each, Slow)] == [
        (s, 8.0) for s in range(4)
    ]
    client = day.system.client
    assert (round(client.timeout_s, 9), client.retries, client.backoff_s, client.jitter) == (0.015, 3, 0.0, 0.0)
    assert day.added == 0


def test_retry_storm_keeps_the_clients_own_patience_and_budget(trace: Trace, system: System) -> None:
    """What clients have of their own stays, but for their back-off."""
    own = Client(timeout_s=0.05, retries=7, backoff_s=1.0, jitter=1.0, budget_ratio=0.2, budget_burst=5.0)

    client = struck("retry-storm", trace, replace(system, client=own)).system.client

    assert client == replace(own, backoff_s=0.0, jitter=0.0)


def test_thundering_herd_comes_at_one_instant(trace: Trace, system: System) -> None:
    """As many as waited come again at the instant at which the proxy goes on; a proxy that is there is kept."""
    day = struck("thundering-herd(again=2, lasts=100ms)", trace, system)
    held = int(np.sum((trace.arrivals_s >= day.from_s) & (trace.arrivals_s < day.until_s)))

    assert day.trace.arrivals_s[added(day)].tolist() == [day.until_s] * 2 * held
    assert [type(each) for each in day.system.faults] == [ProxyStall]
    assert day.system.proxy == Proxy(1, 0.0)
    kept = struck("thundering-herd(again=0)", trace, replace(system, proxy=Proxy(3, 0.001)))
    assert (kept.system.proxy, kept.added) == (Proxy(3, 0.001), 0)


def test_hot_key_pins_its_share(trace: Trace, system: System) -> None:
    """The router gets a share bound to a station, and is asked for the rest; one station alone has no hot one."""
    day = struck("hot-key(share=30%, station=2)", trace, replace(system, router=RoundRobin()))

    assert day.system.router == Pinned(0.3, 2, day.from_s, day.until_s, RoundRobin())
    with pytest.raises(ConfigError, match="another one"):
        struck("hot-key", trace, replace(system, stations=1))


@pytest.mark.parametrize(
    ("text", "worse"),
    [("slow-clients(share=10%, hold=30ms)", lambda usual: usual + 0.03), ("payload-bomb(share=10%, times=7)", lambda usual: usual * 7.0)],
)  # fmt: skip
def test_heavy_requests_have_a_class_of_their_own(text: str, worse: Any, trace: Trace, system: System) -> None:
    """For each size class there is a worse one above; a tenth of the window comes on top, all of a worse class."""
    day = struck(text, trace, system)

    usual = system.by_group
    assert np.array_equal(day.system.by_group, np.concatenate([usual, worse(usual)], axis=1))
    window = (trace.arrivals_s >= day.from_s) & (trace.arrivals_s < day.until_s)
    assert day.added == round(0.1 * np.sum(window))
    assert set(day.trace.columns["size"][added(day)].tolist()) == {2, 3}


def test_sponges_cost_ten_to_two_hundred_times(trace: Trace, system: System) -> None:
    """The factors lie between their ends, half of them below the geometric mean."""
    day = struck("sponge-inputs(least=10, most=200)", trace, system)

    factors = day.system.by_group[0, 2, 1] / system.by_group[0, 0, 1]
    assert 10.0 < factors.min() < factors.max() < 200.0
    assert float(np.mean(factors < np.sqrt(2000.0))) == 0.5


def test_heavy_requests_on_heavy_requests(trace: Trace, system: System) -> None:
    """Scenarios add up: bombs of slow clients are a class above both."""
    day = struck("slow-clients(hold=30ms), payload-bomb(times=7)", trace, system)

    assert day.system.by_group.shape[1] == 8
    assert float(np.max(np.abs(day.system.by_group[0, 6] / (system.by_group[0, 0] + 0.03) - 7.0))) < 1e-9


def test_unknown_size_class_is_refused(trace: Trace, system: System) -> None:
    """A trace with sizes that nobody measured cannot have worse ones."""
    one_size = replace(system, table=system.by_group[0, 0])

    with pytest.raises(DataError, match="service times of 1"):
        struck("payload-bomb", trace, one_size)


def test_poison_kills_one_station_after_another(trace: Trace, system: System) -> None:
    """Six deliveries to four stations: each is hit in turn, at even steps, and all are back when it is over."""
    day = struck("poison-request(deliveries=6, restart=100ms, lasts=400ms, first=3)", trace, system)

    crashes = [each for each in day.system.faults if isinstance(each, Crash)]
    assert [each.station for each in crashes] == [3, 0, 1, 2, 3, 0]
    assert np.allclose(np.diff([each.at_s for each in crashes]), 0.05)
    assert {each.back_s for each in crashes} == {0.1}
    assert day.first_s + crashes[-1].at_s + 0.1 <= day.until_s


def test_replica_is_lost_at_the_peak(system: System) -> None:
    """The crash comes where most requests fall into one stretch, not where the first or the single highest gap is."""
    times_s = np.concatenate([np.arange(0.0, 100.0), 60.0 + 0.1 * np.arange(50)])
    trace = Trace("a peak", np.sort(times_s))

    day = struck("replica-loss(lost=2, lasts=5s)", trace, system)

    assert [(each.station, each.back_s) for each in day.system.faults if isinstance(each, Crash)] == [
        (0, 5.0),
        (1, 5.0),
    ]
    assert (day.from_s, day.until_s) == (60.0, 65.0)


def test_cold_start_of_a_fixed_fleet(trace: Trace, system: System) -> None:
    """All stations come up a cold start after the first request, and thrice as many ask meanwhile."""
    day = struck("cold-start-stampede(times=3, cold_start=200ms)", trace, system)

    assert day.system.faults == tuple(Crash(each, 0.0, 0.2) for each in range(4))
    rows = day.between(day.from_s, day.until_s)
    assert 3 * day.added == 2 * (rows.stop - rows.start)


def test_cold_start_of_a_fleet_that_scales(trace: Trace, system: System) -> None:
    """It begins with no station, and its own scaler starts them."""
    scaling = Scaling(RayServeScaling(), 1, 6, 0.2)

    day = struck("cold-start-stampede", trace, replace(system, scaling=scaling))

    assert (day.system.stations, day.system.scaling) == (0, replace(scaling, least=0))
    assert abs(day.until_s - day.from_s - 0.3) < 1e-9


def test_scenarios_add_up(trace: Trace, system: System) -> None:
    """Two at once are one day with both, from the beginning of the first to the end of the last."""
    both = struck("flash-crowd(start_share=30%), replica-loss", trace, system)
    crowd, loss = (struck(each, trace, system) for each in ("flash-crowd(start_share=30%)", "replica-loss"))

    assert np.array_equal(both.trace.arrivals_s, crowd.trace.arrivals_s)
    assert len(both.system.faults) == len(loss.system.faults) == 1
    # the crowd is the peak, at which the station is lost
    assert both.from_s == crowd.from_s
    assert crowd.until_s <= both.until_s < crowd.until_s + 0.01


def test_traces_alone_can_be_made_worse(trace: Trace) -> None:
    """Who flies only traces gets the crowd, and is told of scenarios that change more."""
    plain = Trace("plain", trace.arrivals_s)

    assert len(worsen_trace(plain, "flash-crowd", SEEDS)) > len(plain)
    with pytest.raises(ConfigError, match="more than who comes when"):
        worsen_trace(plain, "retry-storm", SEEDS)
