from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.evidence import AbTest, Arms, Asymptotic, Units, ab_test
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

NAMES = ("old", "new")
DAY = 1000


def comings(seed: int, users: int = 4000, days: int = 60, visits: int = 4) -> tuple[Places, Places, NDArray[np.bool_]]:
    """Whose each row is, when it was asked, and which users got the new arm; users come back so often, within some weeks."""
    rng = np.random.default_rng([71, seed])
    came = np.sort(rng.integers(0, days * DAY, users))
    who = np.repeat(np.arange(users), rng.poisson(visits, users) + 1)
    first = np.append(True, who[1:] != who[:-1])
    time = came[who] + np.where(first, 0, rng.exponential(2.5 * visits * DAY, len(who)).astype(np.int64))
    inside = time < days * DAY
    return who[inside], time[inside], rng.random(users) < 0.5


def trial(seed: int, effect: float) -> AbTest:
    """Users who differ among themselves and come back, compared by blocks of twenty."""
    who, time, new = comings(seed, 1500, visits=12)
    rng = np.random.default_rng([72, seed])
    value = rng.normal(size=len(new))[who] + 0.5 * rng.normal(size=len(who)) + effect * new[who]
    arm = np.where(new[who], "new", "old")
    units = Units.of(NAMES, who, arm, time)
    place = units.block_of(who, time, within_us=5 * DAY, as_of_us=60 * DAY, size=20)
    kept = place >= 0
    return ab_test(Arms.of(NAMES, arm[kept], place[kept], value[kept]), Asymptotic(), units=units)


def test_days_of_returning_units_are_no_blocks() -> None:
    """Two hundred users who come back daily for 60 days: the arms do not differ, and most trials taken by days say they do."""
    day, who = np.repeat(np.arange(60), 200), np.tile(np.arange(200), 60)
    fooled = []
    for seed in range(40):
        rng = np.random.default_rng([73, seed])
        new = rng.random(200) < 0.5
        value = rng.normal(size=200)[who] + 0.5 * rng.normal(size=len(who))
        by_day = Arms.of(NAMES, np.where(new[who], "new", "old"), day, value)
        fooled.append(ab_test(by_day, Asymptotic()).claims.settled is not None)

    assert np.mean(fooled) > 0.4


def test_blocks_of_returning_units_keep_the_level() -> None:
    """By blocks of users an A/A test is fooled no more often than the level says, and its split is found even."""
    found = [trial(seed, 0.0) for seed in range(60)]

    assert np.mean([each.claims.settled is not None for each in found]) <= 0.05 + 3.0 * (0.05 * 0.95 / 60) ** 0.5
    assert np.mean([each.trusted for each in found]) >= 0.95


def test_blocks_of_units_find_a_difference() -> None:
    """A difference of half a deviation of users is shown, and nobody was in both arms."""
    found = trial(1, -0.5)

    assert (found.shown, found.units, found.crossed) == ("superior", 1500, 0)
    assert found.difference.low < -0.5 < found.difference.high
    assert found.to_dict()["units_in_both_arms"] == 0


@pytest.mark.parametrize(("crossing", "trusted"), [(30, True), (50, False)])
def test_units_in_both_arms_are_counted_and_void_the_test_above_one_in_a_hundred(crossing: int, trusted: bool) -> None:
    """Of 4,000 users 30 in both arms are told and left out; 50 are too many, and nothing is shown."""
    who, time, new = comings(2)
    arm = np.where(new[who], "new", "old")
    last = np.append(who[1:] != who[:-1], True) & np.append(False, who[1:] == who[:-1])
    swapped = np.flatnonzero(last)[:crossing]
    arm[swapped] = np.where(arm[swapped] == "new", "old", "new")
    units = Units.of(NAMES, who, arm, time)
    place = units.block_of(who, time, within_us=60 * DAY, as_of_us=120 * DAY)
    kept = place >= 0
    found = ab_test(
        Arms.of(NAMES, arm[kept], place[kept], new[who[kept]].astype(np.float64)), Asymptotic(), units=units
    )

    assert (found.crossed, found.trusted, found.shown) == (crossing, trusted, "worse" if trusted else None)
    assert not kept[np.isin(who, who[swapped])].any()
    assert trusted or "50 of 4,000 units (1.25%) were in both arms, where at most 1% may be" in found.doubts[0]


