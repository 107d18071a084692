"""From bounds to statuses, and from the challenger's status to a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_instant
from windtunnel.verdict import Verdict

from .comparison import finite, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from windtunnel.stats import ConfidenceSequence

    from .compare import Path
    from .comparison import Candidate, Status

FURTHEST_DAYS = 3650
"""Beyond ten years an estimate of how long to wait is no help."""

ACCEPTED = ("superior", "non-inferior")
"""The statuses that let a candidate replace the incumbent."""


def status_of(low: float, high: float, max_loss: float) -> Status:
    """Read the bounds of a difference of loss, candidate − incumbent.

    Example:
        >>> status_of(-0.3, -0.1, 0.05), status_of(-0.1, 0.05, 0.05), status_of(0.1, 0.3, 0.05), status_of(-1, 1, 0.05)
        ('superior', 'non-inferior', 'worse', 'undecided')
    """
    if high < 0.0:
        return "superior"
    if high <= max_loss:
        return "non-inferior"
    return "worse" if low > max_loss else "undecided"


def decided_at(path: Path, status: Status, max_loss: float, as_of_us: NDArray[np.int64]) -> datetime | None:
    """The first look at which a candidate was accepted, if its status now accepts it, or rejected, if it rejects it."""
    if status == "undecided":
        return None
    shown = path.high <= max_loss if status in ACCEPTED else path.low > max_loss
    return moment(int(as_of_us[np.argmax(shown)]))


def winner_of(incumbent: str, candidates: Sequence[Candidate]) -> str:
    """The accepted candidate, superior before non-inferior, then by the smallest difference; else the incumbent."""
    accepted = [c for c in candidates if c.status in ACCEPTED]
    return min(accepted, key=lambda c: (c.status != "superior", c.difference)).name if accepted else incumbent


def best_of(incumbent: str, candidates: Sequence[Candidate]) -> str:
    """The candidate to ask about where the user names none: the winner, else the one that did best so far."""
    winner = winner_of(incumbent, candidates)
    if winner != incumbent or not candidates:
        return winner
    return min(candidates, key=lambda c: (math.isnan(c.difference), c.difference)).name


def blocks_needed(sequence: ConfidenceSequence, deviation: float, gap: float) -> int | None:
    """Roughly how many blocks until the interval reaches no further than `gap` from the mean; None: not in ten years.

    Args:
        sequence: the confidence sequence.
        deviation: of the block differences.
        gap: how far the mean lies from the bound to be met.

    Example:
        >>> from windtunnel.stats import ConfidenceSequence
        >>> blocks_needed(ConfidenceSequence(), 1.0, 0.5), blocks_needed(ConfidenceSequence(), 1.0, 0.0)
        (40, None)
    """
    # alternating values have the wanted deviation at every even count, and a mean of zero
    low, high = sequence.bounds(np.resize([deviation, -deviation], FURTHEST_DAYS))
    even = (high - low)[1::2] / 2.0 <= gap
    return 2 * int(np.argmax(even)) + 2 if even.any() and gap > 0.0 else None


def judge(
    incumbent: str,
    challenger: Candidate | None,
    path: Path | None,
    sequence: ConfidenceSequence,
    *,
    metric: str,
    max_loss: float,
    level: float,
    candidates: int,
    label_coverage: float,
    horizon_s: float,
) -> Verdict:
    """Say whether the challenger may replace the incumbent, why, and what would change that.

    Args:
        incumbent: the model that runs now.
        challenger: what is known of the candidate; None where the incumbent itself was chosen.
        path: the block differences it rests on.
        sequence: the confidence sequence they were judged by.
        metric: the loss.
        max_loss: the tolerance.
        level: the chance of a wrong decision, before it was split.
        candidates: over how many candidates it was split.
        label_coverage: share of the requests with a label that counts.
        horizon_s: how long a label may take.
    """
    if challenger is None or path is None:
        return Verdict(
            "go",
            (f"`{incumbent}` stays: no candidate was put forward, so there is nothing to judge it against",),
            ("a candidate other than the incumbent",),
            {"incumbent": incumbent, "challenger": incumbent},
        )
    evidence: dict[str, Any] = {"incumbent": incumbent, "challenger": challenger.name, "metric_name": metric}
    evidence |= {"max_loss": max_loss, "level": level, "split_over_candidates": candidates}
    evidence |= {"horizon_s": horizon_s, "label_coverage": finite(label_coverage)} | challenger.to_dict()
    found = _found(challenger, metric, level, candidates)
    if challenger.status in ACCEPTED:
        claim = "is better than" if challenger.status == "superior" else f"is not worse beyond {max_loss:g} than"
        change = f"a tolerance below {challenger.difference_high:.3g}" if challenger.difference_high >= 0.0 else ""
        reasons = (
            f"`{challenger.name}` {claim} `{incumbent}`, known since {format_instant(challenger.decided_at)}",
            found,
        )
        return Verdict("go", reasons, (change,) if change else (), evidence)
    if challenger.status == "worse":
        change = f"a tolerance of {challenger.difference_high:.3g} or more, or another candidate"
        claim = f"`{challenger.name}` is worse than `{incumbent}` by more than {max_loss:g}"
        reasons = (f"{claim}, known since {format_instant(challenger.decided_at)}", found)
        return Verdict("no-go", reasons, (change,), evidence)
    reasons = (
        f"it is not shown whether `{challenger.name}` is worse than `{incumbent}` by more than {max_loss:g}",
        found,
    )
    return Verdict("inconclusive", reasons, (_wait(path, sequence, max_loss),), evidence)


def _found(challenger: Candidate, metric: str, level: float, candidates: int) -> str:
    """One sentence with the figures."""
    if challenger.blocks == 0:
        return "no day of requests with labels is older than the horizon yet, so there is no difference to judge"
    sure = f"{100.0 * (1.0 - level):.4g}% sure at every look" + (
        f" over {candidates} candidates" if candidates > 1 else ""
    )
    between = f"{challenger.difference_low:+.3g} to {challenger.difference_high:+.3g}"
    return f"difference in {metric} {challenger.difference:+.3g} ({between}, {sure}) on {challenger.blocks} mature days"


def _wait(path: Path, sequence: ConfidenceSequence, max_loss: float) -> str:
    """Say roughly how many more days of mature labels would decide it."""
    blocks = len(path.values)
    burn_in = math.ceil(sequence.burn_in * path.stretch**2)
    if blocks < burn_in:
        return f"at least {burn_in - blocks} more days of mature labels: fewer than {burn_in} say nothing"
    gap = abs(max_loss - float(path.values.mean()))
    needed = blocks_needed(sequence, float(path.values.std()) * path.stretch, gap)
    if needed is None:
        return "a larger tolerance: at this difference and noise ten years of days would not decide it"
    more = max(1, needed - blocks)
    return f"roughly {more} more days of mature labels, if the difference and its noise stay what they are"
