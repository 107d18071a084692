"""scikit-learn's histogram gradient boosting, read as a Forest.

Source: scikit-learn 1.9, `sklearn/ensemble/_hist_gradient_boosting/_predictor.pyx` (`_predict_one_from_raw_data`) and
`gradient_boosting.py` (`_preprocess_X`, which encodes categories and puts them first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .forest import Forest, Link, Node, Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LINKS: dict[str, Link] = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "logistic",
    "HalfLogitLink": "logistic",
    "MultinomialLogit": "softmax",
}
"""From the links of scikit-learn's losses to ours."""


def read_hist(model: Any) -> Forest:
    """Read a fitted `HistGradientBoostingClassifier` or `HistGradientBoostingRegressor`.

    Raises:
        ModelError: its categories are no numbers, or its nodes make no tree.
    """
    order, categories = _columns(model)
    trees = tuple(
        Tree(_nodes(grown, order, categories), output)
        for iteration in model._predictors  # noqa: SLF001  # scikit-learn gives the trees no public name
        for output, grown in enumerate(iteration)
    )
    base = tuple(float(each) for each in np.ravel(model._baseline_prediction))  # noqa: SLF001  # as above
    link = LINKS[type(model._loss.link).__name__]  # noqa: SLF001  # as above
    return Forest(int(model.n_features_in_), len(base), trees, base, link, fractions="kept", nearest=True)


def _columns(model: Any) -> tuple[NDArray[np.int64], Mapping[int, NDArray[Any]]]:
    """Where each column that the trees see comes from, and the categories of those that have some."""
    asked = model.is_categorical_
    if asked is None:
        return np.arange(model.n_features_in_), {}
    known = model._preprocessor.named_transformers_["encoder"].categories_  # noqa: SLF001  # the encoder has no public name
    first = np.flatnonzero(asked)
    for column, values in zip(first, known, strict=True):
        if np.asarray(values).dtype.kind not in "biuf":
            raise ModelError(
                "is a category in text, which this model's trees take only from a frame",
                field=f"column {column}",
                value=str(values[0]),
                fix="put an OrdinalEncoder in front of it, in a pipeline",
            )
    order = np.concatenate([first, np.flatnonzero(~asked)])
    return order, dict(zip(first.tolist(), known, strict=True))


def _nodes(grown: Any, order: NDArray[np.int64], categories: Mapping[int, NDArray[Any]]) -> tuple[Node, ...]:
    return tuple(_node(row, grown.raw_left_cat_bitsets, order, categories) for row in grown.nodes)


def _node(
    row: Any, bitsets: NDArray[np.uint32], order: NDArray[np.int64], categories: Mapping[int, NDArray[Any]]
) -> Node:
    if row["is_leaf"]:
        return Node("leaf", float(row["value"]))
    feature, left, right = int(order[row["feature_idx"]]), int(row["left"]), int(row["right"])
    missing_left = bool(row["missing_go_to_left"])
    if not row["is_categorical"]:
        return Node("<=", float(row["num_threshold"]), feature, left, right, missing_left)
    words = bitsets[row["bitset_idx"]]
    values = categories[feature]
    codes = range(int(np.sum(~np.isnan(values.astype(np.float64)))))
    goes_left = {code: bool(int(words[code // 32]) >> (code % 32) & 1) for code in codes}
    # what is not known goes where missing values go: so membership is asked of the other side
    wanted = tuple(float(values[code]) for code in codes if goes_left[code] != missing_left)
    yes, no = (right, left) if missing_left else (left, right)
    return Node("in", 0.0, feature, yes, no, members=wanted) if wanted else Node("<", -np.inf, feature, yes, no)
