"""A server is benchmarked over the wire, and what it costs goes with a model's profile into plans and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.benchmarks.test_target import server, told
from windtunnel.benchmarks import target as target_file
from windtunnel.latency_profile import LatencyProfile
from windtunnel.server_cost import ServerCost
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

PLAN = (
    "plan", "--trace", "arrivals.csv", "--max-batch", "1,8", "--replicas", "1,2,3,4", "--slo", "p99<=50ms", "--json", "--hardware",
    "azure:D2s_v5",
)  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces as short as a fake server needs."""
    monkeypatch.setattr(target_file, "PIECE_S", 0.05)


def test_server_alone(windtunnel: Command, home: Path) -> None:
    """A server's round trips are a profile like any other, with what the server says of itself in it."""
    with server(told) as address:
        ran = windtunnel(
            "benchmark", "--target", str(address), "--model", "m", "--batch", "1,8", "--budget", "200ms", "--precision", "90%",
            "--out", "runs/t", "--json",
        )  # fmt: skip
    kept = LatencyProfile.load(home / "runs" / "t" / "benchmark" / "m-fake-over-the-wire.npz")

    assert ran.code in {0, 3}, ran.err
    assert [entry["batch"] for entry in ran.document["profiles"]] == [1, 8]
    assert ran.document["server"]["server"] == "fake 1"
    assert ran.document["server"]["inside"] is True
    assert kept.server is not None
    assert kept.server.to_dict() == ran.document["server"]
    assert windtunnel("simulate", "--profile", "runs/t/benchmark/m-fake-over-the-wire.npz", "--arrivals", "poisson(rate=10)",
                      "--requests", "200", "--json").code in {0, 3}  # fmt: skip


def test_server_beside_its_model(windtunnel: Command, home: Path, tiny_model: Path) -> None:
    """A model's profile gets what its server costs beside it, and its own service times are as they were measured."""
    with server(told) as address:
        ran = windtunnel(
            "benchmark", str(tiny_model), "--target", str(address), "--model", "m", "--batch", "1,8", "--budget", "200ms",
            "--no-footprint", "--no-scaling", "--out", "runs/b", "--json",
        )  # fmt: skip
    kept = LatencyProfile.load(home / "runs" / "b" / "benchmark" / "tiny.npz")

    assert ran.code in {0, 3}, ran.err
    assert {entry["server"]["server"] for entry in ran.document["profiles"]} == {"fake 1"}
    assert kept.server is not None
    assert not kept.server.inside
    assert float(np.median(kept.samples_s[0])) < 0.001


def test_plan_finds_room_for_it(windtunnel: Command, home: Path) -> None:
    """Where a server takes as long as its model, the plan needs more than without; and says which it has counted."""
    profile = LatencyProfile.load(home / "profile.npz")
    mean_s = float(profile.samples_s[0].mean())
    cost = ServerCost("a server", Interval(3 * mean_s, 2.9 * mean_s, 3.1 * mean_s, 8, 0.95), model_s=mean_s)
    replace(profile, server=cost).save(home / "served.npz")
    bare = windtunnel(*PLAN, "--profile", "profile.npz", "--out", "runs/bare").document
    served = windtunnel(*PLAN, "--profile", "served.npz", "--out", "runs/served").document

    assert served["cheapest"]["p99_s"] > bare["cheapest"]["p99_s"]
    assert bare["servers"] == {profile.name: None}
    assert served["servers"][profile.name]["server"] == "a server"
    assert served["servers"][profile.name]["inside"] is True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "give a model, or --target and --model"),
        (("--target", "http://127.0.0.1:9"), "--model"),
        (("--target", "http://127.0.0.1:9", "--model", "m"), "is the server running there"),
        (("--target", "http://192.0.2.7", "--model", "m"), "--i-own-this-target"),
        (("--target", "nowhere", "--model", "m"), "is no address"),
        (
            ("--target", "http://127.0.0.1:9", "--model", "m", "--cost", "--hardware", "azure:D2s_v5", "--slo", "p99<=50ms"),
            "give the model's file too",
        ),
        (("profile.npz", "profile.npz", "--target", "http://127.0.0.1:9", "--model", "m"), "give one model"),
        (("profile.npz", "--target", "http://127.0.0.1:9", "--model", "m"), "earlier runs are not measured again"),
    ],
)  # fmt: skip
def test_refused(windtunnel: Command, options: tuple[str, ...], says: str) -> None:
    """What cannot be asked is refused in one sentence, with the way out."""
    ran = windtunnel("benchmark", *options)

    assert ran.code == 2
    assert says in " ".join(ran.err.split())
