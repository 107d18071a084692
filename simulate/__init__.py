"""Traffic × deployment → what would happen, in the tunnel (a simulator).

A `Trace` of arrivals meets replicas that batch behind one queue and take as long as a `LatencyProfile` says: `simulate`
writes down every request, `summarise` and `timeline` read the log. `capacity` asks how much traffic servers can carry and
keep the promise, `load_curve` how latency rises with the load, and `fly` what one load does; `plan` asks which deployment
keeps it cheapest, on the recording and on its worst day (`SCENARIOS`), and how sure that is; `rehearse` flies that one
again, and `draw` shows it.
"""

from __future__ import annotations

from .capacity import capacity
from .load_curve import fly, load_curve
from .plan import Evaluation, Plan, Replay, plan, rehearse
from .section import draw
from .timeline import Timeline, timeline
from .traffic import SCENARIOS, Scenario, flash_crowd, poisson
from .tunnel import QUANTILES, Simulation, Spread, simulate, summarise

__all__ = [
    "QUANTILES", "SCENARIOS", "Evaluation", "Plan", "Replay", "Scenario", "Simulation", "Spread", "Timeline", "capacity",
    "draw", "flash_crowd", "fly", "load_curve", "plan", "poisson", "rehearse", "simulate", "summarise", "timeline",
]  # fmt: skip
