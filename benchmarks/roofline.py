"""Projecting a profile to hardware that was not measured: its shape kept, its times scaled by what the roofline says.

Each batch size is scaled by the ratio of two modelled times: of the machine asked about, and of the machine measured. What
the model gets wrong on both alike falls out of the ratio; what is left is in the band, which leave-one-out between
configurations of the measured machine gives (see `projection_error`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import InputError, ModelError
from windtunnel.gpu_spec import find_gpu
from windtunnel.hardware import Hardware
from windtunnel.peak import gpu_peak
from windtunnel.price import ARCHITECTURES
from windtunnel.session import cut
from windtunnel.verdict import Verdict

from .calibration import bound, calibrate
from .clock import clock_ghz
from .leave_one_out import leave_one_out
from .peaks import measure_peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.peak import Peak
    from windtunnel.price import Price

    from .calibration import Calibration
    from .projection_error import ProjectionError

    Arrays = Mapping[str, NDArray[Any]]

LEAST_SPREAD = math.log(2.0)
"""What launches and copies cost on a GPU is assumed, not known to better than a factor of two."""

MOST_UNCOUNTED = 0.2
"""Where more of a model's time belongs to operators that nobody counted, a projection would be about something else."""


@dataclass(frozen=True)
class Target:
    """A machine that was not measured.

    Args:
        peak: of it, as one session meets it.
        hardware: for the profile.
        runtime: in which the session would run there.
    """

    peak: Peak
    hardware: Hardware
    runtime: str


def project(
    profile: LatencyProfile, calibrations: Mapping[int, Calibration], target: Target, error: ProjectionError
) -> LatencyProfile:
    """Project a measured profile to another machine.

    Args:
        profile: measured here.
        calibrations: one for each of its batch sizes, on the same machine with the same threads.
        target: the machine asked about.
        error: how far such projections were off here.

    Returns:
        A profile with the basis `projected`; `band` covers 95% of configurations like those that were left out. For a
        GPU it is widened by the spread of the efficiencies over operator classes, since how well a GPU runs which class
        could not be seen here.

    Raises:
        ModelError: too much of the model could not be counted, or it does not fit the target's memory.
    """
    for batch in profile.batch_sizes:
        _refuse(calibrations[batch], batch, target.peak)
    factors = [_factor(calibrations[batch], target.peak) for batch in profile.batch_sizes]
    on_gpu = target.peak.kind == "gpu"
    band = error.band(unseen=spread(calibrations.values()) if on_gpu else 0.0)
    return replace(
        profile, hardware=target.hardware, runtime=target.runtime, basis="projected", band=band,
        samples_s=tuple(samples * factor for samples, factor in zip(profile.samples_s, factors, strict=True)),
        parallel_efficiency=1.0 if on_gpu else profile.parallel_efficiency, verdict=_verdict(profile, target, error, factors),
        cpu_s=() if on_gpu else tuple(each * factor for each, factor in zip(profile.cpu_s, factors, strict=False)),
    )  # fmt: skip


def _factor(calibration: Calibration, target: Peak) -> float:
    here = calibration.time_s(calibration.graph, calibration.peak)
    return calibration.time_s(calibration.graph, target) / here


def _refuse(calibration: Calibration, batch: int, target: Peak) -> None:
    if calibration.uncounted_share > MOST_UNCOUNTED:
        raise ModelError(
            f"spends {calibration.uncounted_share:.0%} of its time in operators that cannot be counted "
            f"({', '.join(calibration.graph.uncounted[:3])})",
            fix=f"run windtunnel benchmark on {target.name}",
        )
    needed = calibration.graph.peak_bytes
    if target.memory_bytes is not None and needed > target.memory_bytes:
        raise ModelError(
            f"needs {needed / 2**30:.1f} GiB at batch {batch}, and {target.name} has {target.memory_bytes / 2**30:.1f} GiB",
            fix="ask for smaller batches",
        )


def spread(calibrations: Iterable[Calibration]) -> float:
    """How unlike the efficiencies of a model's operator classes are: the standard deviation of their logarithms.

    Each class counts with the time it takes here, so that what hardly matters hardly counts. At least `LEAST_SPREAD`.
    """
    logs, weights = [], []
    for each in calibrations:
        for operator in each.graph.operators:
            ideal_s, by = bound(operator, each.peak, each.peak.bandwidth(each.graph.peak_bytes))
            efficiency = each.efficiency_of(operator.operator_class, by)
            logs.append(math.log(efficiency))
            weights.append(ideal_s / efficiency / each.measured_s)
    if not math.fsum(weights) > 0.0:
        return LEAST_SPREAD
    mean = np.average(logs, weights=weights)
    return max(LEAST_SPREAD, math.sqrt(float(np.average((np.array(logs) - mean) ** 2, weights=weights))))


def _verdict(profile: LatencyProfile, target: Target, error: ProjectionError, factors: list[float]) -> Verdict:
    """The measured profile's outcome, and what the projection rests on."""
    wider = (
        ["widened by how unlike the classes of operators are, since no GPU was seen here"]
        if target.peak.kind == "gpu"
        else []
    )
    reasons = (
        f"projected from {profile.hardware.cpu} to {target.peak.name}, whose peaks are {target.peak.source}",
        "; ".join([str(error), *wider]),
    )
    evidence = {f"factor_batch_{batch}": factor for batch, factor in zip(profile.batch_sizes, factors, strict=True)}
    changes = (f"run windtunnel benchmark on {target.peak.name}",)
    outcome = profile.verdict.outcome
    return Verdict(outcome, (*(profile.verdict.reasons if outcome != "go" else ()), *reasons), changes, evidence)


