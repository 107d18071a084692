"""`windtunnel simulate`: the commands that must work as written, and what a promise and a doubtful profile do to the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.latency_profile import LatencyProfile
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

KEYS = {
    "requests", "completed", "shed", "timed_out", "failed", "seconds_simulated", "wall_s", "throughput_per_s", "mean_batch",
    "utilization", "usd", "latency", "wait",
}  # fmt: skip
SPREAD = {f"{name}_s{end}" for name in ("mean", "p50", "p90", "p99", "p999") for end in ("", "_low", "_high")}


def test_a_recording_and_a_profile(windtunnel: Command) -> None:
    """A trace through replicas behind one queue: every figure has its name, and its interval."""
    ran = windtunnel(
        "simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--replicas", 4, "--max-batch", 8, "--max-wait", "2ms",
        "--batcher", "ideal", "--seed", 1, "--usd-per-hour", 0.1, "--json",
    )  # fmt: skip

    assert ran.code == 0
    assert set(ran.document) >= KEYS
    assert set(ran.document["latency"]) & set(ran.document["wait"]) >= SPREAD
    assert ran.document["usd"] == pytest.approx(4 * 0.1 * ran.document["seconds_simulated"] / 3600.0)


def test_more_arrivals_than_are_held(windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated arrivals that are too many to hold stream through, and give what a trace of them gives."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=900)", "--requests", 50_000, "--service", "affine(base=1ms, per_item=0.4ms)",
        "--replicas", 1, "--max-batch", 8, "--max-wait", "2ms", "--json",
    )  # fmt: skip
    held = windtunnel(*asked, "--out", "held").document
    monkeypatch.setattr("windtunnel.verbs.trace.HELD", 1000)
    streamed = windtunnel(*asked, "--out", "streamed").document

    assert {key: held[key] for key in KEYS - {"wall_s"}} == {key: streamed[key] for key in KEYS - {"wall_s"}}


def test_theory_beside_it(windtunnel: Command) -> None:
    """M/M/1 at 0.8 waits 4 ms in the mean, and the simulated interval holds it; with a cap there is no closed form."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=800)", "--requests", 400_000, "--service", "exponential(mean=1ms)", "--theory", "--json",
    )  # fmt: skip
    ran = windtunnel(*asked).document
    capped = windtunnel(*asked, "--admission", "max_waiting=50, max_queued=0").document

    assert ran["theory"]["wait_mean_s"] == pytest.approx(0.004)
    assert ran["wait"]["mean_s_low"] <= 0.004 <= ran["wait"]["mean_s_high"]
    assert "caps" in capped["theory"]["reason"]


@pytest.mark.parametrize(("slo", "code", "told"), [("p99<=1s", 0, "kept"), ("p99<=1us", 1, "broken")])
def test_a_promise(home: Path, windtunnel: Command, slo: str, code: int, told: str) -> None:
    """A promise that is broken in the run is a no-go; how many answers are in time is told, and when in a timeline."""
    ran = windtunnel(
        "simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--slo", slo, "--out", "flown", "--json"
    )
    over_time = pl.read_parquet(home / "flown" / "simulate" / "timeline.parquet")

    assert ran.code == code
    assert told in ran.document["reasons"][-1]
    assert ran.document["in_time"] == over_time["good"].sum() / 2000
    assert over_time["arrived"].sum() == 2000


def test_a_flight_is_no_surer_than_its_profile(home: Path, windtunnel: Command) -> None:
    """On a profile that is not valid nothing is go."""
    profile = LatencyProfile.load(home / "profile.npz")
    replace(profile, verdict=Verdict("inconclusive", ("it was too short.",))).save(home / "short.npz")
    ran = windtunnel("simulate", "--trace", "arrivals.csv", "--profile", "short.npz", "--json")

    assert (ran.code, ran.document["verdict"]) == (3, "inconclusive")
    assert "not valid: it was too short." in ran.document["reasons"][-1]


def test_most_replicas_need_not_be_said(windtunnel: Command) -> None:
    """A scaler without a bound above keeps to the replicas that were asked for, as slow as so many are together."""
    asked = ("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--replicas", 2, "--json")
    free, bound = (windtunnel(*asked, "--scaler", "ray-serve", *more) for more in ((), ("--most-replicas", 2)))

    assert free.document["latency"] == bound.document["latency"]
    assert windtunnel(*asked, "--scaler", "bogus").err.startswith("windtunnel: `--scaler`")
