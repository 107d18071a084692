"""Trees inside scikit-learn's pipelines: found, checked, and converted by our own hand where skl2onnx cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .extra import load_extra
from .forest import Forest, Width, operators
from .hist_forest import read_hist
from .lightgbm_forest import read_lightgbm
from .xgboost_forest import read_xgboost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BOOSTED = {
    "HistGradientBoostingClassifier": "sklearn.ensemble",
    "HistGradientBoostingRegressor": "sklearn.ensemble",
    "LGBMClassifier": "lightgbm",
    "LGBMRegressor": "lightgbm",
    "LGBMRanker": "lightgbm",
    "XGBClassifier": "xgboost",
    "XGBRegressor": "xgboost",
    "XGBRanker": "xgboost",
    "XGBRFClassifier": "xgboost",
    "XGBRFRegressor": "xgboost",
}
"""Estimators that are read as a Forest, and the package each comes from."""


OURS = "Forest"
"""What the names of our own operators begin with."""


def read_boosted(model: Any) -> Forest:
    """Read a fitted estimator of `BOOSTED`.

    Raises:
        ModelError: something in it cannot be expressed; or XGBoost with a missing value of its own.
    """
    name = type(model).__name__
    if name.startswith("Hist"):
        return read_hist(model)
    if name.startswith("LGBM"):
        return read_lightgbm(model.booster_.model_to_string(), name)
    if model.missing is not None and not np.isnan(model.missing):
        raise ModelError(
            "is taken for missing, which ONNX's trees do for NaN only",
            field=f"{name}.missing",
            value=model.missing,
            fix="write NaN into the data, and train with missing=nan",
        )
    return read_xgboost(bytes(model.get_booster().save_raw("json")), name)


def find_thresholds(model: Any) -> list[NDArray[np.float64]]:
    """The thresholds of an estimator's trees, feature by feature; empty where it has none."""
    if type(model).__name__ in BOOSTED:
        return read_boosted(model).thresholds()
    trees = [each.tree_ for each in parts_of(model) if hasattr(each, "tree_")]
    if not trees or not hasattr(model, "n_features_in_"):
        return []
    features = np.concatenate([tree.feature for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    return [np.unique(thresholds[features == place]) for place in range(model.n_features_in_)]


def parts_of(model: Any) -> Iterator[Any]:
    """An estimator and all those that it is made of, however deep."""
    yield model
    inner = [step for _, step in getattr(model, "steps", ())]
    inner += [each for _, each, _ in getattr(model, "transformers_", ())]
    inner += [each for _, each in getattr(model, "transformer_list", ())]
    inner += list(np.ravel(np.array(getattr(model, "estimators_", ()), dtype=object)))
    inner += [getattr(each, "estimator", None) for each in getattr(model, "calibrated_classifiers_", ())]
    inner += [
        getattr(model, name, None) for name in ("final_estimator_", "estimator_", "best_estimator_", "_preprocessor")
    ]
    for each in inner:
        if hasattr(each, "get_params"):
            yield from parts_of(each)


def check_trees(model: Any, source: str) -> None:
    """Look at every tree before it is asked anything: scikit-learn follows its nodes without looking where they point.

    Raises:
        ModelError: a node points outside its tree or back, or asks for a feature that is not there.
    """
    for part in parts_of(model):
        if hasattr(part, "tree_"):
            tree = part.tree_
            _check_nodes(tree.children_left, tree.children_right, tree.feature, tree.n_features, source)
        if type(part).__name__.startswith("Hist") and hasattr(part, "_predictors"):
            read_hist(part)


def _check_nodes(left: Any, right: Any, feature: Any, features: int, source: str) -> None:
    here = np.arange(len(left))
    inner = left != -1
    low, high = np.minimum(left, right)[inner], np.maximum(left, right)[inner]
    asked = feature[inner]
    if (low <= here[inner]).any() or (high >= len(left)).any() or (asked < 0).any() or (asked >= features).any():
        raise ModelError("has a tree whose nodes point outside it or back", field=source, fix="save the model again")


def register_forests() -> None:
    """Teach skl2onnx our conversion of boosted trees, of those packages that are installed.

    Its own fails on the newest histogram gradient boosting (attributes of numpy's types), and has none for the others.
    """
    skl2onnx = load_extra("skl2onnx", "sklearn")
    import importlib.util

    for name, package in BOOSTED.items():
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            continue
        kind = getattr(load_extra(package, "sklearn"), name)
        classifies = name.endswith("Classifier")
        skl2onnx.update_registered_converter(
            kind, f"Windtunnel{name}", _shapes(classifies=classifies), _convert, overwrite=True,
            options={"zipmap": [False], "nocl": [True, False]} if classifies else None,
        )  # fmt: skip


def _shapes(*, classifies: bool) -> Callable[[Any], None]:
    def shapes(operator: Any) -> None:
        from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

        rows, model = operator.inputs[0].get_first_dimension(), operator.raw_operator
        if classifies:
            operator.outputs[0].type = Int64TensorType([rows])
            operator.outputs[1].type = FloatTensorType([rows, len(model.classes_)])
        else:
            operator.outputs[0].type = FloatTensorType([rows, 1])

    return shapes


def _convert(scope: Any, operator: Any, container: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    forest = read_boosted(operator.raw_operator)
    width: Width = "float64" if isinstance(operator.inputs[0].type, DoubleTensorType) else "float32"
    *label, answer = ["", *(output.full_name for output in operator.outputs)][-2:]
    classes = _class_numbers(operator.raw_operator) if label[0] else ()
    made, constants = operators(forest, operator.inputs[0].full_name, answer, width, label[0], classes)
    for name, value in constants.items():
        container.add_initializer(name, _element_type(value), value.shape, value.ravel().tolist())
    for each in made:
        container.add_node(
            each.kind, list(each.inputs), list(each.outputs), op_domain=each.domain,
            name=scope.get_unique_operator_name(OURS), **each.attributes,
        )  # fmt: skip


def _class_numbers(model: Any) -> tuple[int, ...]:
    """The classes, or their places where they are no whole numbers."""
    classes = np.asarray(model.classes_)
    return tuple(map(int, classes)) if classes.dtype.kind in "iub" else tuple(range(len(classes)))


def _element_type(value: NDArray[Any]) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(value.dtype))
