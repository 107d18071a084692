from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.pair_sum import LEAST, MOST, lost, may_saturate, patches

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


def _vpmaddubsw(activations: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.int64]:
    """The manual's words: each two neighbouring products are added, clamped to 16 bits, and these sums are added exactly."""
    a, w = (np.asarray(each, np.int64) for each in (activations, weights))
    if len(w) % 2:
        a, w = np.pad(a, ((0, 0), (0, 1))), np.pad(w, ((0, 1), (0, 0)))
    pairs = a[:, 0::2, None] * w[None, 0::2] + a[:, 1::2, None] * w[None, 1::2]
    total: NDArray[np.int64] = np.clip(pairs, LEAST, MOST).sum(axis=1)
    return total


@pytest.mark.parametrize("shape", [(1, 2, 1), (5, 7, 3), (64, 128, 33)])
def test_what_is_lost_is_the_difference_to_the_manual(shape: tuple[int, int, int]) -> None:
    """The exact product and what is lost make the product of `vpmaddubsw`, whether an odd number is summed or an even."""
    rng, (rows, summed, columns) = np.random.default_rng(1), shape
    a = rng.integers(0, 256, (rows, summed)).astype(np.uint8)
    w = rng.integers(-128, 128, (summed, columns)).astype(np.int8)
    exact = a.astype(np.int64) @ w.astype(np.int64)
    change, clamped = lost(a, w)

    assert (exact + change == _vpmaddubsw(a, w)).all()
    assert (clamped > 0) == bool(change.any())


def test_seven_bits_never_overflow() -> None:
    """Weights within ±64, as `reduce_range` makes them, lose nothing, and are known to beforehand."""
    rng = np.random.default_rng(1)
    w = rng.integers(-64, 65, (32, 16)).astype(np.int8)
    change, clamped = lost(np.full((8, 32), 255, np.uint8), w)

    assert not may_saturate(w)
    assert clamped == 0
    assert not change.any()


@pytest.mark.parametrize(
    ("pair", "risky"),
    [
        ((64, 64), False),
        ((64, 65), True),
        ((-64, -64), False),
        ((-64, -65), True),
        ((127, -128), False),
        ((127, 2), True),
    ],
)
def test_the_bound_is_sharp(pair: tuple[int, int], risky: bool) -> None:
    """A pair is at risk exactly when activations of 255 and 0 can overflow it: opposite signs save it, one sign does not."""
    w = np.array([[pair[0]], [pair[1]]], np.int8)
    worst = [lost(np.array([a], np.uint8), w)[1] for a in ([255, 255], [255, 0], [0, 255])]

    assert may_saturate(w) == risky == any(worst)


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        ((3, 2), (2, 1), (0, 1, 2, 0), (1, 2)),
        ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    ],
)
def test_patches(kernel: Any, strides: Any, pads: Any, dilations: Any) -> None:
    """Patches times weights in the order height, width, channel are a convolution, with borders of the empty value."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 3, 7, 8)).astype(np.uint8)
    weights = rng.integers(-9, 9, (4, 3, *kernel)).astype(np.float32)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations
    )
    expected: Any = ReferenceEvaluator(node).run(None, {"x": images.astype(np.float32) - 5, "w": weights})
    seen = patches(images, kernel, strides, pads, dilations, 5).astype(np.float32) - 5
    actual = seen @ weights.transpose(2, 3, 1, 0).reshape(-1, 4)

    assert np.array_equal(actual.reshape(2, *expected[0].shape[2:], 4).transpose(0, 3, 1, 2), expected[0])
