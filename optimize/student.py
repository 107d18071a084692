"""Students that follow from what a model is: small networks for tables, and what is left of a module with fewer layers or units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import InputError, ModelError
from windtunnel.graph import read_graph
from windtunnel.model_names import ModelNames
from windtunnel.onnx_file import graphs, nodes, save_model
from windtunnel.runtime import open_session
from windtunnel.session import run_in_batches
from windtunnel.variant import Variant

from .class_label import ClassLabel
from .distil import WORK, Features, Lessons, argument, ask_teacher, batch_of, distil
from .export import export
from .fewer_layers import alike, choose_blocks, find_blocks, keep_blocks
from .parity import flat
from .prune import prune
from .reproducible import reproducible
from .teaching_loss import answer_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx
    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session

    Arrays = Mapping[str, NDArray[Any]]
    Made = (
        tuple[torch.nn.Module, Mapping[str, torch.Tensor]]
        | tuple[torch.nn.Module, Mapping[str, torch.Tensor], Mapping[str, Any]]
    )

LEAST_ROWS = 100
"""Fewer rows teach nothing that holds on others."""

LOOKED_AT = 4096
"""Rows on which the teacher is asked what its answers look like."""

WORTH = 0.5
"""A student that asks for more than this share of its teacher's operations is not worth the doubt."""

SHAPES = ((256, 128), (128, 64), (64, 32), (32, 16), (16,))
"""Hidden widths of students for a teacher whose operations are counted: those that are worth it, at most `MOST`."""

TREE_SHAPES = ((128, 64), (64, 32), (32, 16))
"""Hidden widths of students for trees, whose operations say little: numbers cut into pieces, and one without."""

MOST = 3
"""Students of one sort."""

PRUNED = (0.5, 0.75)
"""The shares of hidden units that go: of products between two cut axes a quarter is left, or a sixteenth."""

GENTLE = 5e-4
"""The learning rate of students that know much already, as they were cut out of their teacher."""

DRAWN = 0.5
"""The weight of inner values for students of fewer layers."""

TREES = ("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier")


