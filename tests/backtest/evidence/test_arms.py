from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.evidence import Arms
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMES = ("old", "new")


def made(seed: int, rows: int = 600, days: int = 12) -> tuple[list[str], NDArray[np.int64], Floats, Floats]:
    """Arms, days, values and covariates that explain half of the variance of the values."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(days, size=rows))
    covariate = rng.normal(size=rows)
    value = covariate + rng.normal(size=rows)
    return rng.choice(NAMES, size=rows).tolist(), day, value, covariate


def test_differences_are_those_of_the_rows() -> None:
    """Day by day the difference is the treatment's mean minus the control's, worked out from the rows."""
    arm, day, value, _ = made(1)
    differences = Arms.of(NAMES, arm, day, value).differences()
    new = np.array(arm) == "new"
    wanted = [value[(day == d) & new].mean() - value[(day == d) & ~new].mean() for d in range(12)]

    assert pytest.approx(wanted) == differences.tolist()


def test_slopes_are_least_squares_within_days_and_arms_of_the_days_before() -> None:
    """The slope of a day is that of the rows before it, each taken from the mean of its day and arm; at first it is zero."""
    arm, day, value, covariate = made(2)
    slopes = Arms.of(NAMES, arm, day, value, covariate).slopes
    cell = day * 2 + (np.array(arm) == "new")
    centred = [each - np.array([each[cell == c].mean() for c in cell]) for each in (covariate, value)]
    before = day < 7

    assert slopes[0] == 0.0
    assert (
        pytest.approx(float(centred[0][before] @ centred[1][before] / (centred[0][before] @ centred[0][before])))
        == slopes[7]
    )


def test_adjusting_keeps_the_difference_and_lowers_its_noise() -> None:
    """Over 200 repetitions the adjusted difference has the true mean, and half the variance, as its covariate promises."""
    plain, adjusted = [], []
    for seed in range(200):
        arm, day, value, covariate = made(seed)
        value = value + 0.3 * (np.array(arm) == "new")
        both = Arms.of(NAMES, arm, day, value, covariate)
        plain.append(both.differences()[2:].mean())
        adjusted.append(both.differences(adjusted=True)[2:].mean())

    assert abs(np.mean(adjusted) - 0.3) < 3.0 * np.std(adjusted) / 200**0.5
    assert 0.35 < np.var(adjusted) / np.var(plain) < 0.7


def test_parts_add_up_to_the_whole() -> None:
    """The sums of two halves of a recording are those of the whole, whichever rows are in which."""
    arm, day, value, covariate = made(3)
    half = np.random.default_rng(4).random(len(day)) < 0.5
    parts = [
        Arms.of(NAMES, np.array(arm)[rows], day[rows], value[rows], covariate[rows], days=12) for rows in (half, ~half)
    ]

    assert pytest.approx(Arms.of(NAMES, arm, day, value, covariate).sums) == (parts[0] + parts[1]).sums


@pytest.mark.parametrize(
    ("arm", "names", "words"),
    [
        (["old", "newer"], NAMES, r"newer.* neither of the two arms"),
        (["old", "new", "third"], NAMES, "neither of the two arms"),
        (["old", "new"], ("old", "old"), "compared with itself"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(arm: list[str], names: tuple[str, str], words: str) -> None:
    """An unknown arm, a third one, or an arm against itself: each is refused in its own words."""
    with pytest.raises(DataError, match=words):
        Arms.of(names, arm, np.zeros(len(arm), dtype=np.int64), np.ones(len(arm)))


def test_a_part_may_lack_an_arm() -> None:
    """A shard from before the treatment began, and one without rows, add up with the rest."""
    none = np.empty(0, dtype=np.int64)
    parts = [
        Arms.of(NAMES, ["old", "old"], np.array([0, 0]), np.ones(2), days=2),
        Arms.of(NAMES, [], none, none.astype(np.float64), days=2),
        Arms.of(NAMES, ["old", "new"], np.array([1, 1]), np.ones(2), days=2),
    ]

    assert (parts[0] + parts[1] + parts[2]).rows.tolist() == [[2, 0], [1, 1]]


@pytest.mark.parametrize("shift", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_the_covariates_unit_does_not_matter(unit: float, shift: float) -> None:
    """A covariate told in thousandths, or around a large number, explains as much as before."""
    arm, day, value, covariate = made(5)
    plain = Arms.of(NAMES, arm, day, value, covariate).differences(adjusted=True)
    other = Arms.of(NAMES, arm, day, value, (covariate + shift) * unit).differences(adjusted=True)

    assert pytest.approx(plain, rel=1e-4, abs=1e-4) == other


def test_a_covariate_lost_to_rounding_explains_nothing() -> None:
    """Where the deviation is a billionth of the mean its slope would be noise, and is taken for zero."""
    arm, day, value, covariate = made(5)

    assert not Arms.of(NAMES, arm, day, value, covariate + 1e9).slopes.any()


def test_columns_that_do_not_fit_are_refused() -> None:
    """One day for many rows is not spread over them, and a day outside the recording is not dropped or wrapped."""
    ones = np.ones(3)
    with pytest.raises(DataError, match="another number of rows"):
        Arms.of(NAMES, ["old", "new", "old"], np.array([0]), ones)
    for day in (-1, 2):
        with pytest.raises(DataError, match="out of range"):
            Arms.of(NAMES, ["old", "new", "old"], np.array([0, 1, day]), ones, days=2)


def test_values_that_are_not_finite_are_refused() -> None:
    """A covariate that is missing in some rows is not read as zero."""
    with pytest.raises(DataError, match="`covariate` is not finite"):
        Arms.of(NAMES, ["old", "new"], np.array([0, 0]), np.ones(2), np.array([1.0, np.nan]))
