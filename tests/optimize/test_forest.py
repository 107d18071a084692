from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from windtunnel.errors import ModelError
from windtunnel.optimize.forest import Forest, Link, Node, Test, Tree, forest_model, split_point

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAVES = (Node("leaf", -1.0), Node("leaf", 1.0))


def _run(forest: Forest, rows: Any) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(forest_model(forest).SerializeToString(), providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run(None, {"x": np.array(rows, np.float32)})[0]
    return answer


def _stump(node: Node, **settings: Any) -> Forest:
    """A forest of one question to one feature: 1 where the answer is yes, −1 where it is no."""
    return Forest(1, 1, (Tree((node._replace(yes=2, no=1), *LEAVES)),), (0.0,), **settings)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False),
    st.sampled_from(["<=", "<"]),
)
def test_split_point(threshold: float, value: float, test: Test) -> None:
    """A float64 threshold and its float32 part every float32 value the same way, next to the threshold above all."""
    moved = np.float32(split_point(threshold, test))
    with np.errstate(all="ignore"):
        beside = np.float32(threshold)
        values = [
            np.float32(value),
            beside,
            np.nextafter(beside, np.float32(-np.inf)),
            np.nextafter(beside, np.float32(np.inf)),
        ]
    for each in values:
        expected = float(each) <= threshold if test == "<=" else float(each) < threshold

        assert expected == bool(each <= moved if test == "<=" else each < moved)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
@example(31234375.0, 0.0)  # halfway between two float32 values
def test_split_point_of_data(threshold: float, value: float) -> None:
    """Float64 values that are rounded at the door stay on their side if they are the threshold itself or not right beside it."""
    moved, beside = np.float32(split_point(threshold, "<=", nearest=True)), np.float32(threshold)
    apart = [np.nextafter(beside, np.float32(-np.inf)), np.nextafter(beside, np.float32(np.inf))]
    halfway = threshold in {(float(beside) + float(each)) / 2.0 for each in apart}
    exact = [] if halfway and threshold != float(beside) else [threshold]
    for each in [*exact, *map(float, apart), *([value] if np.float32(value) != beside else [])]:
        with np.errstate(under="ignore"):
            assert (each <= threshold) == bool(np.float32(each) <= moved)


def test_rows_on_a_threshold() -> None:
    """0.1 as float32 lies above 0.1: a tree that asks for `x <= 0.1` sends it the other way, and so does ours."""
    above, below = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(0.0))

    assert _run(_stump(Node("<=", 0.1)), [[above], [below]]).tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize(("missing_yes", "expected"), [(True, 1.0), (False, -1.0)])
@pytest.mark.parametrize("node", [Node("<=", 0.0), Node("<", 0.0), Node("in", 0.0, members=(1, 40, 7))])
def test_missing(node: Node, *, missing_yes: bool, expected: float) -> None:
    """NaN goes where the node says, whatever it asks."""
    assert [[expected]] == _run(_stump(node._replace(missing_yes=missing_yes)), [[np.nan]]).tolist()


@pytest.mark.parametrize(
    ("fractions", "yes"), [("cut", [0, 0.9, -0.5, 33, 70.5]), ("down", [0, 0.9, 33, 70.5]), ("kept", [0, 33])]
)
def test_membership(fractions: Any, yes: list[float]) -> None:
    """A category is looked up by its whole part, as the source has it; any number of categories, beyond 32 and 64 too."""
    values = [0, 0.9, -0.5, 1, 33, 70.5, 71, -1, 1e9]
    forest = _stump(Node("in", 0.0, members=(0, 33, 70)), fractions=fractions)
    answers = _run(forest, [[value] for value in values])[:, 0]

    assert yes == [value for value, answer in zip(values, answers, strict=True) if answer > 0]


def test_zero_is_missing() -> None:
    """Where zero counts as missing, it goes where NaN goes, and so does what is nearer to it than 1e-35."""
    forest = _stump(Node("<=", 5.0, missing_yes=False), zero_is_missing=frozenset({0}))

    assert _run(forest, [[0.0], [np.nan], [-1e-36], [-1e-34]]).tolist() == [[-1.0], [-1.0], [-1.0], [1.0]]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("identity", 3.0), ("logistic", 1 / (1 + np.exp(-3.0))), ("exp", np.exp(3.0)),
        ("softplus", np.log1p(np.exp(3.0))), ("signed-square", 9.0),
    ],
)  # fmt: skip
def test_links(link: Link, expected: float) -> None:
    """Sums, here 1 from the tree and 2 from the base, are carried through the link."""
    tree = Tree((Node("<=", 0.0, yes=2, no=1), *LEAVES))
    forest = Forest(1, 1, (tree,), (2.0,), link)

    assert _run(forest, [[-1.0]])[0, 0] == pytest.approx(expected, rel=1e-6)


def test_softmax() -> None:
    """Each tree adds to its own output, and a softmax is taken over all."""
    trees = tuple(Tree((Node("leaf", float(output)),), output) for output in range(3))
    raised = np.exp([0.0, 1.0, 2.0])

    assert np.allclose(raised / raised.sum(), _run(Forest(1, 3, trees, (0.0, 0.0, 0.0), "softmax"), [[0.0]])[0])


@pytest.mark.parametrize(
    "node", [Node("<=", 0.0, yes=0, no=1), Node("<=", 0.0, yes=1, no=3), Node("<=", 0.0, feature=1, yes=1, no=2)]
)
def test_astray(node: Node) -> None:
    """A node that points back, outside, or to a feature that is not there is refused: nothing could walk such a tree."""
    with pytest.raises(ModelError, match="`tree 0` points outside itself or back at node 0, or asks for feature"):
        Forest(1, 1, (Tree((node, *LEAVES)),), (0.0,))
