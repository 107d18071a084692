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
from .leak_files import leak_test_files
from .replay import backtest
from .rows import Rows
from .score import score
from .section import draw
from .stream import backtest_files, pieces_of
from .tally import Counts, Tally

__all__ = [
    "LOSSES",
    "Candidate",
    "Cohorts",
    "Comparison",
    "Counts",
    "Delays",
    "LeakCheck",
    "Loss",
    "NoiseFloor",
    "Rows",
    "Tally",
    "Timeline",
    "backtest",
    "backtest_files",
    "draw",
    "leak_test",
    "leak_test_files",
    "pieces_of",
    "score",
]
