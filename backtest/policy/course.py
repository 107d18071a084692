"""A Course: what a policy did and when, in one replay; and an Outcome: what that was worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.comparison import moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

What = Literal["step", "rollback", "training", "deployed"]


@dataclass(frozen=True)
class Event:
    """Something that a policy did.

    Args:
        at_us: when, microseconds UTC.
        what: a step taken, a rollback, a training begun, or its model put to work.
        why: in words, with the figures that were known then.
        level: from then on: the candidate's share of the traffic, or the number of the model that serves.
    """

    at_us: int
    what: What
    why: str
    level: float

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {"at": moment(self.at_us).isoformat(), "what": self.what, "why": self.why, "level": self.level}


@dataclass(frozen=True)
class Course:
    """One replay of a policy.

    Args:
        start: the look at which it began.
        events: in order of time.
        level: of the requests that each look first saw, float64 [looks]: the candidate's share, or the number of the model
            that served the first of them.
        more_blocks: at the end, in half of the futures drawn, so many more days until the next step or the rollback; None:
            nothing was waited for, or it would be further than a thousand days.
    """

    start: int
    events: tuple[Event, ...]
    level: Floats
    more_blocks: int | None = None

    def first(self, what: What) -> Event | None:
        """The first event of a kind."""
        return next((event for event in self.events if event.what == what), None)


@dataclass(frozen=True)
class Outcome:
    """What one replay of a policy was worth, against serving what served before.

    Args:
        course: what it did.
        usd: what it gained, of the requests that each look first saw, float64 [looks]; what was spent taken off.
        expected_usd: what that would have been, had every look been alike and only the decisions different, float64 [looks];
            the rest is the luck of the days.
        served: requests by the model that served them.
        loss_saved: loss of the model before, less that of what was served, over the requests whose label is known at the end.
        wrong_saved: wrong predictions likewise.
        bad_before_detection: of the candidate's that were served until it was sent back, or until the end where it never
            was: wrong where the incumbent was right.
        rollbacks: how often it was sent back.
        false_rollbacks: those of a candidate that over the whole recording loses no more than the incumbent.
        missed: whether a candidate that loses more still serves at the end.
        scored: predictions made beside those served.
        trainings: runs of `fit`.
        training_s: their time.
        spent_usd: for scorings, trainings and rollbacks.
    """

    course: Course
    usd: Floats
    expected_usd: Floats
    served: dict[str, int]
    loss_saved: float
    wrong_saved: int
    bad_before_detection: int = 0
    rollbacks: int = 0
    false_rollbacks: int = 0
    missed: bool = False
    scored: int = 0
    trainings: int = 0
    training_s: float = 0.0
    spent_usd: float = 0.0

    @property
    def value_usd(self) -> float:
        """All that it gained."""
        return float(self.usd.sum())

    @property
    def drawdown_usd(self) -> float:
        """The most that it was ever down: how far the sum by day lay below zero or an earlier high."""
        total = np.append(0.0, np.cumsum(self.usd))
        return float((np.maximum.accumulate(total) - total).max())


@dataclass(frozen=True)
class Account:
    """All replays of one policy.

    Args:
        name: of the policy.
        outcomes: one a replay.
    """

    name: str
    outcomes: tuple[Outcome, ...] = field(repr=False)

    @property
    def usd(self) -> Floats:
        """What it gained by look, mean over the replays, float64 [looks]."""
        mean: Floats = np.mean([outcome.usd for outcome in self.outcomes], axis=0)
        return mean

    @property
    def luck_usd(self) -> Floats:
        """What of it the luck of the days made, mean over the replays, float64 [looks]."""
        mean: Floats = np.mean([outcome.usd - outcome.expected_usd for outcome in self.outcomes], axis=0)
        return mean

    @property
    def value_usd(self) -> float:
        """What it gained, mean over the replays."""
        return float(self.usd.sum())

    @property
    def risk_usd(self) -> float:
        """The most that it was ever down, in the worst of the replays."""
        return max(outcome.drawdown_usd for outcome in self.outcomes)

    def total(self, field: str) -> float:
        """The sum of one figure over the replays."""
        return float(sum(getattr(outcome, field) for outcome in self.outcomes))

    def to_dict(self) -> dict[str, Any]:
        """The account as JSON values, with the events of the first replay."""
        sums = (
            "loss_saved", "wrong_saved", "bad_before_detection", "rollbacks", "false_rollbacks", "missed", "scored",
            "trainings", "training_s", "spent_usd",
        )  # fmt: skip
        served: dict[str, int] = {}
        for outcome in self.outcomes:
            for model, rows in outcome.served.items():
                served[model] = served.get(model, 0) + rows
        return {
            "name": self.name,
            "replays": len(self.outcomes),
            "value_usd": self.value_usd,
            "risk_usd": self.risk_usd,
            "served": served,
            **{name: self.total(name) for name in sums},
            "more_days": self.outcomes[0].course.more_blocks,
            "events": [event.to_dict() for event in self.outcomes[0].course.events],
        }
