from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from windtunnel.backtest.compare import Path, follow
from windtunnel.backtest.comparison import Candidate, Status, moment
from windtunnel.backtest.decision import Labels, Ruling, _wait, best_of, judge, placebo_of, wait_for, winner_of
from windtunnel.backtest.evidence import Asymptotic, Claims

LOOKS = np.arange(1, 401, dtype=np.int64) * 86_400_000_000


def candidate(name: str, difference: float, status: Status) -> Candidate:
    return Candidate(name, 10, 0.5, difference, -1.0, 1.0, 1.0, 30, 0.0, 1.0, None, status, None)


def followed(values: list[float]) -> Path:
    """Look once after each day."""
    days = LOOKS[: len(values)]
    return follow(np.array(values), days, days, Asymptotic())


def ruled(values: list[float], max_loss: float = 0.0) -> Ruling:
    path = followed(values)
    return Ruling.of(path, Claims.of(path.values, Asymptotic(), max_loss), LOOKS[: len(values)])


@pytest.mark.parametrize(
    ("centre", "max_loss", "status"),
    [
        (-1.0, 0.1, "superior"),
        (0.5, 1.0, "non-inferior"),
        (0.0, 0.1, "undecided"),
        (0.5, 0.5, "undecided"),
        (2.0, 1.0, "worse"),
    ],
)
def test_status_is_the_claim_that_is_settled(centre: float, max_loss: float, status: Status) -> None:
    """Below zero is superior, below the tolerance non-inferior, above it worse; all else is undecided."""
    assert status == ruled([centre - 0.9, centre + 0.9] * 40, max_loss).status


@pytest.mark.parametrize("seed", range(8))
def test_what_is_settled_is_settled_when_the_bounds_show_it(seed: int) -> None:
    """The decision falls on the first day at which the two-sided bounds lie beyond the tolerance."""
    values = np.random.default_rng(seed).normal(-0.4, 1.0, size=300)
    path = followed(values.tolist())

    assert ruled(values.tolist()).decided_at == moment(int(LOOKS[np.argmax(path.high <= 0.0)]))


def test_nothing_at_all_is_not_inferior() -> None:
    """A candidate that differs by exactly nothing is not inferior from the first bounds on, and not before."""
    first = int(np.argmax(np.isfinite(followed([0.0] * 40).high)))

    assert [ruled([0.0] * days).status for days in (first, first + 1)] == ["undecided", "non-inferior"]
    assert ruled([0.0] * 40).decided_at == moment(int(LOOKS[first]))


def test_what_turned_is_told_as_it_is_now() -> None:
    """Where the opposite is settled later, the later counts and it is said that it turned; weaker evidence alone turns nothing."""
    better, worse, noise = [-0.9, -1.1] * 15, [-3.0, 9.0] * 120, [2.0, -2.0] * 30

    assert (ruled(better).status, ruled(better + noise).status) == ("superior", "superior")
    assert ruled(better + noise).decided_at == ruled(better).decided_at
    assert (ruled(better + worse).status, ruled(better + worse).turned) == ("worse", True)


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


def test_decided_at_is_the_first_look_that_knows_it() -> None:
    """The decision is dated by the first look that knows the day which settled it."""
    days, weekly = LOOKS[:40], LOOKS[6:40:7]
    path = follow(np.tile([-0.9, -1.1], 20), days, weekly, Asymptotic())
    ruling = Ruling.of(path, Claims.of(path.values, Asymptotic(), 0.0), weekly)

    assert ruled([-0.9, -1.1] * 20).decided_at == datetime(1970, 1, 21, tzinfo=UTC)
    assert ruling.decided_at == datetime(1970, 1, 22, tzinfo=UTC)
    assert ruled([-0.9, 1.1] * 20).decided_at is None


def said(values: list[float]) -> str:
    """What is said of waiting."""
    path = followed(values)
    known = candidate("a", float(np.mean(values)), "undecided")
    known = replace(known, blocks=len(values), stretch=path.stretch, wait=wait_for(path.values, Asymptotic(), 0.0, 1))
    return _wait(known, Asymptotic.burn_in)


