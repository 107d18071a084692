"""`windtunnel optimize`: the fastest variant that is proven, from a model and rows."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file
from windtunnel.errors import ConfigError, DataError, MissingError, naming, nearest
from windtunnel.execution import FORESTS
from windtunnel.factory import make_module
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import call, digest_sources, is_function, load_function

from .alone import Done, run_alone
from .inputs import BOOSTED, open_model, read_columns, read_feeds
from .subject import resized, size_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.fanout import Workers
    from windtunnel.optimize import Goal, Holdout, Material
    from windtunnel.report.section import Section
    from windtunnel.variant import Signature, Variant
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


EVERY_THIRD = 3
"""Every so many-th row (or group of rows) is for steps to learn from; quality is proven on the others."""


@dataclass(frozen=True)
class Data:
    """Where rows come from, and what their columns are.

    Args:
        source: an npz file, a table, or `module.py:loader`.
        label: the label's column or array; `label` in an npz file where empty.
        group: the column of what makes rows alike: a query, a customer.
        slices: columns to look into for the worst part.
    """

    source: str
    label: str = ""
    group: str = ""
    slices: tuple[str, ...] = ()

    def digests(self, home: Path) -> dict[str, str]:
        """Of what is read."""
        return digest_sources([self.source], home)

    def read(
        self, model: Variant | Signature, home: Path, progress: Progress = SILENT
    ) -> tuple[Arrays, NDArray[np.float64] | None]:
        """A model's inputs, and labels where there are some."""
        leave = tuple(name for name in (self.group, *self.slices) if name)
        return read_feeds(self.source, model, self.label, leave=leave, home=home, progress=progress)

    def columns(self, rows: int, home: Path) -> tuple[NDArray[Any] | None, dict[str, NDArray[Any]]]:
        """The groups, where there are some, and the slices."""
        names = [name for name in (self.group, *self.slices) if name]
        columns = read_columns(self.source, names, rows, home=home) if names else {}
        return columns.get(self.group), {name: columns[name] for name in self.slices}

    def to_dict(self) -> dict[str, Any]:
        """The data as JSON values; what it holds is told by its digest."""
        return {"label": self.label, "group": self.group, "slices": list(self.slices)}


