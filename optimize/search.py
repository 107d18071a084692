"""Make every child, judge each beside its parent, and choose the fastest that is proven, or the parent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ModelError, WindtunnelError
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.run_folder import environment
from windtunnel.session import OnnxSession, run_in_batches
from windtunnel.variant import Origin
from windtunnel.verdict import Verdict

from .distil import Lessons, distil
from .export import export, first_line
from .invariance import TOLERANCE, batch_dependence
from .quality import PROBABILITIES, Holdout, Quality, answers, check_metric, compare
from .quantize import count_quantized, dynamic_int8, int8_settings, sample_rows, static_int8
from .step import keep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.session import Session
    from windtunnel.stats import Interval
    from windtunnel.timings import Timings
    from windtunnel.variant import Variant

    Arrays = Mapping[str, NDArray[Any]]
    Student = Callable[[], tuple[torch.nn.Module, Mapping[str, torch.Tensor]]]

CALIBRATION_ROWS = 2000

Status = Literal["chosen", "on-frontier", "dominated", "not-proven", "worse", "slower", "batch-dependent", "failed"]


class Measure(Protocol):
    """Interleaved timing; the measuring stage's, handed over by the composition."""

    def __call__(
        self, openers: Mapping[str, Callable[[], Session]], feeds: Arrays, batch_sizes: Sequence[int]
    ) -> Timings:
        """Time every model at every batch size, side by side, opened anew as often as need be."""
        ...


@dataclass(frozen=True)
class Material:
    """What children are made of.

    Args:
        feeds: rows that steps may learn from: calibration and distillation.
        label: what turned out true for them, or None.
        student: makes an untrained student and its example inputs, or None.
        student_source: what the student is made by, for its origin.
    """

    feeds: Arrays
    label: NDArray[np.float64] | None = None
    student: Student | None = None
    student_source: str = ""


@dataclass(frozen=True)
class Goal:
    """What is asked for.

    Args:
        metric: the measure of quality.
        max_drop: how much worse a child may be, in units of the metric.
        batch_sizes: where speed is compared.
        batching: whether requests will share batches: a child that depends on its neighbours is then kept out.
        confidence: of all intervals together: choosing among many children must not give chance many chances.
    """

    metric: str = "agreement"
    max_drop: float = 0.01
    batch_sizes: tuple[int, ...] = (1,)
    batching: bool = True
    confidence: float = 0.95

    def confidence_each(self, children: int) -> float:
        """What each of several children's intervals must hold at, so that all hold together (Bonferroni).

        Example:
            >>> round(Goal(confidence=0.95).confidence_each(5), 6)
            0.99
        """
        return 1.0 - (1.0 - self.confidence) / max(1, children)


@dataclass(frozen=True)
class Judged:
    """One variant with everything that was found about it.

    Args:
        variant: the file.
        status: what became of it.
        reason: why, as a sentence.
        quality: beside the parent; None for a variant that failed.
        speedup: over the parent, the geometric mean over the batch sizes; None for a variant that failed.
        speedups: the same for each batch size.
        p50_s: the median service time at each batch size.
        dependence: how much a row's answer changes with its neighbours.
        quantized: heavy operators that are integer, and heavy operators in all.
    """

    variant: Variant
    status: Status
    reason: str
    quality: Quality
    speedup: Interval
    speedups: dict[int, Interval]
    p50_s: dict[int, float]
    dependence: float
    quantized: tuple[int, int]

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The judgement as JSON values."""
        return {
            **self.variant.to_dict(folder), "status": self.status, "reason": self.reason, "metric": self.quality.metric,
            "quality": self.quality.value, **self.quality.drop.to_dict("quality_drop"), **self.speedup.to_dict("speedup"),
            "p50_s": {str(batch): seconds for batch, seconds in self.p50_s.items()},
            "speedups": {str(batch): each.to_dict("speedup") for batch, each in self.speedups.items()},
            "batch_dependence": self.dependence, "quantized_operators": self.quantized[0], "heavy_operators": self.quantized[1],
            "rows": self.quality.drop.samples,
        }  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A step that could not make its child."""

    name: str
    reason: str


