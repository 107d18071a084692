"""`windtunnel simulate --scenario … --mitigate`, as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.simulate.scenarios import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

SIMULATE = ("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--replicas", 4)
FIGURES = {"name", "recovered", "recovery_s", "requests_hurt", "metastable", "mitigations"}


def test_a_retry_storm_and_what_helps(windtunnel: Command) -> None:
    """The command of the issue: figures of the worst day, the scenario beside the calm day, and what was tried."""
    ran = windtunnel(*SIMULATE, "--scenario", "retry-storm", "--mitigate", "--json", "--out", "storm")

    (storm,) = ran.document["scenarios"]
    assert set(storm) >= FIGURES
    assert [each["name"] for each in storm["mitigations"]] == [
        "retry-budget", "shedding", "deadline-drop", "headroom", "back-off"
    ]  # fmt: skip
    assert ran.document["requests"] == 2000
    assert ran.code == (0 if storm["recovered"] else 1)


def test_every_scenario_can_be_named(windtunnel: Command) -> None:
    """All ten in one command: each by itself and then all at once; people get a table of them."""
    ran = windtunnel(*SIMULATE, "--scenario", ",".join(SCENARIOS), "--out", "all")

    for name in SCENARIOS:
        assert name in ran.out
    assert "all 10 together" in ran.out


def test_settings_reach_the_scenario(home: Path, windtunnel: Command) -> None:
    """What stands in brackets is heard, between commas too."""
    wanted = "flash-crowd(times=3, start_share=20%), replica-loss(lost=2)"
    crowd, loss, both = windtunnel(*SIMULATE, "--scenario", wanted, "--json", "--out", "two").document["scenarios"]

    times_s = pl.read_csv(home / "arrivals.csv")["time"].to_numpy()
    assert abs(crowd["from_s"] - 0.2 * (times_s[-1] - times_s[0])) < 1e-6
    assert (loss["requests_added"], both["name"]) == (0, "flash-crowd+replica-loss")
    assert both["requests_added"] == crowd["requests_added"] > 0
    assert crowd["mitigations"] == []


def test_mitigation_needs_a_worst_day(windtunnel: Command) -> None:
    """Nothing is mended where nothing is broken."""
    ran = windtunnel(*SIMULATE, "--mitigate")

    assert ran.code == 2
    assert "--scenario" in ran.err