@dataclass(frozen=True)
class Student:
    """A student that can be made and taught.

    Args:
        name: such as `student-64x32`, `student-half-layers`.
        make: gives the untrained module, example inputs by argument name, and a user's wishes for its lessons where there are
            some; draws from torch's generator.
        settings: what it is made by, as JSON values, for the origin.
        lessons: how it is taught.
        features: tells the inner values that it is drawn to; None for none.
    """

    name: str
    make: Callable[[], Made]
    settings: dict[str, Any]
    lessons: Lessons
    features: Callable[[], Features] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All that decides what it becomes, but for its parent, rows and seed, as JSON values."""
        return {"student": self.name, **self.settings, "lessons": self.lessons.to_dict()}


def propose_students(
    parent: Variant,
    rows: Arrays,
    labels: NDArray[np.float64] | None = None,
    module: torch.nn.Module | None = None,
    *,
    seed: int,
    work: float = WORK,
    decides: bool = False,
) -> tuple[Student, ...]:
    """Derive students from a model's signature, its rows, and the module that it was exported from where there is one.

    A model of table columns has small networks for students; a module of equal blocks its own with fewer of them; any
    module itself with fewer hidden units, channels and heads.

    Args:
        parent: the teacher.
        rows: to learn from, by input name.
        labels: what turned out true for them, or None.
        module: that the parent was exported from, or None.
        seed: of the rows that are looked at.
        work: floating-point operations that the lessons of each may take; about ten seconds on a core.
        decides: whether the largest of a row's answers is its decision, and all that is asked of it.

    Returns:
        The students, largest first within each sort; none is made or taught yet.

    Raises:
        ModelError: none can be derived; every reason is told.
    """
    if len(next(iter(rows.values()))) < LEAST_ROWS:
        raise ModelError(
            "are too few to teach a student", field="rows", value=len(next(iter(rows.values()))),
            fix=f"give {LEAST_ROWS} or more to learn from",
        )  # fmt: skip
    students: list[Student] = []
    reasons: list[str] = []
    sorts = [partial(_tables, parent, rows, labels, seed, work, decides=decides)]
    if module is not None:
        sorts += [partial(_shallower, parent, rows, module, work), partial(_pruned, parent, rows, module, seed, work)]
    for derive in sorts:
        try:
            students += derive()
        except InputError as error:
            reasons.append(str(error))
    if not students:
        raise ModelError(
            f"has no student that can be derived ({'; '.join(reasons)})", field=parent.name,
            fix="give one of your own: module.py:student",
        )  # fmt: skip
    return tuple(_deciding(each) if decides and each.lessons.kind == "auto" else each for each in students)


def _deciding(student: Student) -> Student:
    return replace(student, lessons=replace(student.lessons, kind="decision"))


def teach(
    parent: Variant,
    path: Path,
    student: Student,
    rows: Arrays,
    labels: NDArray[np.float64] | None = None,
    *,
    seed: int,
) -> None:
    """Make a student, teach it its parent's answers, and write it as ONNX with the parent's names.

    Args:
        parent: the teacher; it is run as its execution says.
        path: where the ONNX file goes.
        student: what is taught.
        rows: to learn from, by input name.
        labels: what turned out true for them, or None.
        seed: of the first weights and the order of the rows.

    A label that is the likeliest class is not taught but worked out from what is.

    Raises:
        ModelError: it cannot be made, taught or exported, or would not answer all that its parent does.
    """
    session = open_session(parent)
    answers = _first_answers(session, rows)
    label = ClassLabel.of(answers, ModelNames.read(parent.path).classes)
    with reproducible(seed, student.lessons.threads):
        module, inputs = _untrained(student)
        _check_outputs(module, inputs, answers, student.name)
    features = None if student.features is None else student.features()
    distil(session, module, rows, labels, seed=seed, lessons=student.lessons, features=features)
    axes = {
        argument(tensor.name): {
            place: size for place, size in enumerate(tensor.shape) if place and isinstance(size, str)
        }
        for tensor in parent.signature.inputs
    }
    export(module, inputs, path, {name: free for name, free in axes.items() if free}, source=student.name)
    _call_as(path, parent, answers, label)
    _check_signature(path, answers, student.name)


def _untrained(student: Student) -> tuple[torch.nn.Module, Mapping[str, torch.Tensor]]:
    import torch

    made = student.make()
    if not (isinstance(made, tuple) and len(made) > 1 and isinstance(made[0], torch.nn.Module)):
        raise ModelError(
            "is made of something else than a module and its inputs", field=student.name,
            fix="return (module, {argument: example tensor})",
        )  # fmt: skip
    return made[0], made[1]


def _first_answers(session: Session, rows: Arrays) -> dict[str, NDArray[Any]]:
    """All that the teacher answers to the first rows."""
    batch = batch_of(session, rows)
    count = min(LOOKED_AT, len(next(iter(rows.values()))))
    count = max(batch, count // batch * batch)
    return run_in_batches(session, {name: array[:count] for name, array in rows.items()}, batch)


def _check_outputs(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], answers: Arrays, name: str) -> None:
    """Refuse a student that does not give each of its teacher's floats, before it is taught: the rest would be called wrong."""
    import torch

    module.eval()
    with torch.no_grad():
        given = list(flat(module(**inputs)).values())
    floats = {name: array for name, array in answers.items() if array.dtype.kind == "f"}
    if len(given) != len(floats) or any(
        not mine.is_floating_point() or mine.dim() != theirs.ndim
        for mine, theirs in zip(given, floats.values(), strict=True)
    ):
        raise ModelError(
            f"gives {_told([list(each.shape[1:]) for each in given])} a row where the teacher's "
            f"{', '.join(floats)} are {_told([list(each.shape[1:]) for each in floats.values()])}",
            field=name, fix="give it the teacher's signature: a tensor of floats for each of its outputs of floats",
        )  # fmt: skip


