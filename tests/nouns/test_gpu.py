from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from windtunnel.errors import ConfigError, MeasurementError, MissingError
from windtunnel.gpu import GpuMeter, lacks_gpu


class _RefusedError(Exception):
    """What NVML's refusals are here."""


class _Nvml:
    """Stands in for `pynvml`: the few functions that are used, in NVML's documented units (mW, mJ, MHz, percent, bytes)."""

    NVML_CLOCK_SM = 1
    NVMLError = NVMLError_NotSupported = NVMLError_NoPermission = _RefusedError

    def __init__(self, **missing: bool) -> None:
        self.missing, self.open = missing, 0
        self.used, self.milliwatts, self.millijoules, self.percent, self.reasons = 1000, 50_000, 7_000_000, 0, 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own name
        if self.missing.get("driver"):
            raise _RefusedError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - as above
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - as above
        return 0 if self.missing.get("device") else 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - as above
        if index >= self.nvmlDeviceGetCount():
            raise _RefusedError("Invalid Argument")
        return index

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetName": "NVIDIA Test",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=self.used),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=self.percent, memory=0),
            "nvmlDeviceGetPowerUsage": self.milliwatts,
            "nvmlDeviceGetTotalEnergyConsumption": self.millijoules,
            "nvmlDeviceGetClockInfo": 1200,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self.reasons,
        }

        def answer(*_: object) -> Any:
            if self.missing.get(name):
                raise _RefusedError("Not Supported")
            return answers[name]

        return answer


class _Clock:
    """Tells the time that it is told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _busy(meter: GpuMeter, nvml: _Nvml, clock: _Clock) -> None:
    """Ten seconds at 50 W, then ten with the power rising from 50 W to 250 W."""
    clock.now_s += 10.0
    nvml.used, nvml.percent = 5000, 80
    meter.sample()
    clock.now_s += 10.0
    nvml.used, nvml.milliwatts, nvml.reasons, nvml.millijoules = 3000, 250_000, 0x04 | 0x40 | 0x01, 9_500_000


def test_units() -> None:
    """Bytes, seconds, watts, joules and hertz come out of NVML's bytes, milliwatts, millijoules, percent and MHz."""
    nvml, clock = _Nvml(), _Clock()
    meter = GpuMeter(nvml=nvml, clock=clock)
    _busy(meter, nvml, clock)
    use = meter.read()

    assert (use.name, use.seconds, use.samples) == ("NVIDIA Test", 20.0, 3)
    assert (use.memory_bytes, use.memory_before_bytes) == (4000, 1000)
    assert (use.energy_j, use.energy_basis) == (2500.0, "counter")
    assert use.utilisation == pytest.approx((0.0 + 0.8 + 0.8) / 3)
    assert use.power_w == pytest.approx((50 + 50 + 250) / 3)
    assert (use.clock_hz, use.clock_max_hz) == (1.2e9, 1.98e9)
    assert use.slowed == {"software power cap": 1 / 3, "hardware thermal slowdown": 1 / 3}


def test_energy_without_a_counter() -> None:
    """A device without an energy counter has its power integrated: 500 J, then 1500 J under the slope."""
    nvml, clock = _Nvml(nvmlDeviceGetTotalEnergyConsumption=True), _Clock()
    meter = GpuMeter(nvml=nvml, clock=clock)
    _busy(meter, nvml, clock)
    use = meter.read()

    assert (use.energy_j, use.energy_basis) == (2000.0, "integrated")


def test_what_is_not_told() -> None:
    """What a device does not tell is None, not zero."""
    silent = ("TotalEnergyConsumption", "PowerUsage", "UtilizationRates", "ClockInfo", "MaxClockInfo")
    nvml = _Nvml(**{f"nvmlDeviceGet{name}": True for name in silent})
    use = GpuMeter(nvml=nvml, clock=_Clock()).read()

    assert [use.energy_j, use.power_w, use.utilisation, use.clock_hz, use.clock_max_hz] == [None] * 5
    assert use.energy_basis == ""


def test_a_new_stretch() -> None:
    """A stretch that is begun again knows nothing of the one before; what is in use then is the new baseline."""
    nvml, clock = _Nvml(), _Clock()
    meter = GpuMeter(nvml=nvml, clock=clock)
    _busy(meter, nvml, clock)
    meter.begin()
    use = meter.read()

    assert (use.seconds, use.memory_bytes, use.memory_before_bytes, use.energy_j) == (0.0, 0, 3000, 0.0)


def test_refusals() -> None:
    """No driver is an environment that lacks something, another device than there is a mistake; the driver is let go."""
    with pytest.raises(MissingError, match=r"no NVIDIA driver can be reached.*nvidia-smi"):
        GpuMeter(nvml=_Nvml(driver=True))
    nvml = _Nvml()
    with pytest.raises(ConfigError, match=r"`gpu` \(=3\).*it has 1, counted from 0"):
        GpuMeter(3, nvml=nvml)
    assert nvml.open == 0
    meter = GpuMeter(nvml=nvml)
    meter.close()
    assert nvml.open == 0


class _MilderError(_RefusedError):
    """What NVML raises where a device does not tell something; other refusals mean that it is lost."""


def test_lost() -> None:
    """A device that no longer answers, or that has no memory of its own, is an error that says so; the driver is let go."""
    losing = _Nvml()
    losing.NVMLError_NotSupported = losing.NVMLError_NoPermission = _MilderError
    meter = GpuMeter(nvml=losing)
    losing.missing["nvmlDeviceGetPowerUsage"] = True
    with pytest.raises(MeasurementError, match=r"no longer answers \(Not Supported\); nvidia-smi"):
        meter.read()
    for nvml in (losing, _Nvml(nvmlDeviceGetMemoryInfo=True)):
        nvml.open = 0
        with pytest.raises(MeasurementError):
            GpuMeter(nvml=nvml)
        assert nvml.open == 0


def test_stand_in_is_faithful() -> None:
    """Every name that is used of `pynvml` is there in the real one."""
    pynvml = pytest.importorskip("pynvml")
    names = ["nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName",
             "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage",
             "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo",
             "nvmlDeviceGetCurrentClocksThrottleReasons", "NVML_CLOCK_SM", "NVMLError", "NVMLError_NotSupported",
             "NVMLError_NoPermission"]  # fmt: skip

    assert [name for name in names if not hasattr(pynvml, name)] == []


@pytest.mark.gpu
def test_real_device() -> None:
    """A real device uses memory and power, and its clock is not above its highest."""
    if reason := lacks_gpu():
        pytest.skip(reason)
    meter = GpuMeter()
    use = meter.read()
    meter.close()

    assert use.memory_before_bytes > 0
    assert use.name
    if use.clock_hz is not None and use.clock_max_hz is not None:
        assert use.clock_hz <= use.clock_max_hz
