"""A LightGBM model file, as text, read as a Forest.

Source: LightGBM 4.7, `src/io/tree.cpp` (the format), `include/LightGBM/tree.h` (`NumericalDecision`, `CategoricalDecision`) and
the `ConvertOutput` of each objective in `src/objective/`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from windtunnel.errors import ModelError

from .forest import ZERO, Forest, Link, Node, Tree, check_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = Mapping[str, str]

LINKS: dict[str, Link] = {
    "binary": "logistic", "cross_entropy": "logistic", "cross_entropy_lambda": "softplus",
    "multiclass": "softmax", "multiclassova": "logistic",
    "poisson": "exp", "gamma": "exp", "tweedie": "exp",
    "regression": "identity", "regression_l1": "identity", "huber": "identity", "fair": "identity",
    "quantile": "identity", "mape": "identity", "lambdarank": "identity", "rank_xendcg": "identity", "custom": "identity",
}  # fmt: skip
"""From LightGBM's objectives to what becomes of the sums."""

CATEGORICAL, DEFAULT_LEFT = 1, 2
"""Bits of `decision_type`; the two above them say what counts as missing."""

MISSING_ZERO, MISSING_NAN = 1, 2


def read_lightgbm(text: str, file: str = "the model") -> Forest:
    """Read the text that `Booster.save_model` writes.

    Args:
        text: all of it.
        file: named in refusals.

    Raises:
        ModelError: cut off, not LightGBM's, or with linear trees or an objective that is not known.
    """
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    if not text.startswith("tree\n") or "\nend of trees" not in text:
        raise ModelError(
            "is no whole LightGBM model: it starts with `tree` and has a line `end of trees`",
            file=file,
            fix="save it again with Booster.save_model",
        )
    try:
        return _forest(_fields(head), [_fields(block) for block in blocks], file)
    except (KeyError, ValueError, IndexError, ArithmeticError) as error:
        raise ModelError(
            f"is no whole LightGBM model ({type(error).__name__}: {error})", file=file, fix="save it again"
        ) from error


def _fields(block: str) -> dict[str, str]:
    parts = (line.partition("=") for line in block.splitlines())
    return {key: value if equals else "yes" for key, equals, value in parts}


def _forest(head: Fields, blocks: list[dict[str, str]], file: str) -> Forest:
    objective, *settings = head.get("objective", "custom").split()
    if objective not in LINKS:
        raise ModelError(
            "is an objective that is not known here",
            file=file, field="objective", value=objective, fix="known: " + ", ".join(LINKS),
        )  # fmt: skip
    if len(blocks) != len(head["tree_sizes"].split()):
        raise ModelError(
            f"has {len(blocks)} trees where it says {len(head['tree_sizes'].split())}", file=file, fix="save it again"
        )
    outputs, features = int(head["num_tree_per_iteration"]), int(head["max_feature_idx"]) + 1
    check_size(features, outputs, file)
    scale = _steepness(settings) if objective in {"binary", "multiclassova"} else 1.0
    scale /= len(blocks) / outputs if "average_output" in head else 1.0
    zeros: set[int] = set()
    trees = tuple(Tree(_nodes(block, scale, zeros, file), place % outputs) for place, block in enumerate(blocks))
    link = "signed-square" if objective == "regression" and "sqrt" in settings else LINKS[objective]
    return Forest(
        features, outputs, trees, (0.0,) * outputs, link,
        zero_is_missing=frozenset(zeros), names=tuple(head.get("feature_names", "").split()),
    )  # fmt: skip


def _steepness(settings: list[str]) -> float:
    """`sigmoid:1` among an objective's settings: what sums are multiplied with before the logistic function."""
    found = [each.partition(":")[2] for each in settings if each.startswith("sigmoid:")]
    return float(found[0]) if found else 1.0


def _nodes(block: Fields, scale: float, zeros: set[int], file: str) -> tuple[Node, ...]:
    """A tree's nodes: the inner ones in LightGBM's order, then the leaves, which it counts −1, −2 and so on."""
    if block.get("is_linear", "0") != "0":
        raise ModelError("is a linear tree, which ONNX cannot express", file=file, fix="train with linear_tree=false")
    leaves = [Node("leaf", float(value) * scale) for value in block["leaf_value"].split()]
    if len(leaves) != int(block["num_leaves"]):
        raise ModelError(
            f"has {len(leaves)} leaves where it says {block['num_leaves']}", file=file, fix="save it again"
        )
    if len(leaves) == 1:
        return tuple(leaves)
    columns = [
        block[name].split() for name in ("split_feature", "threshold", "decision_type", "left_child", "right_child")
    ]
    inner = [_inner(block, *row, turns=len(leaves) - 1, zeros=zeros) for row in zip(*columns, strict=True)]
    if len(inner) != len(leaves) - 1:
        raise ModelError(f"has {len(inner)} splits and {len(leaves)} leaves", file=file, fix="save it again")
    return (*inner, *leaves)


def _inner(
    block: Fields, feature: str, threshold: str, decision: str, left: str, right: str, *, turns: int, zeros: set[int]
) -> Node:
    yes, no = (child if child >= 0 else turns + ~child for child in (int(left), int(right)))
    asked, bits = int(feature), int(decision)
    if bits & CATEGORICAL:
        return Node("in", 0.0, asked, yes, no, members=_members(block, int(float(threshold))))
    missing = bits >> 2 & 3
    if missing == MISSING_ZERO:
        zeros.add(asked)
    turn = _beside_zero(float(threshold))
    # where nothing counts as missing, NaN is taken for zero
    missing_yes = bool(bits & DEFAULT_LEFT) if missing else turn >= 0.0
    return Node("<=", turn, asked, yes, no, missing_yes)


def _beside_zero(threshold: float) -> float:
    """LightGBM feeds its trees zero for whatever is `ZERO` or nearer: all of that must stay on one side."""
    if abs(threshold) > ZERO:
        return threshold
    return ZERO if threshold >= 0.0 else math.nextafter(-ZERO, -math.inf)


def _members(block: Fields, place: int) -> tuple[int, ...]:
    """The categories that go left: the bits that are set in one stretch of 32-bit words."""
    bounds = [int(each) for each in block["cat_boundaries"].split()]
    words = [int(each) for each in block["cat_threshold"].split()][bounds[place] : bounds[place + 1]]
    return tuple(32 * number + bit for number, word in enumerate(words) for bit in range(32) if word >> bit & 1)
