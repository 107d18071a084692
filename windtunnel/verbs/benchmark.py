"""`windtunnel benchmark`: how long models take, compared and priced."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import QUANTILES
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .compare import compare_runs, is_run
from .load_curves import load_curves
from .settings import USUAL
from .subject import Subject
from .target import with_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.benchmarks import Benchmark, Comparison, CostReport, Effort, Task
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section
    from windtunnel.verdict import Outcome, Verdict

    from .cost import Wishes
    from .settings import Settings
    from .target import Target


FEW = 6
"""So many comparisons are said in sentences; the table holds all."""


def benchmark(
    models: Sequence[Path | str],
    *,
    settings: Settings = USUAL,
    data: Path | None = None,
    cost: Wishes | None = None,
    fail_if_slower: float | None = None,
    cluster: str = "",
    target: Target | None = None,
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Measure how long models take, compare them where there are several, and price them where that is asked for.

    Args:
        models: ONNX files, or functions `file.py:function` that return a torch module and example inputs; variants are
            named after them. Or run folders and profiles (.npz) of earlier benchmarks, which are compared and not
            measured again.
        settings: how they are measured.
        data: real inputs; made up from the signature where None, and said so.
        cost: what is asked about money.
        fail_if_slower: by which share the others may be slower than the first; no-go where one is shown to be.
        cluster: the address of a Ray cluster on each kind of whose nodes it is measured; here alone where empty.
        target: a server that serves the one model, whose own cost is measured and put into the profile; None for none.
        out: the run folder.
        seed: of the order of the blocks, of made-up inputs and of simulated traffic.
        progress: shown while measuring.

    Raises:
        InputError: something that cannot be measured, compared or priced as asked.
        MissingError: a runtime cannot run here.
        MeasurementError: a process died or fell silent.
    """
    if fail_if_slower is not None and (len(models) < 2 or fail_if_slower < 0.0):
        raise ConfigError(
            "needs a share of at least 0 and a second model", field="--fail-if-slower", value=fail_if_slower,
            fix="write benchmark before.onnx after.onnx --fail-if-slower 3%",
        )  # fmt: skip
    if target is not None and (len(models) != 1 or cluster):
        raise ConfigError(
            "is a server of one model, on this machine or another", field="--target", value=target.url,
            fix="give one model, and leave out --on-cluster",
        )  # fmt: skip
    if any(is_run(model) for model in models):
        if settings != USUAL or data is not None or cluster or target is not None:
            raise ConfigError(
                "say how to measure, and earlier runs are not measured again", field="options",
                fix="leave out all but --fail-if-slower and --out",
            )  # fmt: skip
        return compare_runs(models, cost, fail_if_slower, out, seed, progress)
    settings.check(here=not cluster)
    if cost is not None:
        cost.check()
        _check_priced(settings)
    for option, given in (("--cost", cost), ("--fail-if-slower", fail_if_slower)):
        if cluster and given is not None:
            raise ConfigError("is about one machine", field=option, fix="leave out --on-cluster")
    with tempfile.TemporaryDirectory() as exported:
        # before the run has a name: what a function makes decides it, whatever the function reads
        subject = Subject.read(models, Path(exported), settings, data, Seeds(seed), here=not cluster)
        parameters = {
            # in their order: the first is what others are compared with
            "models": [[variant.name, variant.sha256] for variant in subject.variants],
            "settings": _plain(settings), "cost": cost.to_dict() if cost is not None else None,
            **({"target": target.to_dict()} if target is not None else {}),
            "fail_if_slower": fail_if_slower, "measured_on": cluster or Hardware.detect(settings.instance).fingerprint,
        }  # fmt: skip
        common: dict[str, Any] = {"subject": subject, "settings": settings, "seeds": Seeds(seed), "progress": progress}
        make = partial(_benchmark, **common, cost=cost, fail_if_slower=fail_if_slower, target=target)
        if cluster:
            make = partial(_on_cluster, **common, address=cluster)
        return run_alone(
            "benchmark", out, parameters, subject.digests(), make, seed=seed, progress=progress, keep_inconclusive=False
        )


