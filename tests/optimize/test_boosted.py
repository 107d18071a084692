from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.model_names import ModelNames
from windtunnel.optimize.boosted import boundary_rows, export_boosted
from windtunnel.optimize.forest import Forest, Node, Tree
from windtunnel.optimize.sklearn_export import ROW_BYTES, row_count
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

ROWS = 600


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Three numbers and a category of 70, with holes; and a signal in all of them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    x[:, 3] = rng.integers(0, 70, ROWS)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(ROWS) < 0.1, 1] = 0.0
    return x, np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 3]) % 7 == 2) + rng.normal(size=ROWS) / 4


def _target(kind: str, signal: NDArray[np.float64]) -> NDArray[Any]:
    made = {
        "binary": signal > 0.3,
        "classes": np.digitize(signal, [-0.3, 0.6]),
        "positive": np.exp(signal),
        "any": signal,
    }
    return np.asarray(made[kind], dtype=np.float64)


def _lightgbm(path: Path, data: Any, target: str = "binary", **settings: Any) -> Path:
    x, signal = data
    known = lightgbm.Dataset(x, _target(target, signal), categorical_feature=[3], feature_name=["a", "b", "c", "port"])
    fixed = {
        "objective": "binary",
        "verbose": -1,
        "num_threads": 1,
        "num_leaves": 15,
        "seed": 1,
        "min_data_per_group": 5,
    }
    lightgbm.train(fixed | settings, known, 8).save_model(str(path))
    return path


def _xgboost(path: Path, data: Any, target: str = "binary", **settings: Any) -> Path:
    x, signal = data
    known = xgboost.DMatrix(
        x, _target(target, signal), feature_names=["a", "b", "c", "port"], feature_types=["q", "q", "q", "c"],
        enable_categorical=True,
    )  # fmt: skip
    fixed = {"objective": "binary:logistic", "nthread": 1, "max_depth": 4, "seed": 1}
    xgboost.train(fixed | settings, known, 8).save_model(str(path))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"sigmoid": 2.0}, {"objective": "multiclass", "num_class": 3, "target": "classes"},
        {"objective": "multiclassova", "num_class": 3, "target": "classes"}, {"objective": "regression", "target": "any"},
        {"objective": "regression", "reg_sqrt": True, "target": "any"}, {"objective": "poisson", "target": "positive"},
        {"objective": "gamma", "target": "positive"}, {"objective": "tweedie", "target": "positive"},
        {"objective": "cross_entropy"}, {"objective": "cross_entropy_lambda"}, {"objective": "quantile", "target": "any"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, {"boosting": "dart"},
        {"zero_as_missing": True}, {"use_missing": False},
    ],
)  # fmt: skip
def test_lightgbm(settings: dict[str, Any], data: Any, tmp_path: Path) -> None:
    """Every objective and way of boosting answers as LightGBM does, on thresholds, beside them, with holes and odd categories."""
    found = export_boosted(_lightgbm(tmp_path / "m.txt", data, **settings), tmp_path / "m.onnx")

    assert (found.differing, found.label_flip_rate, found.rows) == (0.0, 0.0, 4000)
    assert found.worst < 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"max_cat_to_onehot": 100}, {"objective": "multi:softprob", "num_class": 3, "target": "classes"},
        {"objective": "multi:softmax", "num_class": 3, "target": "classes"},
        {"objective": "reg:squarederror", "target": "any"}, {"objective": "reg:absoluteerror", "target": "any"},
        {"objective": "count:poisson", "target": "positive"}, {"objective": "reg:gamma", "target": "positive"},
        {"objective": "reg:tweedie", "target": "positive"}, {"objective": "binary:logitraw"}, {"objective": "reg:logistic"},
        {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5], "target": "any"},
        {"booster": "dart", "rate_drop": 0.3}, {"objective": "survival:cox", "target": "positive"},
        {"objective": "reg:pseudohubererror", "target": "any"}, {"base_score": 0.2}, {"num_parallel_tree": 3},
    ],
)  # fmt: skip
def test_xgboost(settings: dict[str, Any], data: Any, tmp_path: Path) -> None:
    """Every objective and booster answers as XGBoost does, on thresholds, beside them, with holes and odd categories."""
    suffix = "ubj" if len(settings) == 1 else "json"
    found = export_boosted(_xgboost(tmp_path / f"m.{suffix}", data, **settings), tmp_path / "m.onnx")

    assert (found.differing, found.label_flip_rate, found.rows) == (0.0, 0.0, 4000)
    assert found.worst < 1e-5


