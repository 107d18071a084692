from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.backtest.findings import Sliced
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from windtunnel.backtest.findings import Held


def test_slices_of_every_candidate(make_held: Callable[..., Held]) -> None:
    """Each candidate is searched over the features; what is found is told as JSON, the best shown first."""
    found = Sliced.of(make_held(60), pairs=False)
    (told,) = found.to_dict()["slices"]

    assert (told["name"], told["searched"]) == ("new", 7)
    assert {each["columns"][0] for each in told["found"] + told["others"]} <= {"km", "carrier"}
    assert json.dumps(found.draw().to_dict(), allow_nan=False)


def test_where_the_winner_loses_is_a_doubt(make_held: Callable[..., Held]) -> None:
    """A slice in which a candidate is shown to be worse is named among the doubts."""

    def bad(rng: np.random.Generator, n: int) -> Any:
        return rng.choice(["fair", "foul"], size=n)

    held = make_held(60, sky=bad)
    held.rows.predictions[1][held.texts("sky") == "foul"] = 0.02

    assert any("`new` is worse where sky = foul" in doubt for doubt in Sliced.of(held, columns=("sky",)).doubts)


def test_ranks_cannot_be_sliced(make_held: Callable[..., Held]) -> None:
    """A metric that rows have no share in is refused."""
    with pytest.raises(ConfigError, match=r"is no mean over requests, which \[backtest\.slices\] needs"):
        Sliced.of(make_held(20, metric="roc_auc"))
