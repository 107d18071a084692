"""Processes: who serves an address of this machine, and which of them are gone later."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

SERVING = ("ray::ServeRepli", "haproxy")
"""What processes of our own server are called (`/proc/PID/comm` has fifteen letters) that must not end while it serves."""

_LISTENS = "0A"
"""The state of a socket that listens, in `/proc/net/tcp`."""


@dataclass(frozen=True)
class Processes:
    """Those that serve, each with when it was started, so that no other is taken for it.

    Args:
        started: start time in ticks by process id; empty where they are not to be seen.
    """

    started: dict[int, int]

    @staticmethod
    def serving(address: tuple[str, int]) -> Processes:
        """Those that listen at an address of this machine, and the replicas behind them where we started the server ourselves.

        They are known on Linux, for processes of the same user.
        """
        if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            return Processes({})
        parents = _parents()
        inodes = _inodes(address[1])
        listening = [pid for pid in parents if _listens(pid, inodes)]
        found = set(listening)
        for pid in listening:
            found |= {each for each in _under(_ours(pid, parents), parents) if _comm(each) in SERVING}
        return Processes({pid: began for pid in found if (began := _started(pid)) is not None})

    def gone(self) -> int | None:
        """How many have ended since, other than by handing over to a successor; None where they were not to be seen."""
        if not self.started:
            return None
        ended = {pid for pid, began in self.started.items() if _started(pid) != began}
        return len(ended - _handed_over()) if ended else 0


def _parents() -> dict[int, int]:
    """The parent of every process."""
    stats = {int(each.name): _stat(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
    return {pid: int(stat[1]) for pid, stat in stats.items() if stat}


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` after the name: state, parent …; none where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def _started(pid: int) -> int | None:
    """When it was started, in ticks since the system was: field 22 of proc(5)."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _handed_over() -> set[int]:
    """Those whom an HAProxy took over from: it is started anew with `-sf PID …` when its configuration changes (its management guide, 3)."""
    found: set[int] = set()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if "-sf" in words:
            found |= {int(word) for word in words[words.index("-sf") + 1 :] if word.isdecimal()}
    return found


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _listens(pid: int, inodes: set[str]) -> bool:
    """Whether a process holds one of these sockets."""
    try:
        return any(_link(each) in inodes for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # another user's, or ended
        return False


def _link(file: Path) -> str:
    """What an open file is; empty where it was closed meanwhile."""
    try:
        return str(file.readlink())
    except OSError:
        return ""


def _inodes(port: int) -> set[str]:
    """The sockets that listen on a port of TCP, as `/proc/PID/fd` calls them."""
    found = set()
    for table in ("tcp", "tcp6"):
        file = Path(f"/proc/self/net/{table}")
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            words = line.split()
            if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{words[9]}]")
    return found


def _ours(pid: int, parents: dict[int, int]) -> int:
    """The child of this process that a process comes from; itself where it comes from none."""
    at = pid
    while at in parents and parents[at] > 1:
        if parents[at] == os.getpid():
            return at
        at = parents[at]
    return pid


def _under(pid: int, parents: dict[int, int]) -> set[int]:
    """A process and all that come from it."""
    found, new = {pid}, {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found
