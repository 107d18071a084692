from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.forest_file import ForestFile, read_forest_file
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A forest with categories in each form."""
    folder = tmp_path_factory.mktemp("forests")
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(300, 2)), rng.integers(0, 9, 300)])
    label = x[:, 0] + (x[:, 2] % 3 == 1) > 0.4
    matrix = xgboost.DMatrix(x, label, feature_types=["q", "q", "c"], enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 4)
    for form in ("json", "ubj"):
        booster.save_model(folder / f"m.{form}")
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5, "num_leaves": 7}
    data = lightgbm.Dataset(x, label, categorical_feature=[2])
    lightgbm.train(settings, data, 4).save_model(folder / "m.txt")
    return {form: (folder / f"m.{form}").read_bytes() for form in ("json", "ubj", "txt")}


def _read(content: bytes, folder: Path) -> ForestFile:
    path = folder / "model"
    path.write_bytes(content)
    return read_forest_file(path)


def test_what_a_file_says(written: dict[str, bytes], tmp_path: Path) -> None:
    """Which library wrote it, how wide its rows and answers are, and for what it was trained, whatever it is called."""
    assert [_read(written[form], tmp_path) for form in ("json", "ubj", "txt")] == [
        ForestFile("xgboost", "json", 3, 1, "binary:logistic"),
        ForestFile("xgboost", "ubj", 3, 1, "binary:logistic"),
        ForestFile("lightgbm", "txt", 3, 1, "binary"),
    ]


@pytest.mark.parametrize("form", ["json", "ubj", "txt"])
def test_cut_off(form: str, written: dict[str, bytes], tmp_path: Path) -> None:
    """A file that was cut off anywhere is refused by name, and no library sees it: LightGBM's never comes back from it."""
    content = written[form]
    end = content.index(b"\nend of trees") if form == "txt" else len(content)
    for length in np.linspace(1, end - 1, 40).astype(int):
        with pytest.raises(ModelError, match=r"model: is n(o whole (XGBoost|LightGBM) model|either LightGBM's)"):
            _read(content[:length], tmp_path)


def _first_tree(model: Any) -> Any:
    return model["learner"]["gradient_booster"]["model"]["trees"][0]


def _categorical_tree(model: Any) -> Any:
    return next(each for each in model["learner"]["gradient_booster"]["model"]["trees"] if each["categories"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: _first_tree(m)["left_children"].__setitem__(0, 10**6), "points outside itself or back"),
        (lambda m: _first_tree(m)["right_children"].__setitem__(0, 0), "points outside itself or back"),
        (lambda m: _first_tree(m)["left_children"].__setitem__(0, -1), "half a split"),
        (lambda m: _first_tree(m)["split_indices"].__setitem__(0, 3), "a feature that is not there"),
        (lambda m: _first_tree(m)["split_conditions"].pop(), "of split_conditions where it says"),
        (lambda m: _first_tree(m)["categories_sizes"].__setitem__(slice(None), [99] * 9), "categories"),
        (lambda m: _categorical_tree(m)["categories"].__setitem__(0, -(10**8)), "a category below 0"),
        (lambda m: _first_tree(m)["parents"].__setitem__(1, 10**8), "whose parent is outside it"),
        (lambda m: _first_tree(m)["parents"].__setitem__(0, 0), "whose parent is outside it"),
        (lambda m: m["learner"]["gradient_booster"]["model"]["tree_info"].__setitem__(0, 5), "tree_info"),
        (lambda m: m["learner"]["gradient_booster"]["model"]["iteration_indptr"].pop(), "iteration_indptr"),
        (lambda m: m["learner"]["attributes"].__setitem__("best_iteration", "40"), "best iteration"),
        (lambda m: m["learner"]["gradient_booster"].__setitem__("name", "gblinear"), "a booster without trees"),
        (lambda m: m["learner"].pop("objective"), "it has no 'objective'"),
    ],
)
def test_xgboost_that_does_not_hold_together(
    change: Callable[[Any], object], words: str, written: dict[str, bytes], tmp_path: Path
) -> None:
    """XGBoost loads such trees and reads memory that is not theirs: they are refused before."""
    model = json.loads(written["json"])
    change(model)
    with pytest.raises(ModelError, match=words):
        _read(json.dumps(model).encode(), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("left_child=1", "left_child=9", "points outside itself"),
        ("right_child=", "right_child=0 ", "where it says"),
        ("split_feature=", "split_feature=7", "a feature that is not there"),
        ("cat_boundaries=0", "cat_boundaries=1", "fewer categories"),
        ("num_leaves=7", "num_leaves=6", "of leaf_value where it says 6"),
        ("Tree=1", "Tree=3", "not where tree_sizes says"),
        ("end of trees", "end of tree", "a line `end of trees`"),
        ("num_class=1", "num_class=3", "number of classes"),
        ("objective=binary sigmoid:1", "objective=m num_class:3000", "number of classes"),
        ("max_feature_idx=2", "max_feature_idx=1", "not those that it names"),
    ],
)
def test_lightgbm_that_does_not_hold_together(
    old: str, new: str, words: str, written: dict[str, bytes], tmp_path: Path
) -> None:
    """The same of LightGBM's, also where what was changed is as long as before."""
    text = written["txt"].decode()
    assert old in text
    changed = text.replace(old, new, 1)
    grown = len(changed) - len(text)
    if grown:  # so that the tree is still where the header says
        first = text.split("tree_sizes=")[1].split()[0]
        changed = changed.replace(f"tree_sizes={first}", f"tree_sizes={int(first) + grown}", 1)
    with pytest.raises(ModelError, match=words):
        _read(changed.encode(), tmp_path)


