from __future__ import annotations

import polars as pl
import pytest
from scipy.stats import chisquare

from windtunnel.backtest.policy import split_of
from windtunnel.errors import ConfigError
from windtunnel.serving.split import CANARY, LOGGED, PRIMARY, Split, place_of, read_canary

KEYS = [f"user-{number}" for number in range(40_000)]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5])
def test_the_share_is_exact(share: float) -> None:
    """Of many keys the canary gets its share: a chi-square test finds nothing, at one in ten thousand."""
    got = sum(Split(share).arm_of(key)[0] == CANARY for key in KEYS)

    assert chisquare([got, len(KEYS) - got], [share * len(KEYS), (1 - share) * len(KEYS)]).pvalue > 1e-4


def test_places_are_uniform() -> None:
    """Keys that hardly differ fall evenly over a hundred bins."""
    bins = [0] * 100
    for key in KEYS:
        bins[int(place_of(key) * 100)] += 1

    assert chisquare(bins).pvalue > 1e-4


def test_a_key_stays_where_it_is() -> None:
    """Places are those of RFC 7693 and never change: not after a start, not on another machine, not with a version."""
    assert [place_of(key) for key in ("", "7", "naïve", "\ud800")] == [
        0.9947339411017931, 0.9179258500494036, 0.8641001195245301, 0.8548158430849879,
    ]  # fmt: skip


def test_a_replayed_rollout_splits_alike() -> None:
    """The backtest's split of texts is this one, so a rollout that is replayed gives the canary the same keys."""
    assert split_of(pl.Series(KEYS[:500])).tolist() == [place_of(key) for key in KEYS[:500]]


def test_a_greater_share_keeps_whom_it_had() -> None:
    """Whoever meets the canary at 5% still does at 30%, and the propensity says how likely that was."""
    few, more = Split(0.05), Split(0.3)
    canaries = [key for key in KEYS[:2000] if few.arm_of(key)[0] == CANARY]

    assert {more.arm_of(key) for key in canaries} == {(CANARY, 0.3)}
    assert {few.arm_of(key) for key in KEYS[:2000]} == {(CANARY, 0.05), (PRIMARY, 0.95)}
    assert Split().arm_of("anyone") == (PRIMARY, 1.0)


def test_the_log_samples_both_arms() -> None:
    """The log has a salt of its own: in a sample of 10% the canary of 30% has about its share, not all of it."""
    logged = [key for key in KEYS if place_of(key, LOGGED) < 0.1]
    canary = sum(Split(0.3).arm_of(key)[0] == CANARY for key in logged)

    assert chisquare([canary, len(logged) - canary], [0.3 * len(logged), 0.7 * len(logged)]).pvalue > 1e-4


@pytest.mark.parametrize(
    "text", ["runs/new", "=5%", "runs/new=", "runs/new=x", "runs/new=0", "runs/new=100%", "runs/new=-1%"]
)
def test_what_is_no_split_is_refused(text: str) -> None:
    """A canary without a share, or with one that splits nothing, is refused with the way out."""
    with pytest.raises(ConfigError, match="--canary"):
        read_canary(text)


def test_a_run_may_hold_an_equals_sign() -> None:
    """The share stands behind the last one."""
    assert read_canary("runs/a=b=0.5%") == ("runs/a=b", 0.005)
