from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.findings import Movement
from windtunnel.backtest.findings.movement import Watched
from windtunnel.errors import ConfigError

from .conftest import DAY_US, START_US

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def test_a_column_that_moves_is_seen_the_day_it_moves(make_held: Callable[..., Held]) -> None:
    """`km` moves on day 60 by one deviation: PSI, KS and ADWIN say so within two days, and once; the carrier stays."""
    held = make_held(100)
    found = Movement.of(
        held, columns=("km", "carrier"), detectors=("psi", "ks", "adwin"), changes_us=[START_US + 60 * DAY_US]
    )
    told = {(each.column, each.detector): each for each in found.watched}

    for detector in ("psi", "ks", "adwin"):
        score = told["km", detector].score
        assert score is not None
        assert (score.changes, score.detected, score.delay <= 3) == (1, 1, True), detector
    assert told["carrier", "ks"].alarm.mean() < 0.1
    assert "`km`" in found.doubts[0]


def test_a_doubt_is_seldom_raised_by_chance() -> None:
    """While nothing moves, eight columns held against 40 periods together raise a doubt in at most 5% of recordings, whenever they end."""
    rng = np.random.default_rng(1)
    doubted = 0
    for _ in range(400):
        watched = []
        for column in "abcdefgh":
            distance = rng.random(100)
            threshold = np.sort(distance[:40])[math.ceil(41 * 0.95) - 1]
            alarm = (distance > threshold) & (np.arange(100) >= 40)
            watched.append(Watched(column, "psi", 40, distance, threshold, alarm, None))
        doubted += bool(Movement(np.arange(100), 86400.0, 0.05, tuple(watched), np.empty(0, np.int64)).doubts)

    assert doubted / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    lasting = np.arange(100) >= 94
    moved = Watched("a", "psi", 40, np.zeros(100), 0.5, lasting, None)
    assert Movement(np.arange(100), 86400.0, 0.05, (moved, *watched), np.empty(0, np.int64)).doubts


def test_nothing_is_said_of_the_reference(make_held: Callable[..., Held]) -> None:
    """The distances of the reference hang on each other, so no look of it says anything."""
    _, series = Movement.of(make_held(50)).series()

    assert np.isnan(series["psi of old"][:30]).all()
    assert np.isfinite(series["psi of old"][30:]).all()


def test_refusals(make_held: Callable[..., Held]) -> None:
    """An unknown detector, and a change before anything could be watched, are refused with the way out."""
    held = make_held(50)
    with pytest.raises(ConfigError, match=r"`drift\.detectors` \(='pis'\) is not a detector; did you mean `psi`"):
        Movement.of(held, detectors=("pis",))
    with pytest.raises(ConfigError, match="lies in the reference"):
        Movement.of(held, changes_us=[START_US + DAY_US])


def test_the_document_is_json(make_held: Callable[..., Held]) -> None:
    """Alarms are told as the looks that raised them; a detector without a distance tells none."""
    found = Movement.of(make_held(50), detectors=("psi", "page_hinkley"))
    told = found.to_dict()["drift"]

    assert json.dumps(told, allow_nan=False)
    assert told[1]["threshold"] is None
    assert set(told[1]["distance"]) == {None}
    assert json.dumps(found.draw().to_dict(), allow_nan=False)
