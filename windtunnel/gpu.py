"""What an NVIDIA device does over a stretch of time, read through NVML: memory, utilisation, power, energy, clocks."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, MeasurementError, MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

SLOWED = {
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""The bits of NVML's clock event reasons (nvml.h, `nvmlClocksEventReason…`) that make a device slower than it could be."""


@dataclass(frozen=True)
class GpuUse:
    """One device over one stretch; None where the device or driver does not tell.

    Args:
        name: the device's.
        seconds: how long the stretch was.
        samples: how often the device was asked.
        memory_bytes: the most that was in use, less what was in use when the meter was opened.
        memory_before_bytes: what was in use then, by whoever: it is subtracted above.
        utilisation: the mean share of time in which some kernel ran, 0 to 1.
        power_w: mean power of the whole board, idle power included.
        energy_j: energy of the whole board, idle included.
        energy_basis: `counter`: the device's own counter; `integrated`: from samples of its power; empty without energy.
        clock_hz: mean clock of the multiprocessors.
        clock_max_hz: the highest clock that the device allows.
        slowed: the share of samples in which each of `SLOWED` held the clock down; those that never did are left out.
    """

    name: str
    seconds: float
    samples: int
    memory_bytes: int
    memory_before_bytes: int
    utilisation: float | None
    power_w: float | None
    energy_j: float | None
    energy_basis: str
    clock_hz: float | None
    clock_max_hz: float | None
    slowed: Mapping[str, float]


@dataclass(frozen=True)
class _Sample:
    at_s: float
    memory_bytes: int
    utilisation: float | None
    power_w: float | None
    clock_hz: float | None
    reasons: int


class GpuMeter:
    """Reads one device from its opening on, whenever it is asked to.

    Args:
        index: which device, in the driver's order.
        nvml: the module `pynvml`, or one that behaves like it.
        clock: tells seconds.

    Raises:
        MissingError: the package or the driver is not there.
        ConfigError: there is no such device.
        MeasurementError: the device was lost; so do all methods.
    """

    def __init__(
        self, index: int = 0, *, nvml: ModuleType | Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._nvml, self._clock = nvml if nvml is not None else _load_nvml(), clock
        _start(self._nvml)
        try:
            self._device = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except self._nvml.NVMLError as error:
            count = self._nvml.nvmlDeviceGetCount()
            self._nvml.nvmlShutdown()
            raise ConfigError(
                f"is no device of this machine ({error})",
                field="gpu",
                value=index,
                fix=f"it has {count}, counted from 0",
            ) from error
        self._lock = threading.Lock()
        try:
            self.begin()
        except MeasurementError:
            self.close()
            raise

    def begin(self) -> None:
        """Begin a new stretch: forget what was read; what memory is in use now is the new baseline."""
        self._samples: list[_Sample] = []
        self._energy_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        self.sample()

    def sample(self) -> None:
        """Ask the device once; a fraction of a millisecond, so not within what is timed."""
        with self._lock:
            rates, power = self._ask("nvmlDeviceGetUtilizationRates"), self._ask("nvmlDeviceGetPowerUsage")
            clock = self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
            self._samples.append(
                _Sample(
                    self._clock(),
                    self._used_bytes(),
                    None if rates is None else rates.gpu / 100.0,
                    None if power is None else power * 1e-3,
                    None if clock is None else clock * 1e6,
                    self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0,
                )
            )

    def read(self) -> GpuUse:
        """What the device did since the stretch began."""
        self.sample()
        samples = list(self._samples)
        first, last = samples[0], samples[-1]
        energy_j, basis = self._energy(samples)
        highest = self._ask("nvmlDeviceGetMaxClockInfo", self._nvml.NVML_CLOCK_SM)
        return GpuUse(
            str(self._ask("nvmlDeviceGetName")),
            last.at_s - first.at_s,
            len(samples),
            max(0, max(each.memory_bytes for each in samples) - first.memory_bytes),
            first.memory_bytes,
            _mean([each.utilisation for each in samples]),
            _mean([each.power_w for each in samples]),
            energy_j,
            basis,
            _mean([each.clock_hz for each in samples]),
            None if highest is None else highest * 1e6,
            _slowed([each.reasons for each in samples]),
        )

    def _energy(self, samples: list[_Sample]) -> tuple[float | None, str]:
        now_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        if now_mj is not None and self._energy_mj is not None and now_mj >= self._energy_mj:
            return (now_mj - self._energy_mj) * 1e-3, "counter"
        known = [(each.at_s, each.power_w) for each in samples if each.power_w is not None]
        if len(known) < 2:
            return None, ""
        pairs = itertools.pairwise(known)
        return sum((later - at) * (w + w_later) / 2 for (at, w), (later, w_later) in pairs), "integrated"

    def _ask(self, name: str, *arguments: object) -> Any:
        """Call one function of NVML on the device; None where device or driver does not support or permit it.

        Raises:
            MeasurementError: the device or its driver was lost.
        """
        refusals = (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_NoPermission)
        try:
            return getattr(self._nvml, name)(self._device, *arguments)
        except refusals:
            return None
        except self._nvml.NVMLError as error:
            raise MeasurementError(f"the GPU no longer answers ({error}); nvidia-smi shows its state") from error

    def _used_bytes(self) -> int:
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        if memory is None:
            raise MeasurementError("this GPU does not tell its memory, as boards that share the host's do not")
        return int(memory.used)

    def close(self) -> None:
        """Let the driver go."""
        self._nvml.nvmlShutdown()


def lacks_gpu() -> str:
    """What is missing to reach an NVIDIA device, with the way out; empty where there is one."""
    try:
        nvml = _load_nvml()
        _start(nvml)
    except MissingError as error:
        return str(error)
    count = nvml.nvmlDeviceGetCount()
    nvml.nvmlShutdown()
    return "" if count else "the NVIDIA driver shows no device (nvidia-smi lists them)"


def _load_nvml() -> Any:
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise MissingError("NVIDIA's management library is not there; pip install 'windtunnel[gpu]'") from error
    return pynvml


def _start(nvml: Any) -> None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MissingError(
            f"no NVIDIA driver can be reached ({error}); install it on the host (nvidia-smi shows it), and give the container "
            "access to the device"
        ) from error


def _mean(values: list[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None


def _slowed(reasons: list[int]) -> dict[str, float]:
    shares = {name: sum(bool(each & bit) for each in reasons) / len(reasons) for bit, name in SLOWED.items()}
    return {name: share for name, share in shares.items() if share > 0.0}
