from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.labels import NEVER_US, Labels
from windtunnel.errors import DataError
from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = st.lists(st.tuples(st.integers(0, 8), st.one_of(st.none(), st.integers(0, 8))), min_size=1, max_size=12)


def labels_of(rows: list[tuple[int, int | None]], horizon: int) -> Labels:
    time = np.array(sorted(asked for asked, _ in rows))
    known = [NEVER_US if delay is None else int(asked) + delay for asked, (_, delay) in zip(time, rows, strict=True)]
    value = np.array([np.nan if us == NEVER_US else 1.0 for us in known])
    return Labels(time, np.array(known), value, horizon)


def state(asked: int, known: int, horizon: int, as_of: int) -> str:
    """The definition, word for word."""
    if not asked < as_of:
        return "unasked"
    if known != NEVER_US and known <= as_of and known - asked <= horizon:
        return "matured"
    return "expired" if as_of - asked > horizon else "pending"


@given(rows=ROWS, horizon=st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_states_and_counts_follow_the_definition(rows: list[tuple[int, int | None]], horizon: int) -> None:
    """As of every tick, ties among them, each request is in the state that the definition says, and is counted there."""
    labels, grid = labels_of(rows, horizon), np.arange(-1, 20)
    counts = labels.counts(grid, labels.first_seen(grid))
    for look, as_of in enumerate(grid.tolist()):
        pairs = zip(labels.time_us.tolist(), labels.known_us.tolist(), strict=True)
        expected = [state(asked, known, horizon, as_of) for asked, known in pairs]

        assert expected == labels.state_at(as_of).tolist()
        for name in ("matured", "expired", "pending"):
            assert expected.count(name) == getattr(counts, name)[look]
        assert len(expected) - expected.count("unasked") == counts.asked[look]


@given(rows=ROWS, horizon=st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_no_state_but_pending_is_left(rows: list[tuple[int, int | None]], horizon: int) -> None:
    """What has matured stays matured, and what has expired stays expired."""
    labels = labels_of(rows, horizon)
    states = np.array([labels.state_at(as_of) for as_of in range(20)])
    for final in ("matured", "expired"):
        reached = np.maximum.accumulate(states == final, axis=0)

        assert (reached == (states == final)).all()


def test_a_label_known_at_its_request_counts_only_after_it() -> None:
    """At the instant of its request a request is not asked yet, so its label is not seen yet either."""
    labels = Labels(np.array([5]), np.array([5]), np.array([1.0]), 3)

    assert labels.first_seen(np.array([5, 6])).tolist() == [1]


def test_labels_still_out_at_the_end_stay_pending(make_recording: Callable[..., Recording]) -> None:
    """A label that had not come when the recording ends is censored, not flushed."""
    labels = Labels.of(make_recording([0, 10, 20], [1, None, None], [1.0, None, None]), 1e-3)

    assert labels.state_at(labels.last_known_us + 1).tolist() == ["matured", "pending", "pending"]


def test_a_recording_without_labels_is_refused() -> None:
    """Without a label column there is nothing to judge by, and the message says which column to name."""
    table = pl.DataFrame({"t": ["2013-01-01T00:00:00", "2013-01-02T00:00:00"]})
    recording = Recording.from_table(table, Columns("t"), name="bare")

    with pytest.raises(DataError, match="bare: `label` is missing; name the label and label_time columns"):
        Labels.of(recording, 1.0)
