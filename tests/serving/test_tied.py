from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from windtunnel.serving.tied import tied

PARENT = "import subprocess, sys; child = subprocess.Popen(sys.argv[1:]); print(child.pid, flush=True); child.wait()"


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is tied elsewhere")
def test_it_ends_with_who_started_it() -> None:
    """A tied process ends when the one that started it is killed, which could not stop it."""
    command = tied([sys.executable, "-c", "print('begun', flush=True); import signal; signal.pause()"])
    with subprocess.Popen([sys.executable, "-c", PARENT, *command], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        said = {parent.stdout.readline(), parent.stdout.readline()}
        (pid,) = (int(line) for line in said if line != "begun\n")
        child = os.pidfd_open(pid)
        os.kill(parent.pid, signal.SIGKILL)
        ended, _, _ = select.select([child], [], [], 30.0)
        os.close(child)

    assert ended == [child]
