"""Source model → verified ONNX variants, and the fastest one that is proven.

`export` turns a torch module into ONNX and checks it; `optimize` makes children (dynamic and static int8, a distilled
student and its int8), judges each beside its parent and chooses by the rule *never ship worse*.
"""

from .export import export
from .quality import METRICS, Holdout
from .search import Goal, Judged, Material, Optimization, optimize
from .section import draw
from .step import keep

__all__ = ["METRICS", "Goal", "Holdout", "Judged", "Material", "Optimization", "draw", "export", "keep", "optimize"]
