"""Which features flips go with, where it is known beforehand."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.disagreement import associate


def table(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    """Two numbers and two texts; `season` drifts slowly."""
    return pl.DataFrame({
        "a": rng.random(rows), "b": rng.random(rows), "port": rng.choice(["AMS", "JFK", "LHR"], size=rows),
        "season": np.sin(np.arange(rows) / rows * 7.0) + 0.1 * rng.normal(size=rows),
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_the_feature_that_flips_hang_on_is_named_first(seed: int) -> None:
    """Flips come where `b` is large: it is named first, with the slice in which they come and how often."""
    rng = np.random.default_rng(seed)
    features = table(rng, 3000)
    flips = (features["b"] > 0.8).to_numpy() & (rng.random(3000) < 0.3)
    found = associate(features, flips, np.arange(3000), rng)

    assert found is not None
    assert found.named[0].feature == "b"
    assert found.named[0].where.startswith("b > 0.7")
    assert 0.18 < found.named[0].rate < 0.3
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_where_flips_go_with_nothing_little_is_named() -> None:
    """Of 60 recordings whose flips hang on no feature, but come in waves, some 5% name any."""
    named = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        features = table(rng, 500).drop("season")
        wave = np.repeat(rng.random(20), 25) * 0.4
        found = associate(features, rng.random(500) < wave, np.arange(500), rng)
        assert found is not None
        named += bool(found.named)

    assert named <= 60 * 0.05 + 2 * np.sqrt(60 * 0.05 * 0.95)


def test_without_flips_there_is_nothing_to_go_with() -> None:
    """Where none or every request flips, or there is no feature, nothing is said."""
    rng = np.random.default_rng(0)
    features = table(rng, 100)

    assert associate(features, np.zeros(100, dtype=np.bool_), np.arange(100), rng) is None
    assert associate(features, np.ones(100, dtype=np.bool_), np.arange(100), rng) is None
    assert associate(features.select(), np.arange(100) < 9, np.arange(100), rng) is None
