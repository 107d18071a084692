from __future__ import annotations

import numpy as np
import pytest

from windtunnel.optimize.material import digest_arrays

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_equal_rows_have_one_digest() -> None:
    """Equal values have an equal digest, however they lie in memory and in whatever order they are named."""
    y = np.ones(3)
    strided = np.repeat(X, 2, axis=0)[::2]

    assert not strided.flags.c_contiguous
    assert digest_arrays({"x": X, "y": y}) == digest_arrays({"y": y.copy(), "x": strided})


@pytest.mark.parametrize(
    "other",
    [
        {"x": X + 1e-6},
        {"x": X.astype(np.float64)},
        {"x": X.reshape(4, 3)},
        {"x": X[::-1]},
        {"x": X[:2]},
        {"z": X},
        {"x": X, "y": X},
        {},
    ],
    ids=["value", "dtype", "shape", "order", "rows", "name", "more", "none"],
)
def test_other_rows_have_another(other: dict[str, np.ndarray]) -> None:
    """Another value, dtype, shape, order, number or name of rows is another digest."""
    assert digest_arrays(other) != digest_arrays({"x": X})
