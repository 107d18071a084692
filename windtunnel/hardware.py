"""What a figure was measured on: told from the machine itself, with the cores that the cgroup allows."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_value

if TYPE_CHECKING:
    from collections.abc import Mapping

ISA_FLAGS = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-VNNI": "avx_vnni",
    "AVX512-VNNI": "avx512_vnni",
    "AVX512-BF16": "avx512_bf16",
    "AMX-INT8": "amx_int8",
    "AMX-BF16": "amx_bf16",
    "NEON-DOT": "asimddp",
    "I8MM": "i8mm",
}
"""Instruction sets that decide which precision is fast, and the flag by which the kernel shows each."""


@dataclass(frozen=True)
class Hardware:
    """One machine, as far as it decides a service time.

    Args:
        cpu: the model's name.
        architecture: such as `x86_64`.
        isa: the names of `ISA_FLAGS` that are there.
        cores: processors that may be used at once, by cgroup quota and affinity.
        memory_bytes: memory that may be used.
        gpus: names of the accelerators.
        instance: what it is sold as, such as `aws:m7i.large`; empty where neither the machine nor the user said. It is
            no part of the fingerprint: what a machine is called decides no service time.
    """

    cpu: str
    architecture: str
    isa: tuple[str, ...]
    cores: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    instance: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve digits that two alike machines share."""
        decisive = {key: value for key, value in asdict(self).items() if key != "instance"}
        return digest_value({**decisive, "memory_bytes": round(self.memory_bytes / 2**30)})[:12]

    def __str__(self) -> str:
        isa = "+".join(self.isa) or "no vector ISA known"
        gpus = f", {', '.join(self.gpus)}" if self.gpus else ""
        return f"{self.cpu}, {self.cores:g} cores, {self.memory_bytes / 2**30:.0f} GiB, {isa}{gpus}"

    def to_dict(self) -> dict[str, Any]:
        """The hardware as JSON values."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Hardware:
        """Read what `to_dict` wrote."""
        return Hardware(
            value["cpu"],
            value["architecture"],
            tuple(value["isa"]),
            value["cores"],
            value["memory_bytes"],
            tuple(value["gpus"]),
            value.get("instance", ""),
        )

    @staticmethod
    def detect(instance: str = "") -> Hardware:
        """Look at this machine.

        Args:
            instance: what it is sold as, where the user knows; asked of the machine itself where empty.

        Example:
            >>> Hardware.detect().cores > 0
            True
        """
        fields = _cpuinfo(Path("/proc/cpuinfo"))
        flags = set(fields.get("flags", fields.get("Features", "")).split())
        return Hardware(
            fields.get("model name") or platform.processor() or platform.machine(),
            platform.machine(),
            tuple(name for name, flag in ISA_FLAGS.items() if flag in flags),
            allowed_cores(),
            allowed_memory_bytes(),
            _gpus(),
            instance or detected_instance(),
        )


def detected_instance(dmi: Path = Path("/sys/class/dmi/id"), cgroup: Path = Path("/sys/fs/cgroup")) -> str:
    """What the machine says it is sold as; empty where it does not say, or where not all of it may be used.

    EC2 (Nitro) writes the instance type into the DMI table. Google and Azure write only whose machine it is, and a
    container that is held to some of the cores is not the machine that the price is of.
    """
    vendor, product = (_line(dmi / name) for name in ("sys_vendor", "product_name"))
    if vendor != "Amazon EC2" or not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", product):
        return ""
    return f"aws:{product}" if allowed_cores(cgroup) >= (os.cpu_count() or 1) else ""


def _line(path: Path) -> str:
    """The text of a small file; empty where it may not be read or is not there."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def frequency_mhz(root: Path = Path("/")) -> tuple[float, ...] | None:
    """The clock of each processor as it is now, in MHz; None where the kernel does not show it.

    Read from cpufreq, which shows what is asked of each core, or else from /proc/cpuinfo; a virtual machine often shows
    the same nominal clock there for ever.

    Args:
        root: the root of the file system; another one in tests.
    """
    files = sorted(
        root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"), key=lambda file: int(file.parts[-3][3:])
    )
    khz = [text for text in map(_line, files) if text.isdigit()]
    if files and len(khz) == len(files):
        return tuple(int(text) / 1e3 for text in khz)
    lines = (line.partition(":") for line in _line(root / "proc" / "cpuinfo").splitlines())
    mhz = [float(value) for key, _, value in lines if key.strip() == "cpu MHz" and _is_figure(value)]
    return tuple(mhz) or None


def _is_figure(text: str) -> bool:
    return re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text) is not None


def _cpuinfo(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def allowed_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """How many processors may be used at once: the smaller of the affinity mask and the cgroup's quota (v2, then v1)."""
    affinity = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for quota, period in _cgroup_quota(cgroup):
        if quota > 0:
            return min(affinity, quota / period)
    return affinity


def _cgroup_quota(cgroup: Path) -> list[tuple[float, float]]:
    v2, v1 = cgroup / "cpu.max", cgroup / "cpu" / "cpu.cfs_quota_us"
    if v2.exists():
        quota, period = v2.read_text().split()
        return [] if quota == "max" else [(float(quota), float(period))]
    if v1.exists():
        return [(float(v1.read_text()), float((v1.parent / "cpu.cfs_period_us").read_text()))]
    return []


def allowed_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How much memory may be used: the smaller of the machine's and the cgroup's (v2, then v1)."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes")
    text = next((limit.read_text().strip() for limit in limits if limit.exists()), "max")
    return installed if text == "max" else min(installed, int(text))


def _gpus() -> tuple[str, ...]:
    """The NVIDIA devices that the driver shows; none where the package (extra `gpu`) or the driver is missing."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
    finally:
        pynvml.nvmlShutdown()
