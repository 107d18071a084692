from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.simulate.planning import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

PLAN = (
    "plan", "--trace", "arrivals.csv", "--profile", "profile.npz", "--max-batch", "1,8", "--replicas", "1,2,3", "--slo", "p99<=50ms",
    "--json",
)  # fmt: skip
BOX = "edge(purchase=500usd, lifetime=3y, power=15W, electricity=0.30usd/kWh)"


def test_a_plan_that_was_interrupted_goes_on(windtunnel: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command takes up what was flown, says how much, and comes to what an undisturbed one comes to."""
    arguments = (*PLAN, "--hardware", "azure:D2s_v5", "--tune-batching")
    whole = windtunnel(*arguments, "--out", "runs/whole")
    put, entries = Journal.put, []

    def put_until(self: Journal, what: str, value: Any) -> None:
        put(self, what, value)
        entries.append(what)
        if len(entries) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "put", put_until)
        stopped = windtunnel(*arguments, "--out", "runs/p")
    again = windtunnel(*arguments, "--out", "runs/p")
    varying = {"run", "seconds", "deployments_per_s", "requests_per_s"}

    assert (whole.code, stopped.code != 0, again.code) == (0, True, 0)
    assert "taking up 4 results that an interrupted run left" in again.err
    assert {key: value for key, value in again.document.items() if key not in varying} == {
        key: value for key, value in whole.document.items() if key not in varying
    }
    assert not list((home / "runs" / "p").rglob(".flights"))


def test_a_way_of_running_may_be_the_answer(windtunnel: Command, home: Path) -> None:
    """A device that is named is compared; it is the answer only where edge devices may be it, and says what it rests on."""
    assert home.is_dir()
    usual = windtunnel(*PLAN, "--hardware", f"azure:D2s_v5,{BOX}").document
    edge = windtunnel(*PLAN, "--hardware", f"azure:D2s_v5,{BOX}", "--patterns", "always-on,edge").document

    assert [(each["pattern"], each["may_win"]) for each in usual["patterns"]] == [("always-on", True), ("edge", False)]
    assert usual["cheapest"]["pattern"] == "always-on"
    assert edge["cheapest"]["pattern"] == "edge"
    assert edge["cheapest"]["usd_per_hour"] < usual["cheapest"]["usd_per_hour"]
    assert any("One device a site" in reason for reason in edge["reasons"])
    assert {"usd_per_hour", "p99_s", "availability"} <= set(edge["frontier"][0])


def test_a_guess_is_never_a_go(windtunnel: Command) -> None:
    """Batches that were never measured are refused, or planned with by consent: inconclusive at best, and it says from where to where."""
    asked = (
        "plan", "--trace", "arrivals.csv", "--profile", "profile.npz", "--hardware", "azure:D2s_v5", "--max-batch", "16", "--replicas",
        "1,2", "--slo", "p99<=50ms", "--json",
    )  # fmt: skip
    refused, guessed = windtunnel(*asked), windtunnel(*asked, "--extrapolate")
    aimless = windtunnel(*PLAN[:5], "--hardware", "azure:D2s_v5", "--slo", "p99<=50ms", "--extrapolate")

    assert (refused.code, aimless.code) == (2, 2)
    assert "`--max-batch` (=16) was never profiled" in refused.err
    assert "give --max-batch too" in aimless.err
    assert (guessed.code, guessed.document["verdict"]) == (3, "inconclusive")
    assert guessed.document["cheapest"]["max_batch"] == 16
    assert guessed.document["extrapolated"] == {"from": 8, "to": 16}
    assert any("batches above 8 were never measured" in each for each in guessed.document["reasons"])
    assert "measure batches of 16 too" in guessed.document["would_change"][0]


def test_replicas_do_not_help_what_is_slow_by_itself(windtunnel: Command) -> None:
    """Below the promised quantile of the service alone no number of replicas is asked for, but a faster variant or a longer bound."""
    ran = windtunnel(*PLAN[:-3], "--slo", "p99<=1.5ms", "--json", "--hardware", "azure:D2s_v5")

    assert (ran.code, ran.document["verdict"]) == (1, "no-go")
    assert "no number of replicas helps" in ran.document["reasons"][1]
    assert not any("replicas" in each for each in ran.document["would_change"])


def test_what_was_left_out_of_a_trace_is_told(windtunnel: Command, home: Path) -> None:
    """Rows that cannot be used are told beside the plan that rests on the others; a closed loop has no trace to plan on."""
    rows = (home / "arrivals.csv").read_text()
    (home / "arrivals.csv").write_text(f"{rows}nan\n")
    ran = windtunnel(*PLAN[:-1], "--hardware", "azure:D2s_v5")
    loop = windtunnel("plan", "--arrivals", "closed-loop(users=5, think=10ms)", *PLAN[3:], "--hardware", "azure:D2s_v5")

    assert (ran.code, loop.code) == (0, 2)
    assert "left out" in " ".join(ran.out.split())
    assert "closed loop, of which there is no trace" in loop.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--patterns", "sopt"), ["`--patterns` (='sopt') is no way of running", "did you mean `spot`"]),
        (("--patterns", "serverless"), ["`--patterns`", "serverless has nothing to run on", "add a function"]),
        (("--assume", "target=0"), ["`--assume (target)`", "must be above zero"]),
        (("--assume", "hop=5ms"), ["`--assume (hop)` is assumed of edge, and nobody asks about it", "add edge to"]),
        (("--assume", "repair=5m"), ["`--assume (repair)`", "nothing fails", "--failures-per-hour"]),
        (("--failures-per-hour", "-1"), ["--failures-per-hour"]),
    ],
)
def test_what_means_nothing_is_refused(windtunnel: Command, options: tuple[str, ...], says: list[str]) -> None:
    """The option and the way out are named."""
    ran = windtunnel(*PLAN, "--hardware", "azure:D2s_v5", *options)

    assert ran.code == 2
    for each in says:
        assert each in ran.err
