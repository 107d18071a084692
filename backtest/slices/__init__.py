"""Where the candidate is worse or better: slices given or searched, with a bound on the share of false finds.

`search_slices` cuts columns by the first days (`Cut`), weighs each slice and each pair of slices by its paired differences of
days, and names those in which a difference is shown (`Slices`).
"""

from __future__ import annotations

from .cut import Cut
from .found import Slice, Slices
from .search import search_slices

__all__ = ["Cut", "Slice", "Slices", "search_slices"]
