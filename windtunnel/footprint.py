"""What an instance of a model needs besides time: memory, and a start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Footprint:
    """Memory and start of one process that serves one instance.

    Args:
        rss_bytes: peak resident set of a process that holds one instance and has run its largest batch.
        instance_bytes: what the instance adds to a process that has only imported the runtime.
        process_start_s: from the start of the process to its first answer (median).
        load_s: from the start of loading to the first answer (median).
        starts: how many starts the medians are of.

    Example:
        >>> Footprint(200_000_000, 20_000_000, 0.9, 0.1, 3).to_dict()["load_s"]
        0.1
    """

    rss_bytes: int
    instance_bytes: int
    process_start_s: float
    load_s: float
    starts: int

    def to_dict(self) -> dict[str, Any]:
        """The footprint as JSON values."""
        return asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Footprint:
        """Read what `to_dict` wrote."""
        return Footprint(**value)
