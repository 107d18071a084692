from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest import Sample


def drawn(ids: pl.Series, most: int, piece: int) -> tuple[Sample, list[int]]:
    sample = Sample(most)
    for start in range(0, len(ids), piece):
        sample.add(pl.DataFrame({"id": ids[start : start + piece]}))
    return sample, sorted(sample.rows["id"].to_list())


def test_who_is_drawn_hangs_on_ids_alone() -> None:
    """Neither order nor pieces decide which requests are in the sample, and a smaller sample lies within a larger one."""
    ids = pl.Series("id", range(20_000))
    _, one = drawn(ids, 2000, 5000)
    _, other = drawn(ids.sample(fraction=1.0, shuffle=True, seed=1), 2000, 333)
    _, smaller = drawn(ids, 500, 5000)

    assert one == other
    assert set(smaller) < set(one)


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_every_request_has_the_same_chance(kind: type[pl.DataType]) -> None:
    """Of many ids the stated share is drawn, in each part of them, up to chance (four standard errors)."""
    sample, told = drawn(pl.Series("id", range(200_000)).cast(kind), 20_000, 50_000)
    of_parts = np.bincount(np.array(told, dtype=np.int64) // 50_000, minlength=4)

    assert sample.share == 1 / 16
    assert np.all(np.abs(of_parts - 50_000 / 16) < 4 * np.sqrt(50_000 * 15 / 256))
