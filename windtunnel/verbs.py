"""The verbs one by one: each is one stage with its inputs read from files instead of from the stage before.

The other half of the composition root: `pipeline` runs them all from one file, this runs one from flags.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import canonical_json, digest_bytes, digest_file, digest_value, write_atomically
from windtunnel.errors import ConfigError, DataError, ModelError, naming, nearest
from windtunnel.hardware import Hardware
from windtunnel.pipeline import digest_sources, read_source
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section, Table
from windtunnel.run_folder import RunFolder, RunManifest, check_out, environment
from windtunnel.seeds import Seeds
from windtunnel.source import call, is_function, load_function
from windtunnel.stage import RESULT, Stage, run_stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.backtest import LeakCheck
    from windtunnel.benchmarks import Benchmark
    from windtunnel.config import BacktestFile
    from windtunnel.deployment import BatchPolicy
    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.recording import Recording
    from windtunnel.stage import Produce
    from windtunnel.stats import Interval
    from windtunnel.trace import Trace
    from windtunnel.variant import Signature, Variant
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]

LABEL = "label"
"""The name of the labels in an npz file; its other arrays are named after the model's inputs."""

EVERY_THIRD = 3
"""Every so many-th row is for steps to learn from; quality is proven on the others."""


@dataclass(frozen=True)
class Done:
    """One verb's result.

    Args:
        folder: the run folder.
        stage: the one stage in it.
    """

    folder: Path
    stage: Stage

    @property
    def verdict(self) -> Verdict:
        """What it ended in."""
        return self.stage.verdict

    def to_dict(self) -> dict[str, Any]:
        """The verb's JSON document."""
        head = {"schema": f"windtunnel.{self.stage.manifest.stage}/1", "run": str(self.folder)}
        return {**head, **self.stage.to_dict(), "would_change": self.verdict.would_change}


def _alone(
    stage: str,
    out: Path | None,
    parameters: dict[str, Any],
    inputs: dict[str, str],
    produce: Produce,
    *,
    seed: int,
    progress: Progress,
) -> Done:
    """Run one stage in a run folder of its own, named by its digest where no name is given."""
    folder = out if out is not None else Path("runs") / f"{stage}-{digest_value([parameters, inputs, seed])[:12]}"
    check_out(folder, stage)
    hardware = Hardware.detect()
    with RunFolder.open(folder, stage) as opened:
        whole = RunManifest(
            "run", stage, "", parameters, seed, inputs, {}, environment(), hardware.to_dict(), "", 0.0, None
        )
        if not (folder / "manifest.json").exists():
            opened.seal(whole)
        finished = run_stage(
            opened, stage, parameters, inputs, produce, seed=seed, hardware=hardware, progress=progress
        )
        done = Done(folder, finished)
        write_atomically(folder / RESULT, canonical_json(done.to_dict()))
        manifest = finished.manifest
        opened.seal(replace(
            whole, key=manifest.key, started_at=manifest.started_at, seconds=manifest.seconds, verdict=manifest.verdict,
        ))  # fmt: skip
        return done


def open_model(text: str, folder: Path, home: Path) -> Variant:
    """Take an ONNX file as it is, or export what `module.py:factory` makes.

    Args:
        text: a path, or a function that returns a torch module and example inputs by argument name.
        folder: where the export goes.
        home: what `text` is relative to.

    Raises:
        ModelError: no whole model.
        UserCodeError: the factory raised.
    """
    from windtunnel.optimize import export, keep
    from windtunnel.variant import Origin, Variant

    if not is_function(text):
        given = Variant.from_file(home / text)
        return keep(
            folder, "fp32", "fp32", Origin("file", given.sha256), lambda path: shutil.copyfile(given.path, path)
        )

    def make(path: Path) -> None:
        made = call(load_function(text, home), name=text)
        if not (isinstance(made, tuple) and len(made) == 2):
            raise ModelError(
                "did not return a module and its example inputs", field=text, fix="return (module, {name: tensor})"
            )
        export(*made, path, source=text)

    return keep(folder, "fp32", "fp32", Origin("export", "", {**digest_sources([text], home)}), make)


