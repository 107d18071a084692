"""The verbs one by one: each is one stage with its inputs read from files instead of from the stage before.

The other half of the composition root: `pipeline` runs them all from one file, these run one from flags.
"""

from __future__ import annotations

from .alone import Done
from .backtest import backtest
from .benchmark import benchmark
from .cost import Wishes
from .export import export
from .optimize import Search, optimize
from .plan import plan
from .settings import Settings
from .simulate import simulate
from .trace import describe_trace, read_trace

__all__ = [
    "Done", "Search", "Settings", "Wishes", "backtest", "benchmark", "describe_trace", "export", "optimize", "plan", "read_trace", "simulate",
]  # fmt: skip
