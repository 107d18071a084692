"""Variant → LatencyProfile and cost: measured, with an interval and a verdict.

`benchmark` measures several variants side by side, each in one or more settings (`tasks`); `measure` is the interleaved
timing underneath, handed to the optimizing stage for its A/B runs; `compare_timings` and `compare_profiles` put two side by
side; `cost_table`, `frontier` and `weigh` price what was measured. This is a stage of the product, not a benchmark of
windtunnel.
"""

from .benchmark import EVERYTHING, Benchmark, Extent, benchmark
from .compare import Comparison, compare_profiles, compare_timings, judge_slower
from .cost import Cost, cost_table
from .cost_section import CostReport
from .frontier import frontier
from .measure import Effort, measure
from .memory import available_bytes, refuse_beyond_memory
from .power import Power, rated_powers
from .section import draw
from .study import study
from .task import Task, tasks
from .ways_to_pay import AskedWay, by_machine, by_request, elsewhere, weigh

__all__ = [
    "EVERYTHING", "AskedWay", "Benchmark", "Comparison", "Cost", "CostReport", "Effort", "Extent", "Power", "Task", "available_bytes",
    "benchmark", "by_machine", "by_request", "compare_profiles", "compare_timings", "cost_table", "draw", "elsewhere", "frontier",
    "judge_slower", "measure", "rated_powers", "refuse_beyond_memory", "study", "tasks", "weigh",
]  # fmt: skip
