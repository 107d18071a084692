"""McNemar's test, kept open: of the rows on which two models part, who is right more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincc, betaln

from windtunnel.errors import ConfigError

from .sequence import as_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

HALVINGS = 30
"""How often the bracket of a bound is halved; bounds are rounded outwards to what is left, a billionth."""


@dataclass(frozen=True)
class McNemar:
    """Bets on the discordant rows: those on which one model is right and the other wrong.

    The stake is spread over all shares θ of discordant rows that the candidate could win beyond the claimed one p, by
    Jeffreys' prior cut off at p: `E = ∫ (θ/p)^wins ((1−θ)/(1−p))^losses dBeta(θ | θ > p)`. Given the past, each discordant row is
    won with a chance of p or less if the claim is true, so E is a supermartingale, and passes 1/level with no greater
    chance than the level (Ville). Where p is ½ and both sides are mixed this is `2^n B(wins+½, losses+½) / B(½, ½)`.

    It is exact from the first row on, where no row knows of another's luck. Where rows of a day share theirs, a claim about
    each row given those before it is not what a dashboard means by "as good": take means of days to `Asymptotic` then.

    Args:
        level: the chance that the bounds ever leave the share, over all looks.

    Example: the candidate wins 14 of 15.

        >>> won, lost = np.array([5, 14]), np.array([0, 1])
        >>> McNemar().better(won, lost).round(1).tolist()
        [15.6, 326.4]
    """

    level: float = 0.05

    def better(self, wins: Counts, losses: Counts, share: float = 0.5) -> Floats:
        """The e-value against the candidate winning `share` of the discordant rows or less.

        Non-inferiority is a share below ½: at 0.4 it is shown that of five such rows it wins more than two.

        Args:
            wins: discordant rows on which the candidate was right, so far, int64 [..., looks].
            losses: those on which the incumbent was, so far, int64 [..., looks].
            share: between 0 and 1, not with its ends.

        Raises:
            ConfigError: a share outside (0, 1).
        """
        if not 0.0 < share < 1.0:
            raise ConfigError("is no share to claim", field="share", value=share, fix="write one between 0 and 1")
        return as_evidence(_log_evidence(wins, losses, np.array(share)))

    def worse(self, wins: Counts, losses: Counts, share: float = 0.5) -> Floats:
        """The e-value against the candidate winning `share` of the discordant rows or more."""
        return self.better(losses, wins, 1.0 - share)

    def bounds(self, wins: Counts, losses: Counts) -> tuple[Floats, Floats]:
        """The lower and upper bound of the share of discordant rows that the candidate wins, float64 [..., looks]."""
        return self._least(wins, losses), 1.0 - self._least(losses, wins)

    def _least(self, wins: Counts, losses: Counts) -> Floats:
        """The greatest share below which all are refuted.

        Evidence of more than two falls as the claimed share p rises: its slope is negative wherever wins − n·p is above a
        half, and nearer to n·p no share is refuted. So one crossing separates what is refuted from what is not.
        """
        n = np.maximum(wins + losses, 1)
        low, high = np.zeros(np.shape(wins)), wins / n
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            refuted = (wins > 0) & (_log_evidence(wins, losses, middle) >= np.log(2.0 / self.level))
            low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
        return low


def _log_evidence(wins: Counts, losses: Counts, share: Floats) -> Floats:
    share = np.clip(share, 1e-300, 1.0 - 1e-16)
    mixed = betaln(wins + 0.5, losses + 0.5) + _log(betaincc(wins + 0.5, losses + 0.5, share))
    prior = betaln(0.5, 0.5) + _log(betaincc(0.5, 0.5, share))
    log_e: Floats = mixed - prior - wins * np.log(share) - losses * np.log1p(-share)
    return log_e


def _log(chance: NDArray[np.floating[Any]]) -> Floats:
    """The logarithm, minus infinity where a tail is too thin for a double.

    That happens only where far fewer are won than claimed: the evidence is then below one, and told as none.
    """
    tails = np.asarray(chance, dtype=np.float64)
    logs = np.full(tails.shape, -np.inf)
    np.log(tails, out=logs, where=tails > 0.0)
    return logs


def discordant(incumbent_wrong: Floats, candidate_wrong: Floats) -> tuple[Counts, Counts]:
    """Count, so far, the rows on which only the candidate was right and those on which only the incumbent was.

    Args:
        incumbent_wrong: loss of 0 or 1 a row, in the order in which labels count, float64 [..., rows].
        candidate_wrong: likewise.

    Example:
        >>> [each.tolist() for each in discordant(np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0]))]
        [[1, 1, 1], [0, 0, 1]]
    """
    wins = np.cumsum(candidate_wrong < incumbent_wrong, axis=-1, dtype=np.int64)
    losses = np.cumsum(candidate_wrong > incumbent_wrong, axis=-1, dtype=np.int64)
    return wins, losses