def test_waiting_as_long_as_estimated_decides_it() -> None:
    """If the days go on as they were, it is settled within the days named for eight futures in ten."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(20):
        days = rng.normal(-0.3, 1.0, size=400).tolist()
        told = wait_for(np.array(days[:40]), Asymptotic(), 0.0, 1)
        settled = Claims.of(np.array(days), Asymptotic(), 0.0).non_inferior.settled
        assert told is not None
        assert told.low is not None
        inside += settled is None or settled <= 40 or settled - 40 >= told.low

    assert inside >= 14


def test_burn_in_and_hopeless_waits_are_said() -> None:
    """Before burn-in the least number of days is named; then an estimate with its ends, or a larger tolerance."""
    assert said([1.0, -1.0] * 4) == "at least 12 more days of mature labels: fewer than 20 say nothing"
    assert said([0.75, -1.25, 0.5, -1.0] * 8).startswith("roughly ")
    assert "in 80% of the futures drawn" in said([0.75, -1.25, 0.5, -1.0] * 8)


def test_placebos_say_whether_the_noise_is_tame() -> None:
    """On plain noise the method is fooled no more often than its level allows; before burn-in nothing is said."""
    values = np.random.default_rng(1).normal(0.5, 1.0, size=120)
    rate = placebo_of(values, Asymptotic(), 1)

    assert rate is not None
    assert rate.low < 0.05
    assert placebo_of(values[:19], Asymptotic(), 1) is None


def test_days_that_stay_alike_for_too_long_are_no_trial() -> None:
    """Of moods that last for months no rate is told, however it would fall; of those that last for days one is, and within the level."""
    told: dict[float, list[float]] = {0.5: [], 0.97: []}
    for seed in range(20):
        for carried, rates in told.items():
            rng, days = np.random.default_rng(seed), np.zeros(466)
            for day in range(1, 466):
                days[day] = carried * days[day - 1] + rng.normal()
            rate = placebo_of(days[100:], Asymptotic(), 1)
            rates.extend([] if rate is None else [rate.value])

    assert len(told[0.97]) <= 1
    assert len(told[0.5]) >= 10
    assert np.mean(told[0.5]) < 0.06


def labels(*, matured: int = 0, pending: int = 0, came: int = 0, days: float = 3.0) -> Labels:
    """Of a hundred requests and a horizon of a week."""
    return Labels(100, matured, pending, came, 9 * 86400.0, days * 86400.0, 7 * 86400.0)


@pytest.mark.parametrize(
    ("known", "bounds", "reason", "change"),
    [
        (labels(matured=40, pending=60, came=40), (-0.2, 0.3), "within -0.20 to +0.30: they decide it", "a recording longer by 24 days"),
        (labels(matured=40, pending=60, came=40), (-0.2, -0.1), "`new` did better in any case", "fewer than 20 mature days say nothing"),
        (labels(days=90.0), (-0.2, 0.3), "not one of the 100 requests has a label", "more days like these change nothing. Name the"),
        (labels(came=80, days=90.0), None, "80 labels came, and none within the horizon of 7 d", "a horizon of 9 d or more, in place of 7 d"),
    ],
)  # fmt: skip
def test_what_can_be_said_before_any_day_is_mature(
    known: Labels, bounds: tuple[float, float] | None, reason: str, change: str
) -> None:
    """Why nothing is judged, between what the difference lies, and what would help: days, where labels are to come, and only there."""
    undated = replace(candidate("new", float("nan"), "undecided"), blocks=0, matured=known.matured, bounds=bounds)
    verdict = judge(
        "old", undated, burn_in=20, metric="log_loss", max_loss=0.0, level=0.05, candidates=1, label_coverage=0.4, labels=known,
    )  # fmt: skip

    assert verdict.outcome == "inconclusive"
    assert reason in verdict.reasons[1]
    assert change in verdict.would_change[0]
