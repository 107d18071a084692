"""A Seat: a generator that goes first sits where others do the least."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from windtunnel.driving.seat import Seat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no seats to give")


def _shown(proc: Path, busy: list[float]) -> None:
    """Let the kernel show so many seconds of work of each core."""
    tick = os.sysconf("SC_CLK_TCK")
    lines = [f"cpu{core} {busy_s * tick:.0f} 0 0 999 7 0 0 0 0 0" for core, busy_s in enumerate(busy)]
    (proc / "stat").write_text("\n".join(["cpu  1 2 3 4", *lines, "intr 1 2"]))


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Two cores that we may run on, and where we were put; nothing is really moved, and we do nothing ourselves."""
    put: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cores: put.append(cores))
    monkeypatch.setattr("windtunnel.driving.seat.own_s", lambda: 0.0)
    return put


def test_it_follows_the_least_work(tmp_path: Path, allowed: list[set[int]]) -> None:
    """It sits down where others did least, stays while that is not worth a move, and moves where it is; a third core is not ours."""
    _shown(tmp_path, [0.0, 0.0, 0.0])
    seat = Seat(tmp_path)
    for busy in ([0.9, 0.2, 0.0], [1.4, 0.75, 0.0], [1.5, 1.75, 0.0]):
        _shown(tmp_path, busy)
        seat.change(1.0)

    assert allowed == [{1}, {0}]
    assert seat.core == 0


def test_its_own_work_is_not_others(tmp_path: Path, allowed: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What we do ourselves is no reason to leave our core."""
    _shown(tmp_path, [0.0, 0.0])
    seat = Seat(tmp_path)
    _shown(tmp_path, [0.0, 0.5])
    seat.change(1.0)
    monkeypatch.setattr("windtunnel.driving.seat.own_s", lambda: 0.6)
    _shown(tmp_path, [0.6, 0.8])  # a second in which we worked for 0.6 s on core 0, and others for 0.3 s on core 1
    seat.change(1.0)

    assert allowed == [{0}]


def test_where_no_kernel_tells(tmp_path: Path, allowed: list[set[int]]) -> None:
    """Nothing to be seen: nobody is moved."""
    seat = Seat(tmp_path)
    seat.change(1.0)

    assert allowed == []
    assert seat.core == -1


def test_a_real_one() -> None:
    """On this machine a process sits down on one of the cores that it may run on."""
    code = """
import os
from windtunnel.driving.seat import Seat
had = os.sched_getaffinity(0)
seat = Seat()
seat.change(0.1)
print(len(os.sched_getaffinity(0)) == 1, os.sched_getaffinity(0) <= had)
"""
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == ["True", "True"]