def cpu_target(price: Price, here: Peak, hardware: Hardware, runtime: str) -> Target:
    """A machine without an accelerator: this processor with its cores and clock.

    The session keeps its threads, as far as there are cores for them. Nothing else of another processor is in a price list:
    instruction sets, caches and memory are taken to be those here, a core.
    """
    cores = min(here.cores, price.physical_cores or price.vcpu or here.cores)
    clock, said = _clock(price)
    memory = round(price.memory_gib * 2**30) if math.isfinite(price.memory_gib) else None
    source = f"those measured here for {cores:g} of {price.physical_cores or price.vcpu:g} cores, {said}"
    peak = here.rescaled(price.name, cores=cores, clock=clock, source=source, memory_bytes=memory)
    there = Hardware(
        f"{price.name}, not measured", price.architecture or hardware.architecture, (),
        price.physical_cores or float(price.vcpu), memory or 0, (), price.name,
    )  # fmt: skip
    return Target(peak, there, runtime)


def _clock(price: Price) -> tuple[float, str]:
    """The target's clock ÷ the one here, and the words for it; 1 where the catalogue states none."""
    if price.clock_ghz is None:
        return 1.0, "at the same clock, since the catalogue states none"
    here = clock_ghz()
    return price.clock_ghz / here, f"× clock ({price.clock_ghz:g} GHz as stated ÷ {here:.2g} GHz as counted here)"


def gpu_target(price: Price, hardware: Hardware, runtime: str) -> Target:
    """One accelerator of a machine, by its data sheet.

    Raises:
        ConfigError: no data sheet is known.
    """
    spec = find_gpu(price.accelerator, memory_gib=price.accelerator_memory_gib, count=price.accelerators)
    there = Hardware(
        f"{price.name}, not measured", price.architecture or hardware.architecture, (),
        price.physical_cores or float(price.vcpu), spec.memory_bytes, (spec.name,) * price.accelerators, price.name,
    )  # fmt: skip
    return Target(gpu_peak(spec), there, runtime.replace("CPUExecutionProvider", "CUDAExecutionProvider"))


class Projector:
    """Projects profiles measured on this machine; what it must measure for that, it measures when first asked.

    Args:
        models: ONNX files by variant name.
        feeds: inputs by size class (a profile's `size`; empty where there is one only), as they were measured with.
        study: finds out how far such projections are off; asked once, and only if something is projected.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        feeds: Mapping[str, Arrays],
        study: Callable[[], ProjectionError] = leave_one_out,
    ) -> None:
        self._models, self._feeds, self._study = models, feeds, study
        self._error: ProjectionError | None = None
        self._peaks: dict[int, Peak] = {}
        self._calibrations: dict[tuple[str, str, int], dict[int, Calibration]] = {}

    def __call__(self, profile: LatencyProfile, price: Price) -> LatencyProfile | str:
        """The profile on a machine of a price list, or the reason, as a clause, why there can be none."""
        reason = self._unfit(profile, price)
        if reason:
            return reason
        try:
            target = self._target(profile, price)
            return project(profile, self._calibrated(profile), target, self.error)
        except InputError as error:
            return f"{error.problem}; {error.fix}" if error.fix else error.problem

    @property
    def asked(self) -> bool:
        """Whether anything was projected."""
        return self._error is not None

    @property
    def error(self) -> ProjectionError:
        """How far projections between configurations of this machine were off."""
        if self._error is None:
            self._error = self._study()
        return self._error

    def peak(self, threads: int) -> Peak:
        """What this machine can do at most with some threads."""
        if threads not in self._peaks:
            self._peaks[threads] = measure_peak(threads)
        return self._peaks[threads]

    def _unfit(self, profile: LatencyProfile, price: Price) -> str:
        here = ARCHITECTURES.get(profile.hardware.architecture, profile.hardware.architecture)
        if profile.basis != "measured" or profile.variant not in self._models:
            return f"{profile.variant} was not measured here"
        if "CPUExecutionProvider" not in profile.runtime:
            return f"only ONNX Runtime's times on a CPU can be projected, and these are of {profile.runtime}"
        if price.architecture and price.architecture != here and not price.accelerators:
            return f"measured on {here}, from which nothing follows for {price.architecture}; run windtunnel benchmark there"
        return ""

    def _target(self, profile: LatencyProfile, price: Price) -> Target:
        if price.accelerators:
            return gpu_target(price, profile.hardware, profile.runtime)
        return cpu_target(price, self.peak(profile.threads), profile.hardware, profile.runtime)

    def _calibrated(self, profile: LatencyProfile) -> dict[int, Calibration]:
        key = (profile.variant, profile.size, profile.threads)
        known = self._calibrations.setdefault(key, {})
        for batch in profile.batch_sizes:
            if batch not in known:
                rows = cut(self._feeds[profile.size], batch)
                known[batch] = calibrate(self._models[profile.variant], rows, self.peak(profile.threads))
        return known
