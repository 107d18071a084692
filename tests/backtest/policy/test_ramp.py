from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.backtest.policy.timetable import Request, replay
from windtunnel.backtest import Rows
from windtunnel.backtest.policy import (
    Alert,
    Guardrails,
    Ledger,
    Prices,
    Rollout,
    Step,
    price_rollout,
    replay_rollout,
)
from windtunnel.loss import Loss

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_US, DAY_S = 86_400_000_000, 86_400.0
GIVEN = Loss("given", "units", False, lambda _label, prediction: prediction)
PRICES = Prices(usd_per_loss=1.0, usd_per_rollback=5.0)


def days(ledger: Ledger, rollout: Rollout) -> list[tuple[int, float]]:
    """When which share was given."""
    return [(event.at_us // DAY_US, event.level) for event in replay_rollout(rollout, ledger).events]


def ledger_of(requests: list[Request], length: int, horizon: int, shares: tuple[float, ...]) -> Ledger:
    """Requests in days, as a ledger."""
    known = np.array([2**63 - 1 if math.isinf(each.known) else round(each.known * DAY_US) for each in requests])
    rows = Rows(
        np.array([round(each.asked * DAY_US) for each in requests]),
        known,
        np.where(known == 2**63 - 1, np.nan, 0.0),
        np.array([each.losses for each in requests]).T.copy(),
    )
    looks = np.arange(DAY_US, (length + 1) * DAY_US, DAY_US)
    return Ledger.of(rows, np.array([each.place for each in requests]), GIVEN, looks, horizon * DAY_S, shares)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_replay_is_that_of_a_plain_timetable(seed: int, paired: bool) -> None:
    """Request by request, look by look, the same shares are given on the same days."""
    rng = np.random.default_rng(seed)
    worse = (-0.2, 0.0, 0.3)[seed % 3]
    length, horizon = 70, 3
    asked = np.sort(rng.random(length * 12)) * length
    requests = [
        Request(
            round(at * DAY_US) / DAY_US,
            math.inf if rng.random() < 0.15 else round((at + rng.exponential(1.0)) * DAY_US) / DAY_US,
            float(rng.random()),
            (loss, loss + worse + float(rng.normal(0.0, 0.4))),
        )
        for at, loss in zip(asked, rng.random(len(asked)), strict=True)
    ]
    steps = (Step(0.0, 3 * DAY_S), Step(0.3, 4 * DAY_S, 0.4), Step(0.6, DAY_S, 0.2), Step(1.0))
    rails = Guardrails(Alert(5 * DAY_S, 0.25, 2, 10), 0.25, 0.4 if seed < 4 else 0.8)
    rollout = Rollout("tried", steps, rails, paired=paired)

    expected = replay(rollout, requests, length, horizon)

    assert expected == days(ledger_of(requests, length, horizon, (0.3, 0.6)), rollout)


def test_a_timetable_by_hand() -> None:
    """Shadow on day 1, half on day 3, all on day 5; three bad answers become known on day 7, and it is sent back."""
    requests = [Request(day + 0.5, day + 1.5, 0.25, (0.0, float(day >= 5))) for day in range(9)]
    requests += [Request(day + 0.6, day + 1.5, 0.75, (0.0, float(day >= 5))) for day in range(9)]
    ledger = ledger_of(sorted(requests, key=lambda each: each.asked), 9, 1, (0.5,))
    steps = (Step(0.0, 2 * DAY_S), Step(0.5, 2 * DAY_S), Step(1.0))
    rollout = Rollout("by hand", steps, Guardrails(Alert(2 * DAY_S, 0.4, least_rows=2)))

    course = replay_rollout(rollout, ledger)
    outcome = price_rollout(rollout, ledger, course, PRICES)

    # on day 7 what was asked on day 5 is known (lost 1 each); what was asked on day 6 is not
    assert days(ledger, rollout) == [(1, 0.0), (3, 0.5), (5, 1.0), (7, 0.0)]
    # each share from its look on; day 0 lies before the start
    assert course.level.tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 0.0, 0.0]
    # days 3 and 4 half of two, days 5 and 6 both
    assert outcome.served == {"incumbent": 16 - 6, "candidate": 6}
    # four answers of days 5 and 6 lost 1 each; the rollback cost 5
    assert (outcome.loss_saved, outcome.value_usd, outcome.drawdown_usd) == (-4.0, -9.0, 9.0)
    # over the whole recording it is worse: no false rollback
    assert (outcome.rollbacks, outcome.false_rollbacks, outcome.missed, outcome.spent_usd) == (1, 0, False, 5.0)
    # both models score, from the start to the rollback: days 1 to 6
    assert outcome.scored == 12


@pytest.mark.parametrize("paired", [True, False])
def test_a_good_candidate_comes_to_serve_all(make_ledger: Callable[..., Ledger], paired: bool) -> None:
    """A candidate that loses 0.1 less takes every step, in order."""
    ledger = make_ledger(-0.1)
    rollout = replace(Rollout.careful(tolerance=0.03), paired=paired)

    course = replay_rollout(rollout, ledger)

    assert [event.level for event in course.events] == [0.0, 0.01, 0.05, 0.25, 1.0]
    assert price_rollout(rollout, ledger, course, PRICES).loss_saved > 0.0


def test_a_bad_candidate_is_sent_back_from_shadow(make_ledger: Callable[..., Ledger]) -> None:
    """A candidate that loses 0.2 more serves nobody, and costs no more than its rollback; at once, it costs a lot."""
    ledger = make_ledger(0.2)
    careful = Rollout.careful(tolerance=0.03)

    outcome = price_rollout(careful, ledger, replay_rollout(careful, ledger), PRICES)
    at_once = price_rollout(Rollout.at_once(), ledger, replay_rollout(Rollout.at_once(), ledger), PRICES)

    assert (outcome.rollbacks, outcome.served["candidate"], outcome.value_usd) == (1, 0, -5.0)
    assert (at_once.missed, at_once.value_usd < -500.0) == (True, True)


def test_a_candidate_that_turns_bad_is_sent_back_by_the_alert(make_ledger: Callable[..., Ledger]) -> None:
    """What turns bad on day 80 is sent back in the days after it, and what it served wrongly until then is counted."""
    ledger = make_ledger(0.5, since=80)
    rollout = Rollout.careful(tolerance=0.03, alert=Alert(5 * DAY_S, 0.15, 2))

    course = replay_rollout(rollout, ledger)
    back = course.first("rollback")
    outcome = price_rollout(rollout, ledger, course, PRICES)

    assert back is not None
    assert 80 < back.at_us // DAY_US <= 87
    assert 0 < outcome.bad_before_detection < outcome.served["candidate"]


def test_a_nervous_alert_sends_a_good_candidate_back_falsely(make_ledger: Callable[..., Ledger]) -> None:
    """An alert that fires on nothing is a false rollback, and its cost is in the value."""
    ledger = make_ledger(-0.05)
    nervous = Rollout("nervous", (Step(1.0),), Guardrails(Alert(DAY_S, -1.0, least_rows=1)))

    outcome = price_rollout(nervous, ledger, replay_rollout(nervous, ledger), PRICES)

    assert (outcome.rollbacks, outcome.false_rollbacks, outcome.spent_usd) == (1, 1, 5.0)


def test_a_drift_alarm_and_too_few_labels_send_it_back(make_ledger: Callable[..., Ledger]) -> None:
    """Drift counts from the look at which it was raised; coverage from the first day whose labels can no longer come."""
    ledger = make_ledger(0.0, never=0.6)
    moved = replace(ledger, alarm=np.arange(ledger.looks) == 30)

    by_drift = days(moved, Rollout("drift", (Step(1.0),), Guardrails(drift=True)))
    by_coverage = days(ledger, Rollout("coverage", (Step(1.0),), Guardrails(least_coverage=0.5)))

    assert by_drift == [(1, 1.0), (31, 0.0)]
    assert by_coverage == [(1, 1.0), (7, 0.0)]


def test_an_undecided_step_says_how_long_it_may_take(make_ledger: Callable[..., Ledger]) -> None:
    """Where the recording ends in shadow, the days to come are told; with nothing to wait for, they are not."""
    ledger = make_ledger(0.0, days=30)

    assert (replay_rollout(Rollout.careful(tolerance=0.03), ledger).more_blocks or 0) > 0
    assert replay_rollout(Rollout.at_once(), ledger).more_blocks is None


def test_labels_of_the_future_move_nothing_of_the_past() -> None:
    """Labels known after a look, and requests asked from it on, are scrambled: all that was decided up to it stays."""
    rng = np.random.default_rng(3)
    length, cut = 60, 45
    asked = np.sort(rng.random(length * 30)) * length
    past = [
        Request(float(at), float(at + rng.exponential(1.0)), float(rng.random()), (0.5, float(rng.normal(0.4, 0.3))))
        for at in asked
    ]
    future = [
        each
        if each.known <= cut
        else Request(
            each.asked,
            max(each.asked, cut) + float(rng.exponential(3.0)) + 1e-3,
            each.place,
            (0.5, float(rng.normal(3.0))),
        )
        for each in past
    ]
    rollout = Rollout.careful(tolerance=0.2, alert=Alert(5 * DAY_S, 0.3))
    shares = (0.01, 0.05, 0.25)

    before, after = (replay_rollout(rollout, ledger_of(each, length, 3, shares)) for each in (past, future))

    until = [[event for event in course.events if event.at_us <= cut * DAY_US] for course in (before, after)]
    assert len(until[0]) == 5
    assert until[0] == until[1]
    assert before.level[:cut].tolist() == after.level[:cut].tolist()
