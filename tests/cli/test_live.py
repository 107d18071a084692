"""`windtunnel simulate --live`: a server is driven, and what would do nothing, or harm, is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.simulate.live.generators import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def nothing() -> Iterator[str]:
    """A server that serves batches of up to four in five milliseconds."""
    program = Program("null_server", json.dumps({"service_s": 0.005, "max_batch": 4}))
    yield f"http://127.0.0.1:{program.hear()['port']}"
    program.close()


def test_a_target_is_driven(windtunnel: Command, home: Path, nothing: str) -> None:
    """The document has the tunnel's keys and the road's own; the run folder holds a row a request; the rate is what the trace gives."""
    pl.DataFrame({"seconds": np.sort(np.random.default_rng(1).uniform(0.0, 600.0, 3000))}).write_csv(home / "day.csv")
    ran = windtunnel(
        "simulate", "--live", "--target", nothing, "--model", "null", "--trace", "day.csv", "--speed", "60", "--duration", "2s",
        "--slo", "p90<=10s", "--out", "runs/live", "--json",
    )  # fmt: skip
    tunnel = windtunnel("simulate", "--service", "affine(base=5ms, per_item=0ms)", "--arrivals", "poisson(rate=10)", "--requests", "50",
                        "--slo", "p90<=10s", "--json", "--out", "runs/tunnel")  # fmt: skip
    found: dict[str, Any] = ran.document
    rows = pl.read_parquet(home / "runs" / "live" / "live" / "requests.parquet")

    assert ran.code in {0, 3}, ran.err
    assert set(tunnel.document) - set(found) == set()
    assert {"send_lag_p99_s", "generator_capacity_per_s", "valid", "reasons"} <= set(found)
    assert found["valid"] == (not found["invalid_because"])
    assert found["valid"] or ran.code == 3
    assert found["basis"] == "measured"
    assert found["requests"] == found["completed"] == len(rows) == pytest.approx(600, rel=0.1)
    assert found["asked_rate_per_s"] == pytest.approx(300.0, rel=0.1)
    assert 1.0 <= found["mean_batch"] <= 4.0
    assert found["in_time"] == 1.0
    assert found["not_due"] == 0
    assert not ran.out.startswith("Live")
    windtunnel("report", "runs/live")
    assert "Where the time went" in (home / "runs" / "live" / "report.html").read_text()


@pytest.mark.parametrize("there", [True, False])
def test_too_high_a_rate_is_refused(windtunnel: Command, nothing: str, there: bool) -> None:
    """More in one second than was allowed is refused before it is sent, and before anyone is asked."""
    target = nothing if there else "http://127.0.0.1:9"
    ran = windtunnel("simulate", "--live", "--target", target, "--model", "null", "--arrivals", "poisson(rate=500)", "--requests", "900",
                     "--most-rate", "100")  # fmt: skip

    assert ran.code == 2
    assert "`--most-rate` (=100.0) is less than the" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "http://192.0.2.1:9000", "--model", "m"], "`--target` (='http://192.0.2.1:9000') is not on this machine"),
        (["--target", "http://127.0.0.1:1", "--model", "m"], "`--target` (='http://127.0.0.1:1') does not answer"),
        (["--target", "http://127.0.0.1:1"], "`--model` is missing"),
        (["--target", "http://127.0.0.1:1", "--model", "m", "--replicas", "2"], "`--replicas` is for a server that is started here"),
        (["tiny.onnx", "--model", "m"], "`--model` is for a --target"),
        ([], "`MODEL and --target` need exactly one"),
        (["tiny.onnx", "--batcher", "ray-serve"], "`--batcher` is for the tunnel"),
        (["tiny.onnx", "--duration", "5h"], "`--duration` (='5 h') must be above zero and at most 4h"),
        (["tiny.onnx", "--most-rate", "1e9"], "`--most-rate` (=1000000000.0) must be above zero"),
        (["tiny.onnx", "--scenario", "replica-loss"], "`--scenario`"),
        (["tiny.onnx", "--data", "gone.parquet"], "gone.parquet: `--data` cannot be read"),
        (["tiny.onnx", "--generators", "100000"], "`--generators` (=100000) is more than"),
        (["tiny.onnx", "--slow", "share=0%"], "`--slow (share)` (=0.0) is no share"),
    ],
)  # fmt: skip
def test_what_cannot_be_driven_is_refused(windtunnel: Command, home: Path, words: list[str], said: str) -> None:
    """One sentence with the option and the value, exit code 2, and nothing was started."""
    del home  # the folder it runs in
    ran = windtunnel("simulate", "--live", *words, "--arrivals", "poisson(rate=5)", "--requests", "10")

    assert ran.code == 2, ran.err
    assert said in ran.err


def test_the_road_has_no_place_in_the_tunnel(windtunnel: Command) -> None:
    """Options of a real server are refused where there is none."""
    ran = windtunnel(
        "simulate", "--arrivals", "poisson(rate=5)", "--service", "affine(base=1ms, per_item=1ms)", "--generators", "2"
    )

    assert ran.code == 2
    assert "`--generators` is for a real server, and there is none" in ran.err


def test_an_adversary_needs_time_and_a_factor_needs_an_adversary(windtunnel: Command, nothing: str) -> None:
    """A run that is too short to see whether a server hangs is refused, and so is a factor that nothing would heed."""
    asked = (
        "simulate",
        "--live",
        "--target",
        nothing,
        "--model",
        "null",
        "--arrivals",
        "poisson(rate=50)",
        "--requests",
        "200",
    )
    short, idle = windtunnel(*asked, "--adversary"), windtunnel(*asked, "--factor", "5")

    assert (short.code, idle.code) == (2, 2)
    assert "drive 32s or longer" in short.err
    assert "`--factor`" in idle.err
