from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import DataError, ModelError
from windtunnel.optimize.robustness import (
    PERTURBATIONS,
    Beyond,
    Missing,
    Noise,
    Robustness,
    Scrambled,
    draw_rows,
    paired_interval,
    robustness_parity,
)
from windtunnel.session import OnnxSession, Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Array = NDArray[Any]
    Formula = Callable[[Array], Array]


class _Model(Session):
    """Answers with a formula of `x`."""

    def __init__(self, formula: Formula, shape: tuple[int | str, ...] = ("n", 4)) -> None:
        self.signature, self.formula = Signature((Tensor("x", "float64", shape),), ()), formula

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": self.formula(feeds["x"])}


X = np.random.default_rng(1).normal(size=(400, 4))
WEIGHTS = np.array([3.0, -2.0, 1.0, 0.5])


def _probability(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x @ WEIGHTS)))


def _value(x: Array) -> Array:
    return np.asarray(x @ WEIGHTS)


def _against(child: Formula, parent: Formula = _probability) -> Robustness:
    return robustness_parity(_Model(parent), _Model(child), {"x": X}, seed=1)


@pytest.mark.parametrize("parent", [_probability, _value], ids=["decisions", "values"])
def test_a_copy_never_breaks(parent: Formula) -> None:
    """A child that is its parent departs from it nowhere, and breaks under nothing."""
    found = _against(parent, parent)

    assert found.breaks == ()
    assert not found.disqualifies
    assert {each.apart.value for each in found.breakages} == {0.0}
    assert "not shown to break" in found.describe()


def test_a_clipped_range_breaks_out_of_range() -> None:
    """A child whose inputs are clipped to what was seen gives way beyond it, and only there; that does not disqualify it."""
    low, high = X.min(axis=0), X.max(axis=0)
    found = _against(lambda x: _value(np.clip(x, low, high)), _value)

    assert found.breaks == (Beyond(0.1, 0.5).name, Beyond(0.1, 5.0).name)
    assert not found.disqualifies
    assert "breaks where the parent held in 2 of" in found.describe()


def test_a_nervous_child_is_disqualified() -> None:
    """A child that is right on every real row, and wrong a little way off, breaks where the parent held: noise is to be expected."""
    real = {tuple(row) for row in X}
    found = _against(lambda x: np.where([tuple(row) in real for row in x], _probability(x), 1 - _probability(x)))

    assert Noise(0.01).name in found.breaks
    assert found.disqualifies


def test_missing_values() -> None:
    """Where the parent takes missing values, a child that answers NaN breaks; where it does not, nothing is asked of the child."""
    filled = _against(_probability, lambda x: _probability(np.nan_to_num(x)))
    broken = next(each for each in filled.breakages if each.name == Missing(0.1).name)
    neither = robustness_parity(_Model(_value), _Model(_value), {"x": X}, seed=1, perturbations=[Missing(1.0)])

    assert broken.parent_broken == 0
    assert broken.child_broken > 0
    assert broken.outcome == "breaks"
    assert not broken.ordinary
    assert Missing(0.1).is_ordinary({"x": np.where(X > 2, np.nan, X)})
    assert neither.skipped == ((Missing(1.0).name, "the parent answers every such row with NaN itself"),)


def test_a_child_that_refuses_rows_breaks() -> None:
    """A child that raises where its parent answers has broken on every row; a parent that raises is not held against it."""

    def refuse(x: Array) -> Array:
        if np.isnan(x).any():
            raise ModelError("takes no NaN")
        return _probability(x)

    def patient(x: Array) -> Array:
        return _probability(np.nan_to_num(x))

    found = robustness_parity(_Model(patient), _Model(refuse), {"x": X}, seed=1, perturbations=[Missing(0.1)])
    other = robustness_parity(_Model(refuse), _Model(patient), {"x": X}, seed=1, perturbations=[Missing(0.1)])

    assert found.breakages[0].apart.value == 1.0
    assert other.skipped == ((Missing(0.1).name, "the parent refuses such rows itself"),)
    assert other.describe() == "No disturbance could be tried: the parent refuses such rows itself."


def test_disturbances_do_what_they_say() -> None:
    """Noise is of the size said, missing values and those out of range are as many and as far as said, and rows stay as they are."""
    rng, before, seen = np.random.default_rng(1), X.copy(), {"x": X * np.array([1.0, 10.0, 100.0, 0.0])}
    noisy, holed, far = (each.disturb(seen, seen, rng) for each in (Noise(0.5), Missing(0.25), Beyond(0.25, 2.0)))
    assert noisy is not None
    assert holed is not None
    assert far is not None
    low, high = seen["x"].min(axis=0), seen["x"].max(axis=0)
    out = (far["x"] < low) | (far["x"] > high)

    assert (noisy["x"] - seen["x"]).std(axis=0) == pytest.approx(0.5 * seen["x"].std(axis=0), rel=0.1)
    assert np.isnan(holed["x"]).mean() == pytest.approx(0.25, abs=0.03)
    assert out[:, :3].mean() == pytest.approx(0.25, abs=0.03)
    assert set(np.round((far["x"][:, 0][out[:, 0]] - low[0]) / (high[0] - low[0]), 6)) == {-2.0, 3.0}
    assert (before == X).all()


