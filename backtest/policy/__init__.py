"""Policies, replayed and priced: who would have served whom, when it would have been noticed, what it would have cost.

`Rollout` takes a candidate from shadow to all of the traffic by steps and guardrails; `Schedule` trains a model anew, by the
calendar, by drift or by its own performance. `sweep_rollouts` and `sweep_schedules` replay many of them on one
recording, deciding at each look by what was known then; `choose` compares what they gained and lost, and `draw_choice`
makes that a section of the report. `rows_known` is the one place where a label is handed to the user's `fit`.
"""

from __future__ import annotations

from .alert import Alert
from .choice import Choice, choose
from .course import Account, Course, Event, Outcome
from .known import Labels, digest_rows, rows_known
from .ledger import Ledger
from .prices import Prices
from .ramp import price_rollout, replay_rollout
from .retraining import Bench, Tour, bench_of, price_schedule, replay_schedules
from .rollout import Guardrails, Rollout, Step
from .schedule import Drift, Schedule
from .section import draw_choice
from .split import split_of
from .sweep import shares_of, sweep_rollouts, sweep_schedules
from .trainer import Order, Trained, Trainer, Workshop, train

__all__ = [
    "Account",
    "Alert",
    "Bench",
    "Choice",
    "Course",
    "Drift",
    "Event",
    "Guardrails",
    "Labels",
    "Ledger",
    "Order",
    "Outcome",
    "Prices",
    "Rollout",
    "Schedule",
    "Step",
    "Tour",
    "Trained",
    "Trainer",
    "Workshop",
    "bench_of",
    "choose",
    "digest_rows",
    "draw_choice",
    "price_rollout",
    "price_schedule",
    "replay_rollout",
    "replay_schedules",
    "rows_known",
    "shares_of",
    "split_of",
    "sweep_rollouts",
    "sweep_schedules",
    "train",
]
