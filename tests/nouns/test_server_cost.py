"""What a server costs is told apart from the model, kept with the profile, and counted where it has to be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.digest import digest_file
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.server_cost import ServerCost
from windtunnel.stats import Interval
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

OWN = Interval(0.0005, 0.0004, 0.0006, 8, 0.95)


def profile(
    server: ServerCost | None, *, threads: int = 1, runtime: str = "onnxruntime 1 CPUExecutionProvider"
) -> LatencyProfile:
    hardware, samples = Hardware("a CPU", "x86_64", (), 2.0, 2**30), (np.full(9, 0.001), np.full(9, 0.004))
    return LatencyProfile(
        "m", "", hardware, runtime, threads, "measured", (1, 8), samples, 1.0, Verdict("go", ("steady",)), server=server
    )


def test_kept(tmp_path: Path) -> None:
    """A profile keeps what its server costs; one without is the same bytes as before there was such a thing."""
    server = ServerCost("triton 2.51.0", OWN, "cpu", 0.0004, 16, 1200.0, 3)
    profile(server).save(tmp_path / "a.npz")
    profile(None).save(tmp_path / "b.npz")
    kept = LatencyProfile.load(tmp_path / "b.npz")
    kept.save(tmp_path / "c.npz")

    assert LatencyProfile.load(tmp_path / "a.npz").server == server
    assert kept.server is None
    assert b'"server"' not in (tmp_path / "b.npz").read_bytes()
    assert digest_file(tmp_path / "b.npz") == digest_file(tmp_path / "c.npz")


def test_core_seconds_add_up() -> None:
    """Two cores that run the model at b requests a batch and the server's work serve 1 / (1 / rate + cost / cores)."""
    cost, cores = 0.0005, 2
    alone, served = profile(ServerCost("s", OWN, model_s=0.001)), profile(ServerCost("s", OWN, model_s=0.001)).served
    for size in (1, 8):
        rate = cores * alone.throughput_per_s(size).value

        assert cores * served.throughput_per_s(size).value == pytest.approx(1.0 / (1.0 / rate + cost / cores))


def test_threads_share_it() -> None:
    """The server's work is spread over the cores of a session: two threads lose half as long each."""
    served = profile(ServerCost("s", OWN, model_s=0.001), threads=2).served

    assert [float(each[0]) for each in served.samples_s] == pytest.approx([0.00125, 0.006])


@pytest.mark.parametrize(
    "server",
    [
        None,
        ServerCost("s", OWN, model_s=0.001, inside=True),
        ServerCost("s", OWN, model_s=0.0),
        ServerCost("s", OWN, "wall", model_s=0.001),
    ],
    ids=["none", "inside already", "model within", "by the clock"],
)
def test_not_counted(server: ServerCost | None) -> None:
    """What is not known apart, or is in the service times, is not counted again; and the profile says so."""
    given = profile(server)

    assert given.served is given
    if server is None:
        assert given.server_told == "What a server costs beside the model is not in it: none was measured for m."
    else:
        assert given.server_told.endswith("The service times of m hold it." if server.inside else "It is not in it.")


def test_counted_once() -> None:
    """A profile that holds its server's work is not given it a second time."""
    once = profile(ServerCost("s", OWN, model_s=0.001)).served

    assert once.served is once
    assert once.server_told.endswith("The service times of m hold it.")


def test_accelerator() -> None:
    """The server's CPU holds up no accelerator."""
    given = profile(ServerCost("s", OWN, model_s=0.001), runtime="onnxruntime 1 CUDAExecutionProvider")

    assert given.served is given


def test_share() -> None:
    """The server's share is told where the model's part is known, and nothing where it is not."""
    assert ServerCost("s", OWN, model_s=0.0005).share == pytest.approx(0.5)
    assert ServerCost("s", OWN).share is None
    assert "not known apart" in ServerCost("s", OWN).sentence
