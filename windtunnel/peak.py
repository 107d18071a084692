"""A Peak: what a machine can do at most, measured here or read from a data sheet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.gpu_spec import GpuSpec

LAUNCH_S = 5e-6
"""What starting one kernel on a GPU is taken to cost where the host waits for none: an assumption, said in every source."""

PCIE_BYTES_PER_S = {"7": 12e9, "8": 24e9, "9": 48e9, "10": 48e9, "12": 48e9}
"""Copies between host and GPU from pinned memory, by major compute capability: about 3/4 of what 16 lanes of PCIe carry in
the generation that these cards came with (3, 4, 5); an assumption, said in every source."""

SLOWEST_PCIE_BYTES_PER_S = 12e9


@dataclass(frozen=True)
class Peak:
    """The bounds of a machine, as one session with some threads meets them.

    Args:
        name: of the machine.
        kind: `cpu` or `gpu`.
        cores: threads that work at once; 1 for a GPU.
        flops_per_s: operations a second by dtype; `float32` is always there.
        bytes_per_s: from and to main memory, or the GPU's own.
        dispatch_s: what one operator costs however small it is.
        transfer_bytes_per_s: between host and GPU; None where nothing has to travel.
        source: where the figures come from, assumptions included.
        memory_bytes: what a model may fill; None where not known.
        cache_bytes: what the threads' own caches hold; 0 where not known.
        cache_bytes_per_s: from and to these.
        fork_s: what waking the other threads for one operator costs; 0 with one thread.
    """

    name: str
    kind: Literal["cpu", "gpu"]
    cores: float
    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    dispatch_s: float
    transfer_bytes_per_s: float | None
    source: str
    memory_bytes: int | None = None
    cache_bytes: int = 0
    cache_bytes_per_s: float = 0.0
    fork_s: float = 0.0

    def __post_init__(self) -> None:
        figures = {
            "bytes_per_s": self.bytes_per_s,
            "float32": self.flops_per_s.get("float32", 0.0),
            "cores": self.cores,
        }
        for field, value in figures.items():
            if not value > 0.0:
                raise DataError(f"of {self.name} must be above zero", field=field, value=value)

    def flops(self, dtype: str) -> float:
        """Operations a second in a type; what has no figure of its own is taken to run like float32.

        Example:
            >>> Peak("m", "cpu", 1, {"float32": 1e11, "int8": 4e11}, 1e10, 1e-6, None, "").flops("int8")
            400000000000.0
        """
        return self.flops_per_s.get(dtype, self.flops_per_s["float32"])

    def bandwidth(self, resident_bytes: int) -> float:
        """Bytes a second for a model that touches so many bytes: the caches' where it fits them, else the memory's."""
        return self.cache_bytes_per_s if 0 < resident_bytes <= self.cache_bytes else self.bytes_per_s

    def rescaled(self, name: str, *, cores: float, clock: float, source: str, memory_bytes: int | None = None) -> Peak:
        """The same processor with more or fewer threads, at another clock.

        Arithmetic and caches go with both; memory bandwidth goes with the cores, up to which no clock helps; an operator's
        fixed cost goes with the clock alone.

        Args:
            name: of the other machine.
            cores: its threads.
            clock: its clock ÷ this one's.
            source: why these figures.
            memory_bytes: of the other machine.
        """
        share = cores / self.cores
        return replace(
            self,
            name=name,
            cores=cores,
            flops_per_s={dtype: each * share * clock for dtype, each in self.flops_per_s.items()},
            bytes_per_s=self.bytes_per_s * share,
            dispatch_s=self.dispatch_s / clock,
            fork_s=self.fork_s / clock if cores > 1 else 0.0,
            source=source,
            memory_bytes=memory_bytes,
            cache_bytes=round(self.cache_bytes * share),
            cache_bytes_per_s=self.cache_bytes_per_s * share * clock,
        )


def gpu_peak(spec: GpuSpec) -> Peak:
    """What a GPU can do at most by its data sheet: dense, float32 without tensor cores, float16 and int8 with them.

    Launches and copies are not on data sheets; `LAUNCH_S` and `PCIE_BYTES_PER_S` are assumed and said in the source.
    """
    flops = {"float32": spec.fp32_flops_per_s}
    if spec.fp16_flops_per_s:
        flops["float16"] = spec.fp16_flops_per_s
    if spec.int8_ops_per_s:
        flops["int8"] = spec.int8_ops_per_s
    transfer = PCIE_BYTES_PER_S.get(str(spec.compute_capability).split(".")[0], SLOWEST_PCIE_BYTES_PER_S)
    source = (
        f"data sheet ({spec.source}), dense; assumed: {LAUNCH_S * 1e6:g} µs a kernel, "
        f"{transfer / 1e9:g} GB/s between host and GPU, float32 without tensor cores"
    )
    return Peak(
        spec.name, "gpu", 1, flops, spec.bytes_per_s, LAUNCH_S, transfer, source, memory_bytes=spec.memory_bytes
    )
