"""A Rollout: by which steps a candidate takes over traffic, what it must show for the next, and what sends it back."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from .alert import Alert

DAY_S = 86_400.0


@dataclass(frozen=True)
class Step:
    """One share of the traffic, and what it takes to leave it for the next.

    Args:
        share: of the requests that the candidate serves; 0 is shadow: it is scored, and serves nobody.
        least_s: how long it lasts at least.
        tolerance: it is left only once the candidate is shown to lose no more than this against the incumbent, a
            request, at the rollout's level; None: time alone.
    """

    share: float
    least_s: float = 0.0
    tolerance: float | None = None


@dataclass(frozen=True)
class Guardrails:
    """What sends a candidate back.

    Args:
        alert: on the requests that the candidate served, against the incumbent; see `Alert`.
        worse: it is shown to lose more than this, at the rollout's level, in shadow too; None: not asked.
        least_coverage: of the requests of the last `coverage_s` whose labels can no longer come, the share that must have one:
            below it nobody can see what the candidate does.
        coverage_s: see there.
        drift: whether an alarm that was given with the traffic sends it back.

    Raises:
        ConfigError: a coverage that is no share, or a length that is none.
    """

    alert: Alert | None = None
    worse: float | None = None
    least_coverage: float = 0.0
    coverage_s: float = 7.0 * DAY_S
    drift: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.least_coverage <= 1.0:
            raise ConfigError("is no share", field="least_coverage", value=self.least_coverage, fix="write 0.5")
        if not self.coverage_s > 0.0:
            raise ConfigError("is no length of time", field="coverage_s", value=self.coverage_s, fix="give seconds")


@dataclass(frozen=True)
class Rollout:
    """A policy: steps and guardrails. A model that runs already, under an alert, is a rollout of one step with all traffic.

    Args:
        name: of the policy, unique among those compared.
        steps: in rising shares.
        guardrails: what sends the candidate back; then the incumbent serves everything for good.
        level: the chance that a step is ever taken on false evidence, and the same for being sent back on it.
        paired: both models score every request until the end, so that evidence rests on pairs; else, once the
            candidate serves, each request is scored by one model and two groups are compared. Pairs cost a scoring and decide much
            sooner.

    Raises:
        ConfigError: no steps, shares that do not rise within 0 to 1, or a level or a length that makes no sense.

    Example:
        >>> [step.share for step in Rollout.careful(tolerance=0.01).steps]
        [0.0, 0.01, 0.05, 0.25, 1.0]
    """

    name: str
    steps: tuple[Step, ...]
    guardrails: Guardrails = field(default_factory=Guardrails)
    level: float = 0.05
    paired: bool = True

    def __post_init__(self) -> None:
        shares = [step.share for step in self.steps]
        rising = all(a < b for a, b in itertools.pairwise(shares))
        if not shares or not rising or shares[0] < 0.0 or shares[-1] > 1.0:
            raise ConfigError(
                "are not shares that rise within 0 to 1", field=f"steps of {self.name}", value=shares,
                fix="write 0 (shadow), 0.01, 0.05, 0.25, 1",
            )  # fmt: skip
        if not 0.0 < self.level < 1.0:
            raise ConfigError(
                "is not between 0 and 1", field=f"level of {self.name}", value=self.level, fix="write 0.05"
            )
        if any(not (math.isfinite(step.least_s) and step.least_s >= 0.0) for step in self.steps):
            raise ConfigError("has a step of no length", field=f"steps of {self.name}", fix="give least_s of 0 or more")

    @staticmethod
    def careful(
        name: str = "careful", *, tolerance: float, least_s: float = 2.0 * DAY_S, alert: Alert | None = None
    ) -> Rollout:
        """Shadow → 1% → 5% → 25% → 100%, each step on evidence, sent back by the same."""
        shares = (0.0, 0.01, 0.05, 0.25, 1.0)
        steps = tuple(Step(share, least_s, tolerance) for share in shares)
        return Rollout(name, steps, Guardrails(alert, tolerance, 0.5))

    @staticmethod
    def at_once() -> Rollout:
        """Everything to the candidate on the first day, for good: what every policy must beat."""
        return Rollout("at once", (Step(1.0),), paired=False)

    @staticmethod
    def stay() -> Rollout:
        """Never: worth nothing, and risks nothing."""
        return Rollout("stay", (Step(0.0),), paired=False)
