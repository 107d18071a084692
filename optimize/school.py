"""The School: students as steps: derived from the parent or given by the user, taught its answers, and quantized like any other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import InputError

from .judged import Skipped, reason_of
from .material import digest_arrays
from .step import Step
from .student import Student, propose_students, teach, usual_lessons

if TYPE_CHECKING:
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


def enrol(parent: Variant, material: Material, seeds: Seeds) -> tuple[list[Step], list[Skipped]]:
    """A step for each student; and why there is none, where students were asked for.

    Args:
        parent: their teacher.
        material: rows, labels, the user's student and the parent's module.
        seeds: of first weights and orders.
    """
    students, skipped = [], []
    if material.student is not None:
        source, lessons = {"source": material.student_source}, usual_lessons(parent, material.feeds)
        students.append(Student("student", material.student, source, lessons))
    if material.students:
        module = material.module() if material.module is not None else None
        try:
            students += propose_students(parent, material.feeds, material.label, module, seed=seeds.number("distil"))
        except InputError as error:
            skipped.append(Skipped("students", reason_of(error)))
    if not students:
        return [], skipped
    taught = dict(material.feeds) | ({} if material.label is None else {"": material.label})
    rows, seed = digest_arrays(taught), seeds.number("distil")
    make = partial(_teach, material=material)
    return [
        Step(each.name, "distil", "fp32", Lesson(each, rows, seed), make, travels=False) for each in students
    ], skipped


def _teach(parent: Variant, path: Path, lesson: Lesson, *, material: Material) -> None:
    teach(parent, path, lesson.student, material.feeds, material.label, seed=lesson.seed)
