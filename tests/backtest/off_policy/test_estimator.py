from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.off_policy import Logged, Overlap, doubly_robust, guess_rewards, ips, mean_of, snips
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    Floats = NDArray[np.float64]

ROWS, REPEATS = 1000, 400
WORTH = 0.5 * 3.5 + 0.5 * 1.0
"""What acting where x > 0 earns: there 3 + x, 3.5 on average, for half of the requests; 1 for the others."""


def world(seed: int, *, rows: int = ROWS, days: int = 0) -> tuple[Floats, NDArray[np.bool_], Floats, Floats, Floats]:
    """x, whether one acted, its propensity, the reward, and the mean rewards of passing and of acting, [n] and [n, 2].

    Passing earns 1 on average, acting 3 + x; the rows of a day may share a shock.
    """
    rng = np.random.default_rng([51, seed])
    x = rng.uniform(-1.0, 1.0, rows)
    chance = 0.1 + 0.8 * (x < 0.3)
    acted = rng.random(rows) < chance
    means = np.column_stack([1.0 + 0.0 * x, 3.0 + x])
    shock = rng.normal(0.0, 1.0, days)[np.arange(rows) % days] if days else 0.0
    reward = means[np.arange(rows), acted.astype(int)] + rng.normal(0.0, 1.0, rows) + shock
    return x, acted, np.where(acted, chance, 1.0 - chance), reward, means


def logged(seed: int, *, guess: float | None = None, wrong: float = 1.0, days: int = 0) -> Logged:
    """The log, to judge the policy that acts where x > 0; with a reward model that is off by a guess, or none."""
    x, acted, propensity, reward, means = world(seed, days=days)
    would = x > 0.0
    model = None if guess is None else (means[np.arange(ROWS), acted.astype(int)] + guess)
    of_target = None if guess is None else means[np.arange(ROWS), would.astype(int)] + guess
    return Logged.of(
        reward, np.minimum(1.0, propensity * wrong), (acted == would).astype(float), model_logged=model,
        model_target=of_target, block=np.arange(ROWS) % days if days else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "estimate", "guess"),
    [
        ("ips", ips, None),
        ("snips", snips, None),
        ("doubly robust, good model", doubly_robust, 0.0),
        ("doubly robust, bad model", doubly_robust, 2.0),
    ],
)
def test_intervals_cover_what_the_policy_is_worth(
    name: str, estimate: Callable[[Logged], Interval], guess: float | None
) -> None:
    """The estimate errs around nothing, and its 95% interval holds the truth about as often as it says."""
    found = [estimate(logged(seed, guess=guess)) for seed in range(REPEATS)]
    errors = np.array([each.value for each in found]) - WORTH
    covered = np.mean([each.low <= WORTH <= each.high for each in found])

    assert abs(errors.mean()) < 4.0 * errors.std() / REPEATS**0.5, name
    assert covered >= 0.95 - 3.0 * (0.05 * 0.95 / REPEATS) ** 0.5, name


def test_a_good_model_sharpens() -> None:
    """Self-normalising narrows the interval, and a good reward model narrows it further."""
    widths = [
        np.mean([each.high - each.low for each in map(estimate, [logged(seed, guess=0.0) for seed in range(20)])])
        for estimate in (ips, snips, doubly_robust)
    ]

    assert widths == sorted(widths, reverse=True)
    assert widths[2] < 0.7 * widths[0]


def test_either_the_model_or_the_propensities_suffice() -> None:
    """With propensities twice too large IPS is far off; with a right model the doubly robust estimate is not."""
    wrong = [logged(seed, guess=0.0, wrong=0.5) for seed in range(50)]

    assert np.mean([ips(each).value for each in wrong]) > 1.5 * WORTH
    assert np.mean([doubly_robust(each).value for each in wrong]) == pytest.approx(WORTH, abs=0.03)


def test_days_that_share_a_shock() -> None:
    """Where days share a shock, an interval over rows covers too rarely and one over days as often as it says."""
    by_day = [logged(seed, days=10) for seed in range(200)]
    as_rows = [Logged(e.reward, e.propensity, e.target, e.model_logged, e.model_target, None) for e in by_day]
    covered = [np.mean([each.low <= WORTH <= each.high for each in map(snips, logs)]) for logs in (by_day, as_rows)]

    assert covered[0] >= 0.95 - 3.0 * (0.05 * 0.95 / 200) ** 0.5
    assert covered[1] < 0.8


def test_same_policy_is_the_plain_mean() -> None:
    """A policy that decides as the log did, with the same chances, is worth the mean reward, by every estimator."""
    _, _, propensity, reward, _ = world(0)
    same = Logged.of(reward, propensity, propensity)

    assert [each(same).value for each in (ips, snips, doubly_robust)] == pytest.approx([reward.mean()] * 3)
    assert Overlap.of(same).effective == pytest.approx(ROWS)
    assert Overlap.of(same).reasons == ()


