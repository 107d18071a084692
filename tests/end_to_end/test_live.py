"""`windtunnel simulate --live` with a real server: it is started, driven, told of and stopped, and nothing is left."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from .conftest import COMMAND

if TYPE_CHECKING:
    from pathlib import Path


def test_a_model_is_served_and_driven(tiny_model: Path, tmp_path: Path) -> None:
    """A trace at ten times its speed through Ray Serve: every request is answered, batches and spans are the server's own words."""
    pl.DataFrame({"seconds": np.sort(np.random.default_rng(1).uniform(0.0, 60.0, 240))}).write_csv(tmp_path / "day.csv")
    command = [
        str(COMMAND), "simulate", "--live", str(tiny_model), "--trace", "day.csv", "--speed", "10", "--duration", "4s", "--max-batch", "8",
        "--max-wait", "5ms", "--replicas", "1", "--json", "--out", "runs/live",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert ran.returncode in {0, 3}, ran.stderr
    found = json.loads(ran.stdout)
    assert found["requests"] == found["completed"] > 120
    assert found["server"].startswith("windtunnel ")
    assert found["replicas_mean"] == 1
    assert found["generator_capacity_per_s"] > 0.0
    assert found["send_lag_p99_s"] > 0.0
    assert found["valid"] or ran.returncode == 3
    log = pl.read_parquet(tmp_path / "runs" / "live" / "live" / "requests.parquet")
    assert log["batch_size"].min() == 1
    assert log["started_s"].is_not_nan().all()
    assert (log["sent_s"] <= log["started_s"]).all()
    assert (log["started_s"] <= log["finished_s"]).all()
    assert not [each for each in _commands() if str(tiny_model) in each]


def _commands() -> list[str]:
    """What runs on this machine."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()
