"""The sweep that is timed does the work that it says, and the script that times it runs."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("sweep.py")


def test_pinned_work() -> None:
    """The same sweep simulates the same requests and finds the same deployment, among the same 96."""
    sweep = runpy.run_path(str(SCRIPT))["sweep"]
    first, second = sweep(2000), sweep(2000)

    assert first.possible == 96
    assert first.evaluated < 96
    assert second.requests_simulated == first.requests_simulated
    assert second.to_dict() == first.to_dict()


def test_script() -> None:
    """The script prints deployments and requests a second."""
    ran = subprocess.run([sys.executable, SCRIPT, "2000"], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert re.search(
        r"\d+ of 96 deployments flown .* on 2,000 requests: [\d,]+ requests simulated in .* deployments/s, .* requests/s",
        ran.stdout,
    )
