"""Who serves an address, and whether they are still there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.simulate.live.adversary.processes import Processes

from .test_assault import vulnerable

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes where Linux tells of them")


def test_who_listens_is_known_and_missed() -> None:
    """The process that listens is found by its port, and seen to have ended once it has."""
    with vulnerable("none") as url:
        found = Processes.serving(("127.0.0.1", int(url.rpartition(":")[2])))
        before = found.gone()

    assert len(found.started) == 1
    assert (before, found.gone()) == (0, 1)


def test_who_hands_over_is_not_missed() -> None:
    """A process that ended for a successor which names it, as HAProxy's do, is no crash."""
    with vulnerable("none") as url:
        found = Processes.serving(("127.0.0.1", int(url.rpartition(":")[2])))
    (pid,) = found.started
    command = [sys.executable, "-c", "print(flush=True); input()", "-sf", str(pid)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as successor:
        assert successor.stdout is not None
        successor.stdout.readline()
        assert found.gone() == 0


def test_elsewhere_nothing_is_known() -> None:
    """Of a server on another machine processes are not to be seen, nor where nobody listens."""
    assert Processes.serving(("192.0.2.1", 80)).gone() is None
    assert Processes.serving(("127.0.0.1", 1)).gone() is None