@dataclass(frozen=True)
class Search:
    """How the best is looked for.

    Args:
        objective: what the best is best in: `p50`, `p99`, `throughput`, `size` or `memory`.
        sizes: lengths of free axes, by name: speed is compared at every combination.
        threads: numbers of intra-op threads to try; one and all cores where empty.
        runtimes: to try; ONNX Runtime and OpenVINO on the processor where empty, and for a model of XGBoost's or LightGBM's that
            library's own predictor.
        budget_s: how long all of it may take, about.
        exhaustive: make, judge and time everything, however hopeless.
        student: `module.py:student`, a function that makes an untrained module and its example inputs.
        students: whether students are derived from the model.
        attack: whether attacks are tried on parent and child (needs the extra `robustness`).
    """

    objective: str = "p50"
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    threads: tuple[int, ...] = ()
    runtimes: tuple[str, ...] = ()
    budget_s: float = 300.0
    exhaustive: bool = False
    student: str = ""
    students: bool = True
    attack: bool = False

    def check(self) -> None:
        """Refuse what is not known before any work.

        Raises:
            ConfigError: an objective or a runtime that is not known, threads below one or beyond the cores.
            MissingError: attacks are asked for and the toolbox is not installed.
        """
        from windtunnel.optimize import OBJECTIVES
        from windtunnel.runtime import find_runtime

        if self.objective not in OBJECTIVES:
            raise ConfigError(
                "is not an objective",
                field="--objective",
                value=self.objective,
                fix=nearest(self.objective, OBJECTIVES),
            )
        for runtime in self.runtimes:
            with naming(field="--runtime"):
                takes = find_runtime(runtime).takes
            if takes == "torch":
                raise ConfigError("does not run ONNX files", field="--runtime", value=runtime, fix="leave it out")
        if self.attack and importlib.util.find_spec("art") is None:
            raise MissingError("attacks need the toolbox; pip install 'windtunnel[robustness]'")
        if self.budget_s <= 0 and not self.exhaustive:
            raise ConfigError(
                "leaves no time to look", field="--budget", value=self.budget_s, fix="write 30s, 5m, or --exhaustive"
            )
        cores = _cores()
        if any(not 1 <= threads <= cores for threads in self.threads):
            raise ConfigError("does not fit this machine", field="--threads", value=self.threads, fix=f"1 to {cores}")

    def own(self, model: str) -> bool:
        """Whether a model is a library's own file, which that library's predictor is to be tried on.

        Raises:
            ConfigError: a library is asked for, and the model is no such file.
        """
        asked = [each for each in self.runtimes if each in FORESTS]
        written = Path(model).suffix in BOOSTED and not is_function(model)
        if asked and not written:
            raise _not_own(asked)
        return written and (bool(asked) or not self.runtimes)

    def goal(self, metric: Any, max_drop: float, batch: tuple[int, ...], output: str) -> Goal:
        """What the optimizing stage is asked for."""
        from windtunnel.optimize import OBJECTIVES, Goal

        usual, objective = Goal(), next(each for each in OBJECTIVES if each == self.objective)
        return Goal(
            metric, max_drop, batch, max(batch) > 1, objective=objective, threads=self.threads or _usual_threads(),
            runtimes=tuple(each for each in self.runtimes or usual.runtimes if each not in FORESTS), budget_s=self.budget_s, output=output, attack=self.attack,
            exhaustive=self.exhaustive,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON values."""
        return {
            "objective": self.objective, "sizes": {axis: list(each) for axis, each in self.sizes.items()},
            "threads": list(self.threads), "runtimes": list(self.runtimes), "budget_s": self.budget_s,
            "exhaustive": self.exhaustive, "student": self.student, "students": self.students, "attack": self.attack,
        }  # fmt: skip


def _not_own(asked: Sequence[str]) -> ConfigError:
    return ConfigError(
        "runs its own library's files only", field="--runtime", value=asked, fix="give such a file, or leave it out"
    )


def _cores() -> int:
    return max(1, int(Hardware.detect().cores))


def _usual_threads() -> tuple[int, ...]:
    """One, and as many as there are cores."""
    return tuple(sorted({1, _cores()}))


def optimize(
    model: str,
    data: Path | str,
    *,
    metric: str = "agreement",
    max_drop: float = 0.01,
    label: str = "",
    group: str = "",
    slices: tuple[str, ...] = (),
    output: str = "",
    batch: tuple[int, ...] = (1,),
    search: Search | None = None,
    depends_on: tuple[str, ...] = (),
    allow_pickle: bool = False,
    bundle: Path | None = None,
    out: Path | None = None,
    seed: int = 1,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Make variants of a model and choose the fastest that is proven not to be worse.

    Every third row of the data (or group of rows) is for steps to learn from; quality is proven on the others. Batching is
    on where a batch size above 1 is asked for.

    Args:
        model: an ONNX file, `.pt2`, `.skops`, a LightGBM or XGBoost model, or `module.py:factory`.
        data: an npz file, a table, or `module.py:loader`.
        metric: the measure of quality; `agreement` needs no labels.
        max_drop: how much worse a variant may be, in units of the metric.
        label: the label's column.
        group: the column of what makes rows alike.
        slices: columns to look into for the worst part.
        output: which of the model's outputs is judged; the first where empty.
        batch: batch sizes at which speed is compared.
        search: how the best is looked for.
        depends_on: files that functions of yours read (weights, tables), so that a change of theirs is seen.
        allow_pickle: whether a pickled model may be opened, which runs whatever code its maker put in.
        bundle: where a bundle of the chosen variant goes.
        out: the run folder.
        seed: of calibration, distillation, resampling and timing order.
        workers: who makes the files.
        progress: a line a step.
    """
    from windtunnel.bundle import check_folder
    from windtunnel.optimize import read_metric
    from windtunnel.table import check_file
    from windtunnel.variant import Variant

    home, wanted = Path(), search if search is not None else Search()
    wanted.check()
    rows = Data(str(data), label, group, slices)
    if not is_function(rows.source):
        check_file(Path(rows.source))
    with naming(field="" if is_function(metric) else "--metric"):  # a function is named by its own name
        judge = read_metric(metric, home)
    if judge.share and max_drop >= 1.0:
        raise ConfigError(
            f"allows everything, for {judge.name} is a share",
            field="--max-drop",
            value=max_drop,
            fix="write 0.01 or 1%",
        )
    _look_at(model, home, rows, judge, output)
    own = wanted.own(model)
    if bundle is not None:
        check_folder(bundle)
    sources = [each for each in (model, wanted.student, metric) if each and (each == model or is_function(each))]
    for name in depends_on:
        check_file(home / name)
    inputs = {"data": digest_value_of(rows, home), **digest_sources([*sources, *depends_on], home)}
    if model.endswith(".onnx"):
        inputs[model] = Variant.from_file(home / model).sha256  # of its companions too
    parameters = {
        "metric": metric, "max_drop": max_drop, **rows.to_dict(), "output": output, "batch": batch, "model": model,
        "search": wanted.to_dict(), "hardware": Hardware.detect().fingerprint,
    }  # fmt: skip
    goal = wanted.goal(judge, max_drop, batch, output)
    task = _Task(model, rows, goal, wanted, Seeds(seed), home, workers, progress, depends_on, allow_pickle, own)
    done = run_alone("optimize", out, parameters, inputs, partial(_run, task), seed=seed, progress=progress)
    if bundle is not None:
        _bundle(done, rows, batch, bundle)
        progress.say(f"bundle: {bundle}; see that it runs with: python {bundle / 'check.py'}")
    return done


def digest_value_of(rows: Data, home: Path) -> str:
    """What the data stands for: the digest of its file, or of the loader's sources."""
    return digest_file(home / rows.source) if not is_function(rows.source) else rows.digests(home)[rows.source]


def _look_at(model: str, home: Path, rows: Data, metric: Any, output: str) -> None:
    """Refuse, before any work, a file that is no model and rows that do not fit it.

    What a function makes is known only once it has run, so of one only that it can be loaded is seen.
    """
    from windtunnel.optimize import Holdout, check_metric
    from windtunnel.variant import Variant

    if is_function(model):
        load_function(model, home)
        return
    if model.endswith(".py"):
        raise ConfigError("names no function", field="MODEL", value=model, fix=f"write {model}:factory")
    if not model.endswith(".onnx"):
        return
    given = Variant.from_file(home / model)
    outputs = [each.name for each in given.signature.outputs]
    if output and output not in outputs:
        raise ConfigError(
            "is not an output of the model", file=model, field="--output", value=output, fix=nearest(output, outputs)
        )
    feeds, labels = rows.read(given, home)
    _check_rows(feeds, rows)
    with naming(file=Path(rows.source)):
        check_metric(metric, Holdout(feeds, labels, *rows.columns(len(next(iter(feeds.values()))), home)))


def _check_rows(feeds: Arrays, rows: Data) -> None:
    have = len(next(iter(feeds.values())))
    if have < EVERY_THIRD:
        raise DataError(
            f"has {have} row{'s' * (have != 1)}", file=rows.source,
            fix="give more: a third is for calibration, quality is proven on the others",
        )  # fmt: skip


@dataclass(frozen=True)
class _Task:
    """One search as it was asked for."""

    model: str
    data: Data
    goal: Goal
    search: Search
    seeds: Seeds
    home: Path
    workers: Workers | None
    progress: Progress
    depends_on: tuple[str, ...] = ()
    allow_pickle: bool = False
    own: bool = False

    def split(self, parent: Variant) -> tuple[Material, Holdout]:
        """Rows to learn from, and rows to prove quality on."""
        import numpy as np

        from windtunnel.optimize import Holdout, Material

        feeds, labels = self.data.read(parent, self.home, self.progress)
        _check_rows(feeds, self.data)
        count = len(next(iter(feeds.values())))
        groups, slices = self.data.columns(count, self.home)
        # all rows of a group are on one side, or what was learnt of one would help with the others
        units = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
        learning = units % EVERY_THIRD == 0
        material = Material(
            _taken(feeds, learning), None if labels is None else labels[learning],
            None if groups is None else groups[learning], self._student(), self._student_source(),
            module=self._module(), students=self.search.students,
        )  # fmt: skip
        held = ~learning
        return material, Holdout(
            _taken(feeds, held), None if labels is None else labels[held], None if groups is None else groups[held],
            _taken(slices, held),
        )  # fmt: skip

    def _module(self) -> Any:
        """Makes the torch module anew, where the model is a function: students can be cut out of it."""
        if not is_function(self.model):
            return None
        return lambda: make_module(self.model, self.home).module

    def _student(self) -> Any:
        name = self.search.student
        if not name:
            return None
        function = load_function(name, self.home)
        return lambda: call(function, name=name)

    def _student_source(self) -> str:
        name = self.search.student
        return f"{name} {digest_sources([name], self.home)[name]}" if name else ""


def _taken(arrays: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_]) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _run(task: _Task, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.optimize import draw, drop_strays, take_kept
    from windtunnel.optimize import optimize as search

    take_kept(work.parent / "optimize", work)
    parent = open_model(
        task.model,
        work,
        task.home,
        allow_pickle=task.allow_pickle,
        depends_on=task.depends_on,
        progress=task.progress,
    )
    material, holdout = task.split(parent)
    found = search(
        parent, material, holdout, task.goal, measure=timing(task.seeds, task.progress), folder=work, seeds=task.seeds,
        sizes=_sizes(holdout.feeds, parent, task.search.sizes), weigh=weighing(task.seeds),
        workers=task.workers, own=_own(task, work, parent), progress=task.progress,
    )  # fmt: skip
    if not found.interrupted:  # what was made and not yet raced is of use to who goes on
        drop_strays(work, found.files)
    return found.to_dict(work), draw(found), found.verdict


def _own(task: _Task, work: Path, parent: Variant) -> Variant | None:
    """The library's own file that the parent was made from, where its predictor is tried."""
    from windtunnel.optimize import own_file

    if not task.own:
        return None
    own = own_file(task.home / task.model, work, parent)
    asked = [each for each in task.search.runtimes if each in FORESTS]
    if asked and own.execution.runtime not in asked:
        raise _not_own(asked)
    return own


def _sizes(
    feeds: Mapping[str, NDArray[Any]], parent: Variant, sizes: Mapping[str, tuple[int, ...]]
) -> dict[str, Arrays]:
    """Rows of every size class by its name."""
    classes = size_classes(parent.signature, sizes)
    return {name: resized(dict(feeds), parent.signature, lengths) for name, lengths in classes.items()}


PRECISION = 0.02
"""Timing stops when every median is known to this share, or when its time is over."""


def timing(seeds: Seeds, progress: Progress) -> Any:
    """The measuring stage's interleaved timing, as the optimizing stage calls it."""
    from windtunnel.benchmarks import Effort, measure

    rng = seeds.stream("order")

    def measured(openers: Any, feeds: Any, batch_sizes: Any, *, budget_s: float) -> Any:
        return measure(openers, feeds, batch_sizes, effort=Effort(PRECISION, budget_s), rng=rng, progress=progress)

    return measured


def weighing(seeds: Seeds) -> Any:
    """The measuring stage's memory of a process, as the optimizing stage asks for it."""
    from windtunnel.benchmarks.footprint import measure_footprints

    rng = seeds.stream("order", 1)

    def weighed(variant: Variant, feeds: Any, batch_sizes: Any) -> int:
        way = variant.execution
        started = measure_footprints([variant], feeds, batch_sizes, runtime=way.runtime, threads=way.threads, rng=rng)
        return started[variant.name].footprint.rss_bytes

    return weighed


def _bundle(done: Done, rows: Data, batch: tuple[int, ...], folder: Path) -> None:
    from windtunnel.bundle import facts_of, sample_rows, write_bundle
    from windtunnel.runtime import open_session
    from windtunnel.variant import Variant

    result, home = done.stage.result, Path()
    chosen = Variant.from_dict(result["chosen"], done.stage.folder)
    # by the parent, which knows the names of its columns
    feeds, _ = rows.read(Variant.from_dict(result["frontier"][0], done.stage.folder), home)
    sample = sample_rows(chosen, feeds)
    write_bundle(chosen, sample, open_session(chosen).run(sample), folder, facts=facts_of(result), batch=batch)
