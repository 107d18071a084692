"""Joules over a stretch of time: measured by the processor's or the GPU's own counters, or stated as a power in watts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.gpu import GpuMeter

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows RAPL, also on AMD's processors (kernel documentation, power/powercap)."""

MAX_WATTS = 1000.0
"""More than any one zone draws; with it, a counter that was not read for too long is known to be worthless."""

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """Energy over a stretch.

    Args:
        joules: how much.
        seconds: over how long.
        basis: `measured` by a counter or samples of power, or `specified`: watts that somebody stated, times seconds.
        what: what the figure covers, and what it does not.
    """

    joules: float
    seconds: float
    basis: Literal["measured", "specified"]
    what: str

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds if self.seconds > 0.0 else 0.0

    def above(self, idle: Energy) -> Energy:
        """What was used beyond what the same machine uses when it does nothing, at least zero.

        Raises:
            ConfigError: the two do not cover the same things.

        Example:
            >>> busy, idle = (Energy(j, 10.0, "measured", "package-0") for j in (500.0, 200.0))
            >>> busy.above(idle)
            Energy(joules=300.0, seconds=10.0, basis='measured', what='package-0, less 20 W when idle')
        """
        if (self.basis, self.what) != (idle.basis, idle.what):
            raise ConfigError("covers something else", field="idle", value=idle.what, fix=f"measure {self.what}")
        joules = max(0.0, self.joules - idle.watts * self.seconds)
        return Energy(joules, self.seconds, self.basis, f"{self.what}, less {idle.watts:.3g} W when idle")


def co2_g(joules: float, grid_g_per_kwh: float) -> float:
    """Grams of CO₂ equivalent of so much electricity.

    Args:
        joules: energy.
        grid_g_per_kwh: the grid's intensity in g/kWh; there is no default, because it differs tenfold between places.

    Raises:
        ConfigError: the intensity is negative or not a number.

    Example:
        >>> co2_g(3.6e6, 400.0)     # one kilowatt-hour
        400.0
    """
    if not (math.isfinite(grid_g_per_kwh) and grid_g_per_kwh >= 0.0):
        raise ConfigError(
            "is no grid intensity",
            field="grid_g_per_kwh",
            value=grid_g_per_kwh,
            fix="write grams of CO₂ a kWh, such as 380",
        )
    return joules / JOULES_PER_KWH * grid_g_per_kwh


class EnergyMeter:
    """Adds up energy from its making on.

    Counters come first: RAPL's packages and memory, and the GPU's. Without any, a stated power is multiplied by time, and
    the figure says that it was stated. Without that either, `read` gives None and `reason` says why.

    Args:
        watts: a power that somebody states, such as a device's specification.
        gpu: reads the GPU too.
        root: where the kernel shows RAPL.
        clock: tells seconds.

    Raises:
        ConfigError: the stated power is not above zero.
    """

    def __init__(
        self,
        *,
        watts: float | None = None,
        gpu: GpuMeter | None = None,
        root: Path = POWERCAP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if watts is not None and not (math.isfinite(watts) and watts > 0.0):
            raise ConfigError("is no power", field="watts", value=watts, fix="write watts above zero, such as 15")
        self._watts, self._gpu, self._clock = watts, gpu, clock
        self._zones, self.reason = _find_zones(root)
        self._started = clock()
        for zone in self._zones:
            zone.begin(self._started)
        if gpu is not None:
            gpu.begin()

    def sample(self) -> None:
        """Read the counters, so that none wraps around unseen; once a minute is enough for most."""
        for zone in self._zones:
            zone.read(self._clock())
        if self._gpu is not None:
            self._gpu.sample()

    def read(self) -> Energy | None:
        """The energy since the start; None where nothing tells it, for `reason`."""
        self.sample()
        seconds = self._clock() - self._started
        joules, parts = self._measured()
        if parts:
            return Energy(joules, seconds, "measured", " + ".join(parts))
        if self._watts is not None:
            return Energy(self._watts * seconds, seconds, "specified", f"{self._watts:g} W, as stated")
        return None

    def _measured(self) -> tuple[float, list[str]]:
        """Joules and what they cover; nothing where a counter was lost: a sum with a hole in it is no sum."""
        lost = [zone.name for zone in self._zones if zone.lost]
        if lost:
            self.reason = f"{lost[0]} was not read for so long that its counter may have wrapped around unseen"
            return 0.0, []
        joules, parts = sum(zone.joules for zone in self._zones), [zone.name for zone in self._zones]
        if self._gpu is None:
            return joules, [*parts, "without any GPU"] if parts else []
        use = self._gpu.read()
        if use.energy_j is None:
            self.reason = f"{use.name} tells neither its energy nor its power"
            return 0.0, []
        named = f"{use.name} ({use.energy_basis})"
        return joules + use.energy_j, [*parts, named] if parts else [named, "without the processor"]


class _Zone:
    """One RAPL counter: microjoules that start again at zero after `max_energy_range_uj`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self.joules, self.lost = 0.0, False

    def begin(self, now_s: float) -> None:
        self._last_uj, self._last_s = self._counter_uj(), now_s

    def read(self, now_s: float) -> None:
        counter_uj = self._counter_uj()
        # the counter has passed its range once at most, unless it was left alone for long enough to pass it again
        if (now_s - self._last_s) * MAX_WATTS * 1e6 > self._range_uj:
            self.lost = True
        self.joules += ((counter_uj - self._last_uj) % (self._range_uj + 1)) * 1e-6
        self._last_uj, self._last_s = counter_uj, now_s

    def _counter_uj(self) -> int:
        return int((self._folder / "energy_uj").read_text())


def _find_zones(root: Path) -> tuple[list[_Zone], str]:
    """The packages and their memory, which do not overlap (cores are parts of a package, `psys` holds them all)."""
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        name = (folder / "name").read_text().strip()
        if name.startswith("package"):
            found.append((name, folder))
        elif name == "dram":
            found.append((f"memory of package {folder.name.split(':')[1]}", folder))
    if not found:
        return [], f"the kernel shows no RAPL under {root}: virtual machines mostly do not; state the power in watts"
    try:
        zones = [_Zone(name, folder) for name, folder in found]
        for zone in zones:
            zone.begin(0.0)
    except PermissionError:
        return [], f"RAPL's counters under {root} can be read by root only; run as root, or state the power in watts"
    return zones, ""
