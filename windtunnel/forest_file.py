"""A ForestFile: what XGBoost's and LightGBM's own model files say of themselves, read without either library.

Neither library looks at what it loads: a file that was cut off, or a tree that points outside itself, ends the process or
never ends. So a file is seen to be whole here before a library is given it. Pickles are no such file, and are never read.

Source: XGBoost 3.2, `src/tree/tree_model.cc` and `src/gbm/gbtree_model.cc`; LightGBM 4.7, `src/io/tree.cpp` and
`src/boosting/gbdt_model_text.cpp`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.digest import digest_file
from windtunnel.errors import ModelError
from windtunnel.ubjson import decode_ubjson
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

Library = Literal["xgboost", "lightgbm"]
Form = Literal["json", "ubj", "txt"]

AGAIN = "save it again with Booster.save_model"

PER_SPLIT = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "internal_value", "internal_weight", "internal_count")  # fmt: skip
PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
"""The columns of a tree of LightGBM's: those with a number a split, and those with a number a leaf."""

CLASSIFY = frozenset({"binary:logistic", "multi:softprob", "multi:softmax", "binary", "multiclass", "multiclassova"})
"""Objectives of classes."""

CATEGORICAL = 1
"""The bit of LightGBM's `decision_type` that says so."""

NO_PARENT = (-1, 2**31 - 1)
"""What XGBoost calls the parent of a root."""


@dataclass(frozen=True)
class ForestFile:
    """A forest in the form in which its library keeps it.

    Args:
        library: that wrote it, and can run it.
        form: of the file: XGBoost's JSON or UBJSON, LightGBM's text; also its suffix.
        features: how many a row has.
        outputs: how many numbers a row is answered with.
        objective: as the library calls it; `custom` where LightGBM was not told.
        kept: so many rounds of trees are used, where early stopping left a best one; 0 where all are.
    """

    library: Library
    form: Form
    features: int
    outputs: int
    objective: str
    kept: int = 0

    @property
    def signature(self) -> Signature:
        """What it takes and gives, called as in the ONNX file that is made of it."""
        x = Tensor("x", "float32", ("batch", self.features))
        return Signature((x,), (Tensor("answer", "float32", ("batch", self.outputs)),))

    @property
    def classifies(self) -> bool:
        """Whether its answers are probabilities of classes."""
        return self.objective in CLASSIFY

    def check(self, signature: Signature, path: Path) -> None:
        """Refuse a signature that is not this forest's; how wide its floats are is free.

        Raises:
            ModelError: other numbers of inputs, outputs, features or answers.
        """
        sides = (signature.inputs, self.features), (signature.outputs, self.outputs)
        if any(len(tensors) != 1 or tensors[0].shape[1:] != (width,) for tensors, width in sides):
            raise ModelError(
                f"takes {self.features} features and gives {self.outputs} numbers a row, which is not what was said of it",
                file=path, fix="give the file that the variant was made from",
            )  # fmt: skip


def read_forest_file(path: Path) -> ForestFile:
    """See that a file is a whole forest of XGBoost's or LightGBM's.

    Args:
        path: the file; what it holds is told by how it starts.

    Raises:
        ModelError: missing, of neither library, cut off, or with a tree that points outside itself or back.
    """
    if not path.is_file():
        raise ModelError("does not exist", file=path, fix="give the path of the saved model")
    # it is opened often, and looked at once
    return _read(digest_file(path), path)


@lru_cache(maxsize=32)
def _read(_digest: str, path: Path) -> ForestFile:
    content = path.read_bytes()
    known = {b"t": ("LightGBM", _read_text), b"{": ("XGBoost", _read_document)}
    if content[:1] not in known:
        raise ModelError(
            "is neither LightGBM's text, which starts with `tree`, nor XGBoost's JSON or UBJSON", file=path, fix=AGAIN
        )
    library, read = known[content[:1]]
    try:
        return read(content)
    # RecursionError: JSON that is nested without end
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ModelError(f"is no whole {library} model ({reason})", file=path, fix=AGAIN) from error


# XGBoost.