def _check_priced(settings: Settings) -> None:
    """Refuse a measurement that no price could rest on."""
    if not settings.footprint:
        raise ConfigError(
            "leaves out memory and cold start, by which machines and functions are filled", field="--no-footprint",
            fix="leave it out where --cost is asked for",
        )  # fmt: skip
    if not settings.scaling:
        raise ConfigError(
            "leaves out what several servers on one machine cost each other", field="--no-scaling",
            fix="leave it out where --cost is asked for",
        )  # fmt: skip
    if min(settings.batch) != 1:
        raise ConfigError(
            "has no batch of 1, which a lone request is", field="--batch", value=settings.batch, fix="measure 1 too"
        )
    if sum(map(len, settings.sizes.values())) > len(settings.sizes):
        raise ConfigError(
            "is different work, and not a choice between prices", field="--size", value=dict(settings.sizes),
            fix="price one length at a time",
        )  # fmt: skip
    if min(settings.concurrency) != 1:
        raise ConfigError(
            "has no instance measured alone", field="--concurrency", value=settings.concurrency, fix="measure 1 too"
        )


def _plain(settings: Settings) -> dict[str, Any]:
    """Settings as JSON values."""
    return {**vars(settings), "sizes": dict(settings.sizes)}


def _benchmark(
    work: Path,
    *,
    subject: Subject,
    settings: Settings,
    cost: Wishes | None,
    fail_if_slower: float | None,
    target: Target | None,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import Extent, draw
    from windtunnel.benchmarks import benchmark as measure_all

    tasks = _tasks(subject, settings)
    measured = measure_all(
        tasks, settings.batch, effort=_effort(settings), extent=Extent(settings.footprint, settings.scaling), seeds=seeds,
        instance=settings.instance, generated=subject.data is None, progress=progress,
    )  # fmt: skip
    if target is not None:
        feeds = next(iter(subject.feeds.values()))
        measured = replace(measured, profiles=with_server(measured.profiles, target, settings, feeds, progress))
    save_profiles(measured.profiles, work)
    pairs = comparable(tasks)
    measured = replace(
        measured,
        comparisons=_comparisons(measured, pairs, settings.batch),
        curves=load_curves(measured.profiles, seeds, scaled=settings.scaling),
    )
    report = _priced(measured, subject, cost, seeds, progress)
    if report is not None:
        measured = replace(measured, costs=report.costs)
    verdict = _with_promise(_with_gate(measured, pairs, settings.batch, fail_if_slower), report)
    document = measured.to_dict() | (report.to_dict() if report is not None else {})
    return (
        document,
        replace(draw(measured, report), outcome=verdict.outcome, sentences=_sentences(measured, verdict, report)),
        verdict,
    )


def _effort(settings: Settings) -> Effort:
    from windtunnel.benchmarks import Effort

    return Effort(settings.precision, settings.budget_s, QUANTILES[settings.quantile])


def _on_cluster(
    work: Path, *, subject: Subject, settings: Settings, seeds: Seeds, progress: Progress, address: str
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import Extent
    from windtunnel.benchmarks.cluster import benchmark_on_cluster
    from windtunnel.benchmarks.cluster_section import draw_cluster

    found = benchmark_on_cluster(
        _tasks(subject, settings, here=False), settings.batch, address=address, effort=_effort(settings),
        extent=Extent(settings.footprint, settings.scaling), seeds=seeds, generated=subject.data is None, progress=progress,
    )  # fmt: skip
    found.save(work)
    return found.to_dict(), draw_cluster(found), found.verdict


def _sentences(measured: Benchmark, verdict: Verdict, report: CostReport | None) -> tuple[str, ...]:
    from windtunnel.benchmarks.cost_section import sentences

    # more than a few are a table to look up, and not something to say
    told = tuple(each.sentence for each in measured.comparisons) if len(measured.comparisons) <= FEW else ()
    made_up = ("The inputs were made up from the signature; --data gives real ones.",) if measured.generated else ()
    return (*(sentences(report) if report is not None else ()), *verdict.reasons, *told, *made_up)


def _tasks(subject: Subject, settings: Settings, *, here: bool = True) -> tuple[Task, ...]:
    from windtunnel.benchmarks import tasks

    return tasks(
        subject.variants, subject.feeds, runtimes=settings.runtimes, threads=settings.threads,
        concurrency=settings.concurrency, functions=subject.functions, home=Path.cwd(), here=here,
    )  # fmt: skip


def comparable(tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """Which tasks are put beside which: other variants in the same setting; settings of a lone variant at the same size.

    Example:
        >>> from windtunnel.benchmarks.task import Task
        >>> from types import SimpleNamespace as Variant
        >>> a, b = (Task(Variant(name=name), {}, "", "onnxruntime 1 CPUExecutionProvider", threads=2) for name in "ab")
        >>> comparable([a, replace(a, threads=1), b, replace(b, threads=1)])
        [('a, 2 threads', 'b, 2 threads'), ('a', 'b')]
    """
    first = tasks[0].variant.name
    alone = all(task.variant.name == first for task in tasks)

    def setting(task: Task) -> tuple[Any, ...]:
        return (task.size,) if alone else (task.size, task.runtime, task.threads, task.concurrency)

    leading: dict[tuple[Any, ...], str] = {}
    for task in tasks:
        leading.setdefault(setting(task), task.name)
    return [(leading[setting(task)], task.name) for task in tasks if leading[setting(task)] != task.name]


def save_profiles(profiles: Sequence[LatencyProfile], folder: Path) -> None:
    """Write each profile under its name, with what file systems dislike replaced."""
    for profile in profiles:
        profile.save(folder / f"{file_name(profile)}.npz")


def file_name(profile: LatencyProfile) -> str:
    """A profile's name as a file's.

    Example:
        >>> from types import SimpleNamespace
        >>> file_name(SimpleNamespace(name="m, 2 threads, n=8"))
        'm-2-threads-n=8'
    """
    return "-".join(profile.name.replace(",", " ").replace("/", " ").split())


def _comparisons(
    measured: Benchmark, pairs: Sequence[tuple[str, str]], batch: tuple[int, ...], confidence: float = 0.95
) -> tuple[Comparison, ...]:
    from windtunnel.benchmarks import compare_timings

    invalid = {profile.name for profile in measured.profiles if profile.verdict.outcome != "go"}
    return compare_timings(measured.timings, pairs, batch, confidence, invalid=invalid)


def _priced(
    measured: Benchmark, subject: Subject, cost: Wishes | None, seeds: Seeds, progress: Progress
) -> CostReport | None:
    from .cost import report_costs

    if cost is None:
        return None
    models = {variant.name: variant.path for variant in subject.variants}
    # instances that were busy beside others are no choice of their own: what that costs is in the efficiency
    alone = [profile for profile in measured.profiles if profile.concurrency == 1]
    return report_costs(
        alone, models, subject.feeds, cost, seeds=seeds, progress=progress, consumptions=measured.consumptions
    )


def _with_promise(verdict: Verdict, report: CostReport | None) -> Verdict:
    """No-go where no machine that was asked about can keep the promise, inconclusive where none is known to."""
    from windtunnel.verdict import Verdict

    rates = [cost.throughput_at_slo_per_s for cost in report.costs] if report is not None else []
    known = [rate for rate in rates if rate is not None]
    if report is None or verdict.outcome != "go" or not known or any(rate.value > 0.0 for rate in known):
        return verdict
    reason = f"no machine that was asked about is known to keep {report.slo} at any rate"
    outcome: Outcome = "inconclusive" if any(rate.high > 0.0 for rate in known) else "no-go"
    return Verdict(outcome, (*verdict.reasons, reason), ("a faster variant, a faster machine, or a later promise",))


def _with_gate(
    measured: Benchmark, pairs: Sequence[tuple[str, str]], batch: tuple[int, ...], allowed: float | None
) -> Verdict:
    """The measurement's verdict; where it is valid and a gate was asked for, the gate's."""
    from windtunnel.benchmarks import judge_slower

    if allowed is None or measured.verdict.outcome != "go":
        return measured.verdict
    # all intervals hold together, so that many comparisons do not give chance many chances
    each = 1.0 - 0.05 / max(1, len(pairs) * len(batch))
    return judge_slower(_comparisons(measured, pairs, batch, each), allowed)