def test_words_and_bytes_are_scrambled() -> None:
    """Tokens become other tokens that were seen, bytes any bytes; masks and floats stay; without either nothing is done."""
    rng = np.random.default_rng(1)
    seen: dict[str, Array] = {
        "ids": rng.integers(100, 200, (50, 20)), "mask": np.ones((50, 20), np.int64),
        "text": rng.integers(97, 123, (50, 20)).astype(np.uint8), "x": rng.normal(size=(50, 2)),
    }  # fmt: skip
    found = Scrambled(0.3).disturb(seen, seen, rng)
    assert found is not None

    assert np.isin(found["ids"], seen["ids"]).all()
    assert (found["ids"] != seen["ids"]).mean() == pytest.approx(0.3, abs=0.05)
    assert found["text"].max() > 123
    assert found["text"].dtype == np.uint8
    assert found["mask"] is seen["mask"]
    assert found["x"] is seen["x"]
    assert Scrambled(0.3).disturb({"x": seen["x"]}, {"x": seen["x"]}, rng) is None


def test_images_and_columns_of_nothing() -> None:
    """An image's noise is of the image's own spread; a column of NaN alone is left, without a warning."""
    rng = np.random.default_rng(1)
    images, holes = rng.normal(scale=7, size=(30, 3, 8, 8)).astype(np.float32), np.full((30, 2), np.nan)
    found = Noise(1.0).disturb({"i": images, "h": holes}, {"i": images, "h": holes}, rng)
    assert found is not None

    assert (found["i"] - images).std() == pytest.approx(7, rel=0.05)
    assert found["i"].dtype == np.float32
    assert np.isnan(found["h"]).all()


def test_a_real_child(mlp: Variant, rows: dict[str, Array], tmp_path: Any) -> None:
    """Static int8 holds under small noise as its parent does; the same seed says the same."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    from windtunnel.optimize.int8 import hushed

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime ships no types
        batches = iter([rows])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.batches, None)

    with hushed():
        quantize_static(mlp.path, tmp_path / "int8.onnx", Reader(), activation_type=QuantType.QUInt8)
    parent, child = OnnxSession(mlp.path), OnnxSession(tmp_path / "int8.onnx")
    first, again = (robustness_parity(parent, child, rows, seed=3) for _ in range(2))

    assert first == again
    assert not first.disqualifies
    assert len(first.breakages) + len(first.skipped) == len(PERTURBATIONS)
    assert {each["outcome"] for each in first.to_dict()["breakages"]} <= {"breaks", "holds", "inconclusive"}


def test_a_fixed_batch_of_the_usual_size() -> None:
    """A model that takes 64 rows at once is not one that takes any number: whole batches are drawn, and a few rows refused."""
    fixed = _Model(_value, (64, 4))

    assert (fixed.signature.fixed_batch, _Model(_value).signature.fixed_batch) == (64, None)
    assert len(draw_rows(fixed, {"x": X}, 200, np.random.default_rng(1))) == 192
    assert len(draw_rows(_Model(_value), {"x": X}, 200, np.random.default_rng(1))) == 200
    with pytest.raises(DataError, match="give 64 or more"):
        draw_rows(fixed, {"x": X[:50]}, 200, np.random.default_rng(1))


def test_a_fixed_batch() -> None:
    """A model that takes three rows at once is asked three at once; fewer rows than that are refused."""
    parent = _Model(_value, (3, 4))

    assert robustness_parity(parent, parent, {"x": X}, seed=1).breakages[0].more.samples == 255
    with pytest.raises(DataError, match="are fewer than the model takes at once; give 3 or more"):
        robustness_parity(parent, parent, {"x": X[:2]}, seed=1)


@pytest.mark.parametrize(("lost", "won"), [(0.0, 0.0), (0.03, 0.0), (0.06, 0.03), (0.3, 0.2)])
def test_the_interval_covers(lost: float, won: float) -> None:
    """The interval of a paired difference of decisions covers the truth in about 95 of 100 repetitions, with rare ones too."""
    rng, truth, covered = np.random.default_rng(7), lost - won, 0
    for _ in range(500):
        draw = rng.random(200)
        interval = paired_interval(np.where(draw < lost, 1.0, np.where(draw < lost + won, -1.0, 0.0)), 0.95)
        covered += interval.low <= truth <= interval.high

    assert covered >= 500 * 0.95 - 2.6 * np.sqrt(500 * 0.95 * 0.05)


def _fickle(rng: np.random.Generator, x: Array) -> Array:
    """Decides one row of fifty otherwise than it should, whatever it is shown."""
    return np.where(rng.random(len(x)) < 0.02, 1 - _probability(x), _probability(x))


def test_breaking_at_the_tolerance_is_seldom_called() -> None:
    """Over all disturbances together, a child at the tolerance is called broken in at most one case of twenty."""
    called = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        called += bool(
            robustness_parity(_Model(_probability), _Model(partial(_fickle, rng)), {"x": X}, seed=seed).breaks
        )

    assert called <= 60 * 0.05 + 2.6 * np.sqrt(60 * 0.05 * 0.95)
