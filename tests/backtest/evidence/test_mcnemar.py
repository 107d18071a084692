from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta

from windtunnel.backtest.evidence import McNemar, discordant
from windtunnel.errors import ConfigError

LEVEL = 0.05


@pytest.mark.parametrize("share", [0.4, 0.5])
def test_the_game_is_fair(share: float) -> None:
    """Over all 2^12 orders of wins and losses the evidence against the true share is expected to be exactly 1; less beyond it."""
    won = np.array(list(itertools.product((0, 1), repeat=12)))
    wins, losses = np.cumsum(won, axis=1), np.cumsum(1 - won, axis=1)
    evidence = McNemar().better(wins, losses, share)
    for true, compare in ((share, np.isclose), (share - 0.1, np.less_equal)):
        weight = np.prod(np.where(won == 1, true, 1.0 - true), axis=1)

        assert compare(weight @ evidence, 1.0).all()


@pytest.mark.parametrize(("wins", "losses", "share"), [(14, 1, 0.5), (3, 9, 0.5), (20, 20, 0.4), (0, 0, 0.5)])
def test_evidence_is_its_mixture(wins: int, losses: int, share: float) -> None:
    """The closed form is the integral over the shares beyond the claimed one."""
    prior = quad(lambda t: t**-0.5 * (1 - t) ** -0.5, share, 1.0)[0]
    mixed = quad(
        lambda t: (t / share) ** wins * ((1 - t) / (1 - share)) ** losses * t**-0.5 * (1 - t) ** -0.5, share, 1.0
    )[0]

    assert pytest.approx(mixed / prior, rel=1e-6) == float(McNemar().better(np.array(wins), np.array(losses), share))


def test_both_sides_are_the_known_form() -> None:
    """Half on each side is 2^n B(b + ½, c + ½) / B(½, ½)."""
    wins, losses = np.array([9]), np.array([4])
    both = (McNemar().better(wins, losses) + McNemar().worse(wins, losses)) / 2.0

    assert pytest.approx(2.0**13 * beta(9.5, 4.5) / beta(0.5, 0.5)) == both[0]


def test_looking_after_every_row_keeps_the_level() -> None:
    """Two equally good models on 1,000 rows: at no row do the bounds leave a half more often than the level says."""
    rng = np.random.default_rng(11)
    wrong = (rng.random((2, 200, 1000)) < 0.1).astype(np.float64)
    wins, losses = discordant(wrong[0], wrong[1])
    better, worse = McNemar().better(wins, losses), McNemar().worse(wins, losses)

    assert np.mean((np.maximum(better, worse) >= 2.0 / LEVEL).any(axis=-1)) <= LEVEL
    assert np.mean((better >= 1.0 / LEVEL).any(axis=-1)) <= LEVEL


def test_bounds_hold_the_share_and_narrow() -> None:
    """A candidate that wins two of three discordant rows: the bounds hold that share and leave a half out in time."""
    won = np.random.default_rng(12).random((100, 600)) < 2.0 / 3.0
    wins, losses = (np.cumsum(each, axis=1, dtype=np.int64)[:, 9::10] for each in (won, ~won))
    low, high = McNemar(LEVEL).bounds(wins, losses)

    assert np.mean(((low > 2.0 / 3.0) | (high < 2.0 / 3.0)).any(axis=-1)) <= LEVEL
    assert np.mean(low[:, -1] > 0.5) > 0.95
    assert (McNemar(LEVEL).better(wins[:9, -1], losses[:9, -1], 0.5)[low[:9, -1] > 0.5] >= 2.0 / LEVEL).all()


def test_many_rows_neither_overflow_nor_vanish() -> None:
    """A hundred thousand wins or losses in a row are weighed without a warning."""
    extremes = np.array([100_000, 10]), np.array([10, 100_000])

    assert McNemar().better(*extremes)[0] > 1e300
    assert McNemar().better(*extremes)[1] < 1e-3


def test_a_share_at_the_end_is_refused() -> None:
    """Nobody can be claimed to win all."""
    with pytest.raises(ConfigError, match="no share to claim"):
        McNemar().better(np.array([1]), np.array([0]), 1.0)
