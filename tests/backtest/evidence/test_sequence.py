from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.evidence import Asymptotic, Bernstein, Betting, Bounded, apart
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from windtunnel.backtest.evidence import Sequence

RANGE = Bounded(-1.0, 1.0)
SEQUENCES = [Asymptotic(), Asymptotic(stretched=False), Bernstein(RANGE), Betting(RANGE)]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=repr)
def test_no_look_sees_the_future(sequence: Sequence) -> None:
    """What is said after 30 values is the same to the last bit whatever the values after them are, and if none came."""
    rng = np.random.default_rng(1)
    past = rng.uniform(-1.0, 1.0, size=30)
    futures = np.concatenate([np.broadcast_to(past, (2, 30)), rng.uniform(-1.0, 1.0, size=(2, 20))], axis=1)
    alone = (*sequence.bounds(past), sequence.above(past, 0.1), sequence.below(past, 0.1))
    several = (*sequence.bounds(futures), sequence.above(futures, 0.1), sequence.below(futures, 0.1))
    for told, then in zip(several, alone, strict=True):
        assert (told[0, :30] == then).all()
        assert (told[0, :30] == told[1, :30]).all()
        assert (told[0, 30:] != told[1, 30:]).any()


@pytest.mark.parametrize("sequence", SEQUENCES, ids=repr)
def test_candidates_side_by_side_are_candidates_one_by_one(sequence: Sequence) -> None:
    """Leading axes change nothing but the last bits."""
    values = np.random.default_rng(2).uniform(-1.0, 0.6, size=(3, 40))
    low, high = sequence.bounds(values)
    for one in range(3):
        alone = sequence.bounds(values[one])

        assert pytest.approx(alone[0]) == low[one]
        assert pytest.approx(alone[1]) == high[one]
        assert pytest.approx(sequence.below(values[one], 0.0)) == sequence.below(values, 0.0)[one]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=repr)
def test_above_is_below_in_the_mirror(sequence: Sequence) -> None:
    """Evidence for a greater mean is that for a smaller one of the negated values."""
    values = np.random.default_rng(3).uniform(-1.0, 0.6, size=50)

    assert pytest.approx(sequence.above(-values, -0.2)) == sequence.below(values, 0.2)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=repr)
@given(seed=st.integers(0, 10_000), shift=st.sampled_from([-0.4, 0.0, 0.3]))
@settings(max_examples=8, deadline=None)
def test_bounds_leave_out_what_the_evidence_refutes(sequence: Sequence, seed: int, shift: float) -> None:
    """A mean well outside the bounds has evidence of 1/level against it, one well inside has not."""
    values = np.random.default_rng(seed).uniform(-0.6, 0.6, size=60) + shift
    low, high = sequence.bounds(values)
    evidence = apart(sequence, values, 0.0) * sequence.level
    room = 0.03 * (high - low)

    assert (evidence[(low > room) | (high < -room)] >= 1.0).all()
    # one-sided stakes are rounded to a grid and bounded side by side, so the bounds may be a little wider than the evidence
    inside = np.isfinite(room) & (low < -room) & (high > room)

    assert (evidence[inside] < 1.1).all()


def test_a_difference_outside_its_range_is_refused() -> None:
    """A value that cannot be says that the range is wrong, and so does NaN."""
    for value in (1.5, float("nan")):
        with pytest.raises(DataError, match=r"outside its range \[-1, 1\]"):
            Betting(RANGE).above(np.array([0.0, value]), 0.0)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (1.0, -1.0), (-np.inf, 1.0), (0.0, np.nan)])
def test_no_range_is_refused(ends: tuple[float, float]) -> None:
    """A range needs two finite ends in order."""
    with pytest.raises(ConfigError, match="is no range"):
        Bounded(*ends)
