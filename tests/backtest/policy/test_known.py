from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.policy import Labels, digest_rows, rows_known
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2013, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def at(us: int) -> datetime:
    return START + timedelta(microseconds=us)


def test_the_version_that_stood_then_is_learnt_from(make_recording: Callable[..., Recording]) -> None:
    """A label known at 20 and corrected at 50: nothing at 20, the first version until 50 included, then the correction."""
    recording = make_recording([10, 15], [20, None], [1.0, None])
    corrections = pl.DataFrame({ID: [0], LABEL: [0.0], LABEL_TIME: [at(50)]})
    labels = Labels.of(recording, corrections)
    seen = {us: rows_known(recording, labels, START_US + us) for us in (20, 21, 50, 51)}

    assert {us: rows[LABEL].to_list() for us, rows in seen.items()} == {20: [], 21: [1.0], 50: [1.0], 51: [0.0]}
    assert {us: rows[LABEL_TIME].to_list() for us, rows in seen.items()} == {
        20: [],
        21: [at(20)],
        50: [at(20)],
        51: [at(50)],
    }


def test_in_judging_a_late_version_does_not_count_nor_supersede(make_recording: Callable[..., Recording]) -> None:
    """Within a horizon of 30 the correction at 50 is not there; without one it stands."""
    recording = make_recording([10], [20], [1.0])
    labels = Labels.of(recording, pl.DataFrame({ID: [0], LABEL: [0.0], LABEL_TIME: [at(50)]}))

    assert labels.standing(START_US + 99).label.tolist() == [0.0]
    assert labels.within(30).standing(START_US + 99).label.tolist() == [1.0]


@pytest.mark.parametrize("window", [None, 40])
def test_what_is_learnt_from_is_what_a_plain_filter_keeps(
    make_recording: Callable[..., Recording], window: int | None
) -> None:
    """On random clocks, the rows are those known strictly before, asked within the window, in the recording's order."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(100, size=50))
    known = [int(us) for us in time + rng.integers(0, 60, size=50)]
    recording = make_recording(time.tolist(), known, rng.integers(2, size=50).astype(float).tolist())

    for us in range(0, 160, 7):
        moment, since = at(us), at(us - (window if window is not None else 1000))
        expected = recording.frame.filter((pl.col(LABEL_TIME) < moment) & (pl.col(TIME) >= since))
        assert expected.equals(rows_known(recording, Labels.of(recording), START_US + us, window))


def test_the_digest_is_of_what_is_in_the_table() -> None:
    """Equal tables have one digest, however they were made; a value, a name, a dtype or a missing value gives another."""
    table = pl.DataFrame({"n": [1, None, 3], "t": ["a", "bc", None], "d": [START] * 3, "b": [True, None, False]})
    same = pl.concat([table[:1], table[1:]], rechunk=False)
    others = (
        table.with_columns(n=pl.col("n").fill_null(0)),
        table.with_columns(t=pl.Series(["ab", "c", None])),
        table.with_columns(b=pl.lit(value=True)),
        table.rename({"n": "m"}),
        table.with_columns(n=pl.col("n").cast(pl.Int32)),
        table.reverse(),
    )

    assert digest_rows(table) == digest_rows(same)
    assert len({digest_rows(each) for each in (table, *others)}) == 7