def test_overlap_tells_what_not_to_believe() -> None:
    """Few effective rows, one row with all the weight, wrong propensities, and actions never logged each say so."""
    propensity = np.full(1000, 0.9)
    propensity[0] = 0.001
    heavy = Overlap.of(Logged.of(np.ones(1000), propensity, np.ones(1000)))
    wrong = Overlap.of(logged(0, wrong=0.5))
    nothing = Logged.of(np.ones(9), np.ones(9), np.zeros(9))

    assert [reason.split(" ")[0] for reason in heavy.reasons] == ["only", "one"]
    assert heavy.to_dict()["tiny_share"] == 0.001
    assert "average 2." in wrong.reasons[0]
    assert Overlap.of(nothing).effective == 0.0
    assert np.isnan(snips(nothing).value)
    assert Overlap.of(nothing).to_dict()["greatest_share"] is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("propensity", 0.0, "is zero in 1 of 3 rows, first in row 1"),
        ("propensity", np.nan, "is missing"),
        ("propensity", 1.5, "is no probability"),
        ("propensity", 1e-310, "is below 1e-12 in 1 of 3 rows"),
        ("target", -0.1, "is no probability"),
        ("reward", np.nan, "leave out decisions whose outcome is unknown"),
        ("model_logged", np.inf, "is not finite"),
    ],
)
def test_refusals(column: str, value: float, message: str) -> None:
    """What cannot be weighed is refused with its row and the way out."""
    columns = {name: np.full(3, 0.5) for name in ("reward", "propensity", "target", "model_logged", "model_target")}
    columns[column][1] = value
    model = {name: columns.pop(name) for name in ("model_logged", "model_target")}
    with pytest.raises(DataError, match=message):
        Logged.of(columns["reward"], columns["propensity"], columns["target"], **model)


def test_shapes_are_refused() -> None:
    """No rows, columns of another length and half a reward model are refused."""
    half = np.full(3, 0.5)
    with pytest.raises(DataError, match="no decision with a known outcome"):
        Logged.of(half[:0], half[:0], half[:0])
    with pytest.raises(DataError, match="another number of rows"):
        Logged.of(half, half[:2], half)
    with pytest.raises(DataError, match="half a reward model"):
        Logged.of(half, half, half, model_logged=half)


def test_reward_model_learns_from_the_past_only() -> None:
    """The first stretch has no model; the later ones sharpen the estimate; outcomes known later change nothing before."""
    x, acted, propensity, reward, _ = world(3, rows=4000)
    time = np.arange(4000) * 10
    would = (x > 0.0).astype(int)
    chances = np.eye(2)[would]
    args = (x[:, None], acted.astype(int))
    of_logged, of_target = guess_rewards(time, time + 50, *args, reward, chances)
    scrambled = np.where(time + 50 >= time[2400], 99.0, reward)
    other, _ = guess_rewards(time, time + 50, *args, scrambled, chances)
    agreed = (acted == would).astype(float)
    robust = doubly_robust(Logged.of(reward, propensity, agreed, model_logged=of_logged, model_target=of_target))
    plain = ips(Logged.of(reward, propensity, agreed))

    assert (of_logged[:800] == 0.0).all()
    assert other[:3200].tobytes() == of_logged[:3200].tobytes()
    assert robust.low <= WORTH <= robust.high
    assert robust.high - robust.low < 0.9 * (plain.high - plain.low)
    with pytest.raises(DataError, match="one column for each action"):
        guess_rewards(time, time, x[:, None], np.full(4000, 2), reward, chances)


def test_one_block_bounds_nothing() -> None:
    """A mean over one block has an interval without ends."""
    assert mean_of(np.arange(3.0), np.zeros(3, dtype=np.int64), 0.95).high == float("inf")


def test_rounded_propensities_are_not_wrong_ones() -> None:
    """Propensities logged in single precision average weights of one but for rounding, and raise no doubt."""
    logs = Logged.of(np.arange(500.0), np.full(500, 0.3, dtype=np.float32).astype(np.float64), np.full(500, 0.3))

    assert Overlap.of(logs).reasons == ()


def test_variances_are_those_of_trials() -> None:
    """Over 600 logs the spread of each estimate is what its interval says."""
    for estimate, guess in ((ips, None), (snips, None), (doubly_robust, 0.5)):
        found = [estimate(logged(seed, guess=guess), 0.95) for seed in range(600)]
        said = np.mean([each.high - each.low for each in found]) / 2.0 / 1.96

        assert pytest.approx(float(np.std([each.value for each in found])), rel=0.1) == said
