from __future__ import annotations

import numpy as np
import polars as pl

from windtunnel.backtest.policy import split_of


def test_a_key_falls_on_the_same_place_whatever_stands_beside_it() -> None:
    """Neither order, nor company, nor the width of the integer moves a key; another salt does."""
    keys = pl.Series([5, 3, 5, -1, 2**40])

    assert split_of(keys)[::-1].tolist() == split_of(keys.reverse()).tolist()
    assert split_of(keys)[:2].tolist() == split_of(pl.Series([5, 3], dtype=pl.Int8)).tolist()
    assert split_of(keys, "other").tolist() != split_of(keys).tolist()


def test_texts_are_split_as_they_were_on_the_day_this_was_written() -> None:
    """A text's place is fixed for good: whoever met the candidate yesterday meets it today."""
    expected = [0.8452, 0.889, 0.8452]

    assert expected == split_of(pl.Series(["anna", "bert", "anna"])).round(4).tolist()


def test_shares_are_kept_by_numbers_and_by_texts() -> None:
    """Of 20,000 keys a share of 5% is 5%, give or take four standard deviations, also of keys in a row."""
    numbers = pl.Series(range(20_000))

    for keys in (numbers, numbers.cast(pl.String), numbers * 1000):
        assert abs(np.mean(split_of(keys) < 0.05) - 0.05) < 4.0 * (0.05 * 0.95 / 20_000) ** 0.5
