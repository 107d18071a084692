"""A Finding: something besides the comparison that a recording shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.report.section import Section

    Series = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]


class Finding(Protocol):
    """What every finding can tell of itself."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the comparison should be believed less than it says; empty where nothing was found."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Its keys of the document, as JSON values."""
        ...

    def draw(self) -> Section:
        """Its sentences, tables, figures and notes; title and outcome are empty."""
        ...

    def series(self) -> Series:
        """What it said at each look: the looks, int64 [looks], and named arrays [looks] that hang on nothing known later."""
        ...
