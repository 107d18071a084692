from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.findings import MeasurePlan, Measures, Movement, Sampled, sampled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from windtunnel.backtest.findings import Held


def test_each_entry_and_sentence_says_of_how_many(make_held: Callable[..., Held]) -> None:
    """What was found on a quarter of the requests says so in every entry, sentence, caption and doubt; what it said at each look stays."""
    held = make_held(100)
    found = Movement.of(held, columns=["km"], detectors=["psi"])
    told = Sampled(found, 0.25)
    drawn = told.draw()

    assert {each["sampled"] for each in told.to_dict()["drift"]} == {0.25}
    captions = [*(table.caption for table in drawn.tables), *(each.caption for each in drawn.figures)]
    texts = [*drawn.sentences, *told.doubts, *captions]
    assert len(texts) >= 2
    assert all("on 25.00% of the requests" in each for each in texts)
    assert told.series()[0].tolist() == found.series()[0].tolist()
    assert sampled([found], 1.0) == [found]


def test_measures_in_pieces_are_those_of_memory(make_held: Callable[..., Held], tmp_path: Path) -> None:
    """Every window and group of a metric that adds up comes to the same bits from pieces as from all rows at once."""
    held = make_held(30)
    settings: dict[str, Any] = {
        "home": tmp_path,
        "last_s": 7 * 86400.0,
        "half_life_s": 86400.0,
        "by": "carrier",
        "query": "",
    }
    whole = Measures.of(held, ["brier", "accuracy"], **settings)
    plan = MeasurePlan.of(["brier", "accuracy", "roc_auc"], file="made", **settings)
    frame = held.columns.with_columns(first=True)
    cuts = [0, 11, 700, 1500]
    parts = [
        plan.count(frame[start:end], held.rows.between(start, end), held.question, held.as_of_us)
        for start, end in pairwise(cuts)
    ]
    counted = parts[2] + parts[0] + parts[1]
    ours, theirs = ({each.name: each for each in measures.measures} for measures in (counted.measures(), whole))

    assert counted.known == {("brier", False), ("brier", True), ("accuracy", False), ("accuracy", True)}
    assert ours.keys() == theirs.keys()
    for name, each in ours.items():
        assert each.followed.value.tobytes() == theirs[name].followed.value.tobytes(), name
        assert np.array_equal(each.followed.rows, theirs[name].followed.rows)


def test_too_many_values_are_left_to_the_sample(
    make_held: Callable[..., Held], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a column with more values than are counted apart nothing is told by value, which is left to whoever holds a sample."""
    monkeypatch.setattr("windtunnel.backtest.findings.measure_sums.MOST_VALUES", 2)
    held = make_held(20)
    plan = MeasurePlan.of(["brier"], home=tmp_path, last_s=0.0, half_life_s=0.0, by="carrier", query="", file="made")
    frame = held.columns.with_columns(first=True)
    counted = plan.count(frame, held.rows, held.question, held.as_of_us)

    assert counted.known == {("brier", False)}
    assert {each.group for each in counted.measures().measures} == {""}
