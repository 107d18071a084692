from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from windtunnel.digest import canonical_json
from windtunnel.errors import DataError
from windtunnel.load_curve import LoadCurve, LoadPoint
from windtunnel.stats import Interval


def _point(offered: float, p99: Interval | None = None) -> LoadPoint:
    some = Interval(0.002, 0.001, 0.003, 0, 0.95)
    return LoadPoint(
        offered, offered / 100.0, offered, offered / 100.0, 1.5, some, some, p99 if p99 is not None else some
    )


def _curve() -> LoadCurve:
    unknown = Interval(0.004, -math.inf, math.inf, 0, 0.95)
    points = (_point(10.0), _point(50.0), _point(90.0, unknown))
    return LoadCurve("m", "projected", 1.5, 2, 8, 0.0, 100.0, points, 50.0)


def test_comes_back_from_json() -> None:
    """What was written is what is read, also where an interval has no end."""
    written = json.loads(canonical_json(_curve().to_dict()))

    assert _curve() == LoadCurve.from_dict(written)


def test_an_interval_without_end_is_null() -> None:
    """JSON has no infinity: the figure stands, and its ends are null."""
    last = _curve().to_dict()["points"][-1]

    assert (last["p99_s"], last["p99_s_low"], last["p99_s_high"]) == (0.004, None, None)


def test_knee_is_a_point() -> None:
    """The knee is the point at its rate, and a curve without that point is refused."""
    assert _curve().points[1] == _curve().knee
    with pytest.raises(DataError, match=r"`knee_per_s` \(=51.0\) is no point of the curve"):
        replace(_curve(), knee_per_s=51.0)


def test_points_rise() -> None:
    """A load that comes twice or falls is refused."""
    with pytest.raises(DataError, match="must rise"):
        replace(_curve(), points=(_point(50.0), _point(10.0)))


def test_power_is_throughput_over_latency() -> None:
    """Kleinrock's power: 50 answers a second at 2 ms each."""
    assert pytest.approx(25_000.0) == _curve().knee.power
