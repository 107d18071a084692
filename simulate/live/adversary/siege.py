"""A Siege: what an adversary tried during a run, what the server made of it, and the decision."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration, format_figure

from .judgement import SAID, findings_of, tally
from .replies import Reply
from .spared import BEGIN, UNTIL, spared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.simulate.live.live_run import LiveRun
    from windtunnel.stats import Interval
    from windtunnel.verdict import Outcome as Decision

    from .assault import Assault
    from .conversation import Arrays
    from .judgement import Finding, Tally
    from .oracle import Oracle
    from .spared import Spared

SHOWN = 20
"""Findings that are told; the others are counted."""


@dataclass(frozen=True)
class Siege:
    """What became of a run with an adversary in it.

    Args:
        families: what became of each family's conversations.
        findings: reactions that were not right.
        spared: what honest requests felt of it.
        compared: answers to honest requests that were compared with the model alone; 0 where there is none to compare with.
        wrong: how many of them were wrong, and what with the first few.
        crashes: processes of the server that ended; None where they are not to be seen.
        gone: whether the server refused every connection at last.
        held_to: the factor by which honest requests may take longer at p99.
        limit_s: within so long an answer or a closed connection had to come.
        believed: whether the generators of honest requests kept up.
        begin_s: when it began, on the log's clock,
        until_s: and when it was over.
    """

    families: tuple[Tally, ...]
    findings: tuple[Finding, ...]
    spared: Spared
    compared: int
    wrong: tuple[int, tuple[str, ...]]
    crashes: int | None
    gone: bool
    held_to: float
    limit_s: float
    believed: bool
    begin_s: float
    until_s: float

    @property
    def tried(self) -> int:
        """Conversations."""
        return sum(each.tried for each in self.families)

    @property
    def faults(self) -> list[str]:
        """Everything that no server should do, one sentence each."""
        found = []
        if self.crashes:
            found.append(f"{self.crashes} of the server's processes ended under the adversary.")
        if self.gone:
            found.append("The server was gone at last: it refused every connection.")
        if self.wrong[0]:
            found.append(
                f"{self.wrong[0]:,} of {self.compared:,} answers to honest requests were wrong: {self.wrong[1][0]}."
            )
        for fault, said in SAID.items():
            own = [each for each in self.findings if each.fault == fault]
            if own:
                found.append(
                    f"{len(own):,} times it {_verb(said)} (first: {own[0].family}, {own[0].kind}, no. {own[0].number})."
                )
        return [*found, *self._told_lost()]

    @property
    def factor(self) -> Interval | None:
        """By how much honest requests took longer at p99; None where that is not known."""
        factor = self.spared.factor["p99"]
        return factor if factor is not None and math.isfinite(factor.high) else None

    def decide(self) -> tuple[Decision, list[str], list[str]]:
        """The decision, its reasons, and what would change it."""
        faults, factor = self.faults, self.factor
        told = self._told_factor()
        over = factor is not None and factor.low > self.held_to and self.believed
        if faults or over:
            return "no-go", [*faults, *told], ["mend what is listed"] if faults else []
        if factor is None or not self.believed or factor.high > self.held_to:
            return "inconclusive", told, ["a longer --duration on a quieter machine, or a higher --factor"]
        return "go", told, []

    def _told_lost(self) -> list[str]:
        """What was lost by the adversary's fault, where there is such; what the generators did not send is theirs."""
        side = self.spared
        if not side.under_lost or not self.believed:
            return []
        said = f"{side.under_lost:,} of {side.under:,} honest requests were not answered while the adversary was there, and "
        if not side.calm_lost:
            return [f"{said}all others were."]
        return [f"{said}{side.before_lost:,} of {side.before:,} before it came."] if side.lost_more else []

    def _told_factor(self) -> list[str]:
        factor = self.factor
        if factor is None:
            return ["Too few honest requests were answered to tell by what factor they were slowed."]
        calm, under = (format_duration(side["p99"]) for side in (self.spared.calm_s, self.spared.under_s))
        told = (
            f"Honest requests: p99 {calm} without the adversary, {under} with it, {format_figure(factor.value)} times "
            f"({format_figure(factor.low)} to {format_figure(factor.high)}); {format_figure(self.held_to)} are allowed."
        )
        return [told]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        count = {fault: sum(each.fault == fault for each in self.findings) for fault in SAID}
        return {
            "tried": self.tried, "answered": sum(each.answered for each in self.families),
            "dropped": sum(each.dropped for each in self.families), "crashes": self.crashes, **count,
            "honest_compared": self.compared, "honest_wrong": self.wrong[0], "factor_allowed": self.held_to, "limit_s": self.limit_s,
            "begin_s": self.begin_s, "until_s": self.until_s, "server_gone": self.gone, **_finite(self.spared.to_dict()),
            "families": [each.to_dict() for each in self.families],
            "findings": [asdict(each) for each in self.findings[:SHOWN]], "findings_left_out": max(0, len(self.findings) - SHOWN),
        }  # fmt: skip