def _told(shapes: list[list[int]]) -> str:
    return ", ".join(map(str, shapes)) or "nothing"


def _check_signature(path: Path, answers: Arrays, name: str) -> None:
    """Whoever called the parent can call the student: the same outputs by name, dtype and rank."""
    outputs = Variant.from_file(path).signature.outputs
    mine = [(each.name, each.dtype, len(each.shape)) for each in outputs]
    theirs = [(name, str(array.dtype), array.ndim) for name, array in answers.items()]
    if mine != theirs:
        path.unlink()
        raise ModelError(
            f"answers {mine} where its teacher answers {theirs}", field=name, fix="give it the teacher's signature"
        )


def _tables(
    parent: Variant, rows: Arrays, labels: NDArray[np.float64] | None, seed: int, work: float, *, decides: bool
) -> list[Student]:
    from .table_student import BINS, make_table_student, read_columns, table_flops

    columns = read_columns(parent.signature, rows)
    total = len(next(iter(rows.values())))
    places = np.sort(np.random.default_rng(seed).permutation(total)[:LOOKED_AT])
    answers = ask_teacher(open_session(parent), {name: array[places] for name, array in rows.items()})[0]
    kind = answer_kind(answers, None if labels is None else labels[places], decides=decides)
    flops = _flops(parent, rows)
    bins = BINS if any(column.kind == "number" for column in columns) else 0
    shapes = (
        [(widths, 0) for widths in SHAPES] if flops else [*((each, bins) for each in TREE_SHAPES), (TREE_SHAPES[1], 0)]
    )
    students: list[Student] = []
    for widths, pieces in dict.fromkeys(shapes):
        asked, parameters = table_flops(columns, rows, answers[:1].size, widths, pieces)
        if flops and (asked > WORTH * flops or len(students) == MOST):
            continue
        make = partial(make_table_student, columns, rows, kind, answers, widths, pieces)
        students.append(
            _table_student(make, widths, pieces, replace(Lessons.sized(total, parameters, work=work), kind=kind))
        )
    if not students:
        raise ModelError(f"asks for {flops:,} operations a row, too few to be halved", field=parent.name)
    return students


def _table_student(make: Callable[[], Made], widths: tuple[int, ...], pieces: int, lessons: Lessons) -> Student:
    name = "student-" + "x".join(map(str, widths)) + ("-pieces" if pieces else "")
    return Student(name, make, {"widths": list(widths), "pieces": pieces}, lessons)


def _shallower(parent: Variant, rows: Arrays, module: torch.nn.Module, work: float) -> list[Student]:
    blocks = len(list(module.get_submodule(find_blocks(module)).children()))
    names = {2: "student-half-layers", 3: "student-third-layers"}
    lessons = replace(_lessons(parent, rows, module, work), feature_share=DRAWN)
    found = []
    for every, name in names.items():
        if every <= blocks:
            less = _Shallower(module, rows, every)
            found.append(Student(name, less.make, {"keeps_one_layer_in": every}, lessons, less.features))
    return found


