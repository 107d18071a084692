"""The School: students as steps: derived from the parent or given by the user, taught its answers, and quantized like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import InputError, ModelError

from .distil import Features
from .judged import Skipped, reason_of
from .material import digest_arrays
from .reproducible import reproducible
from .step import Step
from .student import Student, propose_students, teach, usual_lessons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.seeds import Seeds
    from windtunnel.variant import Variant

    from .material import Material


@dataclass(frozen=True)
class Lesson:
    """One student, and what it is taught from.

    Args:
        student: who is taught.
        rows: the digest of the rows and labels.
        seed: of the first weights and the order of the rows.
    """

    student: Student
    rows: str
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The lesson as JSON values, for the origin."""
        return {**self.student.to_dict(), "learnt_from": self.rows, "seed": self.seed}


def enrol(
    parent: Variant, material: Material, seeds: Seeds, *, decides: bool = False
) -> tuple[list[Step], list[Skipped]]:
    """A step for each student; and why there is none, where students were asked for.

    Args:
        parent: their teacher.
        material: rows, labels, the user's student and the parent's module.
        seeds: of first weights and orders.
        decides: whether the largest of a row's answers is its decision, and all that is asked of it.

    Raises:
        ModelError: the user's student wishes for a lesson that there is not.
    """
    seed = seeds.number("distil")
    students, skipped = [], []
    if material.student is not None:
        students.append(_own(parent, material, seed, decides=decides))
    if material.students:
        module = material.module() if material.module is not None else None
        try:
            students += propose_students(parent, material.feeds, material.label, module, seed=seed, decides=decides)
        except InputError as error:
            skipped.append(Skipped("students", reason_of(error)))
    if not students:
        return [], skipped
    taught = dict(material.feeds) | ({} if material.label is None else {"": material.label})
    rows = digest_arrays(taught)
    make = partial(_teach, material=material)
    return [
        Step(each.name, "distil", "fp32", Lesson(each, rows, seed), make, travels=False) for each in students
    ], skipped


def _own(parent: Variant, material: Material, seed: int, *, decides: bool) -> Student:
    """The user's student, taught as it wishes."""
    assert material.student is not None
    usual = usual_lessons(parent, material.feeds)
    wishes = _wishes(material, seed)
    match = wishes.pop("match", {})
    lessons = replace(usual, kind="decision" if decides else "auto").told(wishes)
    settings = {"source": material.student_source, **({"match": match} if match else {})}
    return Student("student", material.student, settings, lessons, _matched(material, match) if match else None)


def _wishes(material: Material, seed: int) -> dict[str, Any]:
    """How the user's student wants to be taught: what it is made with beside the module and its inputs."""
    assert material.student is not None
    try:
        with reproducible(seed):
            _, _, *wishes = material.student()
    except Exception:  # noqa: BLE001  # it is made again when its turn comes: that fails alike, and is told in the table
        return {}
    if wishes and not (len(wishes) == 1 and isinstance(wishes[0], Mapping)):
        raise ModelError(
            "returns more than a module, its inputs and the settings of its lessons", field="student",
            fix='return (module, inputs) or (module, inputs, {"temperature": 2.0})',
        )  # fmt: skip
    return dict(wishes[0]) if wishes else {}


def _matched(material: Material, match: Mapping[str, str]) -> Callable[[], Features]:
    """Inner values of the parent's module, for the user's student to match."""
    if material.module is None:
        raise ModelError(
            "names inner values of the model, which is no module here", field="match",
            fix="give the model as module.py:factory, or match nothing",
        )  # fmt: skip
    if not isinstance(match, Mapping) or not all(isinstance(each, str) for pair in match.items() for each in pair):
        raise ModelError(
            "is no table of names", field="match", value=match,
            fix='give submodules of the student and of the model: {"layers.0": "layers.1"}',
        )  # fmt: skip
    module = material.module
    return lambda: Features(module(), tuple((theirs, mine) for mine, theirs in match.items()))


def _teach(parent: Variant, path: Path, lesson: Lesson, *, material: Material) -> None:
    teach(parent, path, lesson.student, material.feeds, material.label, seed=lesson.seed)
