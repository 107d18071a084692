"""Our server and others do what the Open Inference Protocol says; where one does otherwise is written down, and true."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conformance.cases import CASES, DIFFERS, NEEDS_BINARY, Server, echoed
from tests.conformance.other_servers import MODEL
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.target import Asked, measure_target
from windtunnel.errors import ConfigError
from windtunnel.seeds import Seeds
from windtunnel.serving.protocol import write_request
from windtunnel.serving.remote import discover
from windtunnel.verbs.inputs import generate_feeds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.serving.remote import Address


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case(case: Callable[[Server], None], server: Server) -> None:
    """The server does what the case says, or what `DIFFERS` says of it: a difference that is gone fails too."""
    if case.__name__ in NEEDS_BINARY and not server.binary:
        pytest.skip(f"{server.name} does not list binary_tensor_data")
    if (server.name, case.__name__) not in DIFFERS:
        return case(server)
    with pytest.raises(AssertionError):
        case(server)
    return None


def test_discover(address: tuple[str, Address]) -> None:
    """What a server tells of itself is enough to ask it, in the form that it speaks."""
    name, found = address
    model = discover(found, MODEL)
    feeds = {
        tensor.name: np.full((2, 2), "x", object) if tensor.dtype == "object" else np.ones((2, 2), tensor.dtype)
        for tensor in model.signature.inputs
    }

    assert model.binary == (name != "mlserver")
    assert model.server.partition(" ")[0] == {"ours": "windtunnel"}.get(name, name)
    with model.connect() as connection:
        answer = model.infer(connection, feeds)
        assert {key: array.tolist() for key, array in answer.items()} == {
            key.replace("in_", "out_"): array.tolist() for key, array in feeds.items()
        }


def test_measured(address: tuple[str, Address]) -> None:
    """Any server's round trips make a profile; on this machine the CPU of its processes is counted, the model's own if it tells."""
    name, found = address
    model = discover(found, MODEL)
    feeds = generate_feeds(model.signature, 4, Seeds(1))
    asked = Asked(model, feeds, (1, 4), connections=4, effort=Effort(precision=0.5, budget_s=1.0, rounds=4))
    profile = measure_target(asked)

    assert profile.batch_sizes == (1, 4)
    assert all((samples > 0.0).all() for samples in profile.samples_s)
    assert profile.server is not None
    assert profile.server.cpu_s.value > 0.0
    assert profile.server.processes >= {"ours": 4, "triton": 3, "mlserver": 1}[name]
    assert (profile.server.of, profile.server.model_s > 0.0) == ("cpu", name == "ours")


def test_driven(address: tuple[str, Address], tmp_path: Path) -> None:
    """`simulate --live --target` drives what others wrote: every request of the trace is answered, and counted as the tunnel counts."""
    name, found = address
    if name == "ours":
        pytest.skip("the driver's own tests drive ours")
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s\n" + "\n".join(f"{index / 50:.2f}" for index in range(75)) + "\n")
    command = [
        "simulate",
        "--live",
        "--target",
        str(found),
        "--model",
        MODEL,
        "--trace",
        str(trace),
        "--json",
        "--out",
        "run",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "windtunnel.cli", *command], capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip

    assert ran.returncode in {0, 3}, ran.stderr  # 3 where the machine was too busy to send in time
    told = json.loads(ran.stdout)
    assert (told["requests"], told["completed"], told["failed"]) == (75, 75, 0)
    assert told["server"].partition(" ")[0] == name
    assert told["mean_batch"] is None


def test_discover_stranger(address: tuple[str, Address]) -> None:
    """A model that a server does not have is refused by name."""
    with pytest.raises(ConfigError, match="nobody"):
        discover(address[1], "nobody")


def test_kept_alive(server: Server) -> None:
    """One connection carries request after request, and no answer is another's."""
    for value in range(20):
        feeds = {**server.feeds(), "in_INT64": np.full((1, 2), value)}
        body, headers = write_request(feeds, binary=server.binary)
        echoed(server.post(body, headers), feeds)
