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
from .plan import Choices, plan
from .service import Service, read_profiles, read_service
from .serving import Serving
from .settings import Settings
from .simulate import simulate
from .trace import describe_trace
from .traffic import Carried, Traffic, read_traffic

__all__ = [
    "Carried", "Choices", "Done", "Search", "Service", "Serving", "Settings", "Traffic", "Wishes", "backtest", "benchmark", "describe_trace", "export", "optimize", "plan", "read_profiles", "read_service", "read_traffic", "simulate",
]  # fmt: skip
