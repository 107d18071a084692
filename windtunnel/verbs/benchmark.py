"""`windtunnel benchmark`: how long models take, compared and priced."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import is_function

from .alone import Done, run_alone
from .compare import compare_runs, is_run
from .inputs import open_model
from .load_curves import load_curves
from .settings import QUANTILES, USUAL
from .subject import Subject, feeds_of, name_of, real_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.benchmarks import Benchmark, Comparison, Effort, Task
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section
    from windtunnel.variant import Variant
    from windtunnel.verdict import Verdict

    from .cost import Wishes
    from .settings import Settings
    from .subject import Arrays


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
    if any(is_run(model) for model in models):
        return compare_runs(models, cost, fail_if_slower, out, seed, progress)
    settings.check(here=not cluster)
    if cost is not None:
        cost.check()
    subject = Subject.read(models, settings, data, Seeds(seed), here=not cluster)
    parameters = {
        "models": [name_of(model) for model in models],  # in their order: the first is what others are compared with
        "settings": _plain(settings), "cost": _plain(cost), "fail_if_slower": fail_if_slower,
        "measured_on": cluster or Hardware.detect(settings.instance).fingerprint,
    }  # fmt: skip
    common: dict[str, Any] = {"subject": subject, "settings": settings, "seeds": Seeds(seed), "progress": progress}
    make = partial(_benchmark, **common, cost=cost, fail_if_slower=fail_if_slower)
    if cluster:
        for option, given in (("--cost", cost), ("--fail-if-slower", fail_if_slower)):
            if given is not None:
                raise ConfigError("is about one machine", field=option, fix="leave out --on-cluster")
        make = partial(_on_cluster, **common, address=cluster)
    return run_alone("benchmark", out, parameters, subject.digests(cost), make, seed=seed, progress=progress)


def _plain(value: Any) -> Any:
    """Settings as JSON values."""
    return {name: _text(each) for name, each in vars(value).items()} if value is not None else None


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _benchmark(
    work: Path,
    *,
    subject: Subject,
    settings: Settings,
    cost: Wishes | None,
    fail_if_slower: float | None,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import Extent, draw
    from windtunnel.benchmarks import benchmark as measure_all

    variants, functions = _variants(subject.models, work)
    signature = variants[0].signature
    feeds = subject.feeds or feeds_of(signature, settings, real_rows(subject.data, signature), seeds)
    tasks = _tasks(variants, functions, feeds, settings)
    measured = measure_all(
        tasks, settings.batch, effort=_effort(settings), extent=Extent(settings.footprint, settings.scaling), seeds=seeds,
        instance=settings.instance, generated=subject.data is None, progress=progress,
    )  # fmt: skip
    save_profiles(measured.profiles, work)
    names = [task.name for task in tasks if task.size == tasks[0].size]
    measured = replace(
        measured,
        comparisons=_comparisons(measured, names, settings.batch),
        curves=load_curves(measured.profiles, seeds),
    )
    report = _priced(measured, variants, feeds, cost, seeds, progress)
    if report is not None:
        measured = replace(measured, costs=report.costs)
    verdict = _with_gate(measured, names, settings.batch, fail_if_slower)
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

    variants, functions = _variants(subject.models, work)
    signature = variants[0].signature
    feeds = subject.feeds or feeds_of(signature, settings, real_rows(subject.data, signature), seeds)
    found = benchmark_on_cluster(
        _tasks(variants, functions, feeds, settings, here=False), settings.batch, address=address, effort=_effort(settings),
        extent=Extent(settings.footprint, settings.scaling), seeds=seeds, generated=subject.data is None, progress=progress,
    )  # fmt: skip
    found.save(work)
    return found.to_dict(), draw_cluster(found), found.verdict


def _sentences(measured: Benchmark, verdict: Verdict, report: Any) -> tuple[str, ...]:
    from windtunnel.benchmarks.cost_section import sentences

    # more than a few are a table to look up, and not something to say
    told = tuple(each.sentence for each in measured.comparisons) if len(measured.comparisons) <= FEW else ()
    return (*(sentences(report) if report is not None else ()), *verdict.reasons, *told)


def _variants(models: Sequence[Path | str], work: Path) -> tuple[list[Variant], dict[str, str]]:
    """The variants, and the functions behind those that were exported here."""
    from windtunnel.variant import Variant

    variants, functions = [], {}
    for model in models:
        if is_function(str(model)):
            name = name_of(model)
            (work / "exported").mkdir(exist_ok=True)
            exported = open_model(str(model), work / "exported", Path.cwd())
            variants.append(replace(exported, name=name))
            functions[name] = str(model)
        else:
            variants.append(Variant.from_file(Path(model)))
    return variants, functions


def _tasks(
    variants: Sequence[Variant],
    functions: Mapping[str, str],
    feeds: Mapping[str, Arrays],
    settings: Settings,
    *,
    here: bool = True,
) -> tuple[Task, ...]:
    from windtunnel.benchmarks import tasks

    return tasks(
        variants, feeds, runtimes=settings.runtimes, threads=settings.threads, concurrency=settings.concurrency,
        functions=functions, home=Path.cwd(), here=here,
    )  # fmt: skip


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
    measured: Benchmark, names: Sequence[str], batch: tuple[int, ...], confidence: float = 0.95
) -> tuple[Comparison, ...]:
    from windtunnel.benchmarks import compare_timings

    return compare_timings(measured.timings, names, batch, confidence) if len(names) > 1 else ()


def _priced(
    measured: Benchmark, variants: Sequence[Variant], feeds: Mapping[str, Arrays], cost: Wishes | None, seeds: Seeds,
    progress: Progress,
) -> Any:  # fmt: skip
    from .cost import report_costs

    if cost is None:
        return None
    models = {variant.name: variant.path for variant in variants}
    return report_costs(
        measured.profiles, models, feeds, cost, seeds=seeds, progress=progress, consumptions=measured.consumptions
    )


def _with_gate(measured: Benchmark, names: Sequence[str], batch: tuple[int, ...], allowed: float | None) -> Verdict:
    """The measurement's verdict; where it is valid and a gate was asked for, the gate's."""
    from windtunnel.benchmarks import judge_slower

    if allowed is None or measured.verdict.outcome != "go":
        return measured.verdict
    # all intervals hold together, so that many comparisons do not give chance many chances
    each = 1.0 - 0.05 / max(1, (len(names) - 1) * len(batch))
    return judge_slower(_comparisons(measured, names, batch, each), allowed)
