"""Judgement: whether a server's reaction to a conversation was right, and what became of each family."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from .conversation import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .assault import Outcome
    from .oracle import Oracle

TOO_BUSY = (429, 503)
"""The statuses by which a server says that it has too much to do: no fault, whatever was asked."""

Fault = Literal["", "hung", "gone", "taken", "wrong", "unanswered", "garbled"]
"""What a server did wrong: neither answered nor hung up in time; was not there; said 200 to what is malformed, or once too often;
answered something else than the model; refused what is well-formed; said what is no HTTP."""

SAID: dict[str, str] = {
    "hung": "neither answered nor hung up within the limit", "gone": "refused the connection",
    "taken": "answered with 200 what is malformed", "wrong": "a wrong answer", "unanswered": "refused what is well-formed",
    "garbled": "answered with what is no HTTP",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A reaction that was not right.

    Args:
        family: of the conversation.
        kind: what was wrong with it.
        number: which of the family's it was; with the seed it is the same again.
        fault: what the server did.
        why: in words.
        statuses: what it answered.
        begun: the first bytes that were sent.
    """

    family: str
    kind: str
    number: int
    fault: Fault
    why: str
    statuses: tuple[int, ...]
    begun: str


@dataclass(frozen=True)
class Tally:
    """What became of one family's conversations.

    Args:
        family: its name.
        tried: conversations.
        answered: ended with an answer,
        dropped: or with a closed connection.
        left: broken off by the adversary; no answer to be judged, or not all of it.
        held: kept open to the end, as they may be.
        cut: open when the assault was over, and younger than the limit.
        hung: open longer than that.
        faults: findings.
        bare: refusals without a word of why.
        failures: answers of 500 and above, other than "too busy".
        codes: how many answers had which status.
    """

    family: str
    tried: int
    answered: int
    dropped: int
    left: int
    held: int
    cut: int
    hung: int
    faults: int
    bare: int
    failures: int
    codes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self)


def judge(outcome: Outcome, oracle: Oracle | None) -> tuple[Fault, str]:
    """What was wrong with a reaction, and in words; empty where nothing was."""
    if outcome.end == "garbled" and outcome.conversation.other:
        return "", ""
    if outcome.end in ("hung", "garbled"):
        return outcome.end, SAID[outcome.end]
    if outcome.end == "refused":
        return "gone", SAID["gone"]
    meant = outcome.conversation.meant
    for at, reply in enumerate(outcome.replies):
        if reply.taken:
            meaning = meant[at] if at < len(meant) else MALFORMED
            if meaning is MALFORMED:
                return "taken", SAID["taken"] if at < len(meant) else "answered more often than it was asked"
            wrong = oracle.differs(meaning, reply.read()) if oracle is not None and meaning is not None else ""  # type: ignore[arg-type]
            if wrong:
                return "wrong", wrong
        elif outcome.conversation.must and reply.status not in TOO_BUSY and not _fails_alone(meant, at, oracle):
            return "unanswered", f"refused what is well-formed with {reply.status}"
    # who says that he closes need not answer what came behind (RFC 9112, section 9.6)
    said_so = bool(outcome.replies) and outcome.replies[-1].closes
    short = outcome.conversation.must and outcome.end == "closed" and len(outcome.replies) < len(meant) and not said_so
    busy = any(reply.status in TOO_BUSY for reply in outcome.replies)
    return (
        ("unanswered", f"hung up after {len(outcome.replies)} of {len(meant)} answers")
        if short and not busy
        else ("", "")
    )


def _fails_alone(meant: Sequence[Any], at: int, oracle: Oracle | None) -> bool:
    """Whether the model itself cannot answer it."""
    return oracle is not None and at < len(meant) and meant[at] is not None and oracle.alone(meant[at]) is None


def findings_of(outcomes: Sequence[Outcome], oracle: Oracle | None) -> list[Finding]:
    """Every reaction that was not right."""
    found = []
    for each in outcomes:
        fault, why = judge(each, oracle)
        if fault:
            statuses = tuple(reply.status for reply in each.replies)
            name = each.conversation.name
            found.append(Finding(each.family, name, each.number, fault, why, statuses, each.conversation.begun()))
    return found


def tally(family: str, outcomes: Sequence[Outcome], findings: Sequence[Finding]) -> Tally:
    """Count what became of a family's conversations."""
    own = [each for each in outcomes if each.family == family]
    ends = Counter(each.end for each in own)
    replies = [reply for each in own for reply in each.replies]
    heard = sum(bool(each.replies) and each.end in ("answered", "closed") for each in own)
    return Tally(
        family, len(own), heard, ends["answered"] + ends["closed"] - heard, ends["left"], ends["held"], ends["cut"],
        ends["hung"], sum(each.family == family for each in findings),
        sum(reply.status >= 400 and not reply.body for reply in replies),
        sum(reply.status >= 500 and reply.status not in TOO_BUSY for reply in replies),
        {str(code): count for code, count in sorted(Counter(reply.status for reply in replies).items())},
    )  # fmt: skip
