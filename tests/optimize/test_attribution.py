from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.optimize.attribution import MOST_NUMBERS, attribution_parity, effects_of, find_features, ndcg
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Formula = Callable[[Array], Array]


class _Model(Session):
    """Answers with a formula of `x`, and counts its rows."""

    def __init__(self, formula: Formula, shape: tuple[int | str, ...] = ("n", 8)) -> None:
        self.signature = Signature((Tensor("x", "float64", shape),), ())
        self.formula, self.asked = formula, list[int]()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.asked.append(len(feeds["x"]))
        return {"y": self.formula(feeds["x"])}


X = np.random.default_rng(1).normal(size=(300, 8))
WEIGHTS = np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0])
SWAPPED = WEIGHTS[[2, 1, 0, 3, 4, 5, 6, 7]]


def _linear(weights: Array) -> _Model:
    return _Model(lambda x: x @ weights)


def test_importances_are_those_of_a_linear_model() -> None:
    """Exchanging a feature of a linear model moves its answer by the weight times the difference of two normal draws: 2/√π."""
    found = effects_of(_linear(WEIGHTS), {"x": X}, seed=1, asked=32_000)

    assert found.importances() == pytest.approx(WEIGHTS * 2 / np.sqrt(np.pi), rel=0.15, abs=1e-12)


def test_a_copy_passes() -> None:
    """A child that is its parent agrees in everything, and its parent's own noise is reported beside it."""
    parity = attribution_parity(_linear(WEIGHTS), _linear(WEIGHTS), {"x": X}, seed=1)

    assert parity.ndcg == pytest.approx(1.0)
    assert (parity.sign, parity.top_k) == (1.0, 1.0)
    assert 0.9 < parity.floor_ndcg <= 1.0
    assert parity.moved[1] == 0.0
    assert parity.passed
    assert parity.to_dict()["passed"] is True


def test_swapped_features_fail() -> None:
    """A child that takes one feature for another is caught by its ranks, and the feature is named."""
    parity = attribution_parity(_linear(WEIGHTS), _linear(SWAPPED), {"x": X}, seed=1)

    assert parity.ndcg < 0.9
    assert parity.moved[0] in {"x[0]", "x[2]"}
    assert not parity.passed
    assert "does not look at what the parent looks at" in parity.describe()


def test_swapped_features_of_one_weight_fail() -> None:
    """Where all features weigh the same, ranks say nothing, and directions tell that two were exchanged."""
    even = np.ones(8)
    child = _Model(lambda x: np.roll(x, 1, axis=1) @ np.where(np.arange(8) == 3, -1.0, even))
    parity = attribution_parity(_linear(even), child, {"x": X}, seed=1)

    assert parity.ndcg > 0.9
    assert parity.sign < 0.9
    assert not parity.passed


def test_rounding_passes() -> None:
    """A child that rounds as int8 does looks at the same things."""
    child = _Model(lambda x: (np.round(x * 40) / 40) @ WEIGHTS)

    assert attribution_parity(_linear(WEIGHTS), child, {"x": X}, seed=1).passed


def test_parity_is_for_vectors_too() -> None:
    """Of answers with several numbers each counts; a child whose vector is turned round is caught."""
    wide = np.outer(WEIGHTS, [1.0, -2.0, 3.0])
    parent, copy, turned = (_linear(weights) for weights in (wide, wide, -wide))

    assert attribution_parity(parent, copy, {"x": X}, seed=1).passed
    assert attribution_parity(parent, turned, {"x": X}, seed=1).sign == 0.0


def test_the_same_seed_finds_the_same() -> None:
    """Rows and donors are drawn from the seed: the same one gives the same figures, another one others."""
    first, again, other = (
        attribution_parity(_linear(WEIGHTS), _linear(SWAPPED), {"x": X}, seed=seed) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_the_cost_is_bounded() -> None:
    """No more rows are asked than were granted, but for the rows themselves; a fixed batch is kept."""
    free, fixed = _linear(WEIGHTS), _Model(lambda x: x @ WEIGHTS, (3, 8))
    effects_of(free, {"x": X}, seed=1, asked=1024)
    effects_of(fixed, {"x": X}, seed=1, asked=1024)

    assert sum(free.asked) == 1024 + 1024 // (4 * 8)
    assert set(fixed.asked) == {3}


def test_noise_is_covered() -> None:
    """The interval of nDCG covers its value with many more donors in most repetitions, and the floor lies below 1."""
    child = _linear(np.array([6.0, 4.0, 3.0, 1.0, 0.5, 0.25, 1.0, 0.0]))
    found = [attribution_parity(_linear(WEIGHTS), child, {"x": X}, seed=seed, asked=512) for seed in range(30)]
    truth = attribution_parity(_linear(WEIGHTS), child, {"x": X}, seed=99, asked=8 * 4 * 300).ndcg

    assert sum(each.ndcg_low <= truth for each in found) >= 25
    assert min(each.floor_ndcg for each in found) < 1.0


def test_features_of_every_kind() -> None:
    """Numbers, columns, blocks of columns, words, bytes of text and patches of images are found; what never varies is not."""
    rng = np.random.default_rng(1)
    names = [
        each.name
        for each in find_features({
            "age": rng.normal(size=9),
            "wide": rng.normal(size=(9, 40)),
            "text": rng.integers(0, 256, (9, 12)).astype(np.uint8),
            "image": rng.normal(size=(9, 3, 8, 8)),
            "still": np.ones((9, 5)),
        })
    ]  # fmt: skip

    assert names[:2] == ["age", "wide[0:6]"]
    assert "text" in names
    assert "image[4:8, 0:4]" in names
    assert not any(name.startswith("still") for name in names)
    assert len(names) <= 24


def test_features_that_are_equal_share_their_places() -> None:
    """A child that holds all features equal is given the mean of all orders, not the parent's by chance."""
    gains = np.array([3.0, 2.0, 1.0])

    assert ndcg(gains, np.zeros(3)) == pytest.approx(
        ndcg(gains[[1, 1, 1]], np.zeros(3)) * 2 * 2.130929 / 4.761859, rel=1e-4
    )


def test_rows_that_are_all_alike_are_refused() -> None:
    """Where nothing can be exchanged, the way out is said."""
    with pytest.raises(DataError, match="are all the same, so nothing of them can be exchanged; give rows that differ"):
        attribution_parity(_linear(WEIGHTS), _linear(WEIGHTS), {"x": X[:1]}, seed=1)


def test_large_answers_are_looked_at_in_part() -> None:
    """Of an answer of 50,000 numbers a thousand are kept, the same of both models; the effects are as telling."""
    spread = np.random.default_rng(3).normal(size=(1, 50_000)).astype(np.float32)

    def wide(weights: Array) -> _Model:
        return _Model(lambda x: (x @ weights).astype(np.float32)[:, None] * spread)

    found = effects_of(wide(WEIGHTS), {"x": X}, seed=1, asked=512)
    twin, other = (
        attribution_parity(wide(WEIGHTS), wide(each), {"x": X}, seed=1, asked=512) for each in (WEIGHTS, SWAPPED)
    )

    assert found.moves.shape == (4, 8, 16, MOST_NUMBERS)
    assert (twin.passed, twin.sign, other.passed) == (True, 1.0, False)
