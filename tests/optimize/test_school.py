from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from windtunnel.optimize.material import Material
from windtunnel.optimize.school import enrol
from windtunnel.runtime import open_session
from windtunnel.seeds import Seeds
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _untrained() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The user's student: one layer, from `x` [batch, 16] to a probability."""

    class Student(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.layer(x))

    return Student(), {"x": torch.ones(2, 16)}


@pytest.fixture
def material(rows: dict[str, NDArray[Any]]) -> Material:
    return Material({"x": rows["x"]}, student=_untrained, student_source="mine.py:student")


def test_nobody_is_taught_unasked(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """Where no student is given and none is to be derived, there is no step, and nothing to be said."""
    assert enrol(mlp, Material({"x": rows["x"]}), Seeds(1)) == ([], [])


def test_the_users_student(mlp: Variant, material: Material, tmp_path: Path) -> None:
    """The user's student is a step that stays in this process; taught, it answers as the parent does, better than chance."""
    (step,), skipped = enrol(mlp, material, Seeds(1))
    step.make(mlp, tmp_path / "student.onnx", step.settings)
    taught = Variant.from_file(tmp_path / "student.onnx")
    parent, child = (open_session(each).run(dict(material.feeds))["y"].ravel() for each in (mlp, taught))

    assert (step.name, step.kind, step.precision, step.travels, skipped) == ("student", "distil", "fp32", False, [])
    assert np.corrcoef(parent, child)[0, 1] > 0.7
    assert step.settings.to_dict()["source"] == "mine.py:student"


def test_lessons_are_part_of_the_origin(mlp: Variant, material: Material) -> None:
    """Other rows, labels, seeds or sources are another origin, so that the student is taught again; the same are not."""

    def key(given: Material, seed: int = 1) -> str:
        (step,), _ = enrol(mlp, given, Seeds(seed))
        return step.origin(mlp).digest

    labels = np.zeros(600)
    changed = [
        key(replace(material, feeds={"x": material.feeds["x"] + 1})),
        key(replace(material, label=labels)),
        key(replace(material, label=labels + 1)),
        key(replace(material, student_source="mine.py:student 2")),
        key(material, seed=2),
    ]
    assert key(material) == key(replace(material, feeds={"x": material.feeds["x"].copy()}))
    assert len({key(material), *changed}) == 6


def test_students_are_derived(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """Where they are asked for, students are derived from the parent, each with a name of its own."""
    steps, skipped = enrol(mlp, Material({"x": rows["x"]}, students=True), Seeds(1))
    names = [each.name for each in steps]

    assert skipped == []
    assert names
    assert len(set(names)) == len(names)
    assert all(name.startswith("student") for name in names)


def test_the_given_comes_before_the_derived(mlp: Variant, material: Material) -> None:
    """A user's student is taught first; derived ones come after it."""
    steps, _ = enrol(mlp, replace(material, students=True), Seeds(1))

    assert steps[0].name == "student"
    assert len(steps) > 1


def test_why_there_is_none(mlp: Variant, material: Material) -> None:
    """Where none can be derived it is said why; the user's own is taught all the same."""
    few = replace(material, feeds={"x": material.feeds["x"][:20]}, students=True)
    steps, skipped = enrol(mlp, few, Seeds(1))

    assert [each.name for each in steps] == ["student"]
    assert [each.name for each in skipped] == ["students"]
    assert "are too few to teach a student; give" in skipped[0].reason


def test_the_module_is_made_where_students_are_cut_from_it(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """The parent's module is made only where students are derived: it may be large."""
    made: list[int] = []

    def module() -> torch.nn.Module:
        made.append(1)
        return _untrained()[0]

    enrol(mlp, Material({"x": rows["x"]}, module=module), Seeds(1))
    assert made == []

    enrol(mlp, Material({"x": rows["x"]}, module=module, students=True), Seeds(1))
    assert made == [1]