@pytest.mark.parametrize("train", [_lightgbm, _xgboost])
def test_what_comes_out(train: Any, data: Any, tmp_path: Path) -> None:
    """One matrix goes in, probabilities come out at any number of rows, and the file says what the columns are called."""
    given = train(tmp_path / ("m.txt" if train is _lightgbm else "m.json"), data)
    found = export_boosted(given, tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    (x,), (answer,) = session.signature.inputs, session.signature.outputs

    assert (x.name, x.dtype, x.shape) == ("x", "float32", ("batch", 4))
    assert (answer.name, answer.dtype, answer.shape) == ("answer", "float32", ("batch", 1))
    assert ("a", "b", "c", "port") == found.features == ModelNames.read(tmp_path / "m.onnx").features
    for rows in (1, 2, 3, 17):
        assert (rows, 1) == session.run({"x": data[0][:rows]})["answer"].shape
    assert "probabilities within" in found.sentence


def test_early_stopping(data: Any, tmp_path: Path) -> None:
    """Trees behind the best iteration are left out, as XGBoost's own scikit-learn interface leaves them out."""
    path = _xgboost(tmp_path / "m.json", data)
    model = json.loads(path.read_text())
    model["learner"]["attributes"]["best_iteration"] = "2"
    path.write_text(json.dumps(model))
    export_boosted(path, tmp_path / "m.onnx")
    matrix = xgboost.DMatrix(
        data[0], feature_names=["a", "b", "c", "port"], feature_types=["q", "q", "q", "c"], enable_categorical=True
    )
    expected = xgboost.Booster(model_file=str(path)).predict(matrix, iteration_range=(0, 3))

    assert np.allclose(expected, OnnxSession(tmp_path / "m.onnx").run({"x": data[0]})["answer"][:, 0], atol=1e-6)


def test_large_numbers(tmp_path: Path) -> None:
    """Where float32 cannot part the rows, such as seconds since 1970, LightGBM's model is made in float64."""
    seconds = np.random.default_rng(0).integers(1_700_000_000, 1_700_000_900, (300, 1)).astype(float)
    known = lightgbm.Dataset(seconds, seconds[:, 0] % 60)
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, known, 5)
    booster.save_model(str(tmp_path / "m.txt"))
    found = export_boosted(tmp_path / "m.txt", tmp_path / "m.onnx")

    assert (found.width, found.differing) == ("float64", 0.0)
    assert np.allclose(booster.predict(seconds), OnnxSession(tmp_path / "m.onnx").run({"x": seconds})["answer"][:, 0])


def test_a_tree_of_one_leaf(tmp_path: Path) -> None:
    """A model that learnt nothing answers the same to every row."""
    model = lightgbm.train(
        {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 500},
        lightgbm.Dataset(np.zeros((20, 2)), np.arange(20.0)),
        2,
    )
    model.save_model(str(tmp_path / "m.txt"))
    export_boosted(tmp_path / "m.txt", tmp_path / "m.onnx")

    answer = OnnxSession(tmp_path / "m.onnx").run({"x": np.ones((2, 2), np.float32)})["answer"]
    assert answer.tolist() == [[9.5], [9.5]]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("form", ["m.txt", "m.json", "m.ubj"])
def test_cut_off(share: float, form: str, data: Any, tmp_path: Path) -> None:
    """A model file that was cut off is refused by name, whatever is left of it."""
    path = (_lightgbm if form == "m.txt" else _xgboost)(tmp_path / form, data)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * (share if form != "m.txt" else share / 2))])

    with pytest.raises(ModelError, match=rf"m\.{form[2:]}: "):
        export_boosted(path, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "objective=binary",
            "objective=mine",
            r"`objective` \(='mine'\) is an objective that is not known here; known: binary",
        ),
        ("left_child=", "left_child=77 ", "is no whole LightGBM model"),
        ("split_feature=0", "split_feature=9", "asks for feature 9 of 4"),
        ("is_linear=0", "is_linear=1", "is a linear tree, which ONNX cannot express; train with linear_tree=false"),
        ("num_leaves=", "num_leaves=1", "leaves where it says"),
    ],
)
def test_lightgbm_refused(old: str, new: str, message: str, data: Any, tmp_path: Path) -> None:
    """What cannot be carried over, and what points astray, is refused in words before LightGBM is asked anything."""
    path = _lightgbm(tmp_path / "m.txt", data)
    path.write_text(path.read_text().replace(old, new))

    with pytest.raises(ModelError, match=message):
        export_boosted(path, tmp_path / "m.onnx")


