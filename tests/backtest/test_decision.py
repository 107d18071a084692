from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from windtunnel.backtest.compare import follow
from windtunnel.backtest.comparison import Candidate, Status
from windtunnel.backtest.decision import _wait, best_of, blocks_needed, decided_at, status_of, winner_of
from windtunnel.stats import ConfidenceSequence


def candidate(name: str, difference: float, status: Status) -> Candidate:
    return Candidate(name, 10, 0.5, difference, -1.0, 1.0, 1.0, 30, 0.0, 1.0, None, status, None)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (-0.2, -0.1, "superior"),
        (-0.2, 0.0, "non-inferior"),
        (-0.2, 0.1, "non-inferior"),
        (-0.2, 0.2, "undecided"),
        (0.1, 0.2, "undecided"),
        (0.11, 0.2, "worse"),
        (-np.inf, np.inf, "undecided"),
    ],
)
def test_status_is_read_off_the_bounds(low: float, high: float, status: Status) -> None:
    """Wholly below zero is superior, up to the tolerance non-inferior, wholly above it worse; all else is undecided."""
    assert status == status_of(low, high, 0.1)


def test_the_winner_is_superior_before_non_inferior() -> None:
    """A candidate shown to be better wins over one with a smaller difference that is only not worse; else nobody."""
    shown = [candidate("a", -0.1, "superior"), candidate("b", -0.5, "non-inferior"), candidate("c", -0.2, "superior")]

    assert winner_of("old", shown) == "c"
    assert winner_of("old", [candidate("d", -0.9, "undecided"), candidate("e", 0.9, "worse")]) == "old"


def test_the_best_is_asked_about_where_nobody_wins() -> None:
    """Where the user names no challenger and none is accepted, the one that did best so far is asked about."""
    undecided = [
        candidate("a", float("nan"), "undecided"),
        candidate("b", 0.2, "undecided"),
        candidate("c", -0.1, "worse"),
    ]

    assert best_of("old", undecided) == "c"
    assert best_of("old", []) == "old"


def test_decided_at_is_the_first_look_that_shows_it() -> None:
    """The decision is dated by the first look at which the bounds showed what they show at the end."""
    values = np.tile([-0.9, -1.1], 20)
    looks = np.arange(1, 41, dtype=np.int64) * 86_400_000_000
    path = follow(values, looks, looks, ConfidenceSequence())

    assert datetime(1970, 1, 21, tzinfo=UTC) == decided_at(path, "superior", 0.0, looks)
    assert decided_at(path, "undecided", 0.0, looks) is None


@pytest.mark.parametrize("gap", [0.2, 0.5])
def test_the_estimate_of_days_is_enough_and_not_far_too_much(gap: float) -> None:
    """After the estimated number of days the interval reaches no further than the gap; two days sooner it still did."""
    sequence, deviation = ConfidenceSequence(), 1.0
    needed = blocks_needed(sequence, deviation, gap)
    assert needed is not None
    reaches = []
    for days in (needed, needed - 2):
        low, high = sequence.bounds(np.resize([deviation, -deviation], days))
        reaches.append(float(high[-1] - low[-1]) / 2.0)

    assert reaches[0] <= gap < reaches[1]


def test_waiting_as_long_as_estimated_decides_it() -> None:
    """If the days go on as they were, the bounds meet the tolerance after about the estimated number of further days."""
    sequence, days = ConfidenceSequence(), np.resize([0.75, -1.25], 400)
    looks = np.arange(1, 401)
    whole = follow(days, looks, looks, sequence)
    words = _wait(follow(days[:40], looks[:40], looks[:40], sequence), sequence, 0.0).split()
    decided = int(np.argmax(whole.high <= 0.0)) + 1

    assert words[:1] + words[2:4] == ["roughly", "more", "days"]
    assert abs(40 + int(words[1]) - decided) <= 2


def test_burn_in_and_hopeless_waits_are_said() -> None:
    """Before burn-in the least number of days is named; where ten years would not do, a larger tolerance is."""
    sequence, looks = ConfidenceSequence(), np.arange(1, 101)
    early = follow(np.tile([1.0, -1.0], 4), looks[:8], looks[:8], sequence)
    level = follow(np.tile([1.0, -1.0], 50), looks, looks, sequence)

    assert _wait(early, sequence, 0.0) == "at least 12 more days of mature labels: fewer than 20 say nothing"
    assert _wait(level, sequence, 0.0).startswith("a larger tolerance")
