from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan
from windtunnel.simulate.planning import Course, Journal, Offer, Patterns, Space, tune
from windtunnel.simulate.traffic import poisson

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price

KILLED = """
import os, pickle, signal, sys
from windtunnel.simulate.plan import plan
from windtunnel.simulate.planning import Journal

arguments, path, last = pickle.load(open(sys.argv[1], "rb"))
journal, put, entries = Journal(path), Journal.put, []


def put_and_die(self, what, value):
    put(self, what, value)
    entries.append(what)
    if len(entries) == last:
        os.kill(os.getpid(), signal.SIGKILL)


Journal.put = put_and_die
plan(**arguments, journal=journal)
"""


def asked(profile: LatencyProfile, price: Price) -> dict[str, object]:
    """A small question."""
    space = Space((Offer(profile, price),), (1, 2, 3, 4, 6), (1, 8), (0.0, 0.002))
    traces = {"recorded": poisson(1200.0, 4000, np.random.default_rng(0))}
    return {
        "traces": traces, "space": space, "slo": Slo(0.99, 0.03), "seeds": Seeds(1), "repeats": 3, "workers": Workers(1),
    }  # fmt: skip


def count_flights(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every deployment that is flown from now on."""
    flown: list[object] = []
    fly = Course.fly

    def counted(self: Course, deployment: object, seeds: Seeds) -> object:
        flown.append(deployment)
        return fly(self, deployment, seeds)  # type: ignore[arg-type]  # it is a Deployment

    monkeypatch.setattr(Course, "fly", counted)
    return flown


def test_a_plan_that_was_killed_goes_on(
    tmp_path: Path, profile: LatencyProfile, price: Price, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by SIGKILL half-way and started again, a plan flies only what is missing, and comes to the same, byte for byte."""
    import pickle

    question, path = asked(profile, price), tmp_path / "flights"
    flown = count_flights(monkeypatch)
    whole: Plan = plan(**question)  # type: ignore[arg-type]  # the question has its arguments
    needed = len(flown)
    (tmp_path / "question").write_bytes(pickle.dumps((question, path, 6)))
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "question")], check=False)
    flown.clear()
    journal = Journal(path)
    again: Plan = plan(**question, journal=journal)  # type: ignore[arg-type]  # the question has its arguments

    assert child.returncode == -9
    assert (journal.found, journal.taken) == (6, 6)
    assert 0 < len(flown) < needed - 5
    assert again == whole
    assert canonical_json(again.to_dict()) == canonical_json(whole.to_dict())


def test_a_journal_that_is_whole_leaves_nothing_to_fly(
    tmp_path: Path, profile: LatencyProfile, price: Price, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every flight of a plan and its tuning in the journal nothing is flown; with each line cut short all of it is."""
    question, path = asked(profile, price), tmp_path / "flights"
    flown = count_flights(monkeypatch)
    fleet = Space((Offer(profile, price),), (3,), (8,), (0.0,))
    (deployment,) = fleet.deployments()
    traces = {"recorded": poisson(1200.0, 1000, np.random.default_rng(0))}

    def once() -> tuple[Plan, object]:
        journal = Journal(path)
        found: Plan = plan(**question, journal=journal)  # type: ignore[arg-type]  # the question has its arguments
        tuned = tune(
            traces,
            fleet.offers[0],
            deployment,
            slo=Slo(0.99, 0.03),
            seeds=Seeds(1),
            workers=Workers(1),
            journal=journal,
        )
        return found, tuned

    first, needed = once(), len(flown)
    flown.clear()
    second, missing = once(), len(flown)
    path.write_text("\n".join(line[:-9] for line in path.read_text().splitlines()))
    flown.clear()
    third = once()

    assert first == second == third
    assert (missing, len(flown)) == (0, needed)


def test_another_question_is_another_flight(tmp_path: Path, profile: LatencyProfile, price: Price) -> None:
    """What was flown is known by deployment, luck and load; what costs only show in flight is read back to the last bit."""
    space = Space(
        (Offer(profile, price),), (2, 4), (8,), (0.0,), patterns=("autoscaled",), assumed=Patterns(cold_start_s=1.0)
    )
    course = Course.of({"recorded": poisson(900.0, 2000, np.random.default_rng(0))}, space, Slo(0.99, 0.05))
    deployment = next(space.deployments())
    flown = Journal(tmp_path / "flights").flight(course, deployment, Seeds(1))
    journal = Journal(tmp_path / "flights")

    assert journal.flight(course, deployment, Seeds(1)) == flown
    assert flown.deployment.usd_per_hour >= deployment.usd_per_hour
    assert journal.taken == 1
    journal.flight(course, deployment, Seeds(2))
    journal.flight(course, deployment, Seeds(1), "grown 2.0")
    assert journal.taken == 1