def _read_document(content: bytes) -> ForestFile:
    form: Form = "json" if content[1:2].isspace() or content[1:2] in {b'"', b"}"} else "ubj"
    learner = (json.loads(content) if form == "json" else decode_ubjson(content))["learner"]
    booster, shape = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] not in {"gbtree", "dart"}:
        raise ValueError(f"{booster['name']} is a booster without trees")
    grown = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    features = int(shape["num_feature"])
    outputs = max(int(shape["num_class"]), int(shape.get("num_target", 1)), 1)
    for number, tree in enumerate(grown["trees"]):
        _check_grown(tree, number, features)
    trees, ends = len(grown["trees"]), _ends(grown, outputs)
    if not _between(_whole(grown["tree_info"]), 0, outputs) or len(grown["tree_info"]) != trees:
        raise ValueError("tree_info does not say of each tree what it adds to")
    if not len(ends) or ends[0] != 0 or ends[-1] != trees or (np.diff(ends) < 0).any():
        raise ValueError("iteration_indptr does not count its trees")
    if booster["name"] == "dart" and len(booster["weight_drop"]) != trees:
        raise ValueError("weight_drop does not weigh each tree")
    best = learner.get("attributes", {}).get("best_iteration")
    kept = int(best) + 1 if best is not None else 0
    if best is not None and not 1 <= kept < len(ends):
        raise ValueError("its best iteration is not among its iterations")
    return ForestFile("xgboost", form, features, outputs, str(learner["objective"]["name"]), kept)


def _ends(grown: Mapping[str, Any], outputs: int) -> Ints:
    """Where each round's trees end; before XGBoost 2 every round had as many, and none was said."""
    if "iteration_indptr" in grown:
        return _whole(grown["iteration_indptr"])
    each = max(1, int(grown["gbtree_model_param"].get("num_parallel_tree", 1))) * outputs
    return np.arange(0, len(grown["trees"]) + 1, each, dtype=np.int64)


def _check_grown(tree: Mapping[str, Any], number: int, features: int) -> None:
    """A tree of XGBoost's holds together: every node points at two behind it, or at none."""
    names = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    nodes = int(tree["tree_param"]["num_nodes"])
    _check_lengths({name: len(tree[name]) for name in names}, nodes, number)
    left, right, asked = (_whole(tree[name]) for name in names[:3])
    inner = left != -1
    if not nodes or int(tree["tree_param"]["size_leaf_vector"]) > 1 or (inner != (right != -1)).any():
        raise ValueError(f"tree {number} is empty, or has half a split or a vector in each leaf")
    places = np.arange(nodes)[inner]
    _check_links(left[inner], right[inner], places, nodes, number)
    parents = _whole(tree["parents"])
    _check_lengths({"parents": len(parents)}, nodes, number)
    if parents[0] not in NO_PARENT or (parents[1:] < 0).any() or (parents >= np.arange(nodes))[1:].any():
        raise ValueError(f"tree {number} has a node whose parent is outside it or behind it")
    if not _between(asked[inner], 0, features):
        raise ValueError(f"tree {number} asks for a feature that is not there")
    starts, sizes, told = (_whole(tree[f"categories_{name}"]) for name in ("segments", "sizes", "nodes"))
    _check_lengths({"categories_segments": len(starts), "categories_sizes": len(sizes)}, len(told), number)
    if not (_between(told, 0, nodes) and _between(starts, 0, None) and _between(sizes, 0, None)):
        raise ValueError(f"tree {number} has categories of a node that is not there")
    if len(told) and int((starts + sizes).max()) > len(tree["categories"]):
        raise ValueError(f"tree {number} has fewer categories than it says")
    if len(told) and not _between(_whole(tree["categories"]), 0, None):
        raise ValueError(f"tree {number} has a category below 0")


# LightGBM.


def _read_text(content: bytes) -> ForestFile:
    if not content.startswith(b"tree\n") or b"\nend of trees\n" not in content:
        raise ValueError("it starts with `tree` and has a line `end of trees`")
    start = content.find(b"\nTree=") + 1 or content.find(b"\nend of trees\n") + 1
    head = _fields(content[:start])
    features, outputs = int(head["max_feature_idx"]) + 1, int(head["num_tree_per_iteration"])
    if not (1 <= features == len(head["feature_names"].split()) and outputs >= 1):
        raise ValueError("its numbers of features and outputs are not those that it names")
    for number, size in enumerate(map(int, head["tree_sizes"].split())):
        block = content[start : start + max(0, size)]
        if not block.startswith(b"Tree=%d\n" % number) or b"\nTree=" in block or b"\nend of trees" in block:
            raise ValueError(f"tree {number} is not where tree_sizes says it is")
        _check_block(_fields(block), number, features)
        start += size
    if not content[start:].startswith(b"end of trees\n"):
        raise ValueError("its trees do not end where tree_sizes says they do")
    objective = head.get("objective", "").split()
    classes = [each.partition(":")[2] for each in objective if each.startswith("num_class:")]
    if any(int(each) != outputs for each in (head["num_class"], *classes)):
        raise ValueError("its number of classes is not that of its trees a round")
    return ForestFile("lightgbm", "txt", features, outputs, objective[0] if objective else "custom")


