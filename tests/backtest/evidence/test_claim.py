from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.evidence import Asymptotic, Claim, Claims
from windtunnel.errors import DataError

TOLERANCE = 0.3


@pytest.mark.parametrize(
    ("mean", "settled"), [(-0.6, "superior"), (0.0, "non-inferior"), (0.9, "worse"), (TOLERANCE, None)]
)
def test_what_is_true_comes_to_be_settled(mean: float, settled: str | None) -> None:
    """With 300 days the claim that is true is settled, and none that is false."""
    noise = np.random.default_rng(1).normal(size=300)

    assert settled == Claims.of(noise - noise.mean() + mean, Asymptotic(), TOLERANCE).settled


@pytest.mark.parametrize(("mean", "false"), [(TOLERANCE, "non_inferior"), (0.0, "superior"), (TOLERANCE, "worse")])
def test_a_false_claim_is_settled_no_more_often_than_its_level(mean: float, false: str) -> None:
    """At the very edge of a claim, looking daily for 200 days, it is made in at most 5% of 300 repetitions."""
    days = np.random.default_rng(2).normal(mean, 1.0, size=(300, 200))
    made = [getattr(Claims.of(each, Asymptotic(), TOLERANCE), false).settled is not None for each in days]

    assert np.mean(made) <= 0.05 + 3.0 * (0.05 * 0.95 / 300) ** 0.5


def test_settled_is_the_first_block_that_reaches_it_for_good() -> None:
    """A claim dates from the first block at which the evidence was enough, though later it be less."""
    claim = Claim("superior", 0.0, np.array([1.0, 19.9, 20.0, 3.0]), 0.05)

    assert (claim.settled, claim.settled_at(np.array([10, 20, 30, 40])), claim.e_value) == (3, 30, 3.0)


def test_without_evidence_nothing_is_settled() -> None:
    """No blocks, or too little evidence, settle nothing and have no date."""
    for values in (np.empty(0), np.array([1.0, 2.0])):
        claim = Claim("worse", 0.0, values, 0.05)

        assert claim.settled is None
        assert claim.settled_at(np.arange(len(values))) is None
    assert Claim("worse", 0.0, np.empty(0), 0.05).e_value == 1.0


def test_no_tolerance_makes_superior_and_non_inferior_one() -> None:
    """Without a tolerance both are the claim of a difference below zero."""
    claims = Claims.of(np.random.default_rng(3).normal(-0.4, 1.0, size=100), Asymptotic())

    assert (claims.superior.e_values == claims.non_inferior.e_values).all()
    assert claims.settled == "superior"


def test_of_acceptance_and_rejection_the_first_holds() -> None:
    """Were both ever reached, the one that came first is what was decided."""
    early, late, never = (np.array(e) for e in ([1.0, 30.0, 1.0], [1.0, 1.0, 30.0], [1.0, 1.0, 1.0]))
    for accepted, rejected, settled in ((early, late, "non-inferior"), (late, early, "worse"), (never, never, None)):
        claims = Claims(
            Claim("superior", 0.0, never, 0.05),
            Claim("non-inferior", 0.1, accepted, 0.05),
            Claim("worse", 0.1, rejected, 0.05),
        )

        assert claims.settled == settled


def test_a_block_without_rows_is_not_a_difference() -> None:
    """NaN would silently settle nothing for ever, so it is refused."""
    with pytest.raises(DataError, match="NaN in some block"):
        Claims.of(np.array([0.1, np.nan]), Asymptotic())


def test_what_is_settled_is_what_the_bounds_leave_out() -> None:
    """A claim is settled at the very block at which the two-sided bounds first leave out what it denies."""
    for seed in range(20):
        days = np.random.default_rng([3, seed]).normal(-0.3, 1.0, size=150)
        low, high = Asymptotic().bounds(days)
        claims = Claims.of(days, Asymptotic(), TOLERANCE)
        for claim, outside in (
            (claims.superior, high < 0.0),
            (claims.non_inferior, high < TOLERANCE),
            (claims.worse, low > TOLERANCE),
        ):
            assert claim.settled == (int(np.argmax(outside)) + 1 if outside.any() else None)
