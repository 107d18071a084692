"""Three claims about a candidate: superior, non-inferior, worse; what speaks for each, and since when it is settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sequence import Sequence

    Floats = NDArray[np.float64]

ClaimName = Literal["superior", "non-inferior", "worse"]


@dataclass(frozen=True)
class Claim:
    """One claim about the mean difference of loss, candidate − incumbent, and the evidence for it.

    Args:
        name: `superior` (below zero), `non-inferior` (below the tolerance) or `worse` (above the tolerance).
        than: the difference it is measured by.
        e_values: the evidence against its opposite, after each block, float64 [blocks].
        level: the chance of claiming it though it is false, at whatever look: half of that of a sequence with two sides.
    """

    name: ClaimName
    than: float
    e_values: Floats
    level: float

    @property
    def e_value(self) -> float:
        """The evidence by now; 1 where there is none."""
        return float(self.e_values[-1]) if len(self.e_values) else 1.0

    @property
    def settled(self) -> int | None:
        """After how many blocks the evidence first reached 1 / level; None: it never did.

        What is settled stays so, though later evidence may be weaker: the level is the chance of *ever* being fooled.
        """
        reached = self.e_values >= 1.0 / self.level
        return int(np.argmax(reached)) + 1 if reached.any() else None

    def settled_at(self, release_us: NDArray[np.int64]) -> int | None:
        """When that was: the release of the block that settled it, microseconds UTC.

        Args:
            release_us: when each block became known, int64 [blocks].
        """
        return None if self.settled is None else int(release_us[self.settled - 1])


@dataclass(frozen=True)
class Claims:
    """The three claims about one candidate.

    Each is made at half of the sequence's level, because whatever the true difference is, one of the acceptances and the
    rejection can both be false (`superior` and `worse`, if it is zero): so the chance that *any* false claim is ever made is
    at most the level, and a claim is settled when the two-sided bounds leave out what it denies.
    """

    superior: Claim
    non_inferior: Claim
    worse: Claim

    @staticmethod
    def of(values: Floats, sequence: Sequence, tolerance: float = 0.0) -> Claims:
        """Weigh the block differences of one candidate.

        Args:
            values: candidate − incumbent, float64 [blocks], in the order of release, without NaN.
            sequence: how to weigh; its level is that of all three claims together.
            tolerance: how much greater the candidate's loss may be.

        Raises:
            DataError: NaN among the differences, by which nothing would ever be settled.

        Example:
            >>> from windtunnel.backtest.evidence.asymptotic import Asymptotic
            >>> x = np.random.default_rng(1).normal(0.0, 1.0, size=200)
            >>> claims = Claims.of(x, Asymptotic(), 0.5)
            >>> claims.settled, claims.non_inferior.settled, claims.superior.settled
            ('non-inferior', 20, None)
        """
        if np.isnan(values).any():
            raise DataError("is NaN in some block", field="difference", fix="leave out blocks in which no row counts")
        level = sequence.level / 2.0
        return Claims(
            Claim("superior", 0.0, sequence.below(values, 0.0), level),
            Claim("non-inferior", tolerance, sequence.below(values, tolerance), level),
            Claim("worse", tolerance, sequence.above(values, tolerance), level),
        )

    @property
    def settled(self) -> ClaimName | None:
        """What is shown: the strongest claim settled, of acceptance and rejection the one that came first; None: nothing."""
        accepted, rejected = self.non_inferior.settled, self.worse.settled
        if rejected is not None and (accepted is None or rejected < accepted):
            return "worse"
        if self.superior.settled is not None:
            return "superior"
        return None if accepted is None else "non-inferior"
