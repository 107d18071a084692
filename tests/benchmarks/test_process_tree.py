"""The processes of a server are found by its port, all of them and no others, and their CPU is counted whole."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.process_tree import ProcessTree, listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER = """
import os, socket, subprocess, sys, time
listening = socket.create_server(("127.0.0.1", 0))
busy = "import time\\nwhile time.process_time() < {}: pass\\nprint(flush=True)\\ninput()"
ended = subprocess.run([sys.executable, "-c", busy.format(0.3)], input=b"\\n")
child = subprocess.Popen([sys.executable, "-c", busy.format(0.2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(listening.getsockname()[1], os.getpid(), child.pid, flush=True)
input()
child.communicate(b"\\n")
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int, int]]:
    """A server's port, its own number and that of a child that lives; another child has used CPU and ended."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline() or ""
        while len(line.split()) < 3:  # the child that ended says its empty line first
            line = process.stdout.readline()
        port, own, child = map(int, line.split())
        yield port, own, child
        process.communicate("\n")


def test_found_by_port(server: tuple[int, int, int]) -> None:
    """Who listens is found; what started us, such as this test, is no part of the server."""
    port, own, child = server
    tree = ProcessTree.of_server(port)

    assert listener(port) == own
    assert tree is not None
    assert tree.root == own
    assert tree.members() == tuple(sorted((own, child)))
    assert os.getpid() not in tree.members()


def test_cpu_of_all(server: tuple[int, int, int]) -> None:
    """The CPU of children is counted, of those that live and of those that ended."""
    _, own, _ = server

    assert ProcessTree(own).cpu_s() >= 0.3 + 0.2 - 0.03  # three ticks of the kernel's clock


def test_nobody() -> None:
    """A port at which nobody listens has no server."""
    assert listener(1) is None
    assert ProcessTree.of_server(1) is None


def test_gone() -> None:
    """A server that has ended is said to have."""
    with pytest.raises(ProcessLookupError):
        ProcessTree(2**22 + 1).cpu_s()


def _process(proc: Path, pid: int, parent: int, name: str, ticks: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    fields = ["S", parent, *[0] * 9, ticks, 0, 0, 0]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, fields))}\n")


def test_up_to_the_shell(tmp_path: Path) -> None:
    """From an ingress up to what started it and the replicas; the shell and its other jobs are none of the server's."""
    for pid, parent, name, ticks in (
        (10, 1, "bash", 1000), (20, 10, "serve) S 1 (it", 1), (21, 20, "raylet", 2), (22, 21, "replica", 4), (23, 21, "haproxy", 8),
        (30, 10, "editor", 5000),
    ):  # fmt: skip
        _process(tmp_path, pid, parent, name, ticks)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("head\n 0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 777 1\n")
    (tmp_path / "23" / "fd" / "3").symlink_to("socket:[777]")
    tree = ProcessTree.of_server(8000, tmp_path)

    assert tree is not None
    assert tree.root == 20
    assert tree.members() == (20, 21, 22, 23)
    assert tree.cpu_s() == 15 / os.sysconf("SC_CLK_TCK")
