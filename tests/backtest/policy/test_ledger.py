from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest import Rows
from windtunnel.backtest.policy import Ledger
from windtunnel.backtest.rows import versions
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import LOSSES

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = 2**63 - 1
HORIZON = 30


def corrected(rng: np.random.Generator) -> Rows:
    """Requests from 0 to 200, each with up to three versions of its label, some too late."""
    time = np.sort(rng.integers(200, size=80))
    place = np.repeat(np.arange(80), rng.integers(1, 4, size=80))
    known = time[place] + rng.integers(1, 45, size=len(place))
    known[rng.random(len(place)) < 0.1] = NEVER
    kept, until, first = versions(place, known)
    of, known = place[kept], known[kept]
    label = np.where(known == NEVER, np.nan, rng.integers(2, size=len(of)))
    said = rng.random((2, 80))[:, of]
    return Rows(time[of], known, label, said, until_us=until, first=first)


@pytest.mark.parametrize("seed", range(5))
def test_every_look_shows_what_the_definition_says(seed: int) -> None:
    """Asked, labelled, lost, wrong and harmed are those of a plain count over the versions that stand as of each look, by share."""
    rng = np.random.default_rng(seed)
    rows, split = corrected(rng), rng.random(80)
    split = np.repeat(split, 3)[: len(rows)]
    looks = np.arange(10, 191, 10)
    ledger = Ledger.of(rows, split, LOSSES["brier"], looks, HORIZON / 1e6, [0.3])
    assert rows.until_us is not None

    for look, as_of in enumerate(looks):
        found = ledger.as_of(look)
        due = rows.time_us + HORIZON
        stands = (rows.known_us <= np.minimum(due, as_of)) & ((rows.until_us > as_of) | (rows.until_us > due))
        for seen in range(look + 1):
            for piece, inside in enumerate((split < 0.3, split >= 0.3)):
                of_look = (rows.time_us < looks[seen]) & (rows.time_us >= looks[seen] - 10) & inside
                chosen = of_look & stands
                miss = np.abs(rows.predictions - rows.label)[:, chosen]
                assert ledger.asked[seen, piece] == int((of_look & rows.first).sum())
                assert found.rows[seen, piece] == int(chosen.sum())
                assert found.loss[:, seen, piece] == pytest.approx((miss**2).sum(axis=1))
                wrong = ((rows.predictions >= 0.5) != (rows.label == 1.0))[:, chosen]
                assert found.wrong[:, seen, piece].tolist() == wrong.sum(axis=1).tolist()
                assert found.harmed[seen, piece] == int((wrong[1] & ~wrong[0]).sum())


def test_shares_cut_the_split_where_they_say(make_ledger: Callable[..., Ledger]) -> None:
    """A share is made of the lowest pieces, those of a smaller share among them; a share that was not cut is refused."""
    ledger = make_ledger(0.0, days=10)

    assert ledger.served(np.array([0.0, 0.05])).tolist() == [[False] * 4, [True, True, False, False]]
    with pytest.raises(ConfigError, match=r"`share` \(=0\.1\) is a share at which this ledger was not cut"):
        ledger.served(np.array([0.1]))


def test_what_does_not_fit_is_refused() -> None:
    """A split or alarms of another length, and a grid far too fine, are refused by name."""
    rows = Rows(np.array([1, 2]), np.array([3, 4]), np.array([0.0, 1.0]), np.full((2, 2), 0.5))
    looks = np.arange(0, 50, 10)

    with pytest.raises(DataError, match="`split`"):
        Ledger.of(rows, np.zeros(3), LOSSES["brier"], looks, 1e-5, [])
    with pytest.raises(DataError, match="`alarm`"):
        Ledger.of(rows, np.zeros(2), LOSSES["brier"], looks, 1e-5, [], alarm=np.zeros(2, dtype=np.bool_))
    with pytest.raises(ConfigError, match="`every`"):
        Ledger.of(rows, np.zeros(2), LOSSES["brier"], looks, 3e6, [])
