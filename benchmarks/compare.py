"""Two models, runs or library versions, one against the other: a ratio with its interval, and a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.stats import Interval, cut_rounds, unpaired_ratio_interval
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.timings import Timings


@dataclass(frozen=True)
class Comparison:
    """Two things at one batch size.

    Args:
        a: the one that is there.
        b: the one that is put beside it.
        batch: rows a call.
        ratio: a's median service time ÷ b's, the geometric mean over rounds: above 1 where b is faster.
        paired: whether they were timed side by side; otherwise what changed between the two runs is not in the interval.
        valid: whether both measurements hold; where not, nothing is told.
    """

    a: str
    b: str
    batch: int
    ratio: Interval
    paired: bool
    valid: bool = True

    @property
    def told(self) -> str:
        """Whether `b` is faster, slower, or not told apart."""
        if not self.valid:
            return "not known"
        return "faster" if self.ratio.low > 1.0 else "slower" if self.ratio.high < 1.0 else "not told apart"

    @property
    def sentence(self) -> str:
        """The comparison in words.

        Example:
            >>> Comparison("old", "new", 8, Interval(1.25, 1.2, 1.3, 12, 0.95), paired=True).sentence
            'new is faster than old at batch 8: 1.25 × as fast (1.2 to 1.3)'
        """
        figure = f"{self.ratio.value:.3g} × as fast ({self.ratio.low:.3g} to {self.ratio.high:.3g})"
        if not self.valid:
            return f"which of {self.b} and {self.a} is faster at batch {self.batch} is not known: INVALID, {figure}"
        if self.told == "not told apart":
            return f"{self.b} and {self.a} are not told apart at batch {self.batch}: {figure}"
        return f"{self.b} is {self.told} than {self.a} at batch {self.batch}: {figure}"

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {"a": self.a, "b": self.b, "batch": self.batch, **self.ratio.to_dict("ratio"), "told": self.told,
                "confidence": self.ratio.confidence, "paired": self.paired, "valid": self.valid, "sentence": self.sentence}  # fmt: skip


def compare_timings(
    timings: Timings,
    pairs: Sequence[tuple[str, str]],
    batch_sizes: Sequence[int],
    confidence: float = 0.95,
    *,
    invalid: Collection[str] = (),
) -> tuple[Comparison, ...]:
    """Compare what was timed side by side, round by round.

    Args:
        timings: of all names at all batch sizes.
        pairs: of names: the one that is there, and the one beside it.
        batch_sizes: rows a call.
        confidence: of each interval.
        invalid: names whose measurement does not hold.
    """
    return tuple(
        Comparison(
            a,
            b,
            batch,
            timings.speedup(a, b, batch, confidence),
            paired=True,
            valid=a not in invalid and b not in invalid,
        )
        for a, b in pairs
        for batch in batch_sizes
    )


def compare_profiles(a: LatencyProfile, b: LatencyProfile, confidence: float = 0.95) -> tuple[Comparison, ...]:
    """Compare two profiles that were measured at different times, at the batch sizes that both have.

    Args:
        a: the one that is there.
        b: the one beside it.
        confidence: of each interval.

    Raises:
        DataError: measured on different hardware, not measured at all, or without a batch size in common.
    """
    _check(a, b)
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} ({a.runtime})", f"{b.name} ({b.runtime})")
    return tuple(
        Comparison(
            *names, batch, unpaired_ratio_interval(_medians(a, batch), _medians(b, batch), confidence), paired=False,
            valid=a.verdict.outcome == b.verdict.outcome == "go",
        )
        for batch in sorted(set(a.batch_sizes) & set(b.batch_sizes))
    )  # fmt: skip


def _check(a: LatencyProfile, b: LatencyProfile) -> None:
    for profile in (a, b):
        if profile.basis != "measured":
            raise DataError("was projected, not measured, and cannot be compared", field=profile.name, fix="measure it")
    if a.hardware.fingerprint != b.hardware.fingerprint:
        raise DataError(
            f"was measured on {b.hardware}, the other on {a.hardware}",
            field=b.name,
            fix="compare what was measured on one kind of machine",
        )
    if not set(a.batch_sizes) & set(b.batch_sizes):
        raise DataError(
            f"has batch sizes {list(b.batch_sizes)}, the other {list(a.batch_sizes)}",
            field=b.name,
            fix="measure both at one batch size at least (--batch)",
        )


def _medians(profile: LatencyProfile, batch: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The median of each round, or of stretches of some rounds where there were many."""
    samples = profile.samples_s[profile.batch_sizes.index(batch)]
    return np.array([np.median(each) for each in cut_rounds(samples, profile.rounds)])


def judge_slower(comparisons: Sequence[Comparison], allowed: float) -> Verdict:
    """Say whether nothing became slower by more than is allowed: shown, refuted, or neither.

    Args:
        comparisons: whose intervals should hold together (ask for `1 - 0.05 / n` each).
        allowed: by which share the second may be slower than the first.

    Example:
        >>> new = Comparison("old", "new", 1, Interval(0.9, 0.89, 0.91, 12, 0.95), paired=True)
        >>> judge_slower([new], 0.03).outcome
        'no-go'
    """
    least = 1.0 / (1.0 + allowed)
    slower = [each for each in comparisons if each.ratio.high < least]
    unknown = [each for each in comparisons if each.ratio.low < least <= each.ratio.high]
    evidence = {"allowed": allowed, "worst_ratio": min(each.ratio.value for each in comparisons)}
    if slower:
        reasons = tuple(f"{each.sentence}: slower by more than the {allowed * 100:.3g}% allowed" for each in slower)
        return Verdict("no-go", reasons, ("make it faster, or allow more (--fail-if-slower)",), evidence)
    if unknown:
        reasons = tuple(f"{each.sentence}: it may be slower by more than {allowed * 100:.3g}%" for each in unknown)
        return Verdict("inconclusive", reasons, ("measure longer (--budget, --precision)",), evidence)
    return Verdict("go", (f"nothing is slower by more than {allowed * 100:.3g}%",), (), evidence)
