"""Replaying a rollout: at each look, what was known then decides who serves until the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.evidence import Asymptotic, Claim, wait
from windtunnel.backtest.evidence.wait import LEAST_BLOCKS
from windtunnel.quantity import format_duration

from .course import Course, Event, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .alert import Alert
    from .ledger import Ledger, Sums
    from .prices import Prices
    from .rollout import Rollout, Step

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

DAY_US = 86_400_000_000

WAIT_SEED = 1
"""Of the futures from which the wait is told; it decides nothing."""


def replay_rollout(rollout: Rollout, ledger: Ledger, start: int = 0) -> Course:
    """Replay one rollout from one look on.

    At every look the guardrails are asked first, then whether the step may be left. Evidence is the mean difference
    of loss over days of requests that are old enough for all their labels to have come, from the start on, by the asymptotic
    confidence sequence; the alert sees younger requests too. What the candidate was to be, it is from the look until the
    next: a decision moves nothing that was asked before it.

    Args:
        rollout: the policy.
        ledger: the recording, cut at all of the policy's shares.
        start: the look at which it begins.
    """
    flight = _Flight(rollout, ledger, start)
    flight.enter(start, "begins")
    for look in range(start + 1, ledger.looks):
        flight.learn(look)
        if reason := flight.tripped(look):
            flight.events.append(Event(flight.at(look), "rollback", reason, 0.0))
            flight.share[look + 1 :] = 0.0
            break
        if reason := flight.may_leave(look):
            flight.step += 1
            flight.enter(look, reason)
    return Course(start, tuple(flight.events), flight.share, flight.more_days())


def price_rollout(rollout: Rollout, ledger: Ledger, course: Course, prices: Prices) -> Outcome:
    """What a replay was worth against staying with the incumbent, by all labels that the recording knows at its end."""
    final, served = ledger.as_of(ledger.looks - 1), ledger.served(course.level)
    saved = ((final.loss[0] - final.loss[1]) * served).sum(axis=1)
    wrong = ((final.wrong[0] - final.wrong[1]) * served).sum(axis=1)
    back = course.first("rollback")
    scored = _scored(rollout, ledger, course, served)
    costs = prices.usd_per_scored * scored
    if back is not None:
        costs[_look_of(ledger, back.at_us)] += prices.usd_per_rollback
    usd = prices.usd_per_loss * saved + prices.usd_per_wrong * wrong - costs
    requests = (ledger.asked * served).sum(axis=1)
    mine = int(requests.sum())
    begun = int(ledger.asked[course.start + 1 :].sum())
    truly_worse = ledger.true_difference > 0.0
    return Outcome(
        course, usd, _usd_a_request(ledger, prices) * requests - costs, {"incumbent": begun - mine, "candidate": mine}, float(saved.sum()), int(wrong.sum()),
        bad_before_detection=int((final.harmed * served).sum()),
        rollbacks=int(back is not None), false_rollbacks=int(back is not None and not truly_worse),
        missed=bool(truly_worse and back is None and course.level[-1] > 0.0), scored=int(scored.sum()),
        spent_usd=float(costs.sum()),
    )  # fmt: skip


def _usd_a_request(ledger: Ledger, prices: Prices) -> float:
    """What the candidate gains on a request, mean over the whole recording."""
    final = ledger.as_of(ledger.looks - 1)
    saved, wrong = (final.loss[0] - final.loss[1]).sum(), (final.wrong[0] - final.wrong[1]).sum()
    return float(prices.usd_per_loss * saved + prices.usd_per_wrong * wrong) / max(1, int(ledger.asked.sum()))


def _scored(rollout: Rollout, ledger: Ledger, course: Course, served: Flags) -> NDArray[np.int64]:
    """Predictions made beside those served, by look: all while pairs are made, else those in shadow, until it is sent back."""
    back = course.first("rollback")
    under_way = np.zeros(ledger.looks, dtype=np.bool_)
    under_way[course.start + 1 : ledger.looks if back is None else _look_of(ledger, back.at_us) + 1] = True
    # a step of no traffic that is the last teaches nothing, so nothing is scored for it
    shadow = (~served.any(axis=1) & (len(rollout.steps) > 1)) | (rollout.paired & (rollout.steps[-1].share > 0.0))
    twice: NDArray[np.int64] = ledger.asked.sum(axis=1) * (under_way & shadow)
    return twice


def _look_of(ledger: Ledger, at_us: int) -> int:
    return (at_us - ledger.periods.first_us) // ledger.periods.every_us


@dataclass
class _Flight:
    """All that changes during one replay; thrown away after it."""

    rollout: Rollout
    ledger: Ledger
    start: int
    step: int = 0
    entered: int = 0
    share: Floats = field(init=False)
    served: Flags = field(init=False)
    values: list[float] = field(default_factory=list)
    excess: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    learnt: int = 0
    news: bool = False

    def __post_init__(self) -> None:
        self.share = np.zeros(self.ledger.looks)
        self.sequence = Asymptotic(self.rollout.level)
        self.day = max(1, round(DAY_US / self.ledger.periods.every_us))

    @property
    def now(self) -> Step:
        return self.rollout.steps[self.step]

    def at(self, look: int) -> int:
        return self.ledger.periods.first_us + look * self.ledger.periods.every_us

    def enter(self, look: int, why: str) -> None:
        """Let the current step's share serve what is asked from a look on."""
        self.entered = look
        self.share[look + 1 :] = self.now.share
        self.served = self.ledger.served(self.share)
        self.events.append(Event(self.at(look), "step", why, self.now.share))

    def learn(self, look: int) -> None:
        """Take in what became known: the days that are now old enough, and the alert's window."""
        released = max(0, (look - self.start - self.ledger.periods.settle) // self.day)
        self.news = False
        for block in range(self.learnt, released):
            first = self.start + 1 + block * self.day
            value = self._difference(look, first, first + self.day)
            if not math.isnan(value):
                self.values.append(value)
                self.news = True
        self.learnt = max(self.learnt, released)
        alert = self.rollout.guardrails.alert
        if alert is not None:
            self.excess.append(self._excess(alert, look))

    def _difference(self, look: int, first: int, end: int) -> float:
        """Mean loss of the candidate less that of the incumbent, over the requests that each of them scored."""
        seen = slice(first, end)
        of_candidate = self._scored_by_candidate(seen)
        of_incumbent = ~of_candidate | self._both(seen)
        sums = self._as_of(look, first, end)
        candidate, incumbent = _mean(sums, 1, of_candidate), _mean(sums, 0, of_incumbent)
        return candidate - incumbent

    def _both(self, seen: slice) -> Flags:
        """Where both models score: in pairs, or in shadow."""
        both: Flags = np.full(self.served[seen].shape, self.rollout.paired) | (self.share[seen, None] == 0.0)
        return both

    def _scored_by_candidate(self, seen: slice) -> Flags:
        return self.served[seen] | self._both(seen)

    def _as_of(self, look: int, first: int, end: int) -> Sums:
        rows, loss, wrong, harmed = self.ledger.as_of(look, first)
        length = end - first
        return type(self.ledger.known)(rows[:length], loss[:, :length], wrong[:, :length], harmed[:length])

    def _excess(self, alert: Alert, look: int) -> float:
        """How much more than the reference the candidate's own requests lost, of the window as of now; NaN: too few labels."""
        first = max(self.start, look - self.ledger.looks_in(alert.window_s)) + 1
        sums = self.ledger.as_of(look, first)
        served = self.served[first : look + 1]
        # in shadow nothing is served, so nothing can be sent back for it
        against = served if self.rollout.paired else ~served & (self.share[first : look + 1, None] > 0.0)
        enough = (sums.rows * served).sum() >= alert.least_rows
        if alert.reference is not None:
            return _mean(sums, 1, served) - alert.reference if enough else math.nan
        enough = enough and (sums.rows * against).sum() >= alert.least_rows
        return _mean(sums, 1, served) - _mean(sums, 0, against) if enough else math.nan

    def tripped(self, look: int) -> str:
        """Why the candidate is sent back now; empty: it is not."""
        rails = self.rollout.guardrails
        if rails.drift and self.ledger.alarm[look]:
            return "drift alarm"
        if rails.alert is not None and rails.alert.fires(self.excess):
            return f"its requests of the last {format_duration(rails.alert.window_s)} lost {self.excess[-1]:.4g} more a request"
        if rails.least_coverage > 0.0 and (coverage := self._coverage(look)) < rails.least_coverage:
            return f"only {coverage:.1%} of the requests that are old enough have a label"
        if rails.worse is not None and self.news and self._shown_worse(rails.worse):
            return f"shown to lose more than {rails.worse:.4g} a request, over {len(self.values)} days"
        return ""

    def _coverage(self, look: int) -> float:
        """Labelled of the requests since the start whose labels can no longer come, over the latest stretch; 1 where there are none."""
        end = look - self.ledger.periods.settle + 1
        first = max(self.start + 1, end - self.ledger.looks_in(self.rollout.guardrails.coverage_s))
        if end <= first:
            return 1.0
        asked = int(self.ledger.asked[first:end].sum())
        return int(self._as_of(look, first, end).rows.sum()) / asked if asked else 1.0

    def may_leave(self, look: int) -> str:
        """Why the next step is taken now; empty: it is not."""
        if self.step + 1 == len(self.rollout.steps) or look - self.entered < self._least():
            return ""
        tolerance = self.now.tolerance
        if tolerance is None:
            return f"{format_duration((look - self.entered) * self.ledger.periods.every_us / 1e6)} went well"
        if not self.values or not self._shown_fit(tolerance):
            return ""
        return f"shown to lose less than {tolerance:.4g} a request, over {len(self.values)} days"

    def _least(self) -> int:
        return self.ledger.looks_in(self.now.least_s)

    def _shown_fit(self, tolerance: float) -> bool:
        e_values = self.sequence.below(np.array(self.values), tolerance)
        return Claim("non-inferior", tolerance, e_values, self.sequence.level).settled is not None

    def _shown_worse(self, tolerance: float) -> bool:
        e_values = self.sequence.above(np.array(self.values), tolerance)
        return Claim("worse", tolerance, e_values, self.sequence.level).settled is not None

    def more_days(self) -> int | None:
        """How many more days until the step could be left, had the recording gone on alike."""
        waiting = self.step + 1 < len(self.rollout.steps) and self.events[-1].what != "rollback"
        tolerance = self.now.tolerance
        if not waiting or tolerance is None or len(self.values) < LEAST_BLOCKS or self._shown_worse(tolerance):
            return None
        return wait(np.array(self.values), self.sequence, np.random.default_rng(WAIT_SEED), tolerance=tolerance).blocks


def _mean(sums: Sums, model: int, chosen: Flags) -> float:
    """Mean loss of one model over the labels of the chosen pieces; NaN without any."""
    rows = int((sums.rows * chosen).sum())
    return float((sums.loss[model] * chosen).sum()) / rows if rows else math.nan
