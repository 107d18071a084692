"""Go, no-go or inconclusive, with the reasons and what would change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Outcome = Literal["go", "no-go", "inconclusive"]

EXIT_CODES: dict[Outcome, int] = {"go": 0, "no-go": 1, "inconclusive": 3}


@dataclass(frozen=True)
class Verdict:
    """What a measurement ends in.

    Args:
        outcome: `go`, `no-go` or `inconclusive` (not enough evidence for either).
        reasons: sentences that carry the decision.
        would_change: what would make it another one.
        evidence: the figures the reasons rest on, units in the key names.

    Example:
        >>> Verdict("go", ("p99 is 12 ms",)).exit_code
        0
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    would_change: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code a pipeline can act on: 0 go, 1 no-go, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return {
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "would_change": list(self.would_change),
            "evidence": self.evidence,
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Verdict:
        """Read what `to_dict` wrote."""
        return Verdict(value["outcome"], tuple(value["reasons"]), tuple(value["would_change"]), dict(value["evidence"]))


def combine(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Join the verdicts of several stages: one no-go is a no-go, else one doubt is a doubt, else go.

    No verdicts at all are no evidence, hence inconclusive.

    Example:
        >>> combine({"a": Verdict("go", ("fine",)), "b": Verdict("inconclusive", ("12 rows",))}).outcome
        'inconclusive'
    """
    if not verdicts:
        return Verdict("inconclusive", ("no stage has come to a verdict",), ("run at least one stage",))
    outcomes = {verdict.outcome for verdict in verdicts.values()}
    outcome: Outcome = "no-go" if "no-go" in outcomes else "inconclusive" if "inconclusive" in outcomes else "go"
    return Verdict(
        outcome,
        tuple(f"{stage}: {reason}" for stage, verdict in verdicts.items() for reason in verdict.reasons),
        tuple(f"{stage}: {change}" for stage, verdict in verdicts.items() for change in verdict.would_change),
        {stage: verdict.outcome for stage, verdict in verdicts.items()},
    )
