"""How a run is shown where there is no terminal to draw on, as in tests."""

from __future__ import annotations

import math

from windtunnel.simulate.live import screen
from windtunnel.simulate.live.drive import Progress


def progress(at_s: float) -> Progress:
    """So far, nothing answered yet."""
    return Progress(at_s, 2000, int(100 * at_s), 0, 0, 7, math.nan, math.nan)


def test_a_line_now_and_then() -> None:
    """Every five seconds a line, with what is known."""
    said: list[str] = []
    with screen(said.append, shown=True) as watch:
        for half_seconds in range(25):
            watch(progress(half_seconds / 2))

    assert said == [
        "  5 s: sent 500 of 2,000, answered 0, lost 0, under way 7, latency –",
        "  10 s: sent 1,000 of 2,000, answered 0, lost 0, under way 7, latency –",
    ]


def test_silence() -> None:
    """Nothing is shown to who asked for quiet."""
    said: list[str] = []
    with screen(said.append, shown=False) as watch:
        watch(progress(100.0))

    assert said == []
