"""How many more days until something is decided, with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sequence import Sequence

    Floats = NDArray[np.float64]

FURTHEST = 1000
"""Beyond so many more blocks an estimate of how long to wait is no help."""

FUTURES = 200
"""How many futures are drawn: the ends of an 80% interval of them are known to within 3% of the futures."""

LEAST_BLOCKS = 5
"""Fewer blocks than this are no ground to draw a future from."""


@dataclass(frozen=True)
class Wait:
    """How many more blocks would decide it, if they go on as they were.

    Args:
        blocks: in half of the futures so many more or fewer; None: in half of them it is not decided by then.
        low: in a tenth of them so many or fewer; None likewise.
        high: in nine tenths; None likewise.
        undecided: the share of futures in which nothing is decided within `furthest`.
        furthest: how many more blocks were drawn.
    """

    blocks: int | None
    low: int | None
    high: int | None
    undecided: float
    furthest: int

    def to_dict(self) -> dict[str, Any]:
        """The wait as JSON values; what lies beyond what was drawn is null."""
        return {
            "more_blocks": self.blocks,
            "more_blocks_low": self.low,
            "more_blocks_high": self.high,
            "undecided_share": self.undecided,
            "furthest_blocks": self.furthest,
        }


def wait(
    values: Floats,
    sequence: Sequence,
    rng: np.random.Generator,
    *,
    tolerance: float = 0.0,
    run: int = 1,
    furthest: int = FURTHEST,
    futures: int = FUTURES,
) -> Wait:
    """Draw futures from the blocks so far, and see when each would settle `non-inferior` or `worse`.

    Twice drawn: first, for each future, a past like the one seen (so that mean and noise are as unsure as they are), then
    the days to come from that past. Both in runs of neighbours, so that what carries over still does. Whether it *was* decided
    is asked of `Claims`; here it counts only what is yet to come.

    Args:
        values: block differences so far, float64 [blocks], undecided.
        sequence: how they are weighed.
        rng: of this question alone.
        tolerance: how much greater the candidate's loss may be.
        run: how many neighbours are drawn together.
        furthest: how many more blocks to draw.
        futures: how many futures.

    Raises:
        DataError: fewer than five blocks, or NaN among them.

    Example:
        >>> from windtunnel.backtest.evidence.asymptotic import Asymptotic
        >>> x = np.random.default_rng(0).normal(-0.3, 1.0, size=40)
        >>> found = wait(x, Asymptotic(), np.random.default_rng(0))
        >>> found.low < found.blocks < found.high, found.undecided
        (True, 0.0)
    """
    n = len(values)
    if np.isnan(values).any():
        raise DataError("is NaN in some block", field="difference", fix="leave out blocks in which no row counts")
    if n < LEAST_BLOCKS:
        raise DataError(
            f"has {n} mature blocks, too few to say how many more would decide",
            field="blocks",
            fix=f"wait for {LEAST_BLOCKS}",
        )
    pasts = values[_runs(rng, n, (futures, n), run)]
    to_come = np.take_along_axis(pasts, _runs(rng, n, (futures, furthest), run), axis=1)
    whole = np.concatenate([np.broadcast_to(values, (futures, n)), to_come], axis=1)
    decided = np.maximum(sequence.below(whole, tolerance), sequence.above(whole, tolerance)) >= 2.0 / sequence.level
    decided = decided[:, n:]
    more = np.where(decided.any(axis=1), np.argmax(decided, axis=1) + 1.0, np.inf)
    low, middle, high = (_whole(float(each)) for each in np.quantile(more, [0.1, 0.5, 0.9], method="higher"))
    return Wait(middle, low, high, float(np.mean(np.isinf(more))), furthest)


def _runs(rng: np.random.Generator, n: int, shape: tuple[int, int], run: int) -> NDArray[np.int64]:
    """Places among n, in runs of neighbours that begin anywhere and go round."""
    many, long = shape
    starts = rng.integers(n, size=(many, math.ceil(long / run)))
    places = (starts[:, :, None] + np.arange(run)) % n
    return places.reshape(many, -1)[:, :long]


def _whole(blocks: float) -> int | None:
    return int(blocks) if math.isfinite(blocks) else None
