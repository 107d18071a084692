from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.backtest.findings import Trial
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def arms(rng: np.random.Generator, n: int) -> Any:
    return np.where(rng.random(n) < 0.5, "a", "b")


def lopsided(rng: np.random.Generator, n: int) -> Any:
    return np.where(rng.random(n) < 0.4, "a", "b")


def outcome(rng: np.random.Generator, n: int) -> Any:
    return rng.normal(size=n)


def users(rng: np.random.Generator, n: int) -> Any:
    return [f"u{each}" for each in rng.integers(0, n // 4, size=n)]


def test_no_difference_is_not_shown(make_held: Callable[..., Held]) -> None:
    """Arms that were drawn by a coin and made no difference show none, over mature days alone."""
    held = make_held(60, arm=arms)
    found = Trial.of(held, control="a", treatment="b", covariate="km")
    told = found.to_dict()["ab_test"]

    mature = (held.day() + 8) * held.every_us + held.looks_us[0] - held.every_us <= held.as_of_us
    counted = held.final & mature

    assert (told["shown"], told["trusted"], told["days"]) == (None, True, held.day()[mature].max() + 1)
    assert told["rows"] == {name: int((counted & (held.texts("arm") == name)).sum()) for name in "ab"}
    assert json.dumps(told, allow_nan=False)


def test_greater_may_be_better(make_held: Callable[..., Held]) -> None:
    """What is to be made great is compared turned round, and told in its own direction."""
    held = make_held(
        60,
        arm=lambda _, n: np.where(np.arange(n) % 2, "a", "b"),
        sold=lambda _, n: np.arange(n) % 2 * -1.0 + (np.arange(n) % 7) * 0.01,
    )
    small, great = (
        Trial.of(held, control="a", treatment="b", outcome="sold", goal=goal) for goal in ("minimize", "maximize")
    )

    assert (small.found.shown, great.found.shown) == ("worse", "superior")
    assert small.to_dict()["ab_test"]["difference"] == pytest.approx(great.to_dict()["ab_test"]["difference"])
    assert great.to_dict()["ab_test"]["difference_low"] > 0.0


def test_a_mismatch_is_a_doubt(make_held: Callable[..., Held]) -> None:
    """Arms that got other shares than were set cannot be compared, and the verdict's reader is told."""
    found = Trial.of(make_held(60, arm=lopsided), control="a", treatment="b")

    assert found.found.shown is None
    assert "sample ratio mismatch" in found.doubts[0]


def test_entities_are_blocks_and_noticed_in_both_arms(make_held: Callable[..., Held]) -> None:
    """Where users were assigned, those that met both arms are counted, and too many of them are a doubt."""
    found = Trial.of(make_held(60, arm=arms, entity=users), control="a", treatment="b", within_us=5 * 86_400_000_000)

    assert found.found.crossed is not None
    assert found.found.crossed > 0
    assert any("were in both arms" in doubt for doubt in found.doubts)


def test_an_arm_that_is_not_there(make_held: Callable[..., Held]) -> None:
    """An arm without a request is refused with the nearest."""
    with pytest.raises(DataError, match="`arm` \\(='bb'\\) is an arm of which the recording has no request"):
        Trial.of(make_held(5, arm=arms), control="a", treatment="bb")
