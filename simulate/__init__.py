"""Traffic × deployment → what would happen, in the tunnel (a simulator).

Traffic (`arrivals`, `formats`) meets a `System`: stations that batch (`batching`) behind a router (`routing`) and perhaps a proxy, that
scale (`scaling`) and fail (`fault`), asked by clients that wait and ask again (`client`). `flight.fly` flies it and gives a `Summary`, a
timeline and, where it is asked for, a row a request; `simulate` is the short form for one queue. `theory` knows what some queues
must give, `scenarios` make a day worse. `capacity` asks how much traffic servers can carry and keep the promise, `load_curve`
how latency rises with the load, and `fly` what one load does; `plan` asks which deployment keeps it cheapest and how sure that
is; `rehearse` flies that one again, and `draw` shows it.
"""

from __future__ import annotations

from windtunnel.simulate.planning import Evaluation, LeftOut, Offer, Patterns, Replay, Space, match_offers, tune

from .capacity import capacity
from .load_curve import fly, load_curve
from .plan import Plan, plan, rehearse
from .scenarios import SCENARIOS, Scenario
from .section import draw
from .spread import QUANTILES, Spread
from .summary import Summary
from .timeline import Timeline, timeline
from .traffic import flash_crowd, poisson
from .tunnel import simulate

__all__ = [
    "QUANTILES", "SCENARIOS", "Evaluation", "LeftOut", "Offer", "Patterns", "Plan", "Replay", "Scenario", "Space",
    "Spread", "Summary", "Timeline", "capacity", "draw", "flash_crowd", "fly", "load_curve", "match_offers", "plan", "poisson", "rehearse", "simulate", "timeline", "tune",
]  # fmt: skip
