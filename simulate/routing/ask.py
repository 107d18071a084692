"""An Ask: what a router in plain Python is told of the request it finds a station for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Ask:
    """One attempt that needs a station.

    Args:
        draw: two numbers in [0, 1), its own.
        key: of its model, client or entity; negative where it has none.
        models: by station, the models that it holds or is asked for.
    """

    draw: tuple[float, float]
    key: int = -1
    models: Mapping[int, set[int]] = field(default_factory=dict)