@dataclass(frozen=True)
class Optimization:
    """Every variant judged, and the chosen one.

    Args:
        goal: what was asked for.
        judged: the parent first, then its children.
        failures: steps that made nothing.
    """

    goal: Goal
    judged: tuple[Judged, ...]
    failures: tuple[Failure, ...]

    @property
    def parent(self) -> Judged:
        """Where it all came from."""
        return self.judged[0]

    @property
    def chosen(self) -> Judged:
        """The fastest that is proven; the parent where none is."""
        return next(each for each in self.judged if each.status == "chosen")

    @property
    def verdict(self) -> Verdict:
        """Go: there is always a variant that is not worse, at least the parent."""
        chosen, parent = self.chosen, self.parent
        if chosen is parent:
            text = f"{parent.variant.name} stays: no child is both proven within {self.goal.max_drop:g} {self.goal.metric} and faster"
        else:
            drop, speed = chosen.quality.drop, chosen.speedup
            text = (
                f"{chosen.variant.name} is {speed.value:.2f} × as fast as {parent.variant.name} ({speed.low:.2f} to {speed.high:.2f}) "
                f"and loses {drop.value:.4f} {self.goal.metric} ({drop.low:.4f} to {drop.high:.4f}; allowed {self.goal.max_drop:g})"
            )
        unproven = [each for each in self.judged if each.status == "not-proven"]
        changes = tuple(f"{each.variant.name}: {each.reason}" for each in unproven)
        return Verdict(
            "go", (text,), changes, {"chosen": chosen.variant.name, "tried": len(self.judged) + len(self.failures)}
        )

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The result as JSON values, paths relative to a folder."""
        failed = [{"name": each.name, "status": "failed", "reason": each.reason} for each in self.failures]
        frontier = [each.to_dict(folder) for each in self.judged]
        return {"chosen": self.chosen.to_dict(folder), "frontier": frontier + failed}


def optimize(
    parent: Variant,
    material: Material,
    holdout: Holdout,
    goal: Goal,
    *,
    measure: Measure,
    folder: Path,
    seeds: Seeds,
    progress: Progress = SILENT,
) -> Optimization:
    """Make int8 and distilled children of a model and choose the fastest that is proven not to be worse.

    Args:
        parent: the model as it is.
        material: rows and student that children are made of.
        holdout: rows on which quality is proven.
        goal: metric, tolerance, batch sizes.
        measure: interleaved timing.
        folder: where variants are kept; what an interrupted run finished there is used again.
        seeds: of calibration and distillation.
        progress: a line a step.

    Raises:
        DataError: the metric and the holdout do not fit.
        ModelError: the parent itself does not run on the data.
    """
    check_metric(goal.metric, holdout)
    asked = {parent.name: _ask(parent, holdout)}
    _check_parent(parent, *asked[parent.name], holdout, goal)
    children, failures = make_children(parent, material, folder=folder, seeds=seeds, progress=progress)
    progress.say(f"  judging {len(children)} children on {_rows(holdout.feeds)} rows held out")
    for child in children:
        try:
            asked[child.name] = _ask(child, holdout)
        except ModelError as error:
            failures.append(Failure(child.name, first_line(error)))
            progress.say(f"  {child.name} failed: {first_line(error)}")
    variants = [each for each in (parent, *children) if each.name in asked]
    sessions = {name: session for name, (session, _) in asked.items()}
    openers = {each.name: partial(OnnxSession, each.path, each.signature) for each in variants}
    told = {name: answer for name, (_, answer) in asked.items()}
    timings = measure(openers, holdout.feeds, goal.batch_sizes)
    each = replace(goal, confidence=goal.confidence_each(len(variants) - 1))
    judged = [
        _judge(v, parent, sessions[v.name], each, timings, holdout,
               compare(goal.metric, holdout.label, told[parent.name], told[v.name], each.confidence))
        for v in variants
    ]  # fmt: skip
    return Optimization(goal, tuple(choose(judged)), tuple(failures))


def _check_parent(parent: Variant, session: Session, answer: NDArray[np.float64], holdout: Holdout, goal: Goal) -> None:
    """Refuse a parent whose answers the metric cannot judge, or that batching would change."""
    if goal.metric in PROBABILITIES and (answer.min() < 0.0 or answer.max() > 1.0):
        raise ModelError(
            f"answers {answer.min():.3g} to {answer.max():.3g} where {goal.metric} needs probabilities",
            field=parent.name,
            fix="put the sigmoid into the model, or use mae or mse",
        )
    dependence = batch_dependence(session, holdout.feeds) if goal.batching else 0.0
    if dependence > TOLERANCE:
        raise ModelError(
            f"answers a row differently (by up to {dependence:.2g} of its largest answer) with what shares its batch",
            field=parent.name,
            fix="mend it, or let no requests share batches (batch sizes of 1 only)",
        )


def _ask(variant: Variant, holdout: Holdout) -> tuple[Session, NDArray[np.float64]]:
    """Load a variant and let it answer every row held out."""
    session = OnnxSession(variant.path, variant.signature)
    try:
        outputs = run_in_batches(session, holdout.feeds)
    except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
        raise ModelError(
            f"does not run on the rows held out ({first_line(error)})",
            field=variant.name,
            fix="see whether they fit its inputs",
        ) from error
    return session, answers(outputs, variant.name)


def _rows(feeds: Arrays) -> int:
    return len(next(iter(feeds.values())))


def make_children(
    parent: Variant, material: Material, *, folder: Path, seeds: Seeds, progress: Progress = SILENT
) -> tuple[list[Variant], list[Failure]]:
    """Run every step; one that fails is recorded with its reason and takes only its own children with it."""
    settings = int8_settings(Hardware.detect())
    children: list[Variant] = []
    failures: list[Failure] = []

    def attempt(name: str, make: Callable[[], Variant]) -> Variant | None:
        progress.say(f"  making {name}")
        try:
            children.append(make())
        except (WindtunnelError, ValueError, RuntimeError, NotImplementedError) as error:
            failures.append(Failure(name, first_line(error)))
            return None
        return children[-1]

    attempt("int8-dynamic", lambda: _dynamic(parent, "int8-dynamic", settings, folder))
    attempt("int8-static", lambda: _static(parent, "int8-static", settings, material, folder, seeds))
    if material.student is not None:
        student = attempt("student", lambda: _student(parent, material, folder, seeds))
        if student is not None:
            attempt("student-int8-dynamic", lambda: _dynamic(student, "student-int8-dynamic", settings, folder))
            attempt(
                "student-int8-static",
                lambda: _static(student, "student-int8-static", settings, material, folder, seeds),
            )
    return children, failures


def _origin(step: str, parent: Variant, settings: Mapping[str, Any]) -> Origin:
    known = environment()
    versions = {
        package: known[package] for package in ("windtunnel", "onnxruntime", "onnx", "torch") if package in known
    }
    return Origin(step, parent.sha256, {**settings, "versions": versions})


def digest_arrays(arrays: Arrays) -> str:
    """The digest of some arrays by name: other rows make another child."""
    return digest_value(
        {
            name: [str(array.dtype), array.shape, digest_bytes(np.ascontiguousarray(array).tobytes())]
            for name, array in arrays.items()
        }
    )


def _dynamic(parent: Variant, name: str, settings: Mapping[str, Any], folder: Path) -> Variant:
    origin = _origin("int8-dynamic", parent, settings)
    return keep(folder, name, "int8", origin, lambda path: dynamic_int8(parent, path, settings))


def _static(
    parent: Variant, name: str, settings: Mapping[str, Any], material: Material, folder: Path, seeds: Seeds
) -> Variant:
    rows = sample_rows(material.feeds, CALIBRATION_ROWS, seeds.stream("calibration"))
    origin = _origin("int8-static", parent, {**settings, "calibration": digest_arrays(rows)})
    return keep(folder, name, "int8", origin, lambda path: static_int8(parent, path, settings, rows))


def _student(parent: Variant, material: Material, folder: Path, seeds: Seeds) -> Variant:
    assert material.student is not None
    make_student, lessons = material.student, Lessons()
    taught = dict(material.feeds) | ({} if material.label is None else {"": material.label})
    lesson = {"student": material.student_source, "seed": seeds.root, "rows": digest_arrays(taught)}
    origin = _origin("distil", parent, {**lessons.to_dict(), **lesson})

    def make(path: Path) -> None:
        import torch

        torch.manual_seed(seeds.number("distil"))  # the student's first weights are drawn from it
        module, inputs = make_student()
        teacher = OnnxSession(parent.path, parent.signature, threads=2)
        export(
            distil(teacher, module, material.feeds, material.label, seed=seeds.number("distil"), lessons=lessons),
            inputs,
            path,
            source="student",
        )

    return keep(folder, "student", "fp32", origin, make)


def _judge(
    variant: Variant,
    parent: Variant,
    session: Session,
    goal: Goal,
    timings: Timings,
    holdout: Holdout,
    quality: Quality,
) -> Judged:
    speedups = {b: timings.speedup(parent.name, variant.name, b, goal.confidence) for b in goal.batch_sizes}
    overall = timings.mean_speedup(parent.name, variant.name, goal.batch_sizes, goal.confidence)
    p50_s = {b: float(timings.medians_s(variant.name, b).mean()) for b in goal.batch_sizes}
    dependence = batch_dependence(session, holdout.feeds)
    status, reason = _status(quality, overall, speedups, dependence, goal)
    if variant is parent:
        status, reason = "on-frontier", "the parent"
    return Judged(variant, status, reason, quality, overall, speedups, p50_s, dependence, count_quantized(variant.path))


def _status(
    quality: Quality, overall: Interval, speedups: Mapping[int, Interval], dependence: float, goal: Goal
) -> tuple[Status, str]:
    """What keeps a child out; `on-frontier` where nothing does."""
    found, drop = quality.judge(goal.max_drop), quality.drop
    if found == "worse":
        return "worse", f"loses at least {drop.low:.4f} {goal.metric}; allowed {goal.max_drop:g}"
    if not math.isfinite(drop.high):
        return "not-proven", f"{drop.samples} held-out rows are too few to say anything of {goal.metric}"
    if found == "not-proven":
        needed = quality.rows_needed(goal.max_drop)
        way_out = f"about {needed:,} held-out rows would tell" if needed else "more rows are not likely to prove it"
        return "not-proven", f"may lose up to {drop.high:.4f} {goal.metric}; allowed {goal.max_drop:g}; {way_out}"
    if goal.batching and dependence > TOLERANCE:
        return (
            "batch-dependent",
            f"a row's answer moves by up to {dependence:.2g} with its batch, and requests will share batches",
        )
    slow = [batch for batch, speed in speedups.items() if speed.value < 1.0]
    if slow:
        return "slower", f"slower than the parent at batch {', '.join(map(str, slow))}"
    if overall.low <= 1.0:
        return "slower", f"not shown to be faster: {overall.value:.2f} × ({overall.low:.2f} to {overall.high:.2f})"
    return "on-frontier", f"proven: loses at most {drop.high:.4f} {goal.metric}; allowed {goal.max_drop:g}"


def choose(judged: Sequence[Judged]) -> list[Judged]:
    """Mark the fastest proven child, or the parent, as chosen; the rest of the proven as dominated or on the frontier."""
    parent = judged[0]
    proven = [each for each in judged[1:] if each.status == "on-frontier"]
    best = max(proven, key=lambda each: each.speedup.value) if proven else parent
    marked = []
    for each in judged:
        if each is best:
            why = each.reason if each is not parent else "no child is both proven and faster"
            marked.append(replace(each, status="chosen", reason=why))
        elif each.status == "on-frontier":
            rivals = [other for other in [*proven, parent] if other is not each]
            beaten = any(
                r.speedup.value >= each.speedup.value and r.quality.drop.value <= each.quality.drop.value
                for r in rivals
            )
            marked.append(replace(each, status="dominated" if beaten else "on-frontier"))
        else:
            marked.append(each)
    return marked