def test_units_are_what_a_loop_finds() -> None:
    """First times, crossings and blocks are those of a plain loop over the rows, and of shards added up in any order."""
    rng = np.random.default_rng(3)
    who, time = rng.integers(0, 60, 200), rng.integers(0, 500, 200)
    arm = np.where((who + (rng.random(200) < 0.05)) % 2 == 0, "old", "new")
    first: dict[tuple[int, str], int] = {}
    for u, a, t in zip(who.tolist(), arm.tolist(), time.tolist(), strict=True):
        first[u, a] = min(t, first.get((u, a), t))
    came = {u: min(t for (v, _), t in first.items() if v == u) for u in who.tolist()}
    soon = {u for u in came if all((u, a) in first and first[u, a] - came[u] < 100 for a in NAMES)}
    order = [u for u in sorted(came, key=lambda u: (came[u], u)) if u not in soon]
    block = {}
    for place, unit in enumerate(order):
        members = order[place // 7 * 7 : place // 7 * 7 + 7]
        if len(members) == 7 and 450 - max(came[u] for u in members) >= 100:
            block[unit] = place // 7
    expected = [block.get(u, -1) if t - came[u] < 100 else -1 for u, t in zip(who.tolist(), time.tolist(), strict=True)]
    half = rng.random(200) < 0.5
    whole, parts = Units.of(NAMES, who, arm, time), [Units.of(NAMES, who[c], arm[c], time[c]) for c in (half, ~half)]

    assert soon
    assert max(expected) > 2
    assert whole.block_of(who, time, within_us=100, as_of_us=450, size=7).tolist() == expected
    assert whole.crossed.sum() == sum(all((u, a) in first for a in NAMES) for u in came)
    assert (parts[1] + parts[0]).first_us.tobytes() == whole.first_us.tobytes()
    assert whole.assigned(7).sum() == len(came) - sum(first.get((u, "old")) == first.get((u, "new")) for u in came)


def test_later_rows_change_no_block() -> None:
    """What is known at a look puts each row where a later look puts it, though units cross over or come meanwhile."""
    who, time, new = comings(4, users=500)
    arm = np.where(new[who] ^ (time > 45 * DAY), "new", "old")
    seen = time < 40 * DAY
    early, late = (Units.of(NAMES, who[rows], arm[rows], time[rows]) for rows in (seen, seen | True))
    told = {"within_us": 5 * DAY, "size": 20}
    then = early.block_of(who[seen], time[seen], as_of_us=40 * DAY, **told)
    now = late.block_of(who[seen], time[seen], as_of_us=60 * DAY, **told)

    assert (then >= 0).sum() > 100
    assert late.crossed.any()
    assert (now[then >= 0] == then[then >= 0]).all()


def test_refusals() -> None:
    """Unknown units, columns of other lengths and times that are none are refused; no rows are no units."""
    units = Units.of(NAMES, np.array(["x", "y"]), ["old", "new"], np.array([1, 2]))
    none = Units.of(NAMES, np.array([], dtype=np.str_), [], np.array([], dtype=np.int64))
    with pytest.raises(DataError, match="never assigned"):
        units.block_of(np.array(["z"]), np.array([1]), within_us=1, as_of_us=9)
    with pytest.raises(DataError, match="another number of rows"):
        Units.of(NAMES, np.array(["x", "y"]), ["old", "new"], np.array([1]))
    with pytest.raises(ConfigError, match="is not positive"):
        units.block_of(np.array(["x"]), np.array([1]), within_us=0, as_of_us=9)

    assert none.assigned().shape == (0, 2)
    assert (none + units).ids.tolist() == ["x", "y"]
    assert none.block_of(none.ids, np.array([], dtype=np.int64), within_us=1, as_of_us=9).tolist() == []
