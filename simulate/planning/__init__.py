"""How a plan is found: what may be deployed, what it does on each trace, and how little has to be flown to know the cheapest.

`space` says what there is, `bound` what need not be flown, `course` flies one deployment, `search` finds the cheapest that
keep a promise, `proof` runs them again until one is sure, `outlook` asks how long the answer stands, and `pattern` what other
ways of running it would cost; `tuning` looks for the best batching of a fleet that is given. `windtunnel.simulate.plan` puts them together.
"""

from __future__ import annotations

from .course import Course, Evaluation, Replay
from .offer import LeftOut, Offer, match_offers, slowdown
from .outlook import Growth, grow
from .pattern import Pattern, Patterns, compare_patterns
from .proof import is_sure, prove
from .search import Monotony, Search
from .space import Line, Space
from .tuning import Tuning, tune

__all__ = [
    "Course", "Evaluation", "Growth", "LeftOut", "Line", "Monotony", "Offer", "Pattern", "Patterns", "Replay", "Search", "Space",
    "Tuning", "compare_patterns", "grow", "is_sure", "match_offers", "prove", "slowdown", "tune",
]  # fmt: skip
