"""From variants to latency profiles with verdicts, and from profiles to money."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.session import OnnxSession
from windtunnel.stats import dependent_quantile_interval
from windtunnel.verdict import Verdict

from .disturbance import Disturbance, DisturbanceMeter
from .measure import Effort, cut, harness_floor_s, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.timings import Timings
    from windtunnel.variant import Variant

    from .cost import Cost

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
MAX_DRIFT = 0.15
MAX_DISTURBED = 0.10
MAX_HARNESS = 0.10
PARALLEL_S = 0.4


@dataclass(frozen=True)
class Benchmark:
    """What one measurement of several variants gave.

    Args:
        profiles: one a variant.
        timings: the same service times by block, for paired comparisons.
        harness_floor_s: what the harness adds to a call, in seconds.
        disturbance: what came from outside.
        costs: what a million requests cost on which hardware.
        generated: whether the inputs were made up from the signature.
    """

    profiles: tuple[LatencyProfile, ...]
    timings: Timings
    harness_floor_s: float
    disturbance: Disturbance
    costs: tuple[Cost, ...] = ()
    generated: bool = False

    @property
    def verdict(self) -> Verdict:
        """Go where every profile is valid."""
        invalid = [p for p in self.profiles if p.verdict.outcome != "go"]
        evidence = {"harness_floor_s": self.harness_floor_s, "stolen": self.disturbance.stolen,
                    "throttled": self.disturbance.throttled}  # fmt: skip
        if not invalid:
            count = f"{len(self.profiles)} variants" if len(self.profiles) > 1 else "1 variant"
            text = f"{count} measured, every profile valid; the harness adds {self.harness_floor_s * 1e6:.2g} µs a call"
            return Verdict("go", (text,), (), evidence)
        reasons = tuple(f"{p.variant}: {reason}" for p in invalid for reason in p.verdict.reasons)
        changes = tuple(dict.fromkeys(change for p in invalid for change in p.verdict.would_change))
        return Verdict("inconclusive", reasons, changes, evidence)

    def to_dict(self) -> dict[str, Any]:
        """The profiles and costs as JSON values, one entry per variant and batch size."""
        return {
            "profiles": [entry for profile in self.profiles for entry in describe(profile)],
            "costs": [cost.to_dict() for cost in self.costs],
            "generated_inputs": self.generated,
        }


def describe(profile: LatencyProfile) -> list[dict[str, Any]]:
    """A profile as JSON values: one entry per batch size, quantiles with intervals, null where the sample cannot carry one."""
    entries = []
    for batch, samples in zip(profile.batch_sizes, profile.samples_s, strict=True):
        entry: dict[str, Any] = {
            "variant": profile.variant, "runtime": profile.runtime, "batch": batch, "threads": profile.threads,
            "basis": profile.basis, "samples": len(samples), "throughput_per_s": batch / float(np.mean(samples)),
            "valid": profile.verdict.outcome == "go", "reasons": list(profile.verdict.reasons),
        }  # fmt: skip
        for name, quantile in QUANTILES.items():
            interval = dependent_quantile_interval(samples, quantile)
            known = {f"{name}_s": None, f"{name}_s_low": None, f"{name}_s_high": None}
            entry |= interval.to_dict(f"{name}_s") if interval is not None else known
        entries.append(entry)
    return entries


def benchmark(
    variants: Sequence[Variant],
    feeds: Mapping[str, NDArray[Any]],
    batch_sizes: Sequence[int],
    *,
    threads: int = 1,
    effort: Effort | None = None,
    seeds: Seeds | None = None,
    generated: bool = False,
    progress: Progress = SILENT,
) -> Benchmark:
    """Measure how long each variant takes per batch size on this machine.

    Args:
        variants: what to measure.
        feeds: inputs, by name.
        batch_sizes: rows a call.
        threads: intra-op threads a session.
        effort: precision and budget.
        seeds: for the order of the blocks.
        generated: whether `feeds` were made up; said in the result.
        progress: shown while measuring.

    Returns:
        Profiles with verdicts; no costs yet (see `cost_table`).
    """
    wanted = effort if effort is not None else Effort()
    rng = (seeds if seeds is not None else Seeds()).stream("order")
    sessions = {v.name: OnnxSession(v.path, v.signature, threads=threads) for v in variants}
    floor_s = harness_floor_s(next(iter(sessions.values())), feeds)
    meter = DisturbanceMeter()
    timings = measure(sessions, feeds, batch_sizes, effort=wanted, rng=rng, progress=progress)
    disturbance = meter.read()
    hardware, runtime = Hardware.detect(), _runtime()
    profiles = tuple(
        LatencyProfile(
            v.name, v.sha256, hardware, runtime, threads, "measured", tuple(batch_sizes),
            tuple(timings.samples_s(v.name, b) for b in batch_sizes),
            parallel_efficiency(v, cut(feeds, max(batch_sizes)), int(hardware.cores), threads),
            judge(timings, v.name, batch_sizes, wanted, floor_s, disturbance),
        )
        for v in variants
    )  # fmt: skip
    return Benchmark(profiles, timings, floor_s, disturbance, (), generated)


def _runtime() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"


def judge(
    timings: Timings, name: str, batch_sizes: Sequence[int], effort: Effort, floor_s: float, disturbance: Disturbance
) -> Verdict:
    """Say whether a measurement may be believed, and what would make it so."""
    reasons, changes = [], []
    for batch in batch_sizes:
        medians = timings.medians_s(name, batch)
        median, half = float(np.median(medians)), len(medians) // 2
        interval = dependent_quantile_interval(timings.samples_s(name, batch), 0.5)
        if not timings.warm[name, batch]:
            reasons.append(f"batch {batch} never warmed up to a steady state")
            changes.append("measure on a machine that does nothing else")
        if abs(np.median(medians[half:]) / np.median(medians[:half]) - 1.0) > MAX_DRIFT:
            reasons.append(f"batch {batch} drifted by more than {MAX_DRIFT:.0%} while it was measured")
            changes.append("measure longer (--budget), on a machine that does nothing else")
        if interval is None or interval.high - interval.low > 2 * effort.precision * median:
            reasons.append(f"the median of batch {batch} is not known to ± {effort.precision:.0%}")
            changes.append("raise --budget, or ask for less --precision")
        if floor_s > MAX_HARNESS * median:
            reasons.append(
                f"the harness ({floor_s * 1e6:.2g} µs a call) is more than {MAX_HARNESS:.0%} of batch {batch}"
            )
            changes.append("measure larger batches: this model is too fast to be timed from Python")
    for share, what in (
        (disturbance.throttled, "throttled by the cgroup"),
        (disturbance.stolen, "stolen by other machines"),
    ):
        if share > MAX_DISTURBED:
            reasons.append(f"{share:.0%} of the time was {what}")
            changes.append("measure again on a quieter machine")
    if reasons:
        return Verdict("inconclusive", tuple(reasons), tuple(dict.fromkeys(changes)))
    return Verdict("go", ("steady, warm and precise enough",))


def parallel_efficiency(variant: Variant, rows: Mapping[str, NDArray[Any]], cores: int, threads: int) -> float:
    """Throughput of one session a core, all at once, over that many times the throughput of one alone (at most 1).

    Two processors that share one core, caches and memory make it less than one; that is what replicas on one machine
    will meet.
    """
    workers = max(1, cores // threads)
    if workers == 1:
        return 1.0
    sessions = [OnnxSession(variant.path, variant.signature, threads=threads) for _ in range(workers)]
    ratios = []
    for _ in range(3):
        alone = _calls_together(sessions[:1], rows, PARALLEL_S / 3)
        ratios.append(_calls_together(sessions, rows, PARALLEL_S / 3) / (workers * alone))
    return float(np.clip(np.median(ratios), 1.0 / workers, 1.0))


def _calls_together(sessions: Sequence[OnnxSession], rows: Mapping[str, NDArray[Any]], seconds: float) -> float:
    """How many calls a second some sessions finish, a thread each; the runtime works without the interpreter's lock."""
    barrier = threading.Barrier(len(sessions))
    calls = [0.0] * len(sessions)

    def work(index: int) -> None:
        barrier.wait()
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            sessions[index].run(rows)
            calls[index] += 1
        calls[index] /= elapsed

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(sessions))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(calls)
