"""From variants to latency profiles with verdicts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.hardware import Hardware
from windtunnel.latency_profile import QUANTILES, LatencyProfile
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.stats import Interval, least_samples
from windtunnel.verdict import Verdict

from .consumption import measure_consumption
from .disturbance import Disturbance, DisturbanceMeter
from .footprint import measure_footprints
from .instances import Instances, Processes
from .measure import Effort, InProcess, harness_floor_s, measure_subjects, precise
from .scaling import measure_scaling
from .transfer import Transfer, measure_transfers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.load_curve import LoadCurve
    from windtunnel.timings import Timings

    from .compare import Comparison
    from .consumption import Consumption
    from .cost import Cost
    from .footprint import Starts
    from .measure import Subject
    from .scaling import Scaling
    from .task import Task

MAX_DRIFT = 0.15
MAX_DISTURBED = 0.15
MAX_HARNESS = 0.10


@dataclass(frozen=True)
class Extent:
    """What is measured beside service times.

    Args:
        footprint: memory and start, in processes started for it.
        scaling: throughput over threads and instances, in as many processes as cores.
    """

    footprint: bool = True
    scaling: bool = True


EVERYTHING = Extent()


@dataclass(frozen=True)
class Benchmark:
    """What one measurement gave.

    Args:
        profiles: one a task.
        timings: the same service times by block, for paired comparisons; by the profiles' names.
        harness_floor_s: what the harness adds to a call, in seconds.
        disturbance: what came from outside.
        scalings: what threads and instances are worth, for each variant in the first of its settings.
        starts: memory and start, by the profiles' names.
        transfers: for what computes on a device, its copies apart, by the profiles' names.
        curves: latency over load on this machine, simulated; made by the composition.
        costs: what a million requests cost on which hardware.
        comparisons: two at a time.
        generated: whether the inputs were made up from the signature.
        consumptions: energy and what a GPU did, of each variant and runtime; without figures where no meter exists.
    """

    profiles: tuple[LatencyProfile, ...]
    timings: Timings
    harness_floor_s: float
    disturbance: Disturbance
    scalings: tuple[Scaling, ...] = ()
    starts: tuple[Starts, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    curves: tuple[LoadCurve, ...] = ()
    costs: tuple[Cost, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    generated: bool = False
    quantile: float = 0.5
    consumptions: tuple[Consumption, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Go where every profile is valid."""
        invalid = [p for p in self.profiles if p.verdict.outcome != "go"]
        evidence = {"harness_floor_s": self.harness_floor_s, "stolen": self.disturbance.stolen,
                    "throttled": self.disturbance.throttled}  # fmt: skip
        if not invalid:
            count = f"{len(self.profiles)} settings" if len(self.profiles) > 1 else "1 setting"
            text = f"{count} measured, every profile valid; the harness adds {self.harness_floor_s * 1e6:.2g} µs a call"
            return Verdict("go", (text,), (), evidence)
        reasons = tuple(f"{names}: {reason}" for reason, names in self._faults(invalid).items())
        changes = tuple(dict.fromkeys(change for p in invalid for change in p.verdict.would_change))
        return Verdict("inconclusive", reasons, changes, evidence)

    def _faults(self, invalid: Sequence[LatencyProfile]) -> dict[str, str]:
        """Each reason once, with the profiles that it is about."""
        faults: dict[str, list[str]] = {}
        for profile in invalid:
            for reason in profile.verdict.reasons:
                faults.setdefault(reason, []).append(profile.name)
        every = len(self.profiles) if len(self.profiles) > 1 else 0
        return {why: "every setting" if len(who) == every else "; ".join(who) for why, who in faults.items()}

    def to_dict(self) -> dict[str, Any]:
        """The profiles and costs as JSON values, one entry per profile and batch size."""
        return {
            "profiles": [entry for profile in self.profiles for entry in describe(profile)],
            "scalings": [each.to_dict() for each in self.scalings],
            "starts": [each.to_dict() for each in self.starts],
            "transfers": [each.to_dict() for each in self.transfers],
            "consumptions": [each.to_dict() for each in self.consumptions],
            "load_curves": [each.to_dict() for each in self.curves],
            "costs": [cost.to_dict() for cost in self.costs],
            "comparisons": [each.to_dict() for each in self.comparisons],
            "generated_inputs": self.generated,
            "harness_floor_s": self.harness_floor_s,
        }


