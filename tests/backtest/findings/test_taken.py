from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from windtunnel.backtest.findings import Taken, recording_of
from windtunnel.backtest.kernel import NEVER_US
from windtunnel.backtest.reading.intake import Tally
from windtunnel.backtest.rows import Rows

HOUR_US = 3_600_000_000


def canonical() -> pl.DataFrame:
    """Two requests out of order; the label of one was corrected, the other's never came."""
    return pl.DataFrame({
        "id": [8, 7, 7], "time": [2 * HOUR_US, HOUR_US, HOUR_US], "known": [NEVER_US, 3 * HOUR_US, 5 * HOUR_US],
        "until": [NEVER_US, 5 * HOUR_US, NEVER_US], "first": [True, True, False], "label": [float("nan"), 1.0, 0.0],
        "old": [0.5, 0.6, 0.6], "wide[0]": [0.1, 0.2, 0.2], "wide[1]": [0.9, 0.8, 0.8], "km": [1.0, 2.0, 2.0],
    })  # fmt: skip


def test_canonical_rows_become_a_recording() -> None:
    """Requests stand in order of time, labels that never came are null, later versions are corrections."""
    recording, predictions, later = recording_of(canonical(), {"old": "p", "wide": ("p0", "p1")}, "log")

    assert recording.frame["id"].to_list() == [7, 8]
    assert recording.frame["label"].to_list() == [1.0, None]
    assert recording.frame["label_time"].to_list() == [datetime(1970, 1, 1, 3, tzinfo=UTC), None]
    assert recording.features.columns == ["km"]
    assert predictions["old"].tolist() == [0.6, 0.5]
    assert predictions["wide"].tolist() == [[0.2, 0.8], [0.1, 0.9]]
    assert later is not None
    assert later.rows() == [(7, 0.0, datetime(1970, 1, 1, 5, tzinfo=UTC))]


def test_doubts_are_those_of_the_comparison() -> None:
    """One class, no label, mixed zones and constant predictions are doubts; propensities of zero concern other estimates."""
    one = Tally(requests=9, labelled=9, least_label=1.0, greatest_label=1.0, propensities_of_zero=3)
    none = Tally(requests=9, spreads={"old": (0.5, 0.5)}, zones={"asked": {""}, "known": {"UTC"}})

    assert [doubt[:16] for doubt in Taken(one.intake()).doubts] == ["All labels are 1"]
    assert [doubt[:16] for doubt in Taken(none.intake()).doubts] == [
        "No label ever ca",
        "Zones are mixed ",
        "`old` says 0.5 o",
    ]


def test_the_engine_sees_the_same_rows() -> None:
    """On the way through a recording no version of a label is lost or moved."""
    recording, predictions, later = recording_of(canonical(), {"old": "p", "wide": ("p0", "p1")}, "log")
    rows = Rows.of(recording, {"old": predictions["old"]}, later)

    assert rows.known_us.tolist() == [3 * HOUR_US, 5 * HOUR_US, NEVER_US]
    assert rows.until_us.tolist() == [5 * HOUR_US, NEVER_US, NEVER_US]
    assert rows.predictions.tolist() == [[0.6, 0.6, 0.5]]
