from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.findings.held import looks_of
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held

DAY_US = 86_400_000_000


def test_versions_stand_by_their_request(page: Held) -> None:
    """Each version of a label is a row of its request; the last one that came within the horizon counts."""
    assert page.request.tolist() == [0, 0, 0, 1, 2]
    assert page.first.tolist() == [True, False, False, True, True]
    assert page.final.tolist() == [False, True, False, True, False]
    assert page.losses("new")[page.final].round(2).tolist() == [0.81, 0.04]


def test_text_is_numbered_as_it_first_appeared(page: Held) -> None:
    """A text's number hangs on nothing that came after it; a missing one is NaN."""
    numbers = page.numbers("carrier")

    assert numbers[[0, 1, 2]].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(numbers[3])
    assert numbers[4] == 1.0


def test_a_column_that_is_not_there(page: Held) -> None:
    """An unknown column is refused with those that are there."""
    with pytest.raises(DataError, match="`weather` is not a column; the columns are"):
        page.numbers("weather")


def test_periods_cover_every_request(make_held: Callable[..., Held]) -> None:
    """A grid finer than a day begins before the first midnight, so that no request lies before its first period."""
    held = make_held(3)
    for step_us in (DAY_US, DAY_US // 4, 2 * DAY_US, DAY_US // 7):
        periods = held.periods(step_us)
        period = periods.of_request(held.rows.time_us)

        assert period.min() in {0, 1}
        assert looks_of(periods)[-1] <= held.as_of_us < looks_of(periods)[-1] + step_us


def test_a_period_longer_than_the_recording(make_held: Callable[..., Held]) -> None:
    """A period that never ends is refused."""
    with pytest.raises(ConfigError, match="is longer than the recording"):
        make_held(3).periods(900 * DAY_US, until_us=0)
