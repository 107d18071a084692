"""Why two models disagree: which requests flip, what drives the flips, and which of them cost most.

`Flips` counts decisions that differ and who was right; `find_drivers` asks both models with one feature hidden;
`associate` and `explain_difference` make do with what was logged; `Costliest` lists the worst requests with their lines of the log. `draw` puts
them into a section of the report.
"""

from __future__ import annotations

from .association import Association, Associations, associate
from .costliest import Costliest
from .drivers import Driver, Drivers, ask_session, check_signatures, find_drivers
from .explain import Explanation, Rule, explain_difference
from .flips import KINDS, Flips
from .section import draw

__all__ = [
    "KINDS",
    "Association",
    "Associations",
    "Costliest",
    "Driver",
    "Drivers",
    "Explanation",
    "Flips",
    "Rule",
    "ask_session",
    "associate",
    "check_signatures",
    "draw",
    "explain_difference",
    "find_drivers",
]
