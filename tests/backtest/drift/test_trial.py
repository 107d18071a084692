from __future__ import annotations

import sys

import numpy as np
import pytest

from windtunnel.backtest.drift import STREAMING, Stream, make_stream, score_alarms, stream_alarms
from windtunnel.errors import ConfigError, DataError, MissingError


def test_dummy_is_what_random_alarms_do() -> None:
    """The dummy's share of changes found and its delay are those of alarms thrown at random, and they never beat it."""
    rng = np.random.default_rng(0)
    streams = [Stream(np.zeros(400), np.array([200, 300]), 100) for _ in range(300)]
    score = score_alarms("random", streams, [np.flatnonzero(rng.random(400) < 0.02) for _ in streams], patience=50)

    assert score.detected / score.changes == pytest.approx(score.dummy_detected, abs=0.05)
    assert score.delay == pytest.approx(score.dummy_delay, abs=2.0)
    assert score.false_per_1000 == pytest.approx(20.0, abs=1.5)
    assert not score.beats_dummy


def test_always_crying_is_no_skill() -> None:
    """A detector that always alarms finds every change at once, and so does a dummy at its rate."""
    streams = [make_stream("mean", np.random.default_rng(seed)) for seed in range(20)]
    score = score_alarms("always", streams, [np.arange(1000) for _ in streams], patience=100)

    assert [score.detected, score.delay, score.dummy_detected, score.dummy_delay] == [20, 0.0, 1.0, 0.0]
    assert not score.beats_dummy


def test_nothing_to_find() -> None:
    """Without changes there is nothing to detect and nothing to beat; every alarm is false."""
    stream = make_stream("none", np.random.default_rng(0))
    score = score_alarms("x", [stream], [np.array([10, 350, 900])], patience=100)

    assert [score.changes, score.detected, score.p_value] == [0, 0, 1.0]
    assert score.false_per_1000 == pytest.approx(2000.0 / 700.0)
    assert score.to_dict()["dummy_detected"] is None


@pytest.mark.parametrize("detector", STREAMING)
def test_rivers_detectors_on_known_changes(detector: str) -> None:
    """Each of river's detectors finds most moves of the mean by two deviations, far beyond alarms thrown at random."""
    pytest.importorskip("river", reason="streaming detectors are river's, an extra")
    streams = [
        make_stream("mean", np.random.default_rng([7, seed]), before=300, after=150, size=2.0) for seed in range(8)
    ]
    alarms = [stream_alarms(detector, stream.values, reference=stream.start) for stream in streams]
    score = score_alarms(detector, streams, alarms, patience=100)

    assert score.detected >= 6
    assert score.beats_dummy
    assert score.delay < score.dummy_delay


def test_streams_are_read_in_order_and_as_of() -> None:
    """Later values change no earlier alarm; missing values are passed over, and the unit of the values does not matter."""
    pytest.importorskip("river", reason="streaming detectors are river's, an extra")
    values = make_stream("mean", np.random.default_rng(3), size=2.0).values
    found = stream_alarms("adwin", values)
    with_gaps = np.tile([np.nan, np.inf], 1000)
    with_gaps[::2] = values

    assert len(found)
    assert stream_alarms("adwin", 1e6 * values + 5.0).tolist() == found.tolist()
    assert stream_alarms("adwin", with_gaps).tolist() == (2 * found).tolist()
    assert stream_alarms("adwin", values[: found[0] + 1]).tolist() == found[:1].tolist()


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names, changes out of order, and river not being there say the way out."""
    values = np.zeros(1000)
    with pytest.raises(ConfigError, match="did you mean `adwin`"):
        stream_alarms("adwim", values)
    with pytest.raises(ConfigError, match="leaves nothing to watch"):
        stream_alarms("adwin", values[:300])
    with pytest.raises(ConfigError, match="is not a kind of change"):
        make_stream("men", np.random.default_rng(0))
    with pytest.raises(DataError, match="in order"):
        score_alarms("x", [Stream(values, np.array([5]), 10)], [np.array([6])], patience=3)
    with pytest.raises(ConfigError, match="is below 1"):
        score_alarms("x", [], [], patience=0)
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(MissingError, match=r"windtunnel\[drift\]"):
        stream_alarms("adwin", values)