def read_feeds(path: Path, signature: Signature, label: str = "") -> tuple[Arrays, NDArray[np.float64] | None]:
    """Read a model's inputs, and labels where there are some.

    Args:
        path: an npz file with an array per input (and `label`), or a table with a column per input.
        signature: of the model.
        label: the label's column or array; `label` in an npz where empty.

    Raises:
        DataError: an input is missing, of the wrong dtype or shape, or holds NaN where the model takes whole numbers; a
            label is no number, or missing in some row.
    """
    from windtunnel.feed import feed_table
    from windtunnel.table import read_arrays, read_table, take_column

    if path.suffix != ".npz":
        table = read_table(path)
        labels = take_column(table, label, file=path).to_numpy() if label else None
        return feed_table(table, signature, file=path), _labels(labels, label, path)
    arrays = read_arrays(path)
    feeds = {tensor.name: _fitting(arrays, tensor, path) for tensor in signature.inputs}
    name = label or LABEL
    if label and label not in arrays:
        raise DataError("is not an array", file=path, field=label, fix=f"the arrays are: {', '.join(arrays)}")
    return feeds, _labels(arrays.get(name), name, path)


def _labels(given: NDArray[Any] | None, name: str, path: Path) -> NDArray[np.float64] | None:
    """The labels as float64 `[rows]`, each a number."""
    import numpy as np

    if given is None:
        return None
    if given.dtype.kind not in "biuf" or given.size != len(given):
        raise DataError(
            f"is {given.dtype} {list(given.shape)} where labels are one number a row",
            file=path,
            field=name,
            fix="save 0 and 1",
        )
    labels: NDArray[np.float64] = given.astype(np.float64).reshape(-1)
    if np.isnan(labels).any():
        row = int(np.isnan(labels).argmax())
        raise DataError(f"has no label in row {row}", file=path, field=name, fix="leave out the rows without one")
    return labels


