from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from windtunnel.backtest.policy import Account, Course, Outcome, choose, draw_choice
from windtunnel.errors import ConfigError


def account(name: str, usd: object, expected: object = None) -> Account:
    """A policy that gained so much by look; the first look lies before the start."""
    gained = np.append(0.0, np.asarray(usd, dtype=np.float64))
    alike = np.zeros(len(gained)) if expected is None else np.append(0.0, np.asarray(expected, dtype=np.float64))
    return Account(name, (Outcome(Course(0, (), np.zeros(len(gained))), gained, alike, {}, 0.0, 0),))


def test_what_is_far_better_is_told_apart() -> None:
    """A policy that gains three a day with noise of one is the only one that may be the best, and its lead's interval holds three a day."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    choice = choose([account("stay", base * 0.0), account("good", base + 3.0), account("bad", base - 1.0)], rng)

    assert (choice.plausible, choice.recommended, choice.distinguishable) == (("good",), "good", True)
    assert [each.name for each in choice.accounts] == ["good", "stay", "bad"]
    assert choice.best_share["good"] == 1.0
    assert choice.lead is not None
    assert choice.lead.low < 300.0 < choice.lead.high


def test_what_cannot_be_told_apart_is_decided_by_risk() -> None:
    """A gain that is within the noise does not pay for its risk: doing nothing is recommended, and the doubt is said."""
    rng = np.random.default_rng(1)
    wild = rng.normal(0.05, 1.0, size=100)
    choice = choose([account("wild", wild - wild.mean() + 0.02), account("stay", wild * 0.0)], rng)

    assert (choice.accounts[0].name, choice.recommended, choice.distinguishable) == ("wild", "stay", False)
    assert choice.lead is not None
    assert choice.lead.low < 0.0 < choice.lead.high
    assert choice.frontier == ("stay", "wild")


@pytest.mark.parametrize("carried", [0.0, 0.5])
def test_the_truly_best_is_kept_as_often_as_promised(carried: float) -> None:
    """Among eight policies, five as good as the best, the best is kept in 95% of 150 recordings of 150 days, also where days carry over."""
    rng, kept = np.random.default_rng(2), 0
    means = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.2, -0.5, -1.0])
    for _ in range(150):
        noise = lfilter([1.0], [1.0, -carried], rng.normal(size=(8, 200)), axis=1)[:, 50:]
        choice = choose([account(str(n), noise[n] + means[n]) for n in range(8)], rng, resamples=200)
        kept += "0" in choice.plausible

    assert kept / 150 >= 0.95 - 2.0 * (0.05 * 0.95 / 150) ** 0.5


def test_the_lead_of_two_is_covered_as_often_as_promised() -> None:
    """The interval of the difference of two policies holds the true one in at least 95% of 200 recordings of 100 days."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        noise = rng.normal(size=100)
        # the better one is better by far more than noise, so that it is never the runner-up
        choice = choose([account("a", noise + 5.0), account("b", noise * 0.0)], rng, resamples=300)
        assert choice.lead is not None
        held += choice.lead.low <= 500.0 <= choice.lead.high

    assert held / 200 >= 0.95 - 2.0 * (0.05 * 0.95 / 200) ** 0.5


def test_a_late_step_is_a_decision_and_no_luck() -> None:
    """What serves from the fortieth of 120 days on trails what serves at once by forty days' gain; the interval holds that, and is no wider than those days' noise asks."""
    rng, held, reach = np.random.default_rng(5), 0, []
    for _ in range(200):
        day = rng.normal(1.0, 1.0, size=120)
        late = day * (np.arange(120) >= 40)
        expected = day.mean() * np.array([np.ones(120), np.arange(120) >= 40])
        lead = choose(
            [account("at once", day, expected[0]), account("late", late, expected[1])], rng, resamples=300
        ).lead
        assert lead is not None
        held += lead.low <= 40.0 <= lead.high
        reach.append((lead.high - lead.low) / 2.0)

    assert held / 200 >= 0.95 - 2.0 * (0.05 * 0.95 / 200) ** 0.5
    assert 1.0 < np.mean(reach) / (1.96 * 40**0.5) < 1.3


def test_a_dozen_looks_tell_nothing_for_sure() -> None:
    """Below thirty looks the lead has no interval; equal policies are never told apart; none at all are refused."""
    rng = np.random.default_rng(4)
    few = choose([account("a", np.ones(12) + rng.normal(size=12)), account("b", np.zeros(12))], rng)
    equal = choose([account("a", np.ones(60)), account("b", np.ones(60))], rng)

    assert few.lead is not None
    assert np.isinf([few.lead.low, few.lead.high]).all()
    assert few.to_dict()["lead_over_runner_up"]["usd_low"] is None
    assert equal.plausible == ("a", "b")
    with pytest.raises(ConfigError, match="at least one policy"):
        choose([], rng)


def test_what_is_shown_of_one_side_is_said_so() -> None:
    """A lead of 1.8 deviations is shown to be one, though the interval with both its ends holds zero; the sentence says why."""
    noise = np.random.default_rng(5).normal(size=100)
    gained = (noise - noise.mean()) / noise.std() + 0.18
    choice = choose([account("good", gained), account("stay", 0.0 * gained)], np.random.default_rng(0))
    assert choice.lead is not None

    assert (choice.distinguishable, choice.lead.low < 0.0) == (True, True)
    assert "asked of one side only" in draw_choice(choice, np.arange(101)).sentences[2]
