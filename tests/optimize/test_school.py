from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from windtunnel.errors import ModelError
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


def _wishing(**wishes: Any) -> Any:
    """The user's student, with settings for its lessons."""
    return lambda: (*_untrained(), wishes)


def test_wishes_reach_the_lessons(mlp: Variant, material: Material, tmp_path: Path) -> None:
    """What the user's function returns beside module and inputs is how its student is taught, and part of its origin."""
    wishes = {"temperature": 2.0, "hard_share": 0.5, "patience": 1, "epochs": 3}
    (usual,), _ = enrol(mlp, replace(material, student=_wishing(**(wishes | {"temperature": 1.0}))), Seeds(1))
    (step,), _ = enrol(mlp, replace(material, student=_wishing(**wishes)), Seeds(1))
    for each in (usual, step):
        each.make(mlp, tmp_path / f"{id(each)}.onnx", each.settings)

    assert {name: step.settings.to_dict()["lessons"][name] for name in wishes} == wishes
    assert step.origin(mlp).digest != usual.origin(mlp).digest
    assert (tmp_path / f"{id(step)}.onnx").read_bytes() != (tmp_path / f"{id(usual)}.onnx").read_bytes()


class _Deep(torch.nn.Module):
    """A module whose first layer the user's student is to match."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.last = torch.nn.Linear(16, 1), torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.last(self.first(x)))


def _weights(path: Path) -> NDArray[Any]:
    """The weights of the one layer of `_untrained`."""
    weights = [numpy_helper.to_array(each).ravel() for each in onnx.load(str(path)).graph.initializer]
    return next(each for each in weights if each.size == 16)


def test_inner_values_that_the_user_matches(mlp: Variant, material: Material, tmp_path: Path) -> None:
    """A submodule of the student that is matched with one of the model learns what that one makes of a row."""
    wishes = {"match": {"layer": "first"}, "feature_share": 1.0, "learning_rate": 0.1, "epochs": 20, "patience": 20}
    student = replace(material, student=_wishing(**wishes), module=_Deep)
    (step,), _ = enrol(mlp, student, Seeds(1))
    step.make(mlp, tmp_path / "s.onnx", step.settings)

    assert _weights(tmp_path / "s.onnx") == pytest.approx(_Deep().first.weight.detach().numpy().ravel(), abs=0.02)
    assert step.settings.to_dict()["match"] == {"layer": "first"}


@pytest.mark.parametrize(
    ("student", "problem"),
    [
        (_wishing(temprature=2.0), "`temprature` is no setting of a lesson; did you mean"),
        (_wishing(match={"layer": "first"}), "`match` names inner values of the model, which is no module here; give"),
        (lambda: (*_untrained(), 3), "`student` returns more than a module, its inputs and the settings"),
    ],
)
def test_wishes_that_cannot_be_met(mlp: Variant, material: Material, student: Any, problem: str) -> None:
    """What the user's student wishes and there is not is refused before anything is taught."""
    with pytest.raises(ModelError, match=problem):
        enrol(mlp, replace(material, student=student), Seeds(1))


def test_a_match_is_a_table(mlp: Variant, material: Material) -> None:
    """What is matched is told by two names each."""
    with pytest.raises(ModelError, match=r"`match` .*is no table of names; give submodules"):
        enrol(mlp, replace(material, student=_wishing(match=["layer"]), module=_Deep), Seeds(1))


def test_where_the_largest_answer_decides(mlp: Variant, material: Material) -> None:
    """A metric of decisions lets every student, the user's and the derived, be taught decisions."""
    asked = replace(material, students=True)
    kinds = [
        {each.settings.to_dict()["lessons"]["kind"] for each in enrol(mlp, asked, Seeds(1), decides=decides)[0]}
        for decides in (False, True)
    ]

    assert kinds == [{"auto", "probability"}, {"decision", "probability"}]
