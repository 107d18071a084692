"""A student learns what a teacher says, and a little of what turned out true."""

from __future__ import annotations

import copy
import keyword
import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import run_in_batches

from .parity import flat
from .reproducible import reproducible
from .teaching_loss import TINY, TeachingLoss, answer_kind, fit_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session

    from .teaching_loss import Kind

    Arrays = Mapping[str, NDArray[Any]]

ANSWER_BYTES = 1 << 30
"""What a teacher's answers may take in memory; where they would take more, fewer rows are taught."""

ASKED_ELEMENTS = 1 << 16
"""Input elements that a teacher is asked about at once, so that what it computes in between stays small."""

WORK = 3e11
"""Floating-point operations that teach a small network for about ten seconds on one core; large weights cost as much again a step."""

ALIVE = 1 << 13
"""Rows times uses that a step may hold the inner values of."""

WARM_UP = 0.05
"""The share of the steps over which the learning rate rises from nothing."""

STEADY = 32
"""From fewer rows a step no statistics are learnt where there are some: they would jump about."""

LONGEST_STEP = 1.0
"""Gradients longer than that are shortened to it: one far row must not undo what many have taught."""


@dataclass(frozen=True)
class Lessons:
    """How a student is taught.

    Args:
        epochs: at most so many.
        patience: epochs without a better validation loss before it stops; the best epoch is kept.
        batch: rows a step.
        learning_rate: of AdamW, at its highest.
        schedule: `cosine`: the rate rises over a twentieth of the steps and falls to nothing over all epochs; `constant`.
        hard_share: the weight of the labels where there are some; the teacher's answers have the rest.
        temperature: of the teacher's and student's probabilities; above 1 the small ones count for more.
        robust: Huber's loss for values.
        feature_share: the weight of inner values, where there are some to match.
        validation_share: rows kept apart to know when to stop.
        kind: what the answers are; `auto` looks at them.
        rows: at most so many are taught, drawn by the seed.
        threads: of torch; they decide the last bits of every sum, and so belong to what is asked for.
    """

    epochs: int = 12
    patience: int = 2
    batch: int = 1024
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    hard_share: float = 0.2
    temperature: float = 1.0
    robust: bool = False
    feature_share: float = 0.2
    validation_share: float = 0.1
    kind: Kind | Literal["auto"] = "auto"
    rows: int = 1 << 20
    threads: int = 1

    @staticmethod
    def sized(rows: int, parameters: int, *, uses: int = 1, work: float = WORK) -> Lessons:
        """Lessons that end in time by their size, not by a clock: the same request makes the same student.

        Args:
            rows: there are to learn from.
            parameters: of the student.
            uses: how often a row meets each parameter: tokens of a text, places of an image.
            work: floating-point operations to spend; a step takes six a parameter, use and row.

        Example:
            >>> Lessons.sized(65_536, 20_000).epochs, Lessons.sized(65_536, 20_000).batch
            (38, 1024)
            >>> Lessons.sized(65_536, 10_000_000, uses=32).rows, Lessons.sized(65_536, 10_000_000, uses=32).batch
            (256, 8)
        """
        row_work = 6.0 * max(1, parameters) * max(1, uses)
        taught = min(rows, max(256, int(work / row_work / 4)))
        epochs = min(60, max(4, int(work / row_work / max(1, taught))))
        # some thirty-two steps an epoch, as each costs a millisecond whatever it does; and no more inner values alive at once than a few thousand uses make
        batch = min(1024, max(8, 1 << max(0, (taught // 32).bit_length() - 1)), max(8, ALIVE // max(1, uses)))
        return Lessons(epochs=epochs, patience=max(2, epochs // 6), batch=batch, rows=taught)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


@dataclass(frozen=True)
class Features:
    """Inner values that a student is drawn to, where teacher and student are both modules.

    Args:
        teacher: the module behind the teacher's session.
        pairs: a submodule of the teacher and one of the student each, by name; where widths differ the student's are
            brought to the teacher's by a linear map that is thrown away after (Romero et al., FitNets, 2015).
    """

    teacher: torch.nn.Module
    pairs: tuple[tuple[str, str], ...]


def distil(
    teacher: Session,
    student: torch.nn.Module,
    feeds: Arrays,
    labels: NDArray[np.float64] | None,
    *,
    seed: int,
    lessons: Lessons | None = None,
    features: Features | None = None,
) -> torch.nn.Module:
    """Teach a student the teacher's answers on real rows.

    The first output is the answer; the kind of loss follows from what it holds. Further outputs that the student gives too
    are matched as inner values. The teacher is asked once, in small batches.

    Args:
        teacher: any session, of any runtime.
        student: a module that takes the same inputs by name; it is trained in place.
        feeds: rows by input name.
        labels: what turned out true for these rows, NaN where nothing did yet; or None.
        seed: the order of the rows, and whatever the student draws.
        lessons: how.
        features: inner values to match.

    Returns:
        The student, in evaluation mode, as it was after its best epoch; unchanged where none made it better.

    Raises:
        ModelError: the teacher answers with no numbers, the student in another shape, or its loss is not finite.
        DataError: labels that fit no answer.
    """
    plan = lessons if lessons is not None else Lessons()
    with reproducible(seed, plan.threads):
        rows = _draw(teacher, feeds, plan, seed)
        taught = {name: np.ascontiguousarray(array[rows]) for name, array in feeds.items()}
        answers = ask_teacher(teacher, taught)
        known = None if labels is None or np.isnan(labels[rows]).all() else labels[rows]
        kind = answer_kind(answers[0], known) if plan.kind == "auto" else plan.kind
        loss = TeachingLoss.of(answers[0], kind, temperature=plan.temperature, robust=plan.robust)
        if known is not None and plan.hard_share:
            known = fit_labels(known, kind, answers[0].shape)
        pupil = _Pupil(student, taught, answers, known, loss, plan, features)
        try:
            pupil.study()
        finally:
            pupil.close()
    return student.eval()


def argument(name: str) -> str:
    """The name of a module's argument for a model's input: ONNX allows names that Python does not.

    Example:
        >>> argument("x"), argument("input:0"), argument("class")
        ('x', 'input_0', 'class_')
    """
    safe = re.sub(r"\W", "_", name)
    return f"{safe}_" if keyword.iskeyword(safe) else safe if safe.isidentifier() else f"_{safe}"


def _draw(teacher: Session, feeds: Arrays, plan: Lessons, seed: int) -> NDArray[np.int64]:
    """Which rows are taught, in rising order: as many as are wanted, and as the teacher's answers leave room for."""
    batch, total = batch_of(teacher, feeds), len(next(iter(feeds.values())))
    first = teacher.run({name: array[: min(batch, total)] for name, array in feeds.items()})
    _check_answers(first)
    row_bytes = sum(4 * array[:1].size for array in first.values() if _is_float(array))
    count = min(total, plan.rows, max(1, ANSWER_BYTES // max(1, row_bytes)))
    if not teacher.signature.dynamic_batch:
        count -= count % batch
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def ask_teacher(teacher: Session, feeds: Arrays) -> list[NDArray[np.float32]]:
    """The teacher's outputs that hold numbers, for some rows, asked in small batches.

    Raises:
        ModelError: its first output holds none, or any holds NaN or infinity.
    """
    outputs = run_in_batches(teacher, feeds, batch_of(teacher, feeds))
    _check_answers(outputs)
    answers = [array.astype(np.float32) for array in outputs.values() if _is_float(array)]
    if any(not np.isfinite(array).all() for array in answers):
        raise ModelError(
            "answers with NaN or infinity on rows that are to be learnt from",
            field="teacher",
            fix="leave such rows out",
        )
    return answers


def batch_of(teacher: Session, feeds: Arrays) -> int:
    """How many rows the teacher is asked about at once: its own number where its batch axis is fixed."""
    fixed = teacher.signature.fixed_batch
    if fixed is not None:
        return fixed
    elements = sum(array[:1].size for array in feeds.values())
    return min(4096, max(8, ASKED_ELEMENTS // max(1, elements)))


def _check_answers(outputs: Mapping[str, NDArray[Any]]) -> None:
    name, array = next(iter(outputs.items()))
    if not _is_float(array):
        raise ModelError(
            f"is the teacher's first output and holds {array.dtype}, which cannot be taught", field=name,
            fix="let the model give its scores or probabilities first",
        )  # fmt: skip


def _is_float(array: NDArray[Any]) -> bool:
    return np.issubdtype(array.dtype, np.floating)


class _Pupil:
    """The state of one training run; thrown away after it."""

    def __init__(
        self,
        student: torch.nn.Module,
        feeds: Arrays,
        answers: list[NDArray[np.float32]],
        labels: NDArray[np.float64] | None,
        loss: TeachingLoss,
        lessons: Lessons,
        features: Features | None,
    ) -> None:
        import torch

        self.student, self.loss, self.lessons = student, loss, lessons
        self.inputs = {argument(name): torch.from_numpy(array) for name, array in feeds.items()}
        self.answers = [torch.from_numpy(array) for array in answers]
        self.labels = None if labels is None else torch.from_numpy(labels.astype(np.float32))
        self.views = None if features is None else _Views(features, student)
        self.bridges = torch.nn.ModuleList()
        order = torch.randperm(len(answers[0]))
        held = max(1, int(len(order) * lessons.validation_share))
        self.training, self.validation = order[held:], order[:held]
        self._build_bridges()
        self.optimizer = torch.optim.AdamW(
            [*student.parameters(), *self.bridges.parameters()], lr=lessons.learning_rate
        )
        steps = lessons.epochs * math.ceil(max(1, len(self.training)) / lessons.batch)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: self._rate(step, steps))

    def study(self) -> None:
        """Learn until it gets no better; go back to the best epoch, or to the start if none was better."""
        best, best_state, waited = self._examine(), copy.deepcopy(self.student.state_dict()), 0
        best = best if math.isfinite(best) else math.inf
        for _ in range(self.lessons.epochs):
            self._epoch()
            reached = self._examine()
            waited = 0 if reached < best else waited + 1
            if reached < best:
                best, best_state = reached, copy.deepcopy(self.student.state_dict())
            if waited > self.lessons.patience:
                break
        if not math.isfinite(best):
            raise ModelError(
                "has a loss that is not finite after every epoch", field="student",
                fix="let it answer between 0 and 1 where the teacher does, fill in missing values, or lower the learning rate",
            )  # fmt: skip
        self.student.load_state_dict(best_state)

    def close(self) -> None:
        """Leave both modules as they were: nobody looks into them any more."""
        if self.views is not None:
            self.views.close()

    def _rate(self, step: int, steps: int) -> float:
        if self.lessons.schedule == "constant":
            return 1.0
        warm = max(1, int(WARM_UP * steps))
        return min((step + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * step / max(1, steps))))

    def _epoch(self) -> None:
        import torch

        self.student.train()
        if self.lessons.batch < STEADY:
            self._hold_statistics()
        for batch in self._batches(self.training[torch.randperm(len(self.training))]):
            self.optimizer.zero_grad()
            self._rows_loss(batch).mean().backward()  # type: ignore[no-untyped-call]  # torch left this one untyped
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), LONGEST_STEP)
            self.optimizer.step()
            self.schedule.step()

    def _hold_statistics(self) -> None:
        """Let batch normalisations that know their statistics keep them."""
        import torch

        kinds = torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d
        for module in self.student.modules():
            if isinstance(module, kinds) and module.num_batches_tracked is not None and module.num_batches_tracked > 0:
                module.eval()

    def _batches(self, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        for batch in rows.split(self.lessons.batch):  # type: ignore[no-untyped-call]  # torch left this one untyped
            # the spread of one row is none, which a batch normalisation refuses to learn from
            if len(batch) > 1 or len(rows) == 1 or self.lessons.batch == 1:
                yield batch

    def _examine(self) -> float:
        import torch

        self.student.eval()
        with torch.no_grad():
            batches = self.validation.split(self.lessons.batch)  # type: ignore[no-untyped-call]  # torch left this one untyped
            return sum(float(self._rows_loss(batch).sum()) for batch in batches) / len(self.validation)

    def _rows_loss(self, rows: torch.Tensor) -> torch.Tensor:
        """The loss of each of some rows."""
        import torch

        outputs, inner = self._forward(rows)
        loss = self.loss.soft(outputs[0], self.answers[0][rows])
        if self.labels is not None and self.lessons.hard_share:
            label = self.labels[rows]
            known = ~torch.isnan(label.reshape(len(rows), -1)).any(1)
            hard = torch.zeros_like(loss)
            hard[known] = self.loss.hard(outputs[0][known], label[known])
            share = self.lessons.hard_share * known.to(loss.dtype)
            loss = (1 - share) * loss + share * hard
        if inner and self.lessons.feature_share:
            apart = torch.stack([
                _apart(bridge(_width_last(mine)), _width_last(theirs)) for bridge, (mine, theirs) in zip(self.bridges, inner, strict=True)
            ])  # fmt: skip
            loss = (1 - self.lessons.feature_share) * loss + self.lessons.feature_share * apart.mean(0)
        return loss

    def _forward(self, rows: torch.Tensor) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        """What the student says about some rows, and the pairs of inner values, the student's first."""
        feeds = {name: array[rows] for name, array in self.inputs.items()}
        outputs = list(flat(self.student(**feeds)).values())
        if len(outputs) > len(self.answers):
            raise ModelError(
                f"gives {len(outputs)} outputs where the teacher has {len(self.answers)} that hold numbers",
                field="student",
                fix="give it the teacher's signature",
            )
        wanted = (len(rows), *self.answers[0].shape[1:])
        if outputs[0].shape != wanted:
            # torch would stretch one over the other and teach nonsense
            raise ModelError(
                f"answers {list(outputs[0].shape)} where the teacher answers {list(wanted)}",
                field="student",
                fix="give it the teacher's signature",
            )
        further = [(mine, theirs[rows]) for mine, theirs in zip(outputs[1:], self.answers[1:], strict=False)]
        return outputs, further if self.views is None else further + self.views.pairs(feeds)

    def _build_bridges(self) -> None:
        """A map from the student's width to the teacher's for each inner value; nothing where they are the same."""
        import torch

        self.student.eval()
        with torch.no_grad():
            pairs = self._forward(self.validation[:2])[1]
        for mine, theirs in pairs:
            here, there = _width_last(mine), _width_last(theirs)
            if here.shape[:-1] != there.shape[:-1]:
                raise ModelError(
                    f"has an inner value {list(mine.shape)} that is matched with {list(theirs.shape)}", field="student",
                    fix="match values that differ in width only",
                )  # fmt: skip
            same = here.shape == there.shape
            self.bridges.append(torch.nn.Identity() if same else torch.nn.Linear(here.shape[-1], there.shape[-1]))


class _Views:
    """Looks at inner values of both modules while they run."""

    def __init__(self, features: Features, student: torch.nn.Module) -> None:
        self.features = features
        self.seen: dict[tuple[str, str], torch.Tensor] = {}
        features.teacher.eval()
        self.hooks = [
            self._watch(side, module, name)
            for theirs, mine in features.pairs
            for side, module, name in (("teacher", features.teacher, theirs), ("student", student, mine))
        ]

    def _watch(self, side: str, module: torch.nn.Module, name: str) -> torch.utils.hooks.RemovableHandle:
        found = dict(module.named_modules()).get(name)
        if found is None:
            raise ModelError("is not a submodule", field=f"{side}.{name}", fix="see named_modules()")

        def keep(_module: torch.nn.Module, _arguments: Any, output: Any) -> None:
            self.seen[side, name] = next(iter(flat(output).values()))

        handle: torch.utils.hooks.RemovableHandle = found.register_forward_hook(keep)
        return handle

    def close(self) -> None:
        """Look no more."""
        for hook in self.hooks:
            hook.remove()

    def pairs(self, feeds: Mapping[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The student's and the teacher's inner values on a batch that the student has just seen."""
        import torch

        with torch.no_grad():
            self.features.teacher(**feeds)
        return [(self.seen["student", mine], self.seen["teacher", theirs]) for theirs, mine in self.features.pairs]


def _width_last(values: torch.Tensor) -> torch.Tensor:
    """Inner values with their width on the last axis: that of images is their second."""
    return values.movedim(1, -1) if values.dim() == 4 else values


def _apart(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The squared distance of inner values, `[rows]`, in units of the teacher's variance."""
    distance = (mine - theirs).square()
    return (distance if distance.dim() == 1 else distance.flatten(1).mean(1)) / theirs.var().clamp_min(TINY)
