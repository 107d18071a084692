"""The costliest requests: the right ones, as of a look, in a table that can be read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.disagreement import Costliest, Flips, draw
from windtunnel.backtest.metrics import Clocks, Judged, by_amount, metric_named
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

NEVER = int(np.iinfo(np.int64).max)
HOUR = 3_600_000_000
LABEL = np.array([1.0, 1.0, 1.0, 0.0, np.nan])
AMOUNT = np.array([1.0, 100.0, 1.0, 1.0, 1.0])
OURS = Judged(LABEL, np.array([0.9, 0.9, 0.9, 0.1, 0.5]), AMOUNT)
THEIRS = Judged(LABEL, np.array([0.1, 0.8, 0.5, 0.0, 0.9]), AMOUNT)
CLOCKS = Clocks(np.arange(5) * HOUR, np.array([1, 2, 60, 4, 0]) * HOUR)
LOG = pl.DataFrame({"key": list("vwxyz"), "carrier": ["AA", "BB", "AA", "CC", "BB"], "time": [0] * 5})


def found(metric: str = "brier", as_of: int = 10, most: int = 100, *, weighed: bool = False) -> Costliest:
    """As of some hour, with a horizon of 100 hours."""
    clocks = Clocks(CLOCKS.time_us, np.where(np.isnan(LABEL), NEVER, CLOCKS.known_us))
    chosen = by_amount(metric_named(metric)) if weighed else metric_named(metric)
    return Costliest.of(
        chosen, OURS, THEIRS, clocks, LOG, as_of_us=as_of * HOUR, horizon_us=100 * HOUR, id_column="key", most=most
    )


def test_the_costliest_known_requests_come_first_with_their_log_lines() -> None:
    """What the candidate costs more, known as of the look; later a label more is known; better rows are not listed."""
    assert found().table["id"].to_list() == ["v", "w"]
    assert found(as_of=70).table["id"].to_list() == ["v", "x", "w"]
    assert found().table["carrier"].to_list() == ["AA", "BB"]
    assert found().total == pytest.approx((0.9**2 - 0.1**2) + (0.2**2 - 0.1**2))


def test_an_amount_changes_which_is_the_costliest() -> None:
    """By amount the small mistake on the great sum comes first, and the first of the list makes most of the total."""
    told = found(weighed=True, most=1)

    assert told.table["id"].to_list() == ["w"]
    assert (told.rows, round(told.share, 3)) == (2, round(3.0 / 3.8, 3))


def test_the_table_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    """Parquet and JSON hold the same lines; the JSON is valid, with times in ISO 8601."""
    told = found()
    for name in ("lines.parquet", "lines.json"):
        told.write(tmp_path / name)
    lines = json.loads((tmp_path / "lines.json").read_text())

    assert pl.read_parquet(tmp_path / "lines.parquet").equals(told.table)
    assert [line["id"] for line in lines] == ["v", "w"]
    assert (lines[0]["label_time"], lines[0]["extra_cost"]) == ("1970-01-01T01:00:00+00:00", 0.8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.json", "lines.parquet"]
    with pytest.raises(ConfigError, match=r"write \.json or \.parquet"):
        told.write(tmp_path / "lines.txt")


def test_the_section_lists_them() -> None:
    """A table of the lines, and a sentence of their share."""
    section = draw("challenger", Flips.of(LABEL, OURS.prediction, THEIRS.prediction), costliest=found())

    assert section.tables[-1].rows[0][0] == "v"
    assert "the costliest 2 make 100.00% of that" in section.sentences[1]


def test_what_has_no_cost_in_a_row_is_refused() -> None:
    """An AUC has no costliest request, an accuracy is not a cost; the log must have a line for each row."""
    for metric in ("roc_auc", "accuracy"):
        with pytest.raises(ConfigError, match="no cost that every row has"):
            found(metric)
    with pytest.raises(DataError, match="one line a row"):
        Costliest.of(metric_named("brier"), OURS, THEIRS, CLOCKS, LOG[:2], as_of_us=9, horizon_us=9)
    with pytest.raises(DataError, match="the columns are: key, carrier, time"):
        Costliest.of(metric_named("brier"), OURS, THEIRS, CLOCKS, LOG, as_of_us=9, horizon_us=9, id_column="name")
