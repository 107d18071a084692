"""`windtunnel simulate --scenario … --mitigate`, as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

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
    assert storm["runs"] == 8
    assert storm["requests_hurt_low"] <= storm["requests_hurt"] <= storm["requests_hurt_high"]
    assert ran.code == {True: 0, False: 1, None: 3}[storm["recovered"]]


def test_every_scenario_can_be_named(windtunnel: Command) -> None:
    """All ten in one command: each by itself and then all at once; people get a table of them."""
    ran = windtunnel(*SIMULATE, "--scenario", ",".join(SCENARIOS), "--runs", 2, "--out", "all")

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


def test_days_can_be_told_one_by_one_or_at_once(windtunnel: Command) -> None:
    """The option may be repeated; with a plus sign two scenarios are one day."""
    again = windtunnel(
        *SIMULATE,
        "--scenario",
        "flash-crowd(after=1s)",
        "--scenario",
        "replica-loss",
        "--runs",
        1,
        "--json",
        "--out",
        "a",
    )
    once = windtunnel(
        *SIMULATE, "--scenario", "flash-crowd(after=1s) + replica-loss", "--runs", 1, "--json", "--out", "b"
    )

    names = "flash-crowd", "replica-loss", "flash-crowd+replica-loss"
    assert tuple(each["name"] for each in again.document["scenarios"]) == names
    assert once.document["scenarios"] == again.document["scenarios"][-1:]
    assert once.document["scenarios"][0]["requests_hurt_low"] is None


@pytest.mark.parametrize("option", ["--runs", "--workers"])
def test_runs_repeat_a_worst_day(option: str, windtunnel: Command) -> None:
    """An option that would do nothing is refused."""
    ran = windtunnel(*SIMULATE, option, 3)

    assert (ran.code, option in ran.err, "--scenario" in ran.err) == (2, True, True)


def test_mitigation_needs_a_worst_day(windtunnel: Command) -> None:
    """Nothing is mended where nothing is broken."""
    ran = windtunnel(*SIMULATE, "--mitigate")

    assert ran.code == 2
    assert "--scenario" in ran.err
