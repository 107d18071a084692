"""The processes of a server on this machine, and the CPU that they used: as Linux shows them under `/proc`."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

SHELLS = frozenset({
    "bash", "sh", "zsh", "fish", "dash", "csh", "tcsh", "tmux", "screen", "sudo", "su", "login", "sshd", "systemd", "init",
    "timeout", "nohup", "nice", "make", "containerd-shim",
})  # fmt: skip
"""Programs that start servers and are no part of them: a tree ends below the first of these."""

LISTENING = "0A"
"""The state of a socket that listens (`TCP_LISTEN`, include/net/tcp_states.h)."""


@dataclass(frozen=True)
class _Stat:
    """One line of `/proc/PID/stat`: the name, the parent, and clock ticks of its own and of the children that it outlived."""

    name: str
    parent: int
    ticks: int


def _stat(pid: int, proc: Path) -> _Stat | None:
    """What the kernel tells of a process; None where it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the name may hold spaces and brackets: it ends at the last one
    name, _, rest = text.partition("(")[2].rpartition(") ")
    words = rest.split()
    return _Stat(name, int(words[1]), sum(int(word) for word in words[11:15]))


def _all(proc: Path) -> dict[int, _Stat]:
    found = {int(each.name): _stat(int(each.name), proc) for each in proc.iterdir() if each.name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def listener(port: int, proc: Path = PROC) -> int | None:
    """The process that listens at a port of TCP; None where nobody does, or nobody whom we may look at.

    Where several share it, such as the workers of one server, the lowest number, which is commonly their parent's.
    """
    sockets = {f"socket:[{number}]" for number in _sockets(port, proc)}
    for pid in sorted(_all(proc)) if sockets else ():
        with contextlib.suppress(PermissionError, FileNotFoundError, ProcessLookupError):
            for each in (proc / str(pid) / "fd").iterdir():
                if str(each.readlink()) in sockets:
                    return pid
    return None


def _sockets(port: int, proc: Path) -> set[str]:
    """The numbers of the sockets that listen at a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found


@dataclass(frozen=True)
class ProcessTree:
    """A process and all that descend from it.

    Args:
        root: its number.
        proc: where the kernel shows processes.
    """

    root: int
    proc: Path = PROC

    @staticmethod
    def of_server(port: int, proc: Path = PROC) -> ProcessTree | None:
        """The processes of the server at a port of this machine; None where they cannot be seen.

        From the one that listens upwards, as far as no shell, no process without a parent of its own, and nothing that started
        us is reached: an ingress is a child of what started the replicas too.
        """
        pid = listener(port, proc)
        if pid is None:
            return None
        stats, ours = _all(proc), _ancestors(os.getpid(), _all(proc))
        while (stat := stats.get(pid)) is not None and stat.parent > 1 and stat.parent not in ours:
            parent = stats.get(stat.parent)
            if parent is None or parent.name in SHELLS:
                break
            pid = stat.parent
        return ProcessTree(pid, proc)

    def members(self) -> tuple[int, ...]:
        """The numbers of all that live."""
        stats = _all(self.proc)
        return tuple(sorted(pid for pid in stats if self.root in _ancestors(pid, stats)))

    def cpu_s(self) -> float:
        """CPU seconds of all its processes until now, and of those that ended in it; to a tick of the clock, 10 ms commonly.

        Raises:
            ProcessLookupError: the server has ended.
        """
        stats = _all(self.proc)
        if self.root not in stats:
            raise ProcessLookupError(self.root)
        ticks = sum(stat.ticks for pid, stat in stats.items() if self.root in _ancestors(pid, stats))
        return ticks / os.sysconf("SC_CLK_TCK")


def _ancestors(pid: int, stats: dict[int, _Stat]) -> set[int]:
    """A process, its parent, and so on."""
    found: set[int] = set()
    while pid in stats and pid not in found:
        found.add(pid)
        pid = stats[pid].parent
    return found
