from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestRegressor
from torch import nn

from windtunnel.errors import ModelError
from windtunnel.model_names import ModelNames
from windtunnel.optimize.distil import Lessons
from windtunnel.optimize.export import export
from windtunnel.optimize.student import Student, propose_students, teach
from windtunnel.optimize.table_student import make_table_student, read_columns
from windtunnel.runtime import open_session
from windtunnel.session import run_in_batches
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(1)
ROWS = {"in:0": RNG.normal(size=(3000, 4)).astype(np.float32)}


def _forest(path: Path) -> Variant:
    """A random forest of scikit-learn, written as one node of ONNX-ML: `in:0` float32 [n, 4] → `score` float32 [n, 1]."""
    x = ROWS["in:0"]
    forest = RandomForestRegressor(20, max_depth=6, random_state=1).fit(
        x, np.sin(2 * x[:, 0]) + x[:, 1] * (x[:, 2] > 0)
    )
    table: dict[str, list[Any]] = {key: [] for key in ("tree", "node", "feature", "mode", "value", "true", "false")}
    leaves: dict[str, list[Any]] = {key: [] for key in ("tree", "node", "id", "weight")}
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        for node in range(tree.node_count):
            leaf = tree.children_left[node] < 0
            row = (number, node, max(0, int(tree.feature[node])), "LEAF" if leaf else "BRANCH_LEQ",
                   float(np.nextafter(np.float32(tree.threshold[node]), np.float32(-np.inf))),
                   max(0, int(tree.children_left[node])), max(0, int(tree.children_right[node])))  # fmt: skip
            for key, value in zip(table, row, strict=True):
                table[key].append(value)
            if leaf:
                for key, value in zip(leaves, (number, node, 0, float(tree.value[node].item()) / 20), strict=True):
                    leaves[key].append(value)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["in:0"], ["score"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=table["tree"], nodes_nodeids=table["node"], nodes_featureids=table["feature"],
        nodes_modes=table["mode"], nodes_values=table["value"], nodes_truenodeids=table["true"],
        nodes_falsenodeids=table["false"], target_treeids=leaves["tree"], target_nodeids=leaves["node"],
        target_ids=leaves["id"], target_weights=leaves["weight"],
    )  # fmt: skip
    inputs = [helper.make_tensor_value_info("in:0", TensorProto.FLOAT, ["n", 4])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "forest", inputs, outputs), opset_imports=imports, ir_version=8)
    onnx.save(model, str(path))
    return Variant.from_file(path)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    return _forest(tmp_path_factory.mktemp("forest") / "forest.onnx")


