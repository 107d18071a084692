from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.reading.order import Order
from windtunnel.backtest.reading.repeats import hashes_of, repeated


@pytest.mark.parametrize("piece", [1, 2, 3, 6])
def test_only_the_first_row_of_an_id_is_a_request(piece: int) -> None:
    """Rows that name an earlier request again are not out of order, wherever a piece ends; their first one may be."""
    ids, time = pl.Series(["a", "b", "a", "c", "b", "c"]), np.array([1, 5, 1, 4, 5, 4])
    order = Order(repeated([hashes_of(ids)]))

    pieces = range(0, len(ids), piece)
    assert sum(order.late(ids[at : at + piece], time[at : at + piece]) for at in pieces) == 1
