from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel import hardware
from windtunnel.hardware import Hardware, allowed_cores, allowed_memory_bytes, detected_instance, frequency_mhz

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Hardware("Xeon", "x86_64", ("AVX2", "AVX-512"), 2.0, 8 * 2**30)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8.0),
        ({"cpu.max": "max 100000\n"}, 8.0),
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "1600000 100000\n"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3.0),
    ],
)
def test_cores(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    """The cores are the cgroup's quota where it has one, version 2 or 1, and never more than the affinity mask."""
    assert cores == allowed_cores(_write(tmp_path, files))


INSTALLED = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, INSTALLED),
        ({"memory.max": "max\n"}, INSTALLED),
        ({"memory.max": "1048576\n"}, 1048576),
        ({"memory.max": "9223372036854771712\n"}, INSTALLED),
        ({"memory/memory.limit_in_bytes": "1048576\n"}, 1048576),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, INSTALLED),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    """The memory is the cgroup's limit, version 2 or 1, and never more than is installed."""
    assert limit == allowed_memory_bytes(_write(tmp_path, files))


def test_cpuinfo(tmp_path: Path) -> None:
    """The first processor's fields are read; a system without that file has none."""
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: avx2 avx512f\n\nprocessor\t: 1\nmodel name\t: Other\n"
    )

    assert hardware._cpuinfo(info) == {"processor": "0", "model name": "Xeon", "flags": "avx2 avx512f"}
    assert hardware._cpuinfo(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("fields", "isa"),
    [
        ({"model name": "Xeon", "flags": "sse avx2 avx512f avx512_vnni"}, ("AVX2", "AVX-512", "AVX512-VNNI")),
        ({"Features": "fp asimddp i8mm"}, ("NEON-DOT", "I8MM")),
        ({}, ()),
    ],
)
def test_detect(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], isa: tuple[str, ...]) -> None:
    """Detection names the instruction sets that decide precision, on x86, on ARM, and where the kernel shows none."""
    monkeypatch.setattr(hardware, "_cpuinfo", lambda _path: fields)
    found = Hardware.detect()

    assert isa == found.isa
    assert fields.get("model name", found.cpu) == found.cpu != ""
    assert platform.machine() == found.architecture


def test_fingerprint_is_stable() -> None:
    """A machine has the same fingerprint in every release, and keeps it when a few MiB of memory come or go."""
    assert MACHINE.fingerprint == "85d9956a2e77"
    assert MACHINE.fingerprint == replace(MACHINE, memory_bytes=8 * 2**30 - 2**20).fingerprint


@pytest.mark.parametrize(
    "change",
    [{"cpu": "Epyc"}, {"isa": ("AVX2",)}, {"cores": 4.0}, {"memory_bytes": 2**34}, {"gpus": ("T4",)}, {"architecture": "arm64"}],
)  # fmt: skip
def test_fingerprint_tells_machines_apart(change: dict[str, object]) -> None:
    """Whatever decides a service time changes the fingerprint."""
    assert replace(MACHINE, **change).fingerprint != MACHINE.fingerprint  # type: ignore[arg-type]  # one field of any type


def test_round_trip_and_text() -> None:
    """A machine comes back from JSON as it was, and is written in one line."""
    machine = replace(MACHINE, gpus=("T4",))

    assert machine == Hardware.from_dict(json.loads(json.dumps(machine.to_dict())))
    assert str(machine) == "Xeon, 2 cores, 8 GiB, AVX2+AVX-512, T4"
    assert str(replace(MACHINE, isa=())) == "Xeon, 2 cores, 8 GiB, no vector ISA known"


def test_the_name_is_no_part_of_the_fingerprint() -> None:
    """What a machine is sold as decides no service time, so a profile stays comparable once its name is known."""
    named = replace(MACHINE, instance="aws:m7i.large")

    assert named.fingerprint == MACHINE.fingerprint
    assert named == Hardware.from_dict(json.loads(json.dumps(named.to_dict())))
    assert Hardware.from_dict({key: value for key, value in MACHINE.to_dict().items() if key != "instance"}) == MACHINE


@pytest.mark.parametrize(
    ("files", "instance"),
    [
        ({}, ""),
        ({"sys_vendor": "Amazon EC2\n", "product_name": "m7i.large\n"}, "aws:m7i.large"),
        ({"sys_vendor": "Amazon EC2\n", "product_name": "u-6tb1.metal\n"}, "aws:u-6tb1.metal"),
        ({"sys_vendor": "Amazon EC2\n", "product_name": "m7i-flex.8xlarge\n"}, "aws:m7i-flex.8xlarge"),
        ({"sys_vendor": "Amazon EC2\n", "product_name": "Not Specified\n"}, ""),
        ({"sys_vendor": "Xen\n", "product_name": "HVM domU\n"}, ""),
        ({"sys_vendor": "Google\n", "product_name": "Google Compute Engine\n"}, ""),
        ({"sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"}, ""),
    ],
)
def test_instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], instance: str) -> None:
    """EC2 says what the machine is sold as; other clouds say only whose it is, and nothing is guessed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    assert instance == detected_instance(_write(tmp_path, files), tmp_path / "cgroup")


def test_instance_of_which_a_part_may_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container held to two of eight cores is not the machine that the price is of."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    _write(tmp_path, {"sys_vendor": "Amazon EC2", "product_name": "m7i.2xlarge", "cgroup/cpu.max": "200000 100000\n"})

    assert detected_instance(tmp_path, tmp_path / "cgroup") == ""


def test_instance_that_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user says the machine is sold as comes before what it says itself."""
    monkeypatch.setattr(hardware, "detected_instance", lambda: "aws:m7i.large")

    assert Hardware.detect().instance == "aws:m7i.large"
    assert Hardware.detect("me:box").instance == "me:box"


CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"


@pytest.mark.parametrize(
    ("files", "mhz"),
    [
        ({}, None),
        ({"proc/cpuinfo": "cpu MHz\t\t: 2299.998\nflags : x\n\ncpu MHz : 2300\n"}, (2299.998, 2300.0)),
        ({"proc/cpuinfo": "cpu MHz : unknown\n"}, None),
        ({"proc/cpuinfo": "BogoMIPS : 50.00\n"}, None),
        (
            {CPUFREQ.format(0): "2100000\n", CPUFREQ.format(10): "800000\n", CPUFREQ.format(2): "3500000\n"},
            (2100.0, 3500.0, 800.0),
        ),
        ({CPUFREQ.format(0): "<unknown>\n", "proc/cpuinfo": "cpu MHz : 1000\n"}, (1000.0,)),
    ],
)
def test_frequency(tmp_path: Path, files: dict[str, str], mhz: tuple[float, ...] | None) -> None:
    """The clock of each processor in order of its number, from cpufreq or else /proc/cpuinfo, or nothing."""
    assert mhz == frequency_mhz(_write(tmp_path, files))
