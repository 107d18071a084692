"""Source model → verified ONNX variants, and the fastest one that is proven.

`export` turns a torch module into ONNX and checks it; `optimize` makes children (quantized, fused, distilled), finds the
best way of running each, judges them beside their parent and chooses by the rule *never ship worse*.
"""

from .export import export
from .goal import OBJECTIVES, Goal, Objective
from .judged import Failure, Judged, Raced, Skipped
from .material import Material
from .optimization import Optimization
from .own_file import own_file
from .quality import METRICS, Holdout, check_metric, read_metric
from .search import optimize
from .section import draw
from .step import drop_strays, keep, take_kept

__all__ = [
    "METRICS", "OBJECTIVES", "Failure", "Goal", "Holdout", "Judged", "Material", "Objective", "Optimization", "Raced",
    "Skipped", "check_metric", "draw", "drop_strays", "export", "keep", "optimize", "own_file", "read_metric", "take_kept",
]  # fmt: skip