LIGHTGBM = (
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration={outputs}\nmax_feature_idx={last}\nobjective=regression\n"
)


@pytest.mark.parametrize(("last", "outputs"), [(300_000_000, 1), (3, 300_000_000), (3, 0), (-2, 1)])
def test_lightgbm_boasts(last: int, outputs: int, tmp_path: Path) -> None:
    """A header that claims a size that no model has is refused before memory is taken for it."""
    tree = "tree_sizes=1\nTree=0\nnum_leaves=1\nleaf_value=1\nend of trees\n"
    (tmp_path / "m.txt").write_text(LIGHTGBM.format(last=last, outputs=outputs) + tree)

    with pytest.raises(
        ModelError, match=r"m\.txt: `(features|outputs)` .* is a number that no model is read with; 1 to"
    ):
        export_boosted(tmp_path / "m.txt", tmp_path / "m.onnx")


def _learner(**changes: str) -> dict[str, Any]:
    grown = {"trees": [], "tree_info": [], "iteration_indptr": [0]}
    shape = {"num_class": "0", "num_feature": "3", "base_score": "0.5"} | changes
    return {
        "objective": {"name": "binary:logistic"},
        "gradient_booster": {"name": "gbtree", "model": grown},
        "learner_model_param": shape,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"learner": _learner(num_feature="300000000")}), "`features` .* is a number that no model is read"),
        (
            json.dumps({"learner": _learner(num_class="300000000")}),
            "`outputs` .* is a number that no model is read with",
        ),
        (json.dumps({"learner": _learner(base_score="1")}), r"is no whole XGBoost model \(ZeroDivisionError"),
        ('{"learner": ' + "[" * 100_000, r"is no whole XGBoost model \(RecursionError"),
        ('{"learner": [1]}', r"is no whole XGBoost model \(TypeError"),
    ],
)
def test_xgboost_crafted(text: str, message: str, tmp_path: Path) -> None:
    """Crafted documents are refused in words before memory is taken for what they claim."""
    (tmp_path / "m.json").write_text(text)

    with pytest.raises(ModelError, match=rf"m\.json: {message}"):
        export_boosted(tmp_path / "m.json", tmp_path / "m.onnx")


def test_wide_rows() -> None:
    """Rows as wide as are read take memory within the bound, features that nobody asks for among them."""
    node = Node("<=", math.inf, feature=99_999, yes=1, no=2)
    forest = Forest(100_000, 1, (Tree((node, Node("leaf", 0.0), Node("leaf", 1.0))),), (0.0,))

    assert 8 * forest.features * row_count(forest.features) <= ROW_BYTES
    assert [len(each) for each in forest.thresholds()[-2:]] == [0, 1]


def test_a_threshold_without_an_end() -> None:
    """Rows are made of a forest that turns at infinity only."""
    node = Node("<=", math.inf, feature=0, yes=1, no=2)
    forest = Forest(1, 1, (Tree((node, Node("leaf", 0.0), Node("leaf", 1.0))),), (0.0,))

    assert boundary_rows(forest, 5, np.random.default_rng(0)).shape == (5, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"booster": "gblinear"}, "is a booster without trees; train with gbtree"),
        ({"objective": "binary:hinge"}, r"`objective` \(='binary:hinge'\) is an objective that is not known here"),
    ],
)
def test_xgboost_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """What cannot be carried over is refused in words."""
    known = xgboost.DMatrix(np.random.default_rng(0).normal(size=(50, 2)), np.arange(50) % 2)
    xgboost.train({"nthread": 1, **settings}, known, 2).save_model(str(tmp_path / "m.json"))

    with pytest.raises(ModelError, match=message.replace("booster w", r".*booster w")):
        export_boosted(tmp_path / "m.json", tmp_path / "m.onnx")


def test_neither(tmp_path: Path) -> None:
    """A text that is no model is refused by what a model starts with."""
    (tmp_path / "notes.txt").write_text("dear diary")

    with pytest.raises(
        ModelError, match=r"notes\.txt: is neither LightGBM's text, which starts with `tree`, nor XGBoost's"
    ):
        export_boosted(tmp_path / "notes.txt", tmp_path / "m.onnx")
