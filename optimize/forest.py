"""A Forest: decision trees whose leaves are summed, whoever grew them, and the ONNX operators that say the same.

ONNX compares float32 with float32. A threshold of float64 is therefore moved to the float32 that splits all float32 values as
it does: down for `x <= t`, up for `x < t`. Nothing is lost by that, where rounding to the nearest would send rows that sit
next to a threshold the other way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    from numpy.typing import NDArray

Test = Literal["<=", "<", "in", "leaf"]
Link = Literal["identity", "logistic", "softmax", "exp", "softplus", "signed-square"]
Width = Literal["float32", "float64"]

TREES = "TreeEnsembleRegressor"
ML = "ai.onnx.ml"
ML_OPSET, OPSET = 3, 18
"""The ML operators of opset 3 take float64 thresholds; later ones are not in every runtime."""


MOST_FEATURES, MOST_OUTPUTS = 1_000_000, 10_000
"""A file of some bytes can claim any number of either, and memory is taken for each."""


class Node(NamedTuple):
    """One node: a question to one feature with the nodes to go on with, or a leaf.

    Args:
        test: `x <= value`, `x < value`, `x in members`, or `leaf`.
        value: the threshold, or what the leaf adds.
        feature: whose value is asked for.
        yes: the place of the next node in its tree where the answer is yes; after its parent.
        no: the same where it is no.
        missing_yes: whether NaN counts as yes.
        members: the categories of an `in`, one or more.
    """

    test: Test
    value: float
    feature: int = 0
    yes: int = 0
    no: int = 0
    missing_yes: bool = False
    members: tuple[float, ...] = ()


class Tree(NamedTuple):
    """A tree: its nodes, the root first, and the output to which its leaves are added."""

    nodes: tuple[Node, ...]
    output: int = 0


class Operator(NamedTuple):
    """One ONNX operator, before it has a graph to stand in."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str = ""
    attributes: dict[str, Any] = {}  # noqa: RUF012  # the default of a tuple's field, which nobody writes to


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves are summed and carried through a link.

    Args:
        features: how many a row has.
        outputs: how many numbers a row is answered with.
        trees: each with its output.
        base: what each output starts from.
        link: from the sums to the answers.
        compares: how wide the numbers are that the source compares: XGBoost and scikit-learn's forests round to float32 first.
        zero_is_missing: features in which zero counts as missing.
        fractions: of categories: `cut` off (−0.5 is category 0), rounded `down` (it is none), or `kept` (a category may be 1.5).
        names: of the features, where known.
        nearest: whether thresholds may be values of float64 data; see `split_point`.

    Raises:
        ModelError: a node points outside its tree or back, or asks for a feature that is not there.
    """

    features: int
    outputs: int
    trees: tuple[Tree, ...]
    base: tuple[float, ...]
    link: Link = "identity"
    compares: Width = "float64"
    zero_is_missing: frozenset[int] = frozenset()
    fractions: Literal["cut", "down", "kept"] = "cut"
    names: tuple[str, ...] = ()
    nearest: bool = False

    def __post_init__(self) -> None:
        for number, tree in enumerate(self.trees):
            if not tree.nodes or not 0 <= tree.output < self.outputs:
                raise ModelError("is empty or of an output that is not there", field=f"tree {number}")
            for place, node in enumerate(tree.nodes):
                _check_node(node, place, tree, self.features, number)

    @property
    def categorical(self) -> tuple[int, ...]:
        """The features that are asked for membership."""
        return tuple(sorted({node.feature for tree in self.trees for node in tree.nodes if node.test == "in"}))

    def thresholds(self) -> list[NDArray[np.float64]]:
        """For each feature the values at which some tree turns: thresholds and categories, sorted."""
        found: defaultdict[int, set[float]] = defaultdict(set)
        for tree in self.trees:
            for node in tree.nodes:
                if node.test != "leaf":
                    found[node.feature].update(map(float, node.members) if node.test == "in" else (node.value,))
        none = np.empty(0)
        return [np.array(sorted(found[at])) if at in found else none for at in range(self.features)]


def check_size(features: int, outputs: int, file: str) -> None:
    """Refuse what a model's header claims where no model has it, before anything is made of it.

    Raises:
        ModelError: none, or more than `MOST_FEATURES` or `MOST_OUTPUTS`.
    """
    for field, value, most in (("features", features, MOST_FEATURES), ("outputs", outputs, MOST_OUTPUTS)):
        if not 1 <= value <= most:
            raise ModelError(
                "is a number that no model is read with",
                file=file,
                field=field,
                value=value,
                fix=f"1 to {most:,} are read",
            )


def _check_node(node: Node, place: int, tree: Tree, features: int, number: int) -> None:
    if node.test == "leaf":
        return
    inside = place < node.yes < len(tree.nodes) and place < node.no < len(tree.nodes)
    if not inside or not 0 <= node.feature < features:
        raise ModelError(
            f"points outside itself or back at node {place}, or asks for feature {node.feature} of {features}",
            field=f"tree {number}", fix="save the model again",
        )  # fmt: skip


def split_point(threshold: float, test: Test, *, nearest: bool = False) -> float:
    """The float32 that parts all float32 values as a float64 threshold does.

    Args:
        threshold: of the source.
        test: `<=` or `<`.
        nearest: part float64 values instead, which are rounded before they are compared: those that are the threshold itself
            must stay on its side, for it may be a value of the data. Not where it lies halfway between two float32
            values, as trees put it between two values of the data: then these two are parted, and itself goes with the one
            that it is rounded to.

    Example:
        >>> float(np.float32(0.1)) > 0.1, split_point(0.1, "<=") < 0.1, split_point(0.1, "<") > 0.1
        (True, True, True)
        >>> bool(split_point(0.1, "<=", nearest=True) == np.float32(0.1)), split_point(-1e300, "<=")
        (True, -inf)
    """
    with np.errstate(over="ignore", under="ignore"):
        near = np.float32(threshold)
        low = np.nextafter(near, np.float32(-np.inf))
    if test == "<=" and float(near) > threshold:
        halfway = threshold - float(low) <= float(near) - threshold
        return float(near) if nearest and not halfway else float(low)
    if test == "<" and float(near) < threshold:
        return float(np.nextafter(near, np.float32(np.inf)))
    return float(near)


MODES = {"<=": "BRANCH_LEQ", "<": "BRANCH_LT", "in": "BRANCH_EQ", "leaf": "LEAF"}


class _Flat(NamedTuple):
    """A node as ONNX has it: membership is a chain of equalities."""

    mode: str
    feature: int
    value: float
    yes: int
    no: int
    missing: bool


def _flatten(tree: Tree) -> Iterator[_Flat]:
    """The tree's nodes in their places, and behind them the further links of each chain.

    All links of a chain go on at the same node where they meet; ONNX Runtime takes that, and makes a set of it again.
    """
    behind: list[_Flat] = []
    for node in tree.nodes:
        if node.test != "in":
            yield _Flat(MODES[node.test], node.feature, node.value, node.yes, node.no, node.missing_yes)
            continue
        start = len(tree.nodes) + len(behind)
        rest = len(node.members) - 1
        places = [start + link for link in range(rest)] + [node.no]
        chain = [
            _Flat("BRANCH_EQ", node.feature, float(member), node.yes, after, node.missing_yes)
            for member, after in zip(node.members, places, strict=True)
        ]
        yield chain[0]
        behind += chain[1:]
    yield from behind


def tree_attributes(forest: Forest, width: Width) -> dict[str, Any]:
    """The attributes of ONNX's `TreeEnsembleRegressor`, thresholds parted in `width`."""
    columns: dict[str, list[Any]] = {name: [] for name in ("tree", "node", "feature", "mode", "yes", "no", "missing")}
    values: list[float] = []
    leaves: dict[str, list[Any]] = {name: [] for name in ("tree", "node", "output")}
    weights: list[float] = []
    for number, tree in enumerate(forest.trees):
        for place, flat in enumerate(_flatten(tree)):
            leaf = flat.mode == "LEAF"
            row = (number, place, flat.feature, flat.mode, flat.yes, flat.no, int(flat.missing))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            values.append(0.0 if leaf else _stored(flat, width, nearest=forest.nearest))
            if leaf:
                weights.append(flat.value)
                for column, value in zip(leaves.values(), (number, place, tree.output), strict=True):
                    column.append(value)
    named = {
        "nodes_treeids": columns["tree"], "nodes_nodeids": columns["node"], "nodes_featureids": columns["feature"],
        "nodes_modes": columns["mode"], "nodes_truenodeids": columns["yes"], "nodes_falsenodeids": columns["no"],
        "nodes_missing_value_tracks_true": columns["missing"], "target_treeids": leaves["tree"],
        "target_nodeids": leaves["node"], "target_ids": leaves["output"],
        "n_targets": forest.outputs, "aggregate_function": "SUM", "post_transform": "SOFTMAX" if forest.link == "softmax" else "NONE",
    }  # fmt: skip
    return named | _floats({"nodes_values": values, "target_weights": weights, "base_values": forest.base}, width)