def test_xgboost_from_before_rounds_were_counted(written: dict[str, bytes], tmp_path: Path) -> None:
    """XGBoost 1 did not write where rounds end, and its files are read: every round has a tree an output."""
    model = json.loads(written["json"])
    del model["learner"]["gradient_booster"]["model"]["iteration_indptr"]
    model["learner"]["attributes"]["best_iteration"] = "2"
    assert _read(json.dumps(model).encode(), tmp_path).kept == 3
    model["learner"]["attributes"]["best_iteration"] = "4"
    with pytest.raises(ModelError, match="best iteration"):
        _read(json.dumps(model).encode(), tmp_path)


def test_linear_leaves(tmp_path: Path) -> None:
    """LightGBM's linear leaves are read where whole; a feature or a constant that is not there would end the process."""
    x = np.random.default_rng(0).normal(size=(300, 3))
    settings = {"objective": "regression", "linear_tree": True, "verbose": -1, "num_threads": 1, "num_leaves": 5}
    text = lightgbm.train(settings, lightgbm.Dataset(x, x[:, 0] * x[:, 1]), 3).model_to_string()
    assert _read(text.encode(), tmp_path).objective == "regression"
    last = text.rindex("\nleaf_features=") + len("\nleaf_features=")
    for place, words in ((last, "a feature that is not there"), (text.rindex("\nnum_features=") + 14, "it says")):
        changed = text[:place] + "9" + text[place + 1 :]
        assert len(changed) == len(text)
        with pytest.raises(ModelError, match=words):
            _read(changed.encode(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"binf", pickle.dumps({"learner": 1})])
def test_what_is_no_such_file(content: bytes, tmp_path: Path) -> None:
    """Anything else is refused by how it starts; a pickle is never opened."""
    with pytest.raises(ModelError, match="is neither LightGBM's text"):
        _read(content, tmp_path)


def test_no_file(tmp_path: Path) -> None:
    """A path with nothing behind it, and a folder."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ModelError, match="does not exist"):
            read_forest_file(path)


def test_another_signature(written: dict[str, bytes], tmp_path: Path) -> None:
    """What was said of a file must be true of it; how wide its floats are is free."""
    found = _read(written["json"], tmp_path)
    answer = found.signature.outputs
    for width, fits in ((3, True), (4, False)):
        said = Signature((Tensor("rows", "float64", ("n", width)),), answer)
        if fits:
            found.check(said, tmp_path)
            continue
        with pytest.raises(ModelError, match="takes 3 features and gives 1 numbers a row"):
            found.check(said, tmp_path)
