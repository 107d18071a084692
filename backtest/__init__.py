"""Recorded traffic with late labels → who would have won, and when we would have known.

`score` asks models what they would have said; `backtest` replays the recording and looks again and again, each time
through the labels known by then: it counts what was asked, matured, expired and pending, follows every model's metric,
and compares each candidate with the incumbent by an anytime-valid confidence sequence over mature days. The result, a
`Comparison`, ends in a verdict; `draw` makes it a section of the report, and `leak_test` proves that nothing in it was
known too early.
"""

from __future__ import annotations

from windtunnel.loss import LOSSES, Loss

from .comparison import Candidate, Cohorts, Comparison, Delays, NoiseFloor, Timeline
from .leak import LeakCheck, leak_test
from .replay import backtest
from .rows import Rows
from .sample import Sample
from .score import score
from .section import draw
from .stream import Streamed, backtest_files, backtest_stream, on_ray, pieces_of
from .stream_again import MOST_TESTED, stream_again
from .tally import Counts, Tally

__all__ = [
    "LOSSES",
    "MOST_TESTED",
    "Candidate",
    "Cohorts",
    "Comparison",
    "Counts",
    "Delays",
    "LeakCheck",
    "Loss",
    "NoiseFloor",
    "Rows",
    "Sample",
    "Streamed",
    "Tally",
    "Timeline",
    "backtest",
    "backtest_files",
    "backtest_stream",
    "draw",
    "leak_test",
    "on_ray",
    "pieces_of",
    "score",
    "stream_again",
]