def describe(profile: LatencyProfile) -> list[dict[str, Any]]:
    """A profile as JSON values: one entry per batch size, quantiles with intervals, null where the sample cannot carry one."""
    footprint = profile.footprint
    entries = []
    for index, batch in enumerate(profile.batch_sizes):
        entry: dict[str, Any] = {
            "variant": profile.variant, "runtime": profile.runtime, "batch": batch, "threads": profile.threads,
            "concurrency": profile.concurrency, "size": profile.size, "basis": profile.basis,
            "samples": len(profile.samples_s[index]), "rounds": profile.rounds,
            "clock_s": profile.clock_s, **profile.throughput_per_s(batch).to_dict("throughput_per_s"),
            "cpu_s_per_call": profile.cpu_s[index] if profile.cpu_s else None,
            "cpu_s_per_request": profile.cpu_s[index] / batch if profile.cpu_s else None,
            "rss_bytes": footprint.rss_bytes if footprint else None,
            "instance_bytes": footprint.instance_bytes if footprint else None,
            "process_start_s": footprint.process_start_s if footprint else None,
            "load_s": footprint.load_s if footprint else None,
            "valid": profile.verdict.outcome == "go", "reasons": list(profile.verdict.reasons),
            "server": profile.server.to_dict() if profile.server is not None else None,
        }  # fmt: skip
        for name, interval in zip(QUANTILES, profile.quantiles_s(batch, list(QUANTILES.values())), strict=True):
            known = {f"{name}_s": None, f"{name}_s_low": None, f"{name}_s_high": None}
            entry |= interval.to_dict(f"{name}_s") if interval is not None else known
        entries.append(entry)
    return entries


def benchmark(
    tasks: Sequence[Task],
    batch_sizes: Sequence[int],
    *,
    effort: Effort | None = None,
    extent: Extent = EVERYTHING,
    seeds: Seeds | None = None,
    instance: str = "",
    generated: bool = False,
    progress: Progress = SILENT,
) -> Benchmark:
    """Measure how long each variant takes in each setting per batch size on this machine, and what else it takes.

    Args:
        tasks: what to measure; see `tasks`.
        batch_sizes: rows a call, ascending.
        effort: precision and budget of the service times.
        extent: what is measured beside them.
        seeds: for the order of the blocks.
        instance: what this machine is sold as, where it does not say so itself.
        generated: whether the rows were made up; said in the result.
        progress: shown while measuring.

    Returns:
        Profiles with verdicts; no costs yet (see `cost_table`).

    Raises:
        ModelError: a runtime cannot load or run a variant.
        MeasurementError: a process of an instance died or fell silent.
    """
    wanted = effort if effort is not None else Effort()
    rng = (seeds if seeds is not None else Seeds()).stream("order")
    hardware = Hardware.detect(instance)
    floor_s = harness_floor_s(tasks[0].opener(), tasks[0].feeds)
    meter = DisturbanceMeter()
    with _subjects(tasks, batch_sizes) as subjects:
        timings = measure_subjects(
            subjects, batch_sizes, effort=wanted, rng=rng, progress=progress, each_round=meter.sample
        )
    disturbance = meter.read()
    transfers = measure_transfers(tasks, batch_sizes)
    cores = max(1, int(hardware.cores)) if extent.scaling else None
    consumptions = measure_consumption(tasks, batch_sizes, cores=cores)
    starts = _starts(tasks, batch_sizes, rng, progress) if extent.footprint else {}
    scalings = _scalings(tasks, batch_sizes, hardware, rng, progress) if extent.scaling else {}
    profiles = tuple(
        LatencyProfile(
            task.variant.name, task.variant.sha256, hardware, task.described, task.threads, "measured", tuple(batch_sizes),
            tuple(timings.samples_s(task.name, batch) for batch in batch_sizes), _efficiency(scalings.get(_key(task)), task).value,
            _with_scaling(
                judge(timings, task.name, batch_sizes, wanted, floor_s, disturbance, one_thread=_one_thread(task)),
                scalings.get(_key(task)),
            ), task.concurrency, task.size,
            tuple(timings.cpu_s[task.name, batch] for batch in batch_sizes),
            starts[_key(task)].footprint if _key(task) in starts else None, rounds=timings.rounds, clock_s=timings.clock_s, efficiency_reach=_reach(_efficiency(scalings.get(_key(task)), task)),
        )
        for task in tasks
    )  # fmt: skip
    return Benchmark(profiles, timings, floor_s, disturbance, tuple(scalings.values()), tuple(starts.values()),
                     transfers, generated=generated, quantile=wanted.quantile, consumptions=consumptions)  # fmt: skip


