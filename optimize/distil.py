"""A student learns what a teacher says, and a little of what turned out true."""

from __future__ import annotations

import copy
import keyword
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from windtunnel.errors import ModelError, nearest
from windtunnel.session import run_in_batches

from .parity import flat
from .reproducible import reproducible
from .teaching_loss import TINY, Kind, TeachingLoss, answer_kind, fit_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session

    Arrays = Mapping[str, NDArray[Any]]

ANSWER_BYTES = 1 << 30
"""What a teacher's answers may take in memory; where they would take more, fewer rows are taught."""

ASKED_ELEMENTS = 1 << 16
"""Input elements that a teacher is asked about at once, so that what it computes in between stays small."""

WORK = 3e11
"""Floating-point operations that teach a small network for about ten seconds on one core; large weights cost as much again a step."""

ALIVE = 1 << 13
"""Rows times uses that a step may hold the inner values of."""

INNER_BYTES = 1 << 29
"""What a teacher's inner values may take in memory; where they would take more, only the last of them are matched."""

WARM_UP = 0.05
"""The share of the steps over which the learning rate rises from nothing; it falls to nothing over all of them, as a cosine does."""

KEPT_APART = 0.1
"""The share of the rows that are not taught, but tell when to stop."""

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
        hard_share: the weight of the labels where there are some; the teacher's answers have the rest.
        temperature: of the teacher's and student's probabilities; above 1 the small ones count for more.
        feature_share: the weight of inner values, where there are some to match.
        kind: what the answers are; `auto` looks at them, and `decision` too, but takes the largest of a row for its decision.
        rows: at most so many are taught, drawn by the seed.
        threads: of torch; they decide the last bits of every sum, and so belong to what is asked for.
    """

    epochs: int = 12
    patience: int = 2
    batch: int = 1024
    learning_rate: float = 3e-3
    hard_share: float = 0.2
    temperature: float = 1.0
    feature_share: float = 0.2
    kind: Kind | Literal["auto", "decision"] = "auto"
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

    def told(self, wishes: Mapping[str, Any]) -> Lessons:
        """These lessons with some settings as a user wishes them.

        Raises:
            ModelError: there is no such setting, or it cannot be that.

        Example:
            >>> Lessons().told({"temperature": 2.0, "hard_share": 0.5}).hard_share
            0.5
        """
        known = {each.name for each in fields(self)}
        for name, value in wishes.items():
            if name not in known:
                raise ModelError("is no setting of a lesson", field=name, fix=nearest(name, known))
            _check_wish(name, value)
        return replace(self, **wishes)

    def kind_of(self, answers: NDArray[Any], labels: NDArray[np.float64] | None) -> Kind:
        """What a teacher's answers are taken for."""
        match self.kind:
            case "auto":
                return answer_kind(answers, labels)
            case "decision":
                return answer_kind(answers, labels, decides=True)
            case kind:
                return kind

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


SHARES = ("hard_share", "feature_share")

KINDS = ("auto", "decision", *get_args(Kind))


