"""Whether models were served the features that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.reading.skew import draw

if TYPE_CHECKING:
    from windtunnel.backtest.reading import Skew
    from windtunnel.report.section import Section

    from .finding import Series

MATTERS = 0.01
"""From this share of differing requests on a feature's skew is a doubt."""


@dataclass(frozen=True)
class Skewed:
    """The training–serving skew, as a finding.

    Args:
        skew: of every feature that was recomputed.
    """

    skew: Skew

    @property
    def doubts(self) -> tuple[str, ...]:
        """Features that were often served otherwise than they are computed anew."""
        off = [each for each in self.skew.features if each.share >= MATTERS]
        if not off:
            return ()
        named = ", ".join(f"`{each.name}` in {each.share:.1%}" for each in off)
        return (f"training–serving skew: logged features differ from those recomputed ({named} of the requests)",)

    def to_dict(self) -> dict[str, Any]:
        """`skew`."""
        return {"skew": self.skew.to_dict()}

    def draw(self) -> Section:
        """What differs, and the worst rows."""
        return replace(draw(self.skew), title="")

    def series(self) -> Series:
        """Nothing: it speaks of the recording, not of a look."""
        return np.empty(0, np.int64), {}