@contextlib.contextmanager
def _subjects(tasks: Sequence[Task], batch_sizes: Sequence[int]) -> Iterator[dict[str, Subject]]:
    """What makes the calls: this process where one instance is busy, else as many processes as instances."""
    most = max(task.concurrency for task in tasks)
    with Processes(most) if most > 1 else contextlib.nullcontext() as processes:
        subjects: dict[str, Subject] = {}
        for task in tasks:
            if processes is None or task.concurrency == 1:
                subjects[task.name] = InProcess(task.opener, task.feeds, batch_sizes)
            else:
                subjects[task.name] = Instances(
                    processes, task.loaded, task.feeds, batch_sizes, count=task.concurrency, threads=task.threads,
                    runtime=task.runtime, home=task.home,
                )  # fmt: skip
        yield subjects


Key = tuple[str, str, str]


def _key(task: Task) -> Key:
    """What decides memory, start and scaling, however many are busy."""
    return task.variant.name, task.runtime, task.size


def _first_of_each(tasks: Sequence[Task]) -> dict[Key, Task]:
    """The first task of each variant, runtime and size class."""
    return {_key(task): task for task in reversed(tasks)}


def _starts(
    tasks: Sequence[Task], batch_sizes: Sequence[int], rng: np.random.Generator, progress: Progress
) -> dict[Key, Starts]:
    found = {}
    firsts = _first_of_each(tasks)
    with progress.bar("starting instances", len(firsts)) as done:
        for number, (key, task) in enumerate(firsts.items(), 1):
            (found[key],) = measure_footprints(
                [task.loaded],
                task.feeds,
                batch_sizes,
                runtime=task.runtime,
                threads=task.threads,
                home=task.home,
                rng=rng,
            ).values()
            done(number)
    return found


def _scalings(
    tasks: Sequence[Task], batch_sizes: Sequence[int], hardware: Hardware, rng: np.random.Generator, progress: Progress
) -> dict[Key, Scaling]:
    """At the largest batch, where throughput is decided."""
    cores, firsts = max(1, int(hardware.cores)), _first_of_each(tasks)
    with progress.bar("filling the machine", len(firsts)) as done, Processes(cores) as processes:
        found = {}
        for number, (key, task) in enumerate(firsts.items(), 1):
            threads = tuple({t.threads for t in tasks if _key(t) == key and t.threads <= cores})
            found[key] = measure_scaling(
                processes, task.loaded, task.feeds, max(batch_sizes), cores=cores, threads=threads, runtime=task.runtime,
                home=task.home, rng=rng,
            )  # fmt: skip
            done(number)
    return found


def _with_scaling(verdict: Verdict, scaling: Scaling | None) -> Verdict:
    """A machine that could not be filled says nothing of what filling it carries."""
    if scaling is None or scaling.starved <= MAX_DISTURBED:
        return verdict
    reason = f"instances that filled the machine had no processor for {scaling.starved:.0%} of their time"
    before = verdict.reasons if verdict.outcome != "go" else ()
    changes = dict.fromkeys((*verdict.would_change, "measure again on a quieter machine"))
    return Verdict("inconclusive", (*before, reason), tuple(changes))