@dataclass(frozen=True)
class _Shallower:
    """A student of fewer layers; which, is found out when it is made."""

    module: torch.nn.Module
    rows: Arrays
    every: int

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The places of the layers that stay."""
        return choose_blocks(self.module, self.rows, self.every)

    def make(self) -> Made:
        """The layers as the teacher has them."""
        return keep_blocks(self.module, self.kept), _examples(self.rows)

    def features(self) -> Features:
        """Each layer that stays does the work of those behind it that go."""
        return Features(self.module, alike(self.module, self.kept, self.rows))


def _pruned(parent: Variant, rows: Arrays, module: torch.nn.Module, seed: int, work: float) -> list[Student]:
    inputs, lessons = _examples(rows), _lessons(parent, rows, module, work)
    return [
        Student(
            f"student-pruned-{share:.0%}".rstrip("%"),
            partial(_made, partial(prune, module, inputs, share, rows=rows, seed=seed), rows),
            {"pruned": share},
            lessons,
        )
        for share in PRUNED
    ]


def _made(cut: Callable[[], torch.nn.Module], rows: Arrays) -> Made:
    return cut(), _examples(rows)


def _examples(rows: Arrays) -> dict[str, torch.Tensor]:
    import torch

    return {argument(name): torch.from_numpy(array[:3].copy()) for name, array in rows.items()}


UNKNOWN_PARAMETERS = 20_000
"""A student of trees is taken to be so large, where nothing is known of it."""


def usual_lessons(parent: Variant, rows: Arrays) -> Lessons:
    """Lessons for a student of which nothing is known: as if it asked for as much work as its parent.

    Args:
        parent: the teacher.
        rows: to learn from, by input name; few are gone through more often than many.
    """
    flops = _flops(parent, rows)
    return Lessons.sized(len(next(iter(rows.values()))), flops // 2 if flops else UNKNOWN_PARAMETERS)


def _lessons(parent: Variant, rows: Arrays, module: torch.nn.Module, work: float) -> Lessons:
    """Lessons for a student of about half of its teacher's parameters."""
    parameters = sum(each.numel() for each in module.parameters())
    uses = (_flops(parent, rows) or 0) // max(1, 2 * parameters)
    sized = Lessons.sized(len(next(iter(rows.values()))), parameters // 2, uses=max(1, uses), work=work)
    return replace(sized, learning_rate=GENTLE)


def _flops(parent: Variant, rows: Arrays) -> int | None:
    """Operations that the parent asks for a row; None where they cannot be counted, as of trees."""
    sizes = {
        str(name): size
        for tensor in parent.signature.inputs
        for name, size in zip(tensor.shape[1:], rows[tensor.name].shape[1:], strict=False)
        if isinstance(name, str)
    }
    graph = read_graph(parent.path, {**sizes, "batch": 1})
    if graph.uncounted or any(each.kind in TREES for each in graph.operators):
        return None
    return graph.flops


def _call_as(path: Path, parent: Variant, answers: Arrays, label: ClassLabel | None) -> None:
    """Give a file the parent's names, dtypes and label: who called the parent can call the student."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    pairs = [(argument(tensor.name), tensor.name) for tensor in parent.signature.inputs]
    floats = {name: array.dtype for name, array in answers.items() if array.dtype.kind == "f"}
    pairs += zip((each.name for each in graph.output), floats, strict=True)
    wanted = {old: new for old, new in pairs if old != new}
    # an inner value that has such a name already makes way
    names = {new: f"{new}_inner" for new in (*wanted.values(), *([label.output] if label else []))} | wanted
    _rename(model, names)
    _cast(model, floats)
    if label:
        label.add_to(graph)
    order = list(answers)
    outputs = sorted(graph.output, key=lambda each: order.index(each.name))
    graph.ClearField("output")
    graph.output.extend(outputs)
    save_model(model, path)


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for node in nodes(model):
        node.input[:] = [names.get(each, each) for each in node.input]
        node.output[:] = [names.get(each, each) for each in node.output]
    for each in graphs(model):
        for value in (*each.initializer, *each.value_info, *each.input, *each.output):
            value.name = names.get(value.name, value.name)


def _cast(model: onnx.ModelProto, wanted: Mapping[str, np.dtype[Any]]) -> None:
    """Answer in the parent's width: torch works in float32."""
    from onnx import helper

    for value in model.graph.output:
        name = value.name
        kind = helper.np_dtype_to_tensor_dtype(wanted[name])
        if kind != value.type.tensor_type.elem_type:
            _rename(model, {name: f"{name}_as_taught"})
            model.graph.node.append(helper.make_node("Cast", [value.name], [name], to=kind))
            value.name = name
            value.type.tensor_type.elem_type = kind
