"""The verbs one by one: each is one stage with its inputs read from files instead of from the stage before.

The other half of the composition root: `pipeline` runs them all from one file, these run one from flags.
"""

from __future__ import annotations

from .agree import Wish, agree
from .alone import Done
from .backtest import backtest
from .benchmark import benchmark
from .company import Beside
from .cost import Wishes
from .export import export
from .live import Road, live
from .optimize import Search, optimize
from .plan import Choices, plan
from .serve import serve
from .service import Service, read_profiles, read_service
from .serving import Serving
from .settings import Settings
from .simulate import simulate
from .target import Target, benchmark_target
from .trace import describe_trace
from .traffic import Carried, Traffic, read_traffic

__all__ = [
    "Beside", "Carried", "Choices", "Done", "Road", "Search", "Service", "Serving", "Settings", "Target", "Traffic", "Wish", "Wishes", "agree", "backtest", "benchmark", "benchmark_target", "describe_trace", "export", "live", "optimize", "plan", "read_profiles", "read_service", "read_traffic", "serve", "simulate",
]  # fmt: skip
