"""An XGBoost model, as its JSON document, read as a Forest.

Source: XGBoost 3.2, `src/tree/tree_model.cc` (the format), `include/xgboost/tree_model.h` and `src/common/categorical.h` (what
goes left), and the `PredTransform` and `ProbToMargin` of each objective in `src/objective/`.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .forest import Forest, Link, Node, Tree, check_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LINKS: dict[str, Link] = {
    "binary:logistic": "logistic", "reg:logistic": "logistic", "binary:logitraw": "identity",
    "multi:softprob": "softmax", "multi:softmax": "softmax",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp", "survival:cox": "exp", "survival:aft": "exp",
    "reg:squarederror": "identity", "reg:squaredlogerror": "identity", "reg:pseudohubererror": "identity",
    "reg:absoluteerror": "identity", "reg:quantileerror": "identity", "reg:expectileerror": "identity",
    "rank:ndcg": "identity", "rank:pairwise": "identity", "rank:map": "identity",
}  # fmt: skip
"""From XGBoost's objectives to what becomes of the sums; `multi:softmax` gives the probabilities of its classes."""

CATEGORICAL = 1
"""`split_type` of a node that asks for membership."""


def read_xgboost(text: str | bytes, file: str = "the model") -> Forest:
    """Read the JSON that `Booster.save_model` writes.

    Where early stopping left a best iteration, the trees behind it are not used, as scikit-learn's interface does not.

    Args:
        text: all of it.
        file: named in refusals.

    Raises:
        ModelError: cut off, not XGBoost's, or of a booster or objective that is not known.
    """
    try:
        learner = json.loads(text)["learner"]
        return _forest(learner, file)
    # RecursionError: JSON that is nested without end
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelError(
            f"is no whole XGBoost model ({type(error).__name__}: {error})",
            file=file,
            fix="save it again with Booster.save_model",
        ) from error


def _forest(learner: Mapping[str, Any], file: str) -> Forest:
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]
    if booster["name"] not in {"gbtree", "dart"}:
        raise ModelError(
            "is a booster without trees", file=file, field="booster", value=booster["name"], fix="train with gbtree"
        )
    if objective not in LINKS:
        raise ModelError(
            "is an objective that is not known here",
            file=file, field="objective", value=objective, fix="known: " + ", ".join(LINKS),
        )  # fmt: skip
    grown = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    shape = learner["learner_model_param"]
    outputs = max(int(shape["num_class"]), int(shape.get("num_target", 1)), 1)
    check_size(int(shape["num_feature"]), outputs, file)
    drops = booster["weight_drop"] if booster["name"] == "dart" else [1.0] * len(grown["trees"])
    last = kept_trees(learner, grown)
    rows = list(zip(grown["trees"], grown["tree_info"], drops, strict=True))[:last]
    trees = tuple(Tree(_nodes(tree, weight, file), output) for tree, output, weight in rows)
    return Forest(
        int(shape["num_feature"]), outputs, trees, _base(shape["base_score"], objective, outputs), LINKS[objective],
        "float32", fractions="down", names=tuple(learner.get("feature_names", ())),
    )  # fmt: skip


def kept_trees(learner: Mapping[str, Any], grown: Mapping[str, Any]) -> int:
    """How many trees are used: those up to the best iteration, where early stopping left one."""
    best = learner.get("attributes", {}).get("best_iteration")
    return int(grown["iteration_indptr"][int(best) + 1]) if best is not None else len(grown["trees"])


def _base(text: str, objective: str, outputs: int) -> tuple[float, ...]:
    """What each sum starts from; a number before XGBoost 3, a list in brackets since, on the scale of the answers."""
    values = [float(each) for each in text.strip("[]").split(",")]
    values = values * outputs if len(values) == 1 else values
    if len(values) != outputs:
        raise ValueError(f"base_score has {len(values)} numbers for {outputs} outputs")
    if LINKS[objective] == "logistic":
        return tuple(math.log(value / (1.0 - value)) for value in values)
    return tuple(math.log(value) for value in values) if LINKS[objective] == "exp" else tuple(values)


def _nodes(tree: Mapping[str, Any], weight: float, file: str) -> tuple[Node, ...]:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise ModelError(
            "has trees with a vector in each leaf, which is not read here",
            file=file, fix="train with multi_strategy='one_output_per_tree'",
        )  # fmt: skip
    sets = _categories(tree)
    columns = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    rows = zip(*(tree[name] for name in columns), strict=True)
    return tuple(_node(row, sets.get(place), weight) for place, row in enumerate(rows))


def _categories(tree: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    """By node, the categories that go right."""
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {node: tuple(tree["categories"][start : start + size]) for node, start, size in spans}


def _node(row: Sequence[Any], categories: tuple[int, ...] | None, weight: float) -> Node:
    left, right, feature, condition, default_left = row
    if left == -1:
        return Node("leaf", float(condition) * float(weight))
    if categories is not None:
        return Node("in", 0.0, feature, right, left, missing_yes=not default_left, members=categories)
    # the text is the shortest that gives back the float32; as a float64 it would lie beside it
    return Node("<", float(np.float32(condition)), feature, left, right, bool(default_left))
