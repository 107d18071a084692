"""What disturbed a measurement from outside: throttling by the cgroup, and time stolen by other machines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disturbance:
    """Shares of the measured time that were not ours.

    Args:
        throttled: of the wall time, stopped by the cgroup's quota.
        stolen: of the processors' time, taken by the hypervisor for others.
    """

    throttled: float
    stolen: float


class DisturbanceMeter:
    """Reads the kernel's counters at the start and again when asked."""

    def __init__(self, cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._cgroup, self._proc = cgroup, proc
        self._started = time.monotonic()
        self._throttled_us, self._ticks = self._read_throttled_us(), self._read_ticks()

    def read(self) -> Disturbance:
        """The shares since the start."""
        elapsed_us = max(1.0, (time.monotonic() - self._started) * 1e6)
        stolen, total = (after - before for after, before in zip(self._read_ticks(), self._ticks, strict=True))
        return Disturbance((self._read_throttled_us() - self._throttled_us) / elapsed_us, stolen / max(1, total))

    def _read_throttled_us(self) -> int:
        stat = self._cgroup / "cpu.stat"
        if not stat.exists():
            return 0
        fields = dict(line.split() for line in stat.read_text().splitlines())
        return int(fields.get("throttled_usec", 0))

    def _read_ticks(self) -> tuple[int, int]:
        """Stolen and total ticks of all processors (`proc(5)`: steal is the eighth column)."""
        stat = self._proc / "stat"
        if not stat.exists():
            return 0, 0
        ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
        return ticks[7], sum(ticks)
