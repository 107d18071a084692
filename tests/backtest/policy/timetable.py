"""A rollout replayed request by request, in plain Python: what the table of sums must come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.evidence import Asymptotic, Claims

if TYPE_CHECKING:
    from windtunnel.backtest.policy import Rollout


@dataclass(frozen=True)
class Request:
    """One request, in days: when it was asked, when its label was known (∞: never), its place in the split, both losses."""

    asked: float
    known: float
    place: float
    losses: tuple[float, float]


def mean_of(losses: list[float]) -> float:
    """The mean; NaN of nothing."""
    return float(np.mean(losses)) if losses else float("nan")


def replay(rollout: Rollout, requests: list[Request], days: int, horizon: int) -> list[tuple[int, float]]:
    """When which share was given, as (day, share): looks at the end of each day, from day 1 on."""
    step, entered, share = 0, 1, dict.fromkeys(range(days + 1), 0.0)
    given = [(1, rollout.steps[0].share)]
    share.update(dict.fromkeys(range(1, days), rollout.steps[0].share))
    excess: list[float] = []
    rails = rollout.guardrails
    for now in range(2, days + 1):
        known = [
            each for each in requests if each.asked < now and each.known <= now and each.known - each.asked <= horizon
        ]
        mine = {id(each) for each in requests if each.place < share[int(each.asked)]}
        values = []
        for day in range(1, now - horizon):
            of_day = [each for each in known if int(each.asked) == day]
            both = rollout.paired or share[day] == 0.0
            ours = [each.losses[1] for each in of_day if both or id(each) in mine]
            theirs = [each.losses[0] for each in of_day if both or id(each) not in mine]
            if ours and theirs:
                values.append(mean_of(ours) - mean_of(theirs))
        back = False
        if rails.alert is not None:
            window = [each for each in known if each.asked >= max(1, now - rails.alert.window_s / 86400.0)]
            served = [each for each in window if id(each) in mine]
            others = (
                served if rollout.paired else [e for e in window if id(e) not in mine and share[int(e.asked)] > 0.0]
            )
            enough = min(len(served), len(others)) >= rails.alert.least_rows
            excess.append(
                mean_of([e.losses[1] for e in served]) - mean_of([e.losses[0] for e in others])
                if enough
                else float("nan")
            )
            back = len(excess) >= rails.alert.looks and all(x > rails.alert.above for x in excess[-rails.alert.looks :])
        old = [e for e in requests if max(1, now - horizon - rails.coverage_s / 86400.0) <= e.asked < now - horizon]
        labelled = sum(each.known - each.asked <= horizon for each in old)
        back |= bool(old) and labelled / len(old) < rails.least_coverage
        claims = Claims.of(np.array(values), Asymptotic(rollout.level), rails.worse or 0.0)
        back |= rails.worse is not None and claims.worse.settled is not None
        if back:
            return [*given, (now, 0.0)]
        tolerance = rollout.steps[step].tolerance
        if step + 1 < len(rollout.steps) and now - entered >= max(1, rollout.steps[step].least_s / 86400.0):
            shown = (
                tolerance is None
                or Claims.of(np.array(values), Asymptotic(rollout.level), tolerance).non_inferior.settled
            )
            if shown:
                step, entered = step + 1, now
                share.update(dict.fromkeys(range(now, days), rollout.steps[step].share))
                given.append((now, rollout.steps[step].share))
    return given
