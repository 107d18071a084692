"""The adversary: what comes to a server besides honest requests, and whether the server stands it.

`Assault` holds conversations with it, of families from fuzzed bodies to slowloris, while honest requests run; `Siege` says what it made of
them: nothing hung, nothing malformed taken, no wrong answer, no process ended, and how much longer the honest ones took.
"""

from __future__ import annotations

from .assault import FAMILIES, Assault, Hostility
from .conversation import Material
from .oracle import Oracle
from .section import draw_siege
from .siege import Siege, besiege, times_of

__all__ = ["FAMILIES", "Assault", "Hostility", "Material", "Oracle", "Siege", "besiege", "draw_siege", "times_of"]
