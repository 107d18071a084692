"""What disturbed a measurement from outside: throttling, stolen time, processes that compete, a clock that falls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.hardware import frequency_mhz

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPINS, TURNS = 3, 5_000
"""How often the loop that shows how fast the processor is runs at each look, and its turns: a fifth of a millisecond in all."""


WAITING = "the time some task on the machine waited for a processor"


@dataclass(frozen=True)
class Disturbance:
    """Shares of the measured time, or of the machine's speed, that were not ours.

    Args:
        throttled: of the wall time, stopped by the cgroup's quota.
        stolen: of the processors' time, taken by the hypervisor for others.
        waiting: of the wall time, a task was ready to run and had no processor (pressure stall information).
        slowed: of the machine's best speed, missing from the speed of a fixed loop that ran between the blocks.
        clock_fell: of the highest clock seen, missing from the usual one.
    """

    throttled: float
    stolen: float
    waiting: float = 0.0
    slowed: float = 0.0
    clock_fell: float = 0.0

    @property
    def told(self) -> tuple[tuple[float, str], ...]:
        """Each share with the words that go after it, as in "12% of the time was stolen by other machines".

        Example:
            >>> [f"{share:.0%} of {words}" for share, words in Disturbance(0.0, 0.12).told][1]
            '12% of the time was stolen by other machines'
        """
        return (
            (self.throttled, "the time was throttled by the cgroup"),
            (self.stolen, "the time was stolen by other machines"),
            (self.waiting, WAITING),
            (self.slowed, "the processor's best speed was missing"),
            (self.clock_fell, "the processor's highest clock was missing"),
        )

    @property
    def faults(self) -> tuple[tuple[float, str], ...]:
        """Those that are ours to suffer: a task that waits may be somebody else's (whether ours did, its CPU time tells)."""
        return tuple((share, words) for share, words in self.told if words != WAITING)


class DisturbanceMeter:
    """Reads the kernel's counters at the start and again when asked, and the processor's speed in between.

    Args:
        cgroup: where the cgroup is mounted (v2, then v1).
        proc: where the kernel shows its counters.
        clocks_mhz: gives the clock of each processor, or None where it is not shown.
        spin_s: runs a fixed loop and says how long it took.
    """

    def __init__(
        self,
        cgroup: Path = Path("/sys/fs/cgroup"),
        proc: Path = Path("/proc"),
        *,
        clocks_mhz: Callable[[], tuple[float, ...] | None] = frequency_mhz,
        spin_s: Callable[[], float] | None = None,
    ) -> None:
        self._cgroup, self._proc, self._clocks_mhz = cgroup, proc, clocks_mhz
        self._spin_s = spin_s if spin_s is not None else time_spin_s
        self._speeds: list[float] = []
        self._clocks: list[float] = []
        self._started = time.monotonic()
        self._throttled_us, self._ticks = self._read_throttled_us(), self._read_ticks()
        self._waiting_us = self._read_waiting_us()

    def sample(self) -> None:
        """Look at the processor's speed; called between blocks, a fifth of a millisecond or so each time."""
        self._speeds.append(1.0 / self._spin_s())
        clocks = self._clocks_mhz()
        # idle processors are clocked down and say nothing: the fastest is the one that works
        self._clocks += [max(clocks)] if clocks else []

    def read(self) -> Disturbance:
        """The shares since the start."""
        elapsed_us = max(1.0, (time.monotonic() - self._started) * 1e6)
        stolen, total = (after - before for after, before in zip(self._read_ticks(), self._ticks, strict=True))
        return Disturbance(
            (self._read_throttled_us() - self._throttled_us) / elapsed_us,
            stolen / max(1, total),
            (self._read_waiting_us() - self._waiting_us) / elapsed_us,
            _missing(self._speeds),
            _missing(self._clocks),
        )

    def _read_throttled_us(self) -> float:
        for stat, name, unit in (
            (self._cgroup / "cpu.stat", "throttled_usec", 1.0),
            (self._cgroup / "cpu" / "cpu.stat", "throttled_time", 1e-3),
        ):
            if stat.exists():
                fields = dict(line.split() for line in stat.read_text().splitlines())
                return int(fields.get(name, 0)) * unit
        return 0.0

    def _read_ticks(self) -> tuple[int, int]:
        """Stolen and total ticks of all processors (`proc(5)`: steal is the eighth column)."""
        stat = self._proc / "stat"
        if not stat.exists():
            return 0, 0
        ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
        return ticks[7], sum(ticks)

    def _read_waiting_us(self) -> int:
        """Microseconds in which at least one task waited: of the cgroup where it keeps count, else of the machine."""
        for pressure in (self._cgroup / "cpu.pressure", self._proc / "pressure" / "cpu"):
            text = _text(pressure)
            if text.startswith("some "):
                return int(text.splitlines()[0].rpartition("total=")[2])
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # not there, or there and switched off: a kernel booted with psi=0 refuses to read it
        return ""


def _missing(speeds: Sequence[float]) -> float:
    """By what share the usual speed is below the highest; 0 where none was seen."""
    return 1.0 - float(np.median(speeds)) / max(speeds) if speeds else 0.0


def time_spin_s() -> float:
    """Time a loop that does nothing, always as long: more than at its best means that the processor was slower.

    The best of a few, so that what interrupts one of them is not taken for a slow processor.
    """
    return min(_spin_s() for _ in range(SPINS))


def _spin_s() -> float:
    started = time.perf_counter()
    for _ in range(TURNS):
        pass
    return time.perf_counter() - started
