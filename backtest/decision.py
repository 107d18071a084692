"""From evidence to statuses, and from the challenger's status to a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_instant
from windtunnel.seeds import Seeds
from windtunnel.verdict import Verdict

from .comparison import finite, moment
from .evidence import BlockLength, placebo_rate, wait
from .evidence.block_length import LEAST_VALUES
from .evidence.wait import LEAST_BLOCKS
from .plot import beside, between

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    from .compare import Path
    from .comparison import Candidate, Status
    from .evidence import Asymptotic, Claims, Wait

    Floats = NDArray[np.float64]

ACCEPTED = ("superior", "non-inferior")
"""The statuses that let a candidate replace the incumbent."""


DAY_S = 86400.0

PLACEBOS = 200
"""A rate of 5% is then known to within 3%, which is enough to tell a method that fails; it is paid for in every replay."""


LEAST_RUNS = 6
"""So many runs of alike days must have passed when the method first speaks: their signs then fall in 2⁵ ways that differ by more
than the sign of all, and a rate of 5% can be seen. With fewer, of 365 days that carried over by 0.8, some gave 100%."""


@dataclass(frozen=True)
class Labels:
    """What is known of the labels at the last look, for what can still be said where no day is mature.

    Args:
        asked: requests.
        matured: of them, those with a label that counts.
        pending: those whose label may yet come and count.
        came: labels that the recording holds, those that came too late among them.
        slow_s: what nine in ten of these took at most; NaN where none came.
        span_s: from the first request to the last look.
        horizon_s: how long a label may take.
    """

    asked: int
    matured: int
    pending: int
    came: int
    slow_s: float
    span_s: float
    horizon_s: float


@dataclass(frozen=True)
class Ruling:
    """What is settled of one candidate, since when, and what was settled before it turned.

    Args:
        status: the claim that is settled.
        decided_at: the first look at which a candidate that is accepted was, or one that is rejected was; None while undecided.
        turned: whether the opposite had been settled before: then the difference is not one number, and the later counts.
    """

    status: Status
    decided_at: datetime | None
    turned: bool = False

    @staticmethod
    def of(path: Path, claims: Claims, as_of_us: NDArray[np.int64]) -> Ruling:
        """Read the claims: what is settled stays so, however weak later evidence is, unless the opposite is settled.

        A candidate that differs by exactly nothing on every day is not inferior as soon as anything is said of it.
        """
        accepted, rejected = claims.non_inferior.settled, claims.worse.settled
        if accepted is None and rejected is None:
            said = np.isfinite(path.high)
            if path.values.any() or not said.any():
                return Ruling("undecided", None)
            return Ruling("non-inferior", moment(int(as_of_us[np.argmax(said)])))
        turned = accepted is not None and rejected is not None
        if accepted is None or (rejected is not None and rejected > accepted):
            return Ruling("worse", _look_after(path, rejected or 0, as_of_us), turned)
        status: Status = "non-inferior" if claims.superior.settled is None else "superior"
        return Ruling(status, _look_after(path, accepted, as_of_us), turned)


def _look_after(path: Path, blocks: int, as_of_us: NDArray[np.int64]) -> datetime:
    """The first look that knew so many blocks."""
    return moment(int(as_of_us[np.searchsorted(path.blocks, blocks)]))


def alike(values: Floats) -> int:
    """How many days in a row are alike, by their autocorrelation; 1 where they are too few to tell."""
    return BlockLength.of(values).length if len(values) >= LEAST_VALUES else 1


def wait_for(values: Floats, sequence: Asymptotic, max_loss: float, item: int) -> Wait | None:
    """How many more days would settle it; None where they are too few to say.

    Args:
        values: by how much the candidate was worse in each block.
        sequence: the one that the bounds are of.
        max_loss: the tolerance.
        item: the candidate's place, so that each draws futures of its own.
    """
    if len(values) < LEAST_BLOCKS:
        return None
    return wait(values, sequence, Seeds().stream("bootstrap", item), tolerance=max_loss, run=alike(values))


def placebo_of(values: Floats, sequence: Asymptotic, item: int) -> Interval | None:
    """How often the method would be fooled by this noise without a difference.

    None where that cannot be tried: where the method says nothing yet, or where days stay alike for so long that few runs of
    them had passed when it began to speak. A sign drawn anew for each run then changes too little: what the beginning of the
    recording happens to be like all placebos share, and all are fooled by it or none.
    """
    run, spoken = alike(values), np.isfinite(sequence.bounds(values)[1])
    if not spoken.any() or np.argmax(spoken) + 1 < LEAST_RUNS * run:
        return None
    return placebo_rate(values, sequence, Seeds().stream("bootstrap", item), run=run, repeats=PLACEBOS)


def winner_of(incumbent: str, candidates: Sequence[Candidate]) -> str:
    """The accepted candidate, superior before non-inferior, then by what it loses; else the incumbent."""
    accepted = [c for c in candidates if c.status in ACCEPTED]
    return min(accepted, key=lambda c: (c.status != "superior", c.loses)).name if accepted else incumbent


def best_of(incumbent: str, candidates: Sequence[Candidate]) -> str:
    """The candidate to ask about where the user names none: the winner, else the one that did best so far."""
    winner = winner_of(incumbent, candidates)
    if winner != incumbent or not candidates:
        return winner
    return min(candidates, key=lambda c: (math.isnan(c.difference), c.loses)).name


def judge(
    incumbent: str,
    challenger: Candidate | None,
    *,
    burn_in: int,
    metric: str,
    max_loss: float,
    level: float,
    candidates: int,
    label_coverage: float,
    labels: Labels,
    differenced: str = "",
) -> Verdict:
    """Say whether the challenger may replace the incumbent, why, and what would change that.

    Args:
        incumbent: the model that runs now.
        challenger: what is known of the candidate; None where the incumbent itself was chosen.
        burn_in: how many days' worth of independent ones it takes to say anything.
        metric: the loss.
        max_loss: the tolerance.
        level: the chance of a wrong decision, before it was split.
        candidates: over how many candidates it was split.
        label_coverage: share of the requests with a label that counts.
        labels: what is known of the labels at the last look.
        differenced: what differences are of, and the tolerance, with its unit; the metric where empty.
    """
    if challenger is None:
        return Verdict(
            "go",
            (f"`{incumbent}` stays: no candidate was put forward, so there is nothing to judge it against",),
            ("a candidate other than the incumbent",),
            {"incumbent": incumbent, "challenger": incumbent},
        )
    evidence: dict[str, Any] = {"incumbent": incumbent, "challenger": challenger.name, "metric_name": metric}
    evidence |= {"max_loss": max_loss, "level": level, "split_over_candidates": candidates}
    evidence |= {"horizon_s": labels.horizon_s, "label_coverage": finite(label_coverage)} | challenger.to_dict()
    found = _found(challenger, differenced or metric, level, candidates)
    beyond = f"{max_loss:g}{f' of {differenced}' if max_loss and differenced != metric and differenced else ''}"
    if challenger.status in ACCEPTED:
        claim = "is better than" if challenger.status == "superior" else f"is not worse beyond {beyond} than"
        change = f"a tolerance below {challenger.may_lose:.3g}" if challenger.may_lose >= 0.0 else ""
        reasons = (
            f"`{challenger.name}` {claim} `{incumbent}`, known since {format_instant(challenger.decided_at)}",
            found,
            *_turned(challenger),
        )
        return Verdict("go", reasons, (change,) if change else (), evidence)
    if challenger.status == "worse":
        change = f"a tolerance of {challenger.may_lose:.3g} or more, or another candidate"
        claim = f"`{challenger.name}` is worse than `{incumbent}` by more than {beyond}"
        reasons = (f"{claim}, known since {format_instant(challenger.decided_at)}", found, *_turned(challenger))
        return Verdict("no-go", reasons, (change,), evidence)
    reasons = (
        f"it is not shown whether `{challenger.name}` is worse than `{incumbent}` by more than {beyond}",
        found if challenger.blocks else _undated(challenger, metric, labels),
    )
    change = _wait(challenger, burn_in) if challenger.blocks else _recording_for(burn_in, labels)
    return Verdict("inconclusive", reasons, (change,), evidence)


def _found(challenger: Candidate, metric: str, level: float, candidates: int) -> str:
    """One sentence with the figures."""
    if not math.isfinite(challenger.difference_high - challenger.difference_low):
        return f"difference in {metric} {challenger.difference:+.3g} on {challenger.blocks} mature days, too few for an interval"
    sure = f"{100.0 * (1.0 - level):.4g}% sure at every look" + (
        f" over {candidates} candidates" if candidates > 1 else ""
    )
    ends = challenger.difference_low, challenger.difference_high
    better = "; above zero is better" if challenger.greater_is_better else ""
    return f"difference in {metric} {beside(challenger.difference, *ends)} ({between(*ends)}, {sure}{better}) on {challenger.blocks} mature days"


def _undated(challenger: Candidate, metric: str, labels: Labels) -> str:
    """What can still be said where no day carries a difference."""
    horizon = format_duration(labels.horizon_s)
    if not labels.came:
        told = f"not one of the {labels.asked:,} requests has a label, so there is nothing to judge by"
    elif not labels.matured and not labels.pending:
        told = (
            f"{labels.came:,} labels came, and none within the horizon of {horizon}, so none counts (nine in ten took up to "
            f"{format_duration(labels.slow_s)})"
        )
    elif labels.span_s < labels.horizon_s + DAY_S:
        told = (
            f"the recording covers {format_duration(labels.span_s)}, a label may take {horizon}, and a day of requests is judged once all "
            f"its labels had that long, so no day is: {labels.matured:,} of {labels.asked:,} requests have a label so far, and those "
            "that are answered fast are no fair sample"
        )
    else:
        told = (
            f"{metric} can be told on no day of requests that is older than the horizon of {horizon}: {labels.matured:,} of "
            f"{labels.asked:,} requests have a label that counts"
        )
    return told + (_whatever(challenger, metric) if labels.matured < labels.asked else "")


def _whatever(challenger: Candidate, metric: str) -> str:
    """Between what the difference lies, whichever way the missing labels go."""
    if challenger.bounds is None:
        return ""
    least, most = challenger.bounds
    told = f". Whatever the missing labels say, the difference in {metric} over all of these requests lies within {between(least, most)}"
    if least < 0.0 < most:
        return f"{told}: they decide it"
    return f"{told}: on these very requests `{challenger.name}` did {'better' if (most <= 0.0) != challenger.greater_is_better else 'worse'} in any case"


def _recording_for(burn_in: int, labels: Labels) -> str:
    """What recording would say more."""
    horizon = format_duration(labels.horizon_s)
    if not labels.came:
        return (
            "labels: more days like these change nothing. Name the columns they stand in (columns.label, columns.label_time), or, where they "
            "land in a table of their own, that table in [backtest.labels]"
        )
    if not labels.matured and not labels.pending:
        return f"a horizon of {format_duration(labels.slow_s)} or more, in place of {horizon}: more days like these change nothing"
    days = math.ceil(burn_in + (labels.horizon_s - labels.span_s) / DAY_S)
    told = f"fewer than {burn_in} mature days say nothing, and a day is mature {horizon} after its end"
    if days < 1:
        return f"labels that count on {burn_in} days or more: {told}"
    return f"a recording longer by {days} days or more: {told}. A shorter horizon needs fewer, and leaves slower labels out"


def _turned(challenger: Candidate) -> tuple[str, ...]:
    """Say that what was settled first did not last."""
    if not challenger.turned:
        return ()
    return (
        "the opposite had been settled before: the difference changes over time, and what was settled last is told",
    )


def _wait(challenger: Candidate, burn_in: int) -> str:
    """Say roughly how many more days of mature labels would decide it."""
    enough, told = math.ceil(burn_in * challenger.stretch**2), challenger.wait
    if challenger.blocks < enough or told is None:
        return (
            f"at least {max(enough - challenger.blocks, 1)} more days of mature labels: fewer than {enough} say nothing"
        )
    if told.blocks is None:
        share = f"in {told.undecided:.0%} of the futures drawn {told.furthest:,} more days would not decide it"
        return f"a larger tolerance: at this difference and noise, {share}"
    ends = f"{told.low} to {told.high}" if told.high is not None else f"{told.low} to more than {told.furthest:,}"
    return f"roughly {told.blocks} more days of mature labels ({ends} in 80% of the futures drawn), if days stay what they are"