def _answers(variant: Variant, rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return next(iter(run_in_batches(open_session(variant), rows).values()))


def _teach(forest: Variant, path: Path) -> Variant:
    """Teach one of the forest's students quickly."""
    student = propose_students(forest, ROWS, seed=1)[2]
    lessons = replace(student.lessons, epochs=12, batch=64, learning_rate=0.01)
    teach(forest, path, replace(student, lessons=lessons), ROWS, seed=1)
    return Variant.from_file(path)


@pytest.fixture(scope="module")
def student(forest: Variant) -> Variant:
    """A student of the forest."""
    return _teach(forest, forest.path.with_name("student.onnx"))


def test_a_forest_teaches(forest: Variant, student: Variant) -> None:
    """A student of a forest explains more than nine tenths of what the forest says on rows that it has not seen."""
    new = {"in:0": RNG.normal(size=(2000, 4)).astype(np.float32)}

    expected, actual = _answers(forest, new), _answers(student, new)

    assert 1 - ((expected - actual) ** 2).mean() / expected.var() > 0.9
    assert [tensor.name for tensor in student.signature.inputs] == ["in:0"]
    assert [tensor.name for tensor in student.signature.outputs] == ["score"]


def test_the_same_bytes_twice(forest: Variant, student: Variant, tmp_path: Path) -> None:
    """The same student of the same rows and seed is the same file."""
    assert _teach(forest, tmp_path / "again.onnx").sha256 == student.sha256


def test_students_of_a_forest(forest: Variant) -> None:
    """Trees have no operations to halve: a fixed family is tried, in pieces and without."""
    assert [each.name for each in propose_students(forest, ROWS, seed=1)] == [
        "student-128x64-pieces",
        "student-64x32-pieces",
        "student-32x16-pieces",
        "student-64x32",
    ]


def test_students_are_worth_it(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """Of a model whose operations are counted, only students with half of them or fewer are proposed."""
    students = propose_students(mlp, rows, seed=1)

    assert [each.settings["widths"] for each in students] == [[16]]
    assert [each.to_dict()["lessons"]["kind"] for each in students] == ["probability"]


class _Encoder(nn.Module):
    """Token numbers to class scores, by four encoder blocks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(50, 16)
        self.blocks = nn.ModuleList(_EncoderBlock() for _ in range(4))
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x)
        answer: torch.Tensor = self.head(x.mean(1))
        return answer


class _EncoderBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return answer


TOKENS = {"tokens": RNG.integers(0, 50, (200, 6))}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """`_Encoder` with free axes for rows and tokens."""
    path: Path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export(_Encoder(), {"tokens": torch.from_numpy(TOKENS["tokens"][:3])}, path)
    return Variant.from_file(path)


def test_students_of_a_module(encoder: Variant, tmp_path: Path) -> None:
    """A module of equal blocks has students with fewer of them and with fewer units, which keep the free axes of the parent."""
    students = propose_students(encoder, TOKENS, None, _Encoder(), seed=1, work=1e8)
    teach(encoder, tmp_path / "s.onnx", students[0], TOKENS, seed=1)

    assert [each.name for each in students] == [
        "student-half-layers", "student-third-layers", "student-pruned-50", "student-pruned-75"
    ]  # fmt: skip
    assert Variant.from_file(tmp_path / "s.onnx").signature == encoder.signature
    assert [each.make()[0].get_submodule("blocks.0.up").out_features for each in students[2:]] == [32, 16]


def test_fewer_layers_do_the_work_of_all(encoder: Variant) -> None:
    """A student of fewer layers is drawn to what the whole module hands on where its layers would have gone on."""
    half, third, *pruned = propose_students(encoder, TOKENS, None, _Encoder(), seed=1)
    assert half.features is not None
    assert third.features is not None
    pairs = [each.features().pairs for each in (half, third) if each.features is not None]

    assert [[mine for _, mine in each] for each in pairs] == [["blocks.0", "blocks.1"], ["blocks.0"]]
    assert [each[-1][0] for each in pairs] == ["blocks.3", "blocks.3"]
    assert all(each.features is None for each in pruned)


def test_what_is_no_student(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A function that returns a module alone is told what to return."""
    student = Student("own", lambda: nn.Linear(16, 1), {}, Lessons())  # type: ignore[arg-type,return-value]  # the point

    with pytest.raises(
        ModelError, match=r"`own` is made of something else than a module and its inputs; return \(module"
    ):
        teach(mlp, tmp_path / "s.onnx", student, rows, seed=1)


def test_no_student(encoder: Variant) -> None:
    """Where nothing can be derived every reason is told, with the way out."""
    with pytest.raises(ModelError, match=r"has no student that can be derived \(`tokens` .* is no column of a table"):
        propose_students(encoder, TOKENS, seed=1)


@pytest.mark.parametrize("count", [0, 99])
def test_too_few_rows(mlp: Variant, rows: dict[str, NDArray[Any]], count: int) -> None:
    """Fewer than a hundred rows teach nothing."""
    with pytest.raises(ModelError, match=rf"`rows` \(={count}\) are too few to teach a student; give 100 or more"):
        propose_students(mlp, {name: array[:count] for name, array in rows.items()}, seed=1)


def test_a_student_of_another_shape(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A student that does not answer as its teacher does is refused, and nothing is written."""
    student = Student(
        "wrong", lambda: (_Wrong(), {"x": torch.zeros(3, 16)}), {}, propose_students(mlp, rows, seed=1)[0].lessons
    )

    with pytest.raises(ModelError, match="give it the teacher's signature"):
        teach(mlp, tmp_path / "s.onnx", student, rows, seed=1)
    assert not list(tmp_path.iterdir())


def _classifier(path: Path, extra: str = "") -> Variant:
    """A softmax of the first three columns, float64, its class 3, 5 or 9 as `label`, and `extra` behind: a float."""
    nodes = [
        helper.make_node("Slice", ["in:0", "from", "to", "axis"], ["three"]),
        helper.make_node("Softmax", ["three"], ["soft"], axis=1),
        helper.make_node("Cast", ["soft"], ["p"], to=TensorProto.DOUBLE),
        helper.make_node("ArgMax", ["p"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "place"], ["label"]),
        *([helper.make_node("ReduceSum", ["three", "axis"], [extra])] if extra else []),
    ]
    outputs: list[tuple[str, int, list[str | int | None]]] = [
        ("p", TensorProto.DOUBLE, ["n", 3]),
        ("label", TensorProto.INT64, ["n"]),
    ]
    outputs += [(extra, TensorProto.FLOAT, ["n", 1])] if extra else []
    constants = {"from": [0], "to": [3], "axis": [1], "names": [3, 5, 9]}
    graph = helper.make_graph(
        nodes, "classifier",
        [helper.make_tensor_value_info("in:0", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    ModelNames((), (3, 5, 9)).write(model)
    onnx.save(model, str(path))
    return Variant.from_file(path)


def test_the_label_comes_along(tmp_path: Path) -> None:
    """A student gives all that its parent gives, by name, dtype and rank: the label is that of its own probabilities."""
    parent = _classifier(tmp_path / "parent.onnx")
    columns = read_columns(parent.signature, ROWS)
    make = partial(make_table_student, columns, ROWS, "probabilities", np.zeros((9, 3)), (8,))
    teach(parent, tmp_path / "s.onnx", Student("own", make, {}, Lessons(epochs=1)), ROWS, seed=1)
    made = Variant.from_file(tmp_path / "s.onnx")
    found = run_in_batches(open_session(made), ROWS)

    assert [(each.name, each.dtype, len(each.shape)) for each in made.signature.outputs] == [
        ("p", "float64", 2), ("label", "int64", 1)
    ]  # fmt: skip
    assert found["label"].tolist() == np.array([3, 5, 9])[found["p"].argmax(1)].tolist()


class _Two(nn.Module):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, first), nn.Linear(4, second)

    def forward(self, in_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.softmax(self.first(in_0), 1), self.second(in_0)


def test_outputs_keep_their_places(tmp_path: Path) -> None:
    """A student's second output takes the place of its parent's second output of floats, though a label lies between."""
    parent = _classifier(tmp_path / "parent.onnx", "total")
    student = Student("own", lambda: (_Two(3, 1), {"in_0": torch.zeros(3, 4)}), {}, Lessons(epochs=1))
    teach(parent, tmp_path / "s.onnx", student, ROWS, seed=1)

    assert [(each.name, each.dtype) for each in Variant.from_file(tmp_path / "s.onnx").signature.outputs] == [
        ("p", "float64"), ("label", "int64"), ("total", "float32")
    ]  # fmt: skip


def test_outputs_that_are_missing(tmp_path: Path) -> None:
    """A student that leaves out an output of floats is refused before it is taught, and nothing is written."""
    parent = _classifier(tmp_path / "parent.onnx", "total")
    student = Student("own", lambda: (nn.Linear(4, 3), {"input": torch.zeros(3, 4)}), {}, Lessons())

    with pytest.raises(
        ModelError, match=r"`own` gives \[3\] a row where the teacher's p, total are \[3\], \[1\]; give it"
    ):
        teach(parent, tmp_path / "s.onnx", student, ROWS, seed=1)
    assert not (tmp_path / "s.onnx").exists()


class _Wrong(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = torch.sigmoid(self.last(x))
        return answer
