from __future__ import annotations

import numpy as np
import polars as pl

from windtunnel.backtest.slices import Cut


def test_an_empty_text_is_told_apart_from_one_that_is_missing() -> None:
    """A text without a letter has a slice with a name of its own, so that no sentence ends in nothing."""
    values = pl.Series("note", ["", "a", "", None])
    cut = Cut.of(values, np.ones(4, dtype=np.bool_))

    assert cut.names == ("(empty)", "a", "missing", "other")
    assert cut.codes.tolist() == [0, 1, 0, 2]
