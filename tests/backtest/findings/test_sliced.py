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


def test_slices_say_what_is_differenced(make_held: Callable[..., Held]) -> None:
    """Of a root it is the squares, and of a metric that is better the greater it is the loss that is searched."""
    told = [Sliced.of(make_held(20, metric=metric), pairs=False) for metric in ("log_loss", "rmse", "accuracy")]

    assert [(each.loss, each.unit) for each in told] == [
        ("log_loss", "nats"), ("squared error", "label units²"), ("zero_one", "share wrong"),
    ]  # fmt: skip


def test_ranks_cannot_be_sliced(make_held: Callable[..., Held]) -> None:
    """A metric that rows have no share in is refused."""
    with pytest.raises(ConfigError, match=r"is no mean over requests, which \[backtest\.slices\] needs"):
        Sliced.of(make_held(20, metric="roc_auc"))


def test_worse_than_elsewhere_is_a_doubt_only_where_it_is_worse_than_the_incumbent(
    make_held: Callable[..., Held],
) -> None:
    """Held against the rest, a slice in which a candidate is still better than the incumbent is told, and is no doubt."""

    def bad(rng: np.random.Generator, n: int) -> Any:
        return rng.choice(["fair", "foul"], size=n)

    held = make_held(60, sky=bad)
    told = []
    for answer in (0.02, 0.06):
        foul = held.texts("sky") == "foul"
        held.rows.predictions[0][:] = 0.02 if answer == 0.06 else held.rows.predictions[0]
        held.rows.predictions[1][foul] = answer
        told.append(Sliced.of(held, columns=("sky",), against="rest"))

    assert any("does worse where sky = foul than elsewhere (by +" in doubt for doubt in told[0].doubts)
    assert [each.name for each in told[1].found["new"].found if each.direction == "worse"] == ["sky = foul"]
    assert told[1].doubts == ()
