from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.backtest.findings import OffPolicy, Selected
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import loss_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def coin(rng: np.random.Generator, n: int) -> Any:
    return rng.integers(0, 2, size=n)


def half(_: np.random.Generator, n: int) -> Any:
    return np.full(n, 0.5)


def test_a_fair_coin_tells_what_another_policy_earns(make_held: Callable[..., Held]) -> None:
    """Where a coin decided, each model's decisions earn what the labels of the rows on which it agrees say."""
    held = make_held(40, action=coin, propensity=half)
    found = OffPolicy.of(held)
    acts = (held.prediction("new") >= 0.5) == (held.numbers("action") == 1.0)
    earned = found.earned[1]

    assert earned.snips.value == pytest.approx(held.rows.label[held.final & acts].mean())
    assert earned.overlap.reasons == ()
    assert earned.doubly_robust is None
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_a_reward_model_makes_it_doubly_robust(make_held: Callable[..., Held]) -> None:
    """With features the estimate is doubly robust, beside the plain ones."""
    found = OffPolicy.of(make_held(40, action=coin, propensity=half), features=("km",))

    assert found.earned[0].doubly_robust is not None
    assert "doubly robust" in found.draw().notes[0]


def test_a_propensity_of_zero_or_none(make_held: Callable[..., Held]) -> None:
    """What could not have happened is refused; a decision whose propensity nobody knows is left out and counted."""
    held = make_held(10, action=coin, propensity=lambda _, n: [None, *[0.5] * (n - 1)])

    assert OffPolicy.of(held).left_out == 1
    with pytest.raises(DataError, match="is zero in 1 of"):
        OffPolicy.of(make_held(10, action=coin, propensity=lambda _, n: [0.0, *[0.5] * (n - 1)]))


def test_an_action_is_one_of_two(make_held: Callable[..., Held]) -> None:
    """A third action is refused."""
    with pytest.raises(DataError, match="is neither 0"):
        OffPolicy.of(make_held(5, action=lambda _, n: np.full(n, 2), propensity=half))


def test_labels_for_the_acted_on_alone(make_held: Callable[..., Held]) -> None:
    """Labels that came alike for both sides raise no doubt."""
    found = Selected.of(make_held(20, action=coin), propensities=False)

    assert found.doubts == ()
    assert found.to_dict()["selective_labels"]["kind"] == "none"


def test_several_classes_say_not_whether_to_act(make_held: Callable[..., Held]) -> None:
    """Off-policy estimates of models that give a probability a class are refused in one sentence."""
    held = replace(make_held(5, action=coin, propensity=half), loss=loss_named("log_loss").of_classes(3))
    with pytest.raises(ConfigError, match="needs one score"):
        OffPolicy.of(held)
