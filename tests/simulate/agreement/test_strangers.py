"""Strangers: their share of the processors is what is left of all work when ours is taken away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from windtunnel.simulate.agreement.strangers import Strangers

if TYPE_CHECKING:
    from pathlib import Path


def tell(proc: Path, *, work: int, interrupts: int, ours: int) -> None:
    """Write what a kernel would show: process 10 started 11, and 12 is a stranger's; the command has blanks and brackets in it."""
    (proc / "stat").write_text(f"cpu  {work} 0 0 999999 7 {interrupts} 0 0 0 0\ncpu0 1 1 1\n")
    for pid, parent, ticks in ((10, 1, ours - ours // 2), (11, 10, ours // 2), (12, 1, work - ours)):
        (proc / str(pid)).mkdir(exist_ok=True)
        (proc / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1\n")


def test_what_is_not_ours_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 ticks of work in five seconds 700 were ours and our child's; interrupts are nobody's."""
    clock = iter((100.0, 105.0))
    monkeypatch.setattr("windtunnel.simulate.agreement.strangers.time.monotonic", lambda: next(clock))
    tell(tmp_path, work=5000, interrupts=10, ours=400)
    strangers = Strangers(tmp_path, root=10)
    tell(tmp_path, work=6000, interrupts=900, ours=1100)
    room = 5.0 * os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    assert strangers.share() == pytest.approx(300 / room)


def test_where_no_kernel_tells_nothing_is_known(tmp_path: Path) -> None:
    """Without counters there is no share, and no doubt."""
    assert Strangers(tmp_path).share() is None