def _check_wish(name: str, value: Any) -> None:
    """Refuse what a setting cannot be."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name == "kind":
        fits, wanted = value in KINDS, f"one of {', '.join(KINDS)}"
    elif name in SHARES:
        fits, wanted = number and 0.0 <= value <= 1.0, "a share from 0 to 1"
    elif name in {"temperature", "learning_rate"}:
        fits, wanted = number and value > 0.0, "a number above 0"
    else:
        least = 0 if name == "patience" else 1
        fits, wanted = number and isinstance(value, int) and value >= least, f"a whole number of {least} or more"
    if not fits:
        raise ModelError("cannot be that", field=name, value=value, fix=f"give {wanted}")


@dataclass(frozen=True)
class Features:
    """Inner values that a student is drawn to, where teacher and student are both modules.

    Args:
        teacher: the module behind the teacher's session; it gives what it makes of each row at that row's place on axis 0.
        pairs: a submodule of the teacher and one of the student each, by name, the first in the model first; where widths
            differ the student's are brought to the teacher's by a linear map that is thrown away after (Romero et al.,
            FitNets, 2015).
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
        kind = plan.kind_of(answers[0], known)
        loss = TeachingLoss.of(answers[0], kind, temperature=plan.temperature)
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
        self.views = None if features is None else _Views(features, student, self.inputs)
        self.bridges = torch.nn.ModuleList()
        order = torch.randperm(len(answers[0]))
        held = max(1, int(len(order) * KEPT_APART))
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
        """Leave the student as it was: nobody looks into it any more."""
        if self.views is not None:
            self.views.close()

    def _rate(self, step: int, steps: int) -> float:
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
        return outputs, further if self.views is None else further + self.views.pairs(rows)

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
    """The teacher's inner values on all rows, asked once, beside the student's while it runs."""

    def __init__(self, features: Features, student: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
        wanted = [theirs for theirs, _ in features.pairs]
        self.theirs = _inner_values(features.teacher, wanted, inputs)
        self.names = [mine for theirs, mine in features.pairs if theirs in self.theirs]
        self.wanted = [theirs for theirs in wanted if theirs in self.theirs]
        self.seen: dict[str, torch.Tensor] = {}
        self.hooks = [_watched("student", student, name, self.seen) for name in self.names]

    def close(self) -> None:
        """Look no more."""
        for hook in self.hooks:
            hook.remove()

    def pairs(self, rows: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The student's and the teacher's inner values of some rows that the student has just seen."""
        pairs = zip(self.names, self.wanted, strict=True)
        return [(self.seen[mine], self.theirs[theirs][rows]) for mine, theirs in pairs]


def _watched(
    side: str, module: torch.nn.Module, name: str, seen: dict[str, torch.Tensor]
) -> torch.utils.hooks.RemovableHandle:
    """Keep what a submodule gives, each time that it runs."""
    found = dict(module.named_modules()).get(name)
    if found is None:
        raise ModelError("is not a submodule", field=f"{side}.{name}", fix="see named_modules()")

    def keep(_module: torch.nn.Module, _arguments: Any, output: Any) -> None:
        seen[name] = next(iter(flat(output).values()))

    handle: torch.utils.hooks.RemovableHandle = found.register_forward_hook(keep)
    return handle


def _inner_values(
    teacher: torch.nn.Module, names: Sequence[str], inputs: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What submodules of a teacher give to each row; the last of them only where memory has no room for all.

    Raises:
        ModelError: there is none of that name, or its values do not lie row by row.
    """
    import torch

    seen: dict[str, torch.Tensor] = {}
    hooks = [_watched("teacher", teacher, name, seen) for name in dict.fromkeys(names)]
    count = len(next(iter(inputs.values())))
    size = max(8, ASKED_ELEMENTS // max(1, sum(array[:1].numel() for array in inputs.values())))
    parts: dict[str, list[torch.Tensor]] = {}
    try:
        teacher.eval()
        with torch.no_grad():
            for start in range(0, count, size):
                teacher(**{name: array[start : start + size] for name, array in inputs.items()})
                for name in parts or _room(seen, count, min(size, count)):
                    parts.setdefault(name, []).append(seen[name].clone())
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(part) for name, part in parts.items()}


def _room(seen: Mapping[str, torch.Tensor], count: int, asked: int) -> list[str]:
    """Which inner values of all rows there is memory for, from the last one back; those of the first rows are seen."""
    left, found = INNER_BYTES // 2, []  # as parts and as a whole they are there twice for a moment
    for name, values in reversed(list(seen.items())):
        if len(values) != asked:
            raise ModelError(
                f"gives {list(values.shape)} for {asked} rows", field=f"teacher.{name}",
                fix="match what has a row's values at the row's place on axis 0",
            )  # fmt: skip
        left -= count * values[:1].numel() * values.element_size()
        if left < 0:
            break
        found.append(name)
    return found


def _width_last(values: torch.Tensor) -> torch.Tensor:
    """Inner values with their width on the last axis: that of images is their second."""
    return values.movedim(1, -1) if values.dim() == 4 else values


def _apart(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The squared distance of inner values, `[rows]`, in units of the teacher's variance."""
    distance = (mine - theirs).square()
    return (distance if distance.dim() == 1 else distance.flatten(1).mean(1)) / theirs.var().clamp_min(TINY)
