"""What hangs on the decisions that were logged: whether labels came for all alike, and what each model's own would have earned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.backtest.off_policy import Logged, Overlap, SelectiveLabels, doubly_robust, guess_rewards, ips, snips
from windtunnel.backtest.off_policy.estimator import mean_of
from windtunnel.backtest.plot import beside, percent, span
from windtunnel.errors import ConfigError, DataError
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

PROPENSITY, ACTION = "propensity", "action"


@dataclass(frozen=True)
class Earned:
    """What one model's decisions would have earned a request.

    Args:
        model: which.
        agreed: share of the decisions that it would have taken just so.
        ips: by inverse propensities.
        snips: the same, self-normalised.
        doubly_robust: with a reward model; None where no feature is given to it.
        overlap: how far the log carries.
    """

    model: str
    agreed: float
    ips: Interval
    snips: Interval
    doubly_robust: Interval | None
    overlap: Overlap

    @property
    def best(self) -> Interval:
        """The estimate to read: doubly robust where there is one, else self-normalised."""
        return self.snips if self.doubly_robust is None else self.doubly_robust

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        told: dict[str, Any] = {"name": self.model, "agreed_share": self.agreed}
        for name in ("ips", "snips", "doubly_robust"):
            interval = getattr(self, name)
            if interval is not None:
                told |= {key: finite(value) for key, value in interval.to_dict(name).items()}
        return told | {"overlap": self.overlap.to_dict()}


@dataclass(frozen=True)
class OffPolicy:
    """What the decisions of each model would have earned, beside those that were taken.

    Args:
        logged: what was earned a request.
        earned: by model.
        left_out: decisions with a known outcome but no propensity.
        threshold: from which prediction on a model acts.
    """

    logged: Interval
    earned: tuple[Earned, ...]
    left_out: int
    threshold: float

    @staticmethod
    def of(held: Held, *, threshold: float = 0.5, features: Sequence[str] = (), seed: int = 1) -> OffPolicy:
        """Weigh the log: the label is what came of the logged action, times the amount where there is one.

        Args:
            held: the recording, with columns `action` (0 or 1) and `propensity` (of the logged action).
            threshold: from which prediction on a model acts.
            features: what a reward model learns from, for the doubly robust estimate; none: there is no such estimate.
            seed: of the reward model.

        Raises:
            ConfigError: models that give several probabilities, of which none says whether to act.
            DataError: an action that is neither 0 nor 1, a propensity of zero or beyond one, or no decision with an outcome.
        """
        if held.loss.classes:
            raise ConfigError(
                "is of several classes, and [backtest.off_policy] needs one score that says whether to act", field="metric",
                value=held.loss.name, fix="leave it out, or give one probability a model",
            )  # fmt: skip
        action, propensity = _action(held), held.numbers(PROPENSITY)
        rows = np.flatnonzero(held.final & ~np.isnan(propensity))
        if not len(rows):
            raise DataError(
                "has no decision with a propensity whose outcome is known", file=held.file, field=PROPENSITY,
                fix="log the probability, above zero, with which each action was taken, or leave [backtest.off_policy] out",
            )  # fmt: skip
        reward, day = (held.rows.label * held.amount)[rows], held.day()[rows]
        given = held.matrix(features)[rows] if features else None
        earned = []
        for model in held.models:
            acts = (held.prediction(model)[rows] >= threshold).astype(np.int64)
            guesses: tuple[Floats, Floats] | tuple[None, None] = (None, None)
            if given is not None:
                guesses = guess_rewards(
                    held.rows.time_us[rows], held.rows.known_us[rows], given, action[rows], reward, np.eye(2)[acts], seed=seed
                )  # fmt: skip
            same = (acts == action[rows]).astype(np.float64)
            logged = Logged.of(
                reward, propensity[rows], same, model_logged=guesses[0], model_target=guesses[1], block=day
            )
            robust = None if given is None else doubly_robust(logged)
            earned.append(Earned(model, float(same.mean()), ips(logged), snips(logged), robust, Overlap.of(logged)))
        left_out = int((held.final & np.isnan(propensity)).sum())
        return OffPolicy(mean_of(reward, day, 0.95), tuple(earned), left_out, threshold)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to believe the estimates."""
        return tuple(
            f"off-policy: what `{each.model}` would have earned is not to be believed: {reason}"
            for each in self.earned
            for reason in each.overlap.reasons
        )

    def to_dict(self) -> dict[str, Any]:
        """`off_policy`."""
        logged = {key: finite(value) for key, value in self.logged.to_dict("logged").items()}
        policies = [each.to_dict() for each in self.earned]
        return {
            "off_policy": {
                **logged,
                "threshold": self.threshold,
                "without_propensity": self.left_out,
                "policies": policies,
            }
        }

    def draw(self) -> Section:
        """What each would have earned."""
        rows = [
            (
                "what was done",
                "",
                beside(self.logged.value, self.logged.low, self.logged.high, signed=False),
                span(self.logged.low, self.logged.high, signed=False),
                "",
                "",
            )
        ]
        rows += [
            (
                each.model, percent(each.agreed), beside(each.best.value, each.best.low, each.best.high, signed=False), span(each.best.low, each.best.high, signed=False),
                f"{each.overlap.effective:,.0f} of {each.overlap.rows:,}", "; ".join(each.overlap.reasons) or "none",
            )
            for each in self.earned
        ]  # fmt: skip
        heads = ("decisions of", "as logged", "reward a request", "interval (95%)", "effective rows", "doubts")
        ways = "a doubly robust estimate" if self.earned[0].doubly_robust else "self-normalised inverse propensities"
        note = (
            f"Off-policy: a model acts where its prediction reaches {self.threshold:g}; by {ways}, over days as blocks. "
            f"{self.left_out:,} decisions without a propensity were left out."
        )
        return Section(
            "",
            "",
            (),
            (Table("What each model's decisions would have earned", heads, tuple(rows), brief=heads[:4]),),
            (),
            (note,),
        )

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


