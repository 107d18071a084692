"""Variant → LatencyProfile and cost: measured, with an interval and a verdict.

`benchmark` measures several variants side by side, `measure` is the interleaved timing underneath (handed to the optimizing
stage for its A/B runs), `cost_table` prices what was measured. This is a stage of the product, not a benchmark of windtunnel.
"""

from .benchmark import Benchmark, benchmark
from .cost import Cost, cost_table
from .measure import Effort, measure
from .section import draw

__all__ = ["Benchmark", "Cost", "Effort", "benchmark", "cost_table", "draw", "measure"]
