"""Selective labels: whether outcomes are known only where one acted, and what that leaves to be said.

A bank learns whether a loan is repaid only if it was granted. A metric over such labels speaks of those that were acted
on, chosen by the very model that is to be judged; a candidate that would act on others is judged where it agrees.
Source: Lakkaraju et al., *The Selective Labels Problem* (KDD 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scipy import stats as distributions

from windtunnel.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Kind = Literal["none", "depends", "only-acted", "unknown"]

MATTERS = 0.01
"""A difference of coverage that is not shown to exceed this is passed over: with millions of rows any is significant."""

SCARCE = 0.01
"""Where less than this share of one side's labels comes, there is nothing to learn of it."""


@dataclass(frozen=True)
class SelectiveLabels:
    """How the coming of labels hangs on what was decided, over requests whose fate is known.

    Args:
        acted: requests that were acted on.
        passed: requests that were not.
        acted_coverage: share of the acted-on whose label came in time; NaN without any.
        passed_coverage: share of the others.
        difference: acted-on minus others, with its interval; NaN where a side is empty.
    """

    acted: int
    passed: int
    acted_coverage: float
    passed_coverage: float
    difference: Interval

    @staticmethod
    def of(
        time_us: NDArray[np.int64],
        known_us: NDArray[np.int64],
        acted: NDArray[np.bool_],
        *,
        as_of_us: int,
        horizon_us: int,
        confidence: float = 0.99,
    ) -> SelectiveLabels:
        """Compare the two sides as of a time, over requests older than the horizon.

        Args:
            time_us: when each request was asked, int64 [n].
            known_us: when its first label was known, int64 [n]; 2^63 − 1 where never.
            acted: whether the logged decision was to act, bool [n].
            as_of_us: the time of looking.
            horizon_us: how long a label may take.
            confidence: of the interval of the difference (Newcombe's, from Wilson's of each side).

        Example:
            >>> import numpy as np
            >>> acted = np.arange(1000) < 400
            >>> known = np.where(acted, 5, 2**63 - 1)
            >>> found = SelectiveLabels.of(np.zeros(1000, int), known, acted, as_of_us=20, horizon_us=10)
            >>> found.kind, found.acted_coverage, found.passed_coverage
            ('only-acted', 1.0, 0.0)
        """
        settled = as_of_us - time_us > horizon_us
        # 2^63 − 1 is never; a sum with it, or with a long horizon, would go round
        came = (known_us < 2**63 - 1) & (known_us - time_us <= horizon_us)
        sides = [came[settled & side] for side in (acted, ~acted)]
        shares = [float(side.mean()) if len(side) else math.nan for side in sides]
        ends = [_wilson(int(side.sum()), len(side), confidence) for side in sides]
        difference = shares[0] - shares[1]
        interval = Interval(difference, -1.0, 1.0, int(settled.sum()), confidence)
        if not math.isnan(difference):
            down = math.hypot(shares[0] - ends[0][0], ends[1][1] - shares[1])
            up = math.hypot(ends[0][1] - shares[0], shares[1] - ends[1][0])
            interval = Interval(difference, difference - down, difference + up, int(settled.sum()), confidence)
        return SelectiveLabels(len(sides[0]), len(sides[1]), shares[0], shares[1], interval)

    @property
    def kind(self) -> Kind:
        """What was found: `unknown` where nothing settled or all was decided alike."""
        if math.isnan(self.difference.value):
            return "unknown"
        if not (self.difference.low > MATTERS or self.difference.high < -MATTERS):
            return "none"
        return "only-acted" if self.passed_coverage < SCARCE and self.difference.value > 0.0 else "depends"

    def what_follows(self, *, propensities: bool) -> tuple[str, ...]:
        """Sentences for whoever reads the comparison; empty where nothing follows.

        Args:
            propensities: whether the log says how likely each decision was.
        """
        if self.kind == "only-acted":
            return _ONLY_ACTED + ((_WEIGH,) if propensities else (_BOUND,))
        if self.kind == "depends":
            told = (
                f"Labels came for {self.acted_coverage:.0%} of the requests that were acted on and {self.passed_coverage:.0%} "
                "of the others: the metric weighs the two unlike the traffic does."
            )
            return told, "Read it with the decision as a stratum of the weighting, or for each side by itself."
        return ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null where a side is empty."""
        plain = {
            "acted": self.acted,
            "passed": self.passed,
            "acted_coverage": self.acted_coverage,
            "passed_coverage": self.passed_coverage,
        } | self.difference.to_dict("coverage_difference")
        return {"kind": self.kind} | {k: None if math.isnan(v) else v for k, v in plain.items()}


_ONLY_ACTED = (
    "Labels exist only for requests that were acted on: every metric speaks of those alone.",
    "Of a candidate that would act on others nothing is known there, and the incumbent chose what is known.",
)
_WEIGH = (
    "Propensities are logged: weigh each acted-on row by the inverse of its own to speak of all requests that had a chance "
    "of being acted on; those with none stay unknown."
)
_BOUND = (
    "No propensities are logged: only the best/worst bounds hold for all requests. Act on a small random share from now on, "
    "and log its probability, to learn the rest."
)


def _wilson(came: int, of: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share; 0 to 1 of nothing."""
    if of == 0:
        return 0.0, 1.0
    z = float(distributions.norm.ppf(0.5 + confidence / 2.0))
    share = came / of
    middle = share + z**2 / (2.0 * of)
    reach = z * math.sqrt(share * (1.0 - share) / of + z**2 / (4.0 * of**2))
    scale = 1.0 + z**2 / of
    return (middle - reach) / scale, (middle + reach) / scale