def _class_attributes(forest: Forest, width: Width, classes: Sequence[int]) -> dict[str, Any]:
    """The same as ONNX's `TreeEnsembleClassifier` has them."""
    renamed = {name.replace("target_", "class_"): value for name, value in tree_attributes(forest, width).items()}
    del renamed["n_targets"], renamed["aggregate_function"]
    return renamed | {
        "classlabels_int64s": list(classes),
        "post_transform": {"logistic": "LOGISTIC", "softmax": "SOFTMAX"}[forest.link],
    }


def _stored(flat: _Flat, width: Width, *, nearest: bool) -> float:
    test: dict[str, Test] = {"BRANCH_LEQ": "<=", "BRANCH_LT": "<"}
    if width == "float64" or flat.mode not in test:
        return flat.value
    return split_point(flat.value, test[flat.mode], nearest=nearest)


def _floats(lists: dict[str, Sequence[float]], width: Width) -> dict[str, Any]:
    from onnx import numpy_helper

    if width == "float32":
        return {name: [float(np.float32(value)) for value in values] for name, values in lists.items()}
    return {
        f"{name}_as_tensor": numpy_helper.from_array(np.array(values, np.float64), name)
        for name, values in lists.items()
    }


def operators(
    forest: Forest, given: str, answer: str, width: Width, label: str = "", classes: Sequence[int] = ()
) -> tuple[list[Operator], dict[str, NDArray[Any]]]:
    """The operators from a matrix `[rows, features]` to the answers float32 `[rows, outputs]`, and their constants.

    Args:
        forest: what to say.
        given: the name of the matrix.
        answer: the name of the answers; inner values are named after it.
        width: of the matrix.
        label: the name of the likeliest class, int64 `[rows]`; empty where a forest does not classify.
        classes: to choose it from; with two of them, a forest of one output answers `[rows, 2]`.
    """
    chain, x = _Chain(answer), given
    if width == "float64" and forest.compares == "float32":
        x, width = chain.add("Cast", x, to=1), "float32"
    if forest.categorical:
        x = _whole(chain, forest, x)
    if forest.zero_is_missing:
        x = _zeros_to_nan(chain, forest, x, width)
    if label:
        chain.classify(label, x, **_class_attributes(forest, width, classes))
        return chain.operators, chain.constants
    x = chain.add(TREES, x, domain=ML, **tree_attributes(forest, width))
    if forest.link in UNARY:
        x = chain.add(UNARY[forest.link], x)
    elif forest.link == "signed-square":
        x = chain.add("Mul", x, chain.add("Abs", x))
    return chain.ending(), chain.constants


