from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate import arrivals
from windtunnel.simulate.client import Client
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.scenarios import SCENARIOS, draw, read_scenarios
from windtunnel.simulate.scenarios.mitigation import MITIGATIONS
from windtunnel.simulate.scenarios.rehearsal import BINS, Rehearsal, rehearse_worst_days
from windtunnel.simulate.system import Scaling

if TYPE_CHECKING:
    from windtunnel.simulate.system import System
    from windtunnel.trace import Trace

SEEDS = Seeds(1)


def rehearsed(text: str, trace: Trace, system: System, *, mitigate: bool = False) -> Rehearsal:
    return rehearse_worst_days(trace, system, read_scenarios(text), SEEDS, mitigate=mitigate)


def test_retries_without_a_budget_keep_a_system_down(trace: Trace, system: System) -> None:
    """The textbook metastable failure (Huang et al., OSDI 2022): load and capacity are back, and the collapse stays.

    At six tenths of capacity three retries make 2.4 times of it; the dip lasts a fiftieth of the day. With a budget of a
    tenth the same system is back within a second; so it is where retries cannot fill it: at a fifth of capacity.
    """
    naive = rehearsed("retry-storm", trace, system).days[0].harm
    budget = replace(system, client=Client(budget_ratio=0.1, budget_burst=10.0))
    with_budget = rehearsed("retry-storm", trace, budget).days[0].harm
    idle = rehearsed("retry-storm", trace, replace(system, table=system.table / 3.0)).days[0].harm

    assert (naive.recovered, naive.metastable) == (False, True)
    assert naive.requests_hurt > 0.95 * 0.6 * len(trace)
    assert (with_budget.recovered, with_budget.metastable) == (True, False)
    assert with_budget.recovery_s is not None
    assert with_budget.recovery_s < 1.0
    assert (idle.recovered, idle.metastable) == (True, False)


def test_what_is_called_metastable_stays(system: System) -> None:
    """The same dip on a day five times as long: the collapse is still there at its end, as the shorter day foretold."""
    longer = arrivals.parse("poisson(rate=1600)").arrivals(requests=60_000, seed=3)  # type: ignore[union-attr]  # not a closed loop

    day = rehearsed("retry-storm(start_share=8%, lasts=150ms)", longer, system).days[0]

    assert day.harm.metastable is True
    assert day.harm.requests_hurt > 0.9 * len(longer)


def test_nothing_helps_against_a_held_door(trace: Trace, system: System) -> None:
    """Who waited before the door is late whatever is done behind it: it is said what spares the most."""
    found = rehearsed("thundering-herd", trace, system, mitigate=True)

    (told,) = draw.helped(found.days)
    assert "nothing that was tried; " in told
    assert "spares the most" in told


def test_a_backlog_is_no_metastable_failure(trace: Trace, system: System) -> None:
    """Clients that never retry leave a queue behind that is worked off, however long it is."""
    patient = rehearsed("flash-crowd(times=30)", trace, system).days[0].harm

    assert (patient.recovered, patient.metastable) == (False, False)


def test_mitigations_are_told_apart(trace: Trace, system: System) -> None:
    """Of a retry storm a budget, shedding and dropping cure; back-off only puts it off; each says what it spares."""
    day = rehearsed("retry-storm", trace, system, mitigate=True).days[0]
    tried = {each.name: each for each in day.mitigations}

    assert list(tried) == [each.name for each in MITIGATIONS]
    assert {name for name, each in tried.items() if each.prevented} == {"retry-budget", "shedding", "deadline-drop"}
    for each in tried.values():
        assert each.harm is not None
        assert each.spared == day.harm.requests_hurt - each.harm.requests_hurt


def test_what_changes_nothing_is_not_flown(trace: Trace, system: System) -> None:
    """A budget and a back-off for clients that do not retry are told as such, with no figures."""
    tried = {
        each.name: each.to_dict() for each in rehearsed("flash-crowd", trace, system, mitigate=True).days[0].mitigations
    }

    assert [name for name, each in tried.items() if not each["applies"]] == ["retry-budget", "back-off"]
    assert tried["back-off"]["requests_hurt"] is None
    assert tried["headroom"]["spared"] > 0


def test_more_scenarios_than_one_are_flown_together_too(trace: Trace, system: System) -> None:
    """Each by itself and then all at once; the last hurts no fewer than the worse of both."""
    days = rehearsed("replica-loss(lost=2), flash-crowd(times=3)", trace, system).days

    assert [each.name for each in days] == ["replica-loss", "flash-crowd", "replica-loss+flash-crowd"]
    assert days[2].harm.requests_hurt >= max(days[0].harm.requests_hurt, days[1].harm.requests_hurt)


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_hurts_and_is_the_same_again(name: str, trace: Trace, system: System) -> None:
    """On a system with little to spare every scenario hurts somebody; the same seeds tell the same."""
    tight = replace(system, stations=3)

    first, again = (rehearsed(name, trace, tight).days[0].to_dict() for _ in range(2))

    assert first["requests_hurt"] > 0
    assert first == again


def test_a_fleet_that_scales_comes_up_by_itself(trace: Trace, system: System) -> None:
    """From none the scaler starts as many as the crowd needs, and goodput comes back."""
    scaling = Scaling(RayServeScaling(target=1.0, up_s=0.0, down_s=60.0, look_back_s=0.1, interval_s=0.05), 4, 8, 0.2)

    days = rehearsed("cold-start-stampede", trace, replace(system, scaling=scaling), mitigate=True).days

    assert days[0].harm.recovered
    assert 0 < days[0].harm.requests_hurt < 0.5 * len(trace)


def test_rehearsal_is_drawn(trace: Trace, system: System) -> None:
    """Tables have a row a day and a mitigation; a figure has the calm day, the worst and the best cure, and a shade."""
    found = rehearsed("retry-storm", trace, system, mitigate=True)

    happened, helped = draw.tables(found)
    figure = draw.figures(found)[0].plotly
    assert len(happened.rows) == 1
    assert len(helped.rows) == len(MITIGATIONS)
    assert [len(each["y"]) for each in figure["data"]] == [BINS] * 3
    assert figure["layout"]["shapes"][0]["x0"] == found.days[0].day.from_s - trace.arrivals_s[0]
    calm, worst, _ = (np.array(each["y"]) for each in figure["data"])
    assert abs(np.sum(calm - worst) * found.seconds - found.days[0].harm.requests_hurt) < 0.02 * len(trace)
    assert "metastable" in draw.sentences(found)[0]
    assert draw.helped(found.days) == (
        "retry-storm would have been prevented by retry-budget, shedding, deadline-drop",
    )