def _fitting(arrays: Arrays, tensor: Any, path: Path) -> NDArray[Any]:
    if tensor.name not in arrays:
        raise DataError(
            "is an input of the model but not an array",
            file=path,
            field=tensor.name,
            fix=f"the arrays are: {', '.join(arrays)}",
        )
    array = arrays[tensor.name]
    fits = array.ndim == len(tensor.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if str(array.dtype) != tensor.dtype or not fits:
        raise DataError(
            f"is {array.dtype} {list(array.shape)} where the model takes {tensor.dtype} {list(tensor.shape)}",
            file=path,
            field=tensor.name,
            fix="save the rows as the model takes them",
        )
    return array


def generate_feeds(signature: Signature, rows: int, seeds: Seeds) -> Arrays:
    """Make inputs up from a signature: normal floats, small whole numbers; other dynamic axes get 16 entries.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> generate_feeds(Signature((Tensor("x", "float32", ("n", 4)),), ()), 3, Seeds(1))["x"].shape
        (3, 4)
    """
    import numpy as np

    rng = seeds.stream("inputs")
    feeds = {}
    for tensor in signature.inputs:
        shape = (rows, *(axis if isinstance(axis, int) else 16 for axis in tensor.shape[1:]))
        floating = np.issubdtype(np.dtype(tensor.dtype), np.floating)
        feeds[tensor.name] = (rng.normal(size=shape) if floating else rng.integers(0, 2, size=shape)).astype(
            tensor.dtype
        )
    return feeds


def optimize(
    model: str,
    data: Path,
    *,
    metric: str = "agreement",
    max_drop: float = 0.01,
    label: str = "",
    batch: tuple[int, ...] = (1,),
    budget_s: float = 20.0,
    bundle: Path | None = None,
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Make int8 variants of a model and choose the fastest that is proven not to be worse.

    Every third row of the data is for calibration; quality is proven on the others. Batching is on where a batch size
    above 1 is asked for.

    Args:
        model: an ONNX file, or `module.py:factory`.
        data: an npz file or a table.
        metric: the measure of quality; `agreement` needs no labels.
        max_drop: how much worse a variant may be.
        label: the label's column.
        batch: batch sizes at which speed is compared.
        budget_s: seconds of timing.
        bundle: where a bundle of the chosen variant goes.
        out: the run folder.
        seed: of calibration and timing order.
        progress: a line a step.
    """
    from windtunnel.bundle import check_folder
    from windtunnel.table import check_file

    home = Path()
    check_file(data)
    _check_quality(_look_at(model, home), data, metric, label)
    if bundle is not None:
        check_folder(bundle)
    inputs = {"data": digest_file(data), **digest_sources([model], home)}
    parameters = {
        "metric": metric,
        "max_drop": max_drop,
        "label": label,
        "batch": batch,
        "budget_s": budget_s,
        "model": model,
    }
    make = partial(
        _optimize, model=model, data=data, metric=metric, max_drop=max_drop, label=label, batch=batch, budget_s=budget_s,
        seeds=Seeds(seed), home=home, progress=progress,
    )  # fmt: skip
    done = _alone("optimize", out, parameters, inputs, make, seed=seed, progress=progress)
    if bundle is not None:
        _bundle(done, data, label, bundle)
    return done


def _look_at(model: str, home: Path) -> Signature | None:
    """The signature of a file; of a function only that it can be loaded, for what it makes is known once it has run."""
    from windtunnel.variant import Variant

    if is_function(model):
        load_function(model, home)
        return None
    return Variant.from_file(home / model).signature


def _check_quality(signature: Signature | None, data: Path, metric: str, label: str) -> None:
    """Refuse a metric that is not known and, where the signature is, rows that cannot carry it."""
    from windtunnel.optimize import METRICS, Holdout
    from windtunnel.optimize.quality import check_metric

    if metric not in METRICS:
        raise ConfigError("is not a metric", field="--metric", value=metric, fix=nearest(metric, METRICS))
    if signature is None:
        return
    feeds, labels = read_feeds(data, signature, label)
    rows = len(next(iter(feeds.values())))
    if rows < EVERY_THIRD:
        raise DataError(
            f"has {rows} rows", file=data, fix="give more: a third is for calibration, quality is proven on the others"
        )
    with naming(file=data):
        check_metric(metric, Holdout(feeds, labels))


def _optimize(
    work: Path,
    *,
    model: str,
    data: Path,
    metric: str,
    max_drop: float,
    label: str,
    batch: tuple[int, ...],
    budget_s: float,
    seeds: Seeds,
    home: Path,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    import numpy as np

    from windtunnel.benchmarks import Effort, measure
    from windtunnel.optimize import Goal, Holdout, Material, draw
    from windtunnel.optimize import optimize as search

    parent = open_model(model, work, home)
    feeds, labels = read_feeds(data, parent.signature, label)
    learning = np.arange(len(next(iter(feeds.values())))) % EVERY_THIRD == 0
    material = Material({name: array[learning] for name, array in feeds.items()})
    holdout = Holdout(
        {name: array[~learning] for name, array in feeds.items()}, labels[~learning] if labels is not None else None
    )
    timed = partial(measure, effort=Effort(0.02, budget_s), rng=seeds.stream("order"), progress=progress)
    goal = Goal(metric, max_drop, batch, max(batch) > 1)
    found = search(parent, material, holdout, goal, measure=timed, folder=work, seeds=seeds, progress=progress)
    return found.to_dict(work), draw(found), found.verdict


def _bundle(done: Done, data: Path, label: str, folder: Path) -> None:
    from windtunnel.bundle import write_bundle
    from windtunnel.session import OnnxSession
    from windtunnel.variant import Variant

    chosen = Variant.from_dict(done.stage.result["chosen"], done.stage.folder)
    feeds, _ = read_feeds(data, chosen.signature, label)
    sample = {name: array[:8] for name, array in feeds.items()}
    write_bundle(chosen, sample, OnnxSession(chosen.path, chosen.signature).run(sample), folder)


def benchmark(
    models: list[Path],
    *,
    batch: tuple[int, ...] = (1, 8, 64),
    precision: float = 0.05,
    budget_s: float = 60.0,
    threads: int = 1,
    data: Path | None = None,
    hardware: tuple[str, ...] = (),
    slo: str = "",
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Measure how long models take, compare them where there are several, and price them where machines are named.

    Args:
        models: ONNX files; variants are named after them.
        batch: rows a call.
        precision: of every median, ± this share.
        budget_s: seconds of timing.
        threads: intra-op threads.
        data: real inputs; made up from the signature where None, and said so.
        hardware: instance types to price; needs `slo`.
        slo: the promise at which throughput is counted.
        out: the run folder.
        seed: of the order of the blocks and of made-up inputs.
        progress: shown while measuring.
    """
    from windtunnel.table import check_file
    from windtunnel.variant import Variant

    if bool(hardware) != bool(slo):
        raise ConfigError(
            "belong together",
            field="--hardware and --slo",
            fix="cost is price ÷ the throughput at which an SLO is kept",
        )
    names = [path.stem for path in models]
    if len(set(names)) != len(names):
        raise ConfigError(
            "have the same name", field="models", value=names, fix="rename one: variants are named after their files"
        )
    variants = [Variant.from_file(path) for path in models]
    for variant in variants[1:]:
        if variant.signature.inputs != variants[0].signature.inputs:
            raise ModelError(
                "takes other inputs than the first model", file=variant.path, fix="compare models of one signature"
            )
    _check_promise(hardware, slo)
    if not precision > 0.0:
        raise ConfigError("can never be reached", field="--precision", value=precision, fix="write 5%")
    if data is not None:
        check_file(data)
        read_feeds(data, variants[0].signature)
    inputs = {variant.name: variant.sha256 for variant in variants} | ({"data": digest_file(data)} if data else {})
    parameters = {
        "batch": batch, "precision": precision, "budget_s": budget_s, "threads": threads, "hardware": hardware, "slo": slo,
        "measured_on": Hardware.detect().fingerprint,
    }  # fmt: skip
    make = partial(
        _benchmark, variants=variants, batch=batch, precision=precision, budget_s=budget_s, threads=threads, data=data,
        hardware=hardware, slo_text=slo, seeds=Seeds(seed), progress=progress,
    )  # fmt: skip
    return _alone("benchmark", out, parameters, inputs, make, seed=seed, progress=progress)


def _check_promise(hardware: tuple[str, ...], slo: str) -> None:
    """Refuse machines without a price and a promise that cannot be read."""
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price

    with naming(field="--hardware"):
        for name in hardware:
            find_price(name)
    if slo:
        with naming(field="--slo"):
            Slo.parse(slo)


def _benchmark(
    work: Path,
    *,
    variants: list[Variant],
    batch: tuple[int, ...],
    precision: float,
    budget_s: float,
    threads: int,
    data: Path | None,
    hardware: tuple[str, ...],
    slo_text: str,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import Effort, cost_table, draw
    from windtunnel.benchmarks import benchmark as measure_all
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price
    from windtunnel.simulate import capacity

    signature = variants[0].signature
    prices = [find_price(name) for name in hardware]
    slo = Slo.parse(slo_text) if slo_text else None
    feeds = read_feeds(data, signature)[0] if data is not None else generate_feeds(signature, max(batch), seeds)
    measured = measure_all(
        variants, feeds, batch, threads=threads, effort=Effort(precision, budget_s), seeds=seeds, generated=data is None,
        progress=progress,
    )  # fmt: skip
    if slo is not None:
        carry = partial(capacity, max_batch=max(batch), max_wait_s=0.0, seeds=seeds)
        measured = replace(measured, costs=cost_table(measured.profiles, prices, slo, carry))
    for profile in measured.profiles:
        profile.save(work / f"{profile.variant}.npz")
    compared = _compare(measured, [variant.name for variant in variants], batch)
    section = draw(measured, slo)
    if compared:
        section = replace(section, tables=(section.tables[0], _comparison_table(compared), *section.tables[1:]))
    comparisons = [{"a": a, "b": b, "batch": size, **ratio.to_dict("ratio")} for a, b, size, ratio in compared]
    return {**measured.to_dict(), "comparisons": comparisons}, section, measured.verdict


def _compare(measured: Benchmark, names: list[str], batch: tuple[int, ...]) -> list[tuple[str, str, int, Interval]]:
    """Every other model beside the first, at each batch size: how many times as fast it is."""
    first = names[0]
    return [(first, name, size, measured.timings.speedup(first, name, size)) for name in names[1:] for size in batch]


def _comparison_table(compared: list[tuple[str, str, int, Interval]]) -> Table:
    rows = tuple(
        (b, a, str(size), f"{ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})", _told(ratio))
        for a, b, size, ratio in compared
    )
    return Table("Side by side, in turns", ("model", "beside", "batch", "× as fast (95%)", "which is"), rows)


def _told(ratio: Interval) -> str:
    return "faster" if ratio.low > 1.0 else "slower" if ratio.high < 1.0 else "not told apart"


def read_trace(
    path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str = "", speed: float = 1.0
) -> Trace:
    """Read a trace, or generate one from `poisson(rate=900)`, and play it `speed` times as fast.

    Raises:
        ConfigError: neither or both given, no such generator, or a speed that is not above zero.
    """
    if not 0.0 < speed < float("inf"):
        raise ConfigError("is not a speed", field="--speed", value=speed, fix="give a factor above zero")
    trace = _read_trace(path, arrivals, requests, seeds, time)
    return trace if speed == 1.0 else trace.speed_up(speed)


def _read_trace(path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str) -> Trace:
    import re

    from windtunnel.simulate import poisson
    from windtunnel.trace import Trace

    if (path is None) == (not arrivals):
        raise ConfigError(
            "need exactly one", field="--trace and --arrivals", fix="give a recording, or poisson(rate=900)"
        )
    if path is not None:
        return Trace.from_file(path, time)
    match = re.fullmatch(r"poisson\(rate=([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\)", arrivals.replace(" ", "").lower())
    if match is None:
        raise ConfigError(
            "is not a generator",
            field="--arrivals",
            value=arrivals,
            fix="write poisson(rate=900), in requests a second",
        )
    with naming(field="--arrivals"):
        return poisson(float(match[1]), requests, seeds.stream("arrivals"))


def describe_trace(path: Path, time: str = "") -> tuple[dict[str, Any], Section]:
    """Say what a trace holds: requests, length, rates, burstiness."""
    from windtunnel.trace import Trace

    facts = Trace.from_file(path, time).describe()
    rows = tuple((name.replace("_", " "), f"{value:,.6g}") for name, value in facts.items())
    section = Section("Trace", "", (str(path),), (Table("What it holds", ("figure", "value"), rows),))
    return {"schema": "windtunnel.trace/1", "file": str(path), **facts}, section


def simulate(
    trace: Trace,
    profile: LatencyProfile,
    *,
    replicas: int,
    batch: BatchPolicy,
    scenario: str = "",
    seed: int = 1,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Fly one trace through one deployment.

    Args:
        trace: the arrivals.
        profile: the measured service times.
        replicas: servers behind one queue, a core each.
        batch: the batching policy.
        scenario: makes the trace worse first; see `windtunnel.simulate.SCENARIOS`.
        seed: of the service times and the scenario.
        out: the run folder.
        progress: a line at the start and at the end.
    """
    _check_flight(profile, batch.max_batch, scenario)
    inputs = _flight_inputs(trace, profile)
    parameters = {
        "replicas": replicas,
        "max_batch": batch.max_batch,
        "max_wait_s": batch.max_wait_s,
        "scenario": scenario,
    }
    make = partial(
        _simulate, trace=trace, profile=profile, replicas=replicas, batch=batch, scenario=scenario, seeds=Seeds(seed)
    )
    return _alone("simulate", out, parameters, inputs, make, seed=seed, progress=progress)


def _check_flight(profile: LatencyProfile, max_batch: int, scenario: str) -> None:
    """Refuse a scenario that is not known and batches that were never profiled."""
    from windtunnel.simulate import SCENARIOS

    if scenario and scenario not in SCENARIOS:
        raise ConfigError("is not a scenario", field="--scenario", value=scenario, fix=nearest(scenario, SCENARIOS))
    with naming(field="--max-batch"):
        profile.service_table(max_batch, points=1)


def _flight_inputs(trace: Trace, profile: LatencyProfile) -> dict[str, str]:
    arrivals = digest_bytes(trace.arrivals_s.tobytes())
    head = [profile.sha256, profile.hardware.fingerprint, profile.batch_sizes, profile.parallel_efficiency]
    samples = [digest_bytes(each.tobytes()) for each in profile.samples_s]
    return {"trace": digest_value([trace.name, arrivals]), "profile": digest_value([head, samples])}


def _simulate(
    work: Path, *, trace: Trace, profile: LatencyProfile, replicas: int, batch: BatchPolicy, scenario: str, seeds: Seeds
) -> tuple[dict[str, Any], Section, Verdict]:
    import time

    from windtunnel.deployment import Deployment
    from windtunnel.quantity import format_duration
    from windtunnel.simulate import SCENARIOS, rehearse, summarise
    from windtunnel.verdict import Verdict

    flown = SCENARIOS[scenario](trace, rng=seeds.stream("arrivals")) if scenario else trace
    cores = max(1, int(profile.hardware.cores))
    # as many machines like the measured one as it takes; their price is not asked for here
    deployment = Deployment(profile.variant, replicas, batch, -(-replicas // cores), 0.0)
    clock = time.perf_counter()
    log = rehearse({flown.name: flown}, profile, deployment, cores_per_machine=cores, seed=seeds.number("service"))[
        flown.name
    ]
    wall_s = time.perf_counter() - clock
    log.to_frame().write_parquet(work / "requests.parquet")
    found = summarise(log, replicas)
    rows = tuple(
        (name, *(_range_of(found.to_dict()[kind], name) for kind in ("latency", "wait")))
        for name in ("mean", "p50", "p90", "p99", "p999")
    )
    text = (
        f"{found.requests:,} requests in {format_duration(found.seconds_simulated)} through {deployment}: mean batch "
        f"{found.mean_batch:.3g}, utilization {found.utilization:.1%}"
    )
    table = Table("Simulated, with 95% intervals", ("", "latency", "wait"), rows)
    notes = ("Service times are drawn from the measured profile; server, network and client are not in it.",)
    return (
        {**found.to_dict(), "wall_s": wall_s},
        Section("Simulate", "go", (text,), (table,), (), notes),
        Verdict("go", (text,)),
    )


def _range_of(spread: dict[str, Any], name: str) -> str:
    from windtunnel.quantity import format_duration

    value, low, high = (spread[f"{name}_s{end}"] for end in ("", "_low", "_high"))
    shown = f" [{format_duration(low)} – {format_duration(high)}]" if low is not None else " [no interval]"
    return format_duration(value) + shown


def plan(
    trace: Trace,
    profile: LatencyProfile,
    *,
    hardware: str,
    slo: str,
    replicas: tuple[int, ...],
    max_batch: tuple[int, ...],
    max_wait_s: tuple[float, ...],
    confidence: float = 0.99,
    scenario: str = "",
    seed: int = 1,
    workers: Workers | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Find the cheapest deployment on a grid that keeps the promise.

    Args:
        trace: the arrivals.
        profile: the measured service times.
        hardware: the instance type that is priced.
        slo: the promise, such as `p99<=50ms`.
        replicas: numbers of replicas to try.
        max_batch: batch sizes to try.
        max_wait_s: waits to try, in seconds.
        confidence: how sure the answer is to be.
        scenario: a worse day that the promise must be kept on too.
        seed: of the service times and the scenario.
        workers: who does it.
        out: the run folder.
        progress: shown while planning.
    """
    _check_promise((hardware,), slo)
    _check_flight(profile, max(max_batch), scenario)
    if not 0.5 < confidence < 1.0:
        raise ConfigError("must lie between 50% and 100%", field="--confidence", value=confidence, fix="write 99%")
    inputs = _flight_inputs(trace, profile)
    parameters = {
        "hardware": hardware, "slo": slo, "replicas": replicas, "max_batch": max_batch, "max_wait_s": max_wait_s,
        "confidence": confidence, "scenario": scenario,
    }  # fmt: skip
    make = partial(
        _plan, trace=trace, profile=profile, hardware=hardware, slo_text=slo, replicas=replicas, max_batch=max_batch,
        max_wait_s=max_wait_s, confidence=confidence, scenario=scenario, seeds=Seeds(seed), workers=workers, progress=progress,
    )  # fmt: skip
    return _alone("plan", out, parameters, inputs, make, seed=seed, progress=progress)


def _plan(
    _work: Path,
    *,
    trace: Trace,
    profile: LatencyProfile,
    hardware: str,
    slo_text: str,
    replicas: tuple[int, ...],
    max_batch: tuple[int, ...],
    max_wait_s: tuple[float, ...],
    confidence: float,
    scenario: str,
    seeds: Seeds,
    workers: Workers | None,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price
    from windtunnel.simulate import SCENARIOS, draw, rehearse
    from windtunnel.simulate import plan as search

    traces = {trace.name: trace}
    if scenario:
        traces[scenario] = SCENARIOS[scenario](trace, rng=seeds.stream("arrivals"))
    price = find_price(hardware)
    with progress.bar("deployments", len(replicas) * len(max_batch) * len(max_wait_s)) as report:
        found = search(
            traces, profile, slo=Slo.parse(slo_text), price=price, cores_per_machine=price.vcpu, replicas=replicas,
            max_batch=max_batch, max_wait_s=max_wait_s, confidence=confidence, seeds=seeds, workers=workers, report=report,
        )  # fmt: skip
    logs = rehearse(traces, profile, found.shown.deployment, cores_per_machine=price.vcpu, seed=seeds.number("service"))
    speed = {
        "deployments_per_s": found.deployments_per_s, "requests_per_s": found.requests_per_s,
        "requests_simulated": found.requests_simulated, "where": found.where,
    }  # fmt: skip
    return {**found.to_dict(), **speed}, replace(draw(found, logs), title="Plan"), found.verdict


def backtest(
    file: Path, *, out: Path | None = None, seed: int = 1, leak_test: bool = False, progress: Progress = SILENT
) -> Done:
    """Replay a recording with logged predictions, as a `backtest.toml` asks.

    Args:
        file: the configuration; see docs/configuration.md.
        out: the run folder.
        seed: of the leak test.
        leak_test: whether to prove that nothing was known too early.
        progress: a line at the start and at the end.
    """
    from windtunnel.config import read_backtest

    config, home = read_backtest(file), file.resolve().parent
    inputs = digest_sources([config.recording], home)
    make = partial(_backtest, config=config, home=home, leaks=leak_test, seeds=Seeds(seed))
    parameters = {**config.model_dump(mode="json"), "leak_test": leak_test}
    return _alone("backtest", out, parameters, inputs, make, seed=seed, progress=progress)


def _backtest(
    _work: Path, *, config: BacktestFile, home: Path, leaks: bool, seeds: Seeds
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.backtest import backtest as replay
    from windtunnel.backtest import draw, leak_test
    from windtunnel.recording import Columns, Recording

    columns = config.columns
    table = read_source(config.recording, home)
    parts = Columns(columns.time, columns.id, columns.label, columns.label_time)
    recording = Recording.from_table(table, parts, name=config.recording, file=config.recording)
    predictions = {name: _logged(recording, column, config.recording) for name, column in columns.predictions.items()}
    run = partial(
        replay, incumbent=config.incumbent, candidates=list(config.candidates), metric=config.metric, every_s=config.every,
        horizon_s=config.horizon, max_loss=config.max_loss, level=config.level,
    )  # fmt: skip
    compared = run(recording, predictions)
    result = compared.to_dict()
    section = draw(compared)
    if leaks:
        checks = leak_test(recording, predictions, run, seeds.stream("labels"))
        result["leak_test"] = {
            "passed": all(check.passed for check in checks),
            "checks": [_checked(check) for check in checks],
        }
        told = "passed" if result["leak_test"]["passed"] else "FAILED"
        section = replace(section, sentences=(*section.sentences, f"leak test {told}: {len(checks)} checks"))
    return result, section, compared.verdict


def _checked(check: LeakCheck) -> dict[str, Any]:
    return {
        "as_of": check.as_of.isoformat(), "change": check.change, "labels": check.labels, "looks": check.looks,
        "moved": check.moved, "passed": check.passed,
    }  # fmt: skip


def _logged(recording: Recording, column: str, file: str) -> NDArray[np.float64]:
    from windtunnel.table import take_column

    values = take_column(recording.frame, column, file=file)
    if not values.dtype.is_numeric() or values.null_count():
        raise DataError(
            "is not a number in every row", file=file, field=column, fix="a logged prediction is a float, never null"
        )
    array: NDArray[np.float64] = values.cast(float).to_numpy()
    return array


def export(model: str, out: Path) -> dict[str, Any]:
    """Export `module.py:factory` to a verified ONNX file.

    Raises:
        ModelError: it cannot be exported, its batch axis came out fixed, or its numbers differ.
    """
    from windtunnel.optimize import export as export_module
    from windtunnel.variant import Variant

    if not is_function(model):
        raise ConfigError("is not a function", field="MODEL", value=model, fix="write module.py:factory")
    if out.exists():
        raise ConfigError("exists", field="--out", value=str(out), fix="choose another file, or remove it")
    made = call(load_function(model, Path()), name=model)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ModelError(
            "did not return a module and its example inputs", field=model, fix="return (module, {name: tensor})"
        )
    partial_path = out.with_name(f".{out.name}.partial")
    difference = export_module(*made, partial_path, source=model)
    partial_path.replace(out)
    variant = Variant.from_file(out)
    return {"schema": "windtunnel.export/1", "largest_difference": difference, **variant.to_dict(out.parent)}
