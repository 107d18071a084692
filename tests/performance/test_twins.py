"""The script that counts twins which are called different runs, both ways."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("twins.py")


def test_script() -> None:
    """Both counts are printed, none above the number of pairs."""
    ran = subprocess.run([sys.executable, SCRIPT, "2"], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    counts = re.findall(r"^(?:held open|loaded anew each round): (\d) of 2 called different$", ran.stdout, re.MULTILINE)
    assert len(counts) == 2
    assert all(int(count) <= 2 for count in counts)
