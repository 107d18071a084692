from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.evidence import Asymptotic, wait
from windtunnel.errors import DataError

SEQUENCE = Asymptotic()


def test_the_interval_holds_how_long_it_took() -> None:
    """Of 60 comparisons undecided after 30 days, most were decided within the 80% interval told on that day."""
    rng, held, asked, seed = np.random.default_rng(1), [], 0, 0
    while asked < 60:
        seed += 1
        days = rng.normal(-0.4, 1.0, size=430)
        decided = np.maximum(SEQUENCE.below(days, 0.0), SEQUENCE.above(days, 0.0)) >= 40.0
        if decided[:30].any():
            continue
        asked += 1
        told = wait(days[:30], SEQUENCE, np.random.default_rng(seed), furthest=400, futures=60)
        took = float(np.argmax(decided) - 29) if decided.any() else np.inf
        low, high = (np.inf if each is None else each for each in (told.low, told.high))
        held.append(low <= took <= high)

    assert np.mean(held) > 0.65


def test_it_is_the_same_for_the_same_seed() -> None:
    """A wait hangs on the values and on its own stream of chance alone."""
    values = np.random.default_rng(2).normal(-0.2, 1.0, size=25)
    told = [wait(values, SEQUENCE, np.random.default_rng(3), furthest=100, futures=20) for _ in range(2)]

    assert told[0] == told[1]


def test_no_difference_is_not_decided_in_time() -> None:
    """Blocks that balance leave most futures undecided, and the wait is not told as a number."""
    told = wait(np.resize([1.0, -1.0], 60), SEQUENCE, np.random.default_rng(4), furthest=60, futures=50)

    assert told.undecided > 0.5
    assert told.to_dict()["more_blocks"] is None


def test_a_tolerance_is_met_sooner() -> None:
    """The more loss is tolerated, the sooner non-inferiority is shown."""
    values = np.random.default_rng(5).normal(0.0, 1.0, size=30)
    waits = [
        wait(values, SEQUENCE, np.random.default_rng(6), tolerance=tolerance, furthest=400, futures=50).blocks
        for tolerance in (0.0, 0.3)
    ]

    assert waits[0] is not None
    assert waits[1] is not None
    assert waits[1] < waits[0]


def test_neighbours_drawn_together_carry_over() -> None:
    """Runs of three keep three days that are alike side by side."""
    noise = np.repeat(np.random.default_rng(7).normal(size=14), 3)
    values = noise - noise.mean() - 0.2
    single, triple = (
        wait(values, Asymptotic(stretched=False), np.random.default_rng(8), run=run, furthest=300, futures=80)
        for run in (1, 3)
    )

    assert single != triple
    assert triple.low is not None


def test_too_few_blocks_are_refused() -> None:
    """Four blocks are no ground to draw a future from."""
    with pytest.raises(DataError, match="4 mature blocks, too few"):
        wait(np.zeros(4), SEQUENCE, np.random.default_rng(0))


def test_unknown_blocks_are_refused() -> None:
    """NaN would be drawn into nearly every future and decide none of them, or the rest at once."""
    with pytest.raises(DataError, match="NaN in some block"):
        wait(np.where(np.arange(30) == 5, np.nan, 1.0), SEQUENCE, np.random.default_rng(0))
