"""How a plan is found: what may be deployed, what it does on each trace, and how little has to be flown to know the cheapest.

`space` says what there is, `pattern` in which ways it may be run, `bound` what need not be flown, `course` flies one deployment,
`search` finds the cheapest that keep a promise, `proof` runs them again until one is sure, `outlook` asks how long the answer
stands, and `journal` remembers what was flown when all this is interrupted; `tuning` looks for the best batching of a fleet that is
given. `windtunnel.simulate.plan` puts them together.
"""

from __future__ import annotations

from .course import Course, Evaluation, Replay
from .journal import Journal
from .offer import DeviceOffer, FunctionOffer, LeftOut, Offer, first_of_each, match_offers, slowdown
from .outlook import Growth, grow
from .pattern import PATTERNS, Pattern, Patterns, read_patterns
from .proof import CONFIDENCE_OF, is_sure, prove
from .search import Monotony, Search
from .space import Line, Space
from .tuning import Tuning, tune

__all__ = [
    "CONFIDENCE_OF", "PATTERNS", "Course", "DeviceOffer", "Evaluation", "FunctionOffer", "Growth", "Journal", "LeftOut", "Line",
    "Monotony", "Offer", "Pattern", "Patterns", "Replay", "Search", "Space", "Tuning", "first_of_each", "grow", "is_sure",
    "match_offers", "prove", "read_patterns", "slowdown", "tune",
]  # fmt: skip
