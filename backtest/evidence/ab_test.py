"""An A/B test that is in the recording already: is its split to be trusted, and what does it show?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.stats import Interval

from .claim import Claims
from .sample_ratio import SampleRatio
from .sequence import apart
from .units import Units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arms import Arms
    from .claim import ClaimName
    from .sequence import Sequence

    Floats = NDArray[np.float64]


MOST_CROSSED = 0.01
"""Of the units, the greatest share that may have been in both arms: leaving these out would bend more than it mends."""


@dataclass(frozen=True)
class AbTest:
    """What two arms of a recording show.

    Args:
        arms: their names, the control first.
        rows: how many rows each has whose outcome counts.
        ratio: whether the arms got the traffic that they were meant to get.
        difference: treatment − control, mean of days, with its anytime-valid bounds.
        e_value: the evidence against no difference.
        claims: superior, non-inferior, worse, for a loss (smaller is better).
        days: days (or blocks of units) in which both arms had rows.
        units: how many units were assigned; None where rows are units, or counts alone were given.
        crossed: how many of them were in both arms; None likewise: it was not looked at.
        reduction: by how much of the variance of days the covariate made it smaller; 0: no covariate, or no help.
        doubts: why the comparison must not be trusted; empty where nothing speaks against it.
    """

    arms: tuple[str, str]
    rows: tuple[int, int]
    ratio: SampleRatio
    difference: Interval
    e_value: float
    claims: Claims
    days: int
    units: int | None
    crossed: int | None
    reduction: float
    doubts: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the comparison itself."""
        return not self.doubts

    @property
    def shown(self) -> ClaimName | None:
        """What is shown of the treatment; nothing where the comparison cannot be trusted."""
        return self.claims.settled if self.trusted else None

    def to_dict(self) -> dict[str, Any]:
        """The test as JSON values; bounds that are not known are null."""
        ends = {"low": self.difference.low, "high": self.difference.high}
        return {
            "control": self.arms[0],
            "treatment": self.arms[1],
            "rows": dict(zip(self.arms, self.rows, strict=True)),
            "sample_ratio": self.ratio.to_dict(),
            "trusted": self.trusted,
            "doubts": list(self.doubts),
            "shown": self.shown,
            "days": self.days,
            "units": self.units,
            "units_in_both_arms": self.crossed,
            "difference": self.difference.value,
            **{f"difference_{end}": float(at) if np.isfinite(at) else None for end, at in ends.items()},
            "e_value": self.e_value,
            "variance_reduction": self.reduction,
        }


def ab_test(
    arms: Arms,
    sequence: Sequence,
    *,
    shares: tuple[float, float] = (0.5, 0.5),
    units: Units | NDArray[np.int64] | None = None,
    tolerance: float = 0.0,
) -> AbTest:
    """Compare two arms day by day, once their split was checked.

    Each day's difference of means is one value: so all that the sequences keep of dependence between days, looks and stops
    holds here too, if days know nothing of each other but what carries over. Where units come back they do: what the users of
    one arm are like is the same on every day, is seen by no autocorrelation, and showed a difference that is not there in 7 of 10
    trials (200 users over 60 days). Compare blocks of units then. Where a covariate is given it is taken out first, day by day, with the slope known the day before.

    Args:
        arms: the recording's, added up; days without rows of both arms are passed over.
        sequence: how the days are weighed.
        shares: of the traffic, as they were set: control, treatment.
        units: who was assigned to which arm; `arms` must then be of their blocks (`Units.block_of`). Where each row is a unit
            of its own: how many were *assigned* to each arm each day, whether or not their outcome is known, int64 [days,
            arms]; the rows whose outcome counts where None.
        tolerance: how much greater the treatment's loss may be.

    Raises:
        DataError: an arm without rows, or no day on which both had some.

    Example:
        >>> from windtunnel.backtest.evidence.arms import Arms
        >>> from windtunnel.backtest.evidence.asymptotic import Asymptotic
        >>> rng, day = np.random.default_rng(0), np.repeat(np.arange(60), 200)
        >>> treated = rng.random(len(day)) < 0.5
        >>> loss = rng.normal(0.0, 1.0, len(day)) - 0.2 * treated
        >>> both = Arms.of(("old", "new"), np.where(treated, "new", "old"), day, loss)
        >>> ab_test(both, Asymptotic()).shown
        'superior'
        >>> ab_test(both, Asymptotic(), shares=(0.9, 0.1)).shown is None
        True
    """
    rows = arms.rows.sum(axis=0)
    _refuse_empty(arms.names, rows)
    who = units if isinstance(units, Units) else None
    counts = arms.rows if units is None else units.assigned() if isinstance(units, Units) else units
    ratio = SampleRatio.of(counts, np.array(shares))
    plain, adjusted = arms.differences(), arms.differences(adjusted=True)
    paired = ~np.isnan(plain)
    if not paired.any():
        raise DataError(
            "have no day on which both had rows",
            field="arm",
            value=arms.names,
            fix="compare arms that ran side by side: one after the other they differ by what the days were like",
        )
    values = adjusted[paired]
    low, high = sequence.bounds(values)
    found = Interval(float(values.mean()), float(low[-1]), float(high[-1]), len(values), 1.0 - sequence.level)
    return AbTest(
        arms.names,
        (int(rows[0]), int(rows[1])),
        ratio,
        found,
        float(apart(sequence, values)[-1]),
        Claims.of(values, sequence, tolerance),
        len(values),
        None if who is None else len(who.ids),
        None if who is None else int(who.crossed.sum()),
        _reduction(plain[paired], values),
        _doubts(arms, ratio, int(paired.sum()), who),
    )


def _reduction(plain: Floats, adjusted: Floats) -> float:
    """How much smaller the variance of days became; below zero where the covariate did harm."""
    before = float(plain.var())
    return 1.0 - float(adjusted.var()) / before if before > 0.0 else 0.0


def _refuse_empty(names: tuple[str, str], rows: NDArray[np.int64]) -> None:
    for name, count in zip(names, rows, strict=True):
        if count == 0:
            fix = "nothing can be compared before outcomes of both arms are known"
            raise DataError("is an arm without rows whose outcome counts", field="arm", value=name, fix=fix)


def _doubts(arms: Arms, ratio: SampleRatio, paired: int, who: Units | None) -> tuple[str, ...]:
    doubts = []
    if who is not None and who.crossed.mean() > MOST_CROSSED:
        doubts.append(
            f"{int(who.crossed.sum()):,} of {len(who.ids):,} units ({who.crossed.mean():.2%}) were in both arms, where at most "
            f"{MOST_CROSSED:.0%} may be: what they did in one arm shows in the other, and those left may be of another kind"
        )
    if ratio.mismatch_at is not None:
        shares = " and ".join(
            f"`{name}` got {found:.2%} of the traffic where {meant:.2%} was meant"
            for name, found, meant in zip(arms.names, ratio.found, ratio.meant, strict=True)
        )
        doubts.append(
            f"sample ratio mismatch (e-value {ratio.e_value:.3g}): {shares}; what made the arms unequal in number may have "
            "made them unequal in kind, so their difference must not be trusted: find the cause first"
        )
    alone = int((arms.rows.sum(axis=1) > 0).sum()) - paired
    if alone > paired:
        doubts.append(
            f"on {alone} days one arm had no rows, on {paired} both had: the arms hardly ran side by side, so their "
            "difference is that of the days they ran on"
        )
    return tuple(doubts)
