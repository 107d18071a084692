"""The definitions, written down in plain Python: every request looked at anew as of every time, with fractions for sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

NEVER = 2**63 - 1
DAY = 86_400_000_000


@dataclass(frozen=True)
class Request:
    """A request: when it was asked, its label's versions in order of the time they were known, what each model said."""

    time: int
    versions: tuple[tuple[int, float], ...]
    said: tuple[float, ...]

    def label_at(self, as_of: int, horizon: int) -> float | None:
        """The newest version that was known and not too late."""
        known = [label for known, label in self.versions if known <= as_of and known - self.time <= horizon]
        return known[-1] if known else None

    def state_at(self, as_of: int, horizon: int) -> str:
        """Unasked, matured, expired or pending."""
        if not self.time < as_of:
            return "unasked"
        if self.label_at(as_of, horizon) is not None:
            return "matured"
        return "expired" if as_of - self.time > horizon else "pending"


def loss_of(name: str, label: float, said: float) -> float:
    """The loss of one row."""
    if name == "log_loss":
        given = said if label == 1.0 else 1.0 - said
        return -math.log(min(max(given, 1e-7), 1.0 - 1e-7))
    if name == "zero_one":
        return float((said >= 0.5) != (label == 1.0))
    if name == "absolute_error":
        return abs(said - label)
    if name == "pinball@0.9":
        return max(0.9 * (label - said), (0.9 - 1.0) * (label - said))
    if name == "cost":
        return [[0.0, 1.0], [5.0, -0.3]][int(label)][int(said >= 0.4)]
    return (said - label) * (said - label)


def mean(losses: list[float]) -> float:
    """The float nearest to the true mean."""
    return float(sum(map(Fraction, losses), Fraction()) / len(losses)) if losses else math.nan


def metric_at(requests: list[Request], loss: str, model: int, as_of: int, horizon: int) -> float:
    """The mean loss over the rows matured as of a time."""
    matured = [each for each in requests if each.state_at(as_of, horizon) == "matured"]
    return mean([loss_of(loss, each.label_at(as_of, horizon) or 0.0, each.said[model]) for each in matured])


def day_difference(requests: list[Request], loss: str, model: int, day: int, horizon: int) -> float:
    """The mean difference of loss from the first model's over the requests of a day, once every label is in that counts."""
    exact = []
    for each in requests:
        label = each.label_at(NEVER - 1, horizon)
        if each.time // DAY == day and label is not None:
            losses = [Fraction(loss_of(loss, label, each.said[place])) for place in (model, 0)]
            exact.append(losses[0] - losses[1])
    return float(sum(exact, Fraction()) / len(exact)) if exact else math.nan