def _fields(block: bytes) -> dict[str, str]:
    parts = (line.partition("=") for line in block.decode().splitlines())
    return {key: value for key, equals, value in parts if equals}


def _check_block(tree: Mapping[str, str], number: int, features: int) -> None:
    """A tree of LightGBM's holds together: inner nodes point at inner nodes behind them, or at leaves, which count from −1 down."""
    leaves = int(tree["num_leaves"])
    columns = {name: tree[name].split() for name in (*PER_SPLIT, *PER_LEAF) if name in tree}
    _check_lengths({"leaf_value": len(columns["leaf_value"])}, leaves, number)
    if int(tree.get("is_linear", "0")):
        _check_linear(tree, leaves, number, features)
    if leaves == 1:
        return  # the library reads no further
    _check_lengths({name: len(columns[name]) for name in PER_LEAF if name in columns}, leaves, number)
    _check_lengths({name: len(columns[name]) for name in PER_SPLIT if name in columns}, leaves - 1, number)
    asked, left, right = (_whole(columns[name]) for name in ("split_feature", "left_child", "right_child"))
    if not _between(asked, 0, features):
        raise ValueError(f"tree {number} asks for a feature that is not there")
    if not (_between(left, -leaves, leaves - 1) and _between(right, -leaves, leaves - 1)):
        raise ValueError(f"tree {number} points outside itself")
    places = np.arange(leaves - 1)
    # a leaf lies behind every inner node
    yes, no = (np.where(each >= 0, each, leaves - 1) for each in (left, right))
    _check_links(yes, no, places, leaves, number)
    _check_members(tree, columns, number)


def _check_linear(tree: Mapping[str, str], leaves: int, number: int, features: int) -> None:
    """Where leaves are linear, each has its constant, and its features with a coefficient each."""
    counts, asked = (_whole(tree[name].split()) for name in ("num_features", "leaf_features"))
    _check_lengths({"leaf_const": len(tree["leaf_const"].split()), "num_features": len(counts)}, leaves, number)
    if not _between(counts, 0, len(asked) + 1):
        raise ValueError(f"tree {number} has fewer features in its leaves than it says")
    lengths = {"leaf_features": len(asked), "leaf_coeff": len(tree["leaf_coeff"].split())}
    _check_lengths(lengths, int(counts.sum()), number)
    if not _between(asked, 0, features):
        raise ValueError(f"tree {number} asks for a feature that is not there")


def _check_members(tree: Mapping[str, str], columns: Mapping[str, Sequence[str]], number: int) -> None:
    """Where a split is by categories, its threshold is the number of a stretch of words, which are there."""
    kinds = _whole(columns["decision_type"]) if "decision_type" in columns else np.zeros(1, np.int64)
    chosen = np.flatnonzero(kinds & CATEGORICAL)
    if not len(chosen):
        return
    bounds, words = (_whole(tree[name].split()) for name in ("cat_boundaries", "cat_threshold"))
    asked = np.array([float(columns["threshold"][int(place)]) for place in chosen])
    whole = len(bounds) == int(tree["num_cat"]) + 1 and bounds[0] == 0 and bounds[-1] == len(words)
    if not whole or (np.diff(bounds) < 0).any() or not _between(asked, 0, len(bounds) - 1):
        raise ValueError(f"tree {number} has fewer categories than it says")


# Both.


def _whole(values: Sequence[Any] | NDArray[Any]) -> Ints:
    return np.asarray(values, dtype=np.int64)


def _between(values: NDArray[Any], low: int, high: int | None) -> bool:
    return bool((values >= low).all() and (high is None or (values < high).all()))


def _check_lengths(lengths: Mapping[str, int], wanted: int, number: int) -> None:
    for name, length in lengths.items():
        if length != wanted:
            raise ValueError(f"tree {number} has {length} of {name} where it says {wanted}")


def _check_links(left: Ints, right: Ints, places: Ints, nodes: int, number: int) -> None:
    for child in (left, right):
        if (child <= places).any() or (child >= nodes).any():
            raise ValueError(f"tree {number} points outside itself or back")