def _one_thread(task: Task) -> bool:
    return task.threads == 1 and task.concurrency == 1 and task.device == "cpu"


def _efficiency(scaling: Scaling | None, task: Task) -> Interval:
    """1 where it was not measured, or where the service times themselves were taken with all cores busy."""
    if scaling is None or task.concurrency > 1 or task.threads > scaling.cores:
        return Interval(1.0, 1.0, 1.0, 0, 0.95)
    return scaling.parallel_efficiency(task.threads)


def _reach(interval: Interval) -> float:
    return (interval.high - interval.low) / 2.0


def judge(
    timings: Timings,
    name: str,
    batch_sizes: Sequence[int],
    effort: Effort,
    floor_s: float,
    disturbance: Disturbance,
    *,
    one_thread: bool = False,
) -> Verdict:
    """Say whether a measurement may be believed, and what would make it so.

    Args:
        timings: the measurement.
        name: of what is judged.
        batch_sizes: rows a call.
        effort: what was asked for.
        floor_s: what the harness adds to a call.
        disturbance: what came from outside.
        one_thread: whether each call keeps one processor busy, and no other: where it took longer than it worked, it waited.
    """
    found = [fault for batch in batch_sizes for fault in _faults(timings, name, batch, effort, floor_s)]
    if one_thread:
        found += [fault for batch in batch_sizes for fault in _waited(timings, name, batch)]
    found += [
        (f"{share:.0%} of {what}", "measure again on a quieter machine")
        for share, what in disturbance.faults
        if share > MAX_DISTURBED
    ]
    if found:
        return Verdict("inconclusive", tuple(reason for reason, _ in found), tuple(dict.fromkeys(c for _, c in found)))
    return Verdict("go", ("steady, warm and precise enough",))


def _waited(timings: Timings, name: str, batch: int) -> list[tuple[str, str]]:
    """Whether calls of one thread had no processor for a good part of the time they took."""
    share = 1.0 - timings.cpu_s[name, batch] / float(np.mean(timings.samples_s(name, batch)))
    if share <= MAX_DISTURBED:
        return []
    return [(f"batch {batch} had no processor for {share:.0%} of its time", "measure again on a quieter machine")]


def _faults(timings: Timings, name: str, batch: int, effort: Effort, floor_s: float) -> list[tuple[str, str]]:
    """What is wrong with one batch size, each with what would mend it."""
    medians, samples = timings.medians_s(name, batch), timings.samples_s(name, batch)
    median, half = float(np.median(medians)), len(medians) // 2
    found = []
    if not timings.warm[name, batch]:
        found.append(
            (f"batch {batch} never warmed up to a steady state", "measure on a machine that does nothing else")
        )
    if abs(np.median(medians[half:]) / np.median(medians[:half]) - 1.0) > MAX_DRIFT:
        found.append((
            f"batch {batch} drifted by more than {MAX_DRIFT:.0%} while it was measured",
            "measure longer (--budget), on a machine that does nothing else",
        ))  # fmt: skip
    if not precise(samples, effort, timings.rounds, timings.clock_s):
        least = least_samples(effort.quantile)
        few = f" ({len(samples)} samples, at least {least} are needed)" if len(samples) < least else ""
        found.append((
            f"the p{effort.quantile * 100:g} of batch {batch} is not known to ± {effort.precision * 100:.3g}%{few}",
            "raise --budget, or ask for less --precision",
        ))  # fmt: skip
    if floor_s > MAX_HARNESS * median:
        found.append((
            f"the harness ({floor_s * 1e6:.2g} µs a call) is more than {MAX_HARNESS:.0%} of batch {batch}",
            "measure larger batches: this model is too fast to be timed from Python",
        ))  # fmt: skip
    return found