UNARY: dict[str, str] = {"logistic": "Sigmoid", "exp": "Exp", "softplus": "Softplus"}
"""The links that are an operator of their own; ONNX Runtime leaves out `post_transform=LOGISTIC` where there is one output."""

ZERO = float(np.float32(1e-35))
"""LightGBM takes what is no farther from zero for zero (`kZeroThreshold` in `meta.h`)."""


def _whole(chain: _Chain, forest: Forest, x: str) -> str:
    """Categories without their fractions, as the source looks them up."""
    if forest.fractions == "kept":
        return x
    if forest.fractions == "down":
        whole = chain.add("Floor", x)
    else:
        whole = chain.add("Mul", chain.add("Sign", x), chain.add("Floor", chain.add("Abs", x)))
    return chain.add("Where", chain.mask(forest, forest.categorical), whole, x)


def _zeros_to_nan(chain: _Chain, forest: Forest, x: str, width: Width) -> str:
    near = chain.add("LessOrEqual", chain.add("Abs", x), chain.constant("zero", np.array(ZERO, width)))
    which = chain.add("And", near, chain.mask(forest, sorted(forest.zero_is_missing)))
    return chain.add("Where", which, chain.constant("nan", np.array(np.nan, width)), x)


class _Chain:
    """Operators in the making; the last one gives the answer."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.operators: list[Operator] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{self.answer}_{len(self.operators)}"
        self.operators.append(Operator(kind, inputs, (output,), domain, attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[f"{self.answer}_{name}"] = value
        return f"{self.answer}_{name}"

    def mask(self, forest: Forest, features: Sequence[int]) -> str:
        """A row of truth, true for these features."""
        chosen = np.isin(np.arange(forest.features), features)
        return self.constant(f"mask_{len(self.constants)}", chosen.reshape(1, -1))

    def ending(self) -> list[Operator]:
        """The operators, the last one's output called the answer."""
        return [*self.operators[:-1], self.operators[-1]._replace(outputs=(self.answer,))]

    def classify(self, label: str, x: str, **attributes: Any) -> None:
        self.operators.append(Operator("TreeEnsembleClassifier", (x,), (label, self.answer), ML, attributes))


def forest_model(forest: Forest, width: Width = "float32") -> onnx.ModelProto:
    """A model of a forest alone: `x` of this width `[batch, features]` → `answer` float32 `[batch, outputs]`.

    Example:
        >>> stump = Tree((Node("<=", 0.5, feature=1, yes=1, no=2), Node("leaf", -1.0), Node("leaf", 1.0)))
        >>> model = forest_model(Forest(2, 1, (stump,), (0.0,)))
        >>> [node.op_type for node in model.graph.node]
        ['TreeEnsembleRegressor']
    """
    from onnx import TensorProto, helper, numpy_helper

    made, constants = operators(forest, "x", "answer", width)
    nodes = [
        helper.make_node(each.kind, list(each.inputs), list(each.outputs), domain=each.domain, **each.attributes)
        for each in made
    ]
    graph = helper.make_graph(
        nodes, "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT if width == "float32" else TensorProto.DOUBLE, ["batch", forest.features])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", forest.outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="windtunnel")