def _verb(said: str) -> str:
    return said if said.startswith(("answered", "refused", "neither")) else f"gave {said}"


def _finite(told: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for what has no bound: there it is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in told.items()
    }


def times_of(duration_s: float, limit_s: float) -> tuple[float, float]:
    """When in a run the adversary comes and goes.

    Raises:
        ConfigError: it would not be there long enough to see whether it is given up.

    Example:
        >>> times_of(60.0, 15.0)
        (15.0, 45.0)
    """
    begin_s, until_s = BEGIN * duration_s, UNTIL * duration_s
    if until_s - begin_s < limit_s + 1.0:
        raise ConfigError(
            f"leaves the adversary {format_duration(until_s - begin_s)}, and it takes {format_duration(limit_s)} to see that a server hangs",
            field="--duration", value=format_duration(duration_s), fix=f"drive {(limit_s + 1.0) / (UNTIL - BEGIN):.0f}s or longer, with requests for so long",
        )  # fmt: skip
    return begin_s, until_s


def besiege(
    assault: Assault, run: LiveRun, oracle: Oracle | None, rows: Sequence[Arrays], *, factor: float = 3.0
) -> Siege:
    """Judge what an assault and the honest requests beside it came to.

    Args:
        assault: over.
        run: of the honest requests, with what they heard.
        oracle: the model alone; None where there is nothing to compare with.
        rows: what each honest body asks.
        factor: by which honest requests may take longer at p99.
    """
    findings = findings_of(assault.outcomes, oracle)
    first_s = float(run.log.scheduled_s[0]) if len(run) else 0.0
    begin_s, until_s = first_s + assault.begin_s, first_s + assault.until_s
    compared, wrong, reasons = _compared(run, oracle, rows)
    return Siege(
        tuple(tally(each.name, assault.outcomes, findings) for each in assault.hostility.families), tuple(findings),
        spared(run.log, begin_s, until_s), compared, (wrong, tuple(reasons)), assault.crashes, not math.isnan(run.gone_s), factor,
        assault.hostility.limit_s, run.valid, begin_s, until_s,
    )  # fmt: skip


def _compared(run: LiveRun, oracle: Oracle | None, rows: Sequence[Arrays]) -> tuple[int, int, list[str]]:
    """How many honest answers were compared, how many of them were wrong, and what with the different ones."""
    heard = run.heard
    if heard is None or oracle is None:
        return 0, 0, []
    wrong = []
    for at, body in enumerate(heard.bodies):
        outputs = Reply(200, heard.headers(at), body).read()
        wrong.append(oracle.differs(rows[int(heard.message[at])], outputs))
    kept = heard.answer[heard.answer >= 0]
    ill = np.array([bool(each) for each in wrong], dtype=bool)
    return len(kept), int(ill[kept].sum()) if len(kept) else 0, list(dict.fromkeys(filter(None, wrong)))
