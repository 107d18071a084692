"""`windtunnel simulate --agree`: what cannot be compared is refused, and a real server is compared."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

import cli
from windtunnel.quantity import parse_duration
from windtunnel.road import CALIBRATING_S, Road
from windtunnel.verbs.agree import Wish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.onnx", "--live"], "`--agree` does what --live does, and more"),
        (["model.onnx", "--target", "http://127.0.0.1:1"], "`--target` has no place in a comparison"),
        (["model.onnx", "--speed", "3"], "`--speed` has no place in a comparison"),
        (["model.onnx", "--batcher", "ray-serve"], "`--batcher` has no place in a comparison"),
        (["model.onnx", "--load", "120%"], "`--load`"),
        (
            ["model.onnx", "--load", "10%"],
            "`--load` (='10%') is no share of capacity at which a road is known; give 19% to 88%",
        ),
        (["model.onnx", "--load", "99%"], "`--load` (='99%') is no share of capacity at which a road is known"),
        (["model.onnx", "--within", "0%"], "`--within` (='0%') must lie between 0% and 100%"),
        (["model.onnx", "--calibrate", "1s"], "`--calibrate` (='1s') is too short"),
        (["model.onnx", "--load", "95.4%"], "`--load` (='95.4%') is no share of capacity at which a road is known"),
        (["model.onnx", "--road", "model.onnx"], "is not a road"),
        (["model.onnx", "--road", "nowhere/model.road.npz"], "lies in a folder that is not there; make it first"),
        (["model.onnx", "--size", "n=1,2"], "makes several classes"),
        ([], "`MODEL and --target` need exactly one"),
    ],
)
def test_what_cannot_be_compared_is_refused(windtunnel: Command, home: Path, words: list[str], said: str) -> None:
    """One sentence with the option and the value, exit code 2, and nothing was started."""
    del home  # the folder it runs in
    ran = windtunnel("simulate", "--agree", *words, "--arrivals", "poisson(rate=5)", "--requests", "10")

    assert ran.code == 2, ran.err
    assert said in ran.err


def test_a_road_is_measured_for_as_long_as_the_help_says() -> None:
    """The command's own word for it is that of the road."""
    told = inspect.signature(cli.simulate).parameters["calibrate"].default
    assert parse_duration(told) == CALIBRATING_S == Wish().calibrate_s


def test_its_options_have_no_place_elsewhere(windtunnel: Command) -> None:
    """Options of a comparison are refused where there is none."""
    ran = windtunnel(
        "simulate", "--arrivals", "poisson(rate=5)", "--service", "affine(base=1ms, per_item=1ms)", "--within", "5%"
    )

    assert ran.code == 2
    assert "`--within` is for a comparison of tunnel and road" in ran.err


def test_a_server_is_compared_with_the_tunnel(windtunnel: Command, home: Path) -> None:
    """A real server, calibrated and driven for seconds: every figure is told of both, and the road is kept, in its own place too where nothing disturbed it."""
    words = (
        "simulate", "--agree", "model.onnx", "--arrivals", "poisson(rate=5)", "--requests", "5000", "--load", "30%", "--duration", "3s",
        "--max-batch", "4", "--max-wait", "2ms", "--replicas", "1", "--calibrate", "3s", "--within", "50%", "--road", "model.road.npz",
        "--out", "runs/agree", "--json",
    )  # fmt: skip
    ran = windtunnel(*words)
    found = ran.document
    road = Road.load(next((home / "runs/agree").rglob("road.npz")))

    assert ran.code in {0, 1, 3}, ran.err
    assert [each["quantity"] for each in found["agreement"]] == ["p50", "p90", "p99", "throughput", "mean_batch"]
    assert {"tunnel", "road", "gap", "gap_low", "gap_high"} <= set(found["agreement"][0])
    assert (ran.code, found["verdict"]) in {(0, "go"), (1, "no-go"), (3, "inconclusive")}
    assert found["valid"] == (not found["invalid_because"])
    assert found["calibrated"]
    assert found["completed"] == found["requests"]
    assert (home / "model.road.npz").exists() == (not road.doubts)
    assert found["capacity_per_s"] == road.capacity_per_s
    assert [each.rate_per_s for each in road.loads] == found["calibrated_at_per_s"]
