from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.policy import (
    Alert,
    Guardrails,
    Prices,
    Rollout,
    Schedule,
    Step,
    choose,
    draw_choice,
    sweep_rollouts,
    sweep_schedules,
)
from windtunnel.digest import canonical_json
from windtunnel.errors import ConfigError
from windtunnel.fanout import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.backtest.policy import Account, Ledger
    from windtunnel.backtest.policy.retraining import Bench
    from windtunnel.recording import Recording

DAY_S = 86_400.0
PRICES = Prices(usd_per_loss=1.0, usd_per_wrong=0.5, usd_per_training=3.0, usd_per_rollback=20.0, usd_per_scored=0.001)
ROLLOUTS = [
    Rollout.careful(tolerance=0.05),
    Rollout.careful("brisk", tolerance=0.1, least_s=DAY_S, alert=Alert(5 * DAY_S, 0.2, 2)),
    Rollout("blind", (Step(0.05, 5 * DAY_S), Step(1.0)), Guardrails()),
]
SCHEDULES = [
    Schedule("monthly", every_s=30 * DAY_S, window_s=20 * DAY_S, training_s=600.0),
    Schedule("weekly", every_s=7 * DAY_S, window_s=20 * DAY_S, training_s=600.0),
    Schedule("warm", every_s=20 * DAY_S, training_s=600.0, warm=True),
]


def told(accounts: Sequence[Account]) -> list[object]:
    """Everything that accounts say, to the last bit."""
    return [
        (each.to_dict(), [(outcome.usd.tobytes(), outcome.course.level.tobytes()) for outcome in each.outcomes])
        for each in accounts
    ]


def test_one_worker_or_two_make_the_same_accounts(
    make_ledger: Callable[..., Ledger], make_stream: Callable[..., Recording], make_bench: Callable[..., Bench]
) -> None:
    """Rollouts replayed and models trained on Ray give, bit for bit, what this process gives."""
    import ray

    ledger, bench = make_ledger(0.3, since=60), make_bench(make_stream(90), keep=True)
    alone = [
        *sweep_rollouts(ROLLOUTS, [ledger], PRICES, starts=(0, 10), workers=Workers(1)),
        *sweep_schedules(SCHEDULES, bench, PRICES, workers=Workers(1)),
    ]
    # of our own: a cluster that happens to run on this machine is not ours to fill
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        together = [
            *sweep_rollouts(ROLLOUTS, [ledger], PRICES, starts=(0, 10), workers=Workers(2)),
            *sweep_schedules(SCHEDULES, bench, PRICES, workers=Workers(2)),
        ]
    finally:
        ray.shutdown()

    assert told(alone) == told(together)


def test_doing_nothing_and_everything_at_once_stand_beside(make_ledger: Callable[..., Ledger]) -> None:
    """Every sweep shows what would have happened without a policy; a bad candidate at once is worth least."""
    accounts = sweep_rollouts(ROLLOUTS, [make_ledger(0.3)], PRICES, workers=Workers(1))
    choice = choose(accounts, np.random.default_rng(0))
    value = {account.name: account.value_usd for account in accounts}

    assert list(value) == ["stay", "at once", "careful", "brisk", "blind"]
    assert min(value, key=lambda name: value[name]) == "at once"
    assert (value["stay"], choice.recommended) == (0.0, "stay")


def test_boldness_pays_with_a_good_candidate_alone(make_ledger: Callable[..., Ledger]) -> None:
    """With a good candidate nothing beats taking it at once; with the models changed places as well, care does."""
    good = make_ledger(-0.1)
    best = [
        choose(sweep_rollouts(ROLLOUTS, ledgers, Prices(1.0), workers=Workers(1)), np.random.default_rng(0))
        for ledgers in ([good], [good, good.reversed])
    ]

    assert [choice.accounts[0].name for choice in best] == ["at once", "brisk"]
    assert best[1].account("at once").value_usd == pytest.approx(0.0)
    assert good.reversed.true_difference == -good.true_difference
    assert np.array_equal(good.reversed.reversed.known.harmed, good.known.harmed)


def test_two_policies_of_one_name_and_a_start_at_the_end_are_refused(make_ledger: Callable[..., Ledger]) -> None:
    """Names are how policies are told apart; a start must leave a look."""
    ledger = make_ledger(0.0, days=40)

    with pytest.raises(ConfigError, match="two policies"):
        sweep_rollouts([Rollout("stay", (Step(0.05),))], [ledger], PRICES)
    with pytest.raises(ConfigError, match="same looks"):
        sweep_rollouts(ROLLOUTS, [ledger, make_ledger(0.0, days=41)], PRICES)
    with pytest.raises(ConfigError, match="leaves no look"):
        sweep_rollouts(ROLLOUTS, [ledger], PRICES, starts=(39,))


def test_a_section_shows_the_frontier_and_the_timeline(
    make_ledger: Callable[..., Ledger], make_stream: Callable[..., Recording], make_bench: Callable[..., Bench]
) -> None:
    """The recommended policy is named, marked and drawn; every figure is JSON with titled axes; the verdict follows the choice."""
    ledger, bench = make_ledger(-0.1), make_bench(make_stream(110), keep=True)
    looks_us = ledger.periods.first_us + ledger.periods.every_us * np.arange(ledger.looks)
    swept = (
        (sweep_rollouts(ROLLOUTS, [ledger], PRICES, workers=Workers(1)), looks_us),
        (sweep_schedules(SCHEDULES, bench, PRICES, workers=Workers(1)), bench.shop.looks_us),
    )
    for accounts, looks in swept:
        choice = choose(accounts, np.random.default_rng(0))
        section = draw_choice(choice, looks)

        assert section.outcome == ("go" if choice.distinguishable else "inconclusive")
        assert section.sentences[0].startswith(f"`{choice.recommended}` is recommended")
        assert [row[0] for row in section.tables[0].rows if row[0].endswith("(recommended)")] == [
            f"{choice.recommended} (recommended)"
        ]
        assert len(section.tables[0].rows) == len(accounts)
        for figure in section.figures:
            json.dumps(figure.plotly, allow_nan=False)
            assert all(figure.plotly["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis"))
        assert canonical_json(choice.to_dict())
