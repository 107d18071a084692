from __future__ import annotations

import numpy as np

from windtunnel.optimize.flips import Flips, LargestChange, count_flips, find_largest_change
from windtunnel.optimize.pair import Pair

PARENT, CHILD = np.array([0.9, 0.1, 0.9, 0.1]), np.array([0.8, 0.6, 0.2, 0.7])


def test_negative_flips() -> None:
    """Of three flips two are negative, for the parent was right and the child is not; the first of those is named."""
    found = count_flips(Pair(np.array([1.0, 0.0, 1.0, 1.0]), PARENT, CHILD))

    assert found == Flips(0.75, 0.5, 0.25, 1)
    assert found.to_dict() == {"share": 0.75, "negative": 0.5, "positive": 0.25, "first_row": 1}


def test_without_labels() -> None:
    """Without labels nobody knows which flips are for the worse."""
    assert count_flips(Pair(None, PARENT, CHILD)) == Flips(0.75, None, None, 1)
    assert count_flips(Pair(None, PARENT, PARENT)) == Flips(0.0, None, None, None)


def test_classes_that_are_both_wrong() -> None:
    """A flip from one wrong class to another is neither negative nor positive."""
    parent, child = np.array([[0.2, 0.5, 0.3]]), np.array([[0.2, 0.3, 0.5]])

    assert count_flips(Pair(np.array([0.0]), parent, child)) == Flips(1.0, 0.0, 0.0, None)


def test_largest_change() -> None:
    """The row whose answer moved most is found, of numbers and of vectors."""
    assert find_largest_change(Pair(None, PARENT, CHILD)) == LargestChange(2, PARENT[2] - CHILD[2])
    moved = find_largest_change(Pair(None, np.zeros((3, 2, 2)), np.eye(3)[:, :1, None] * np.ones((3, 2, 2))))

    assert moved.to_dict() == {"row": 0, "change": 1.0}