@dataclass(frozen=True)
class Selected:
    """Whether labels came alike for what was acted on and for the rest.

    Args:
        labels: both sides.
        propensities: whether the log says how likely each decision was.
    """

    labels: SelectiveLabels
    propensities: bool

    @staticmethod
    def of(held: Held, *, propensities: bool) -> Selected:
        """Look at the labels of a recording with a column `action`: anything but zero is acting.

        Args:
            held: the recording.
            propensities: whether the log says how likely each decision was.
        """
        rows, first = held.rows, held.first
        acted = _action(held) == 1
        found = SelectiveLabels.of(
            rows.time_us[first], rows.known_us[first], acted[first], as_of_us=held.as_of_us, horizon_us=held.horizon_us
        )
        return Selected(found, propensities)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What follows from it for the comparison."""
        told = self.labels.what_follows(propensities=self.propensities)
        return (f"selective labels: {' '.join(told)}",) if told else ()

    def to_dict(self) -> dict[str, Any]:
        """`selective_labels`."""
        return {"selective_labels": self.labels.to_dict()}

    def draw(self) -> Section:
        """The coverage of both sides."""
        rows = (
            ("acted on", f"{self.labels.acted:,}", percent(self.labels.acted_coverage)),
            ("not acted on", f"{self.labels.passed:,}", percent(self.labels.passed_coverage)),
        )
        heads = ("requests older than the horizon", "count", "with a label in time")
        return Section("", "", (), (Table("Labels by what was decided", heads, rows, brief=()),))

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


def _action(held: Held) -> Ints:
    action = held.numbers(ACTION)
    wrong = ~np.isin(action, (0.0, 1.0))
    if wrong.any():
        value = float(action[wrong][0])
        raise DataError(
            "is neither 0 (not acted) nor 1 (acted)", file=held.file, field=ACTION,
            value="null" if math.isnan(value) else value, fix="log one of two actions; several cannot be told apart by one score",
        )  # fmt: skip
    return action.astype(np.int64)
