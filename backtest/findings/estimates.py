"""What the metric will turn out to be, guessed before the labels come, beside what it turned out to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.comparison import finite, iso, moment
from windtunnel.backtest.estimate import METRICS, ScoreTable, estimate_by_confidence, estimate_by_regression
from windtunnel.backtest.plot import band, colour, figure, kept, line, number, percent, times
from windtunnel.errors import ConfigError
from windtunnel.report.section import Figure, Section, Table

from .held import looks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.backtest.estimate import Estimated, Periods, Trust
    from windtunnel.backtest.estimate.calibration import Method

    from .finding import Series
    from .held import Held

    Way = Literal["cbpe", "dle"]
    Floats = NDArray[np.float64]


NAMES = {"roc_auc": "auc"}
"""Metrics that `cbpe` knows by another name."""


@dataclass(frozen=True)
class Estimate:
    """One model's metric of each period, estimated on the day that ends the period.

    Args:
        model: whose.
        method: `cbpe` by its calibrated confidence, `dle` by a regression of its loss.
        trust: the estimates, and how far each may be believed.
    """

    model: str
    method: Way
    trust: Trust

    @property
    def of(self) -> Estimated:
        """The estimates themselves."""
        return self.trust.of

    @property
    def latest(self) -> int:
        """The last look with an estimate; the very last where none has one."""
        told = np.flatnonzero(~np.isnan(self.of.estimate))
        return int(told[-1]) if len(told) else len(self.of.estimate) - 1

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON values, one entry a look."""
        looks = looks_of(self.of.periods)
        entries = [
            {"as_of": iso(moment(int(us))), **entry} for us, entry in zip(looks, self.trust.to_dict(), strict=True)
        ]
        return {
            "name": self.model, "method": self.method, "metric": self.of.metric, "confidence": self.trust.confidence,
            "covered": finite(self.trust.covered), "skill": finite(float(self.trust.skill[self.latest])),
            "reliable": bool(self.trust.reliable[self.latest]), "timeline": entries,
        }  # fmt: skip


@dataclass(frozen=True)
class Estimates:
    """The estimates of every model by every method that was asked for."""

    found: tuple[Estimate, ...]

    @staticmethod
    def of(
        held: Held,
        *,
        methods: Sequence[Way] = (),
        metric: str = "",
        features: Sequence[str] = (),
        calibration: Method = "isotonic",
        confidence: float = 0.9,
        period_us: int = 0,
        seed: int = 1,
    ) -> Estimates:
        """Estimate, and hold each estimate against what came.

        Args:
            held: the recording.
            methods: `cbpe`, `dle` or both; where empty, `cbpe` if it knows the metric and requests have no amounts, else `dle`.
            metric: what `cbpe` estimates; that of the comparison where empty. `dle` always estimates the comparison's loss.
            features: what `dle` learns from, beside the prediction.
            calibration: of `cbpe`.
            confidence: of the intervals, and (one-sided) of the claim that an estimate is reliable.
            period_us: how long a period is; see `Held.periods`.
            seed: of `dle`.

        Raises:
            ConfigError: a metric that cannot be estimated by confidence, or a recording no longer than a period.
        """
        named = metric or NAMES.get(held.loss.name, held.loss.name)
        # what is at stake in a request is unknown to confidence: it would estimate another mean than the one that decides
        confident = named in METRICS and held.loss.binary and not len(held.rows.amount)
        chosen = tuple(methods) or (("cbpe",) if confident else ("dle",))
        if "dle" in chosen:
            held.check_additive('estimate.methods = ["dle"]')
        if "cbpe" in chosen and not held.loss.binary:
            raise ConfigError(
                "needs labels of 0 or 1 and probabilities", field="estimate.methods", value="cbpe",
                fix='write methods = ["dle"], which learns the loss from the features',
            )  # fmt: skip
        if "cbpe" in chosen and any(said.min() < 0.0 or said.max() > 1.0 for said in map(held.prediction, held.models)):
            raise ConfigError(
                "needs probabilities, and there are answers outside 0 to 1", field="estimate.methods", value="cbpe",
                fix="log the probability of label 1, or leave [backtest.estimate] out",
            )  # fmt: skip
        periods = held.periods(period_us)
        found = []
        for model in held.models:
            if "cbpe" in chosen:
                found.append(
                    Estimate(model, "cbpe", _by_confidence(held, model, periods, named, calibration).trust(confidence))
                )
            if "dle" in chosen:
                found.append(
                    Estimate(model, "dle", _by_regression(held, model, periods, features, seed).trust(confidence))
                )
        return Estimates(tuple(found))

    @property
    def doubts(self) -> tuple[str, ...]:
        """An estimate never enters the verdict, so it gives no reason to doubt that."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """`estimates`, one entry a model and method."""
        return {"estimates": [each.to_dict() for each in self.found]}

    def draw(self) -> Section:
        """How good the estimates were, and the incumbent's over time."""
        sentences = tuple(
            f"without labels (`{each.method}`), the {each.of.metric} of `{each.model}` in its latest period is put at "
            f"{number(float(each.of.estimate[each.latest]))}; {_worth(each)}"
            for each in self.found[:1]
        )
        note = (
            "Estimates without labels are blind to a change of what a prediction means. Each is made on the day that ends its "
            "period, from settled periods alone, and is called reliable only while its past errors are shown to be smaller "
            "than those of the value last known."
        )
        return Section("", "", sentences, (self._table(),), (self._figure(),), (note,))

    def series(self) -> Series:
        """What was estimated at each look, and what it was believed."""
        told: dict[str, NDArray[Any]] = {}
        for each in self.found:
            values = {
                "estimate": each.of.estimate, "low": each.trust.low, "high": each.trust.high, "skill": each.trust.skill,
                "reliable": each.trust.reliable, "last known": each.of.last_known,
            }  # fmt: skip
            told |= {f"{name} by {each.method} of {each.model}": series for name, series in values.items()}
        return looks_of(self.found[0].of.periods), told

    def _table(self) -> Table:
        rows = tuple(
            (
                each.model, each.method, each.of.metric, number(float(each.of.estimate[each.latest])),
                number(float(each.of.last_known[each.latest])), _error(each.of.realised - each.of.estimate),
                _error(each.of.realised - each.of.last_known), percent(each.trust.covered),
                "yes" if each.trust.reliable[each.latest] else "no",
            )
            for each in self.found
        )  # fmt: skip
        heads = ("model", "method", "metric", "latest estimate", "last known", "mean error", "mean error of the last known",
                 f"intervals at {self.found[0].trust.confidence:.0%} that held", "reliable now")  # fmt: skip
        return Table("Estimates made before the labels, beside what came", heads, rows, brief=())

    def _figure(self) -> Figure:
        """The first model's estimate."""
        each = self.found[0]
        points = kept(each.of.periods.looks)
        x = times(looks_of(each.of.periods)[points])
        rgb = colour(0)
        data = [
            *band(x, each.trust.low[points], each.trust.high[points], rgb, "estimate"),
            line(
                x, each.of.estimate[points], "estimated that day", legendgroup="estimate", line={"color": f"rgb({rgb})"}
            ),
            line(x, each.of.last_known[points], "last known that day", line={"dash": "dot", "color": "gray"}),
            line(x, each.of.realised[points], "turned out true", line={"color": f"rgb({colour(1)})"}),
        ]
        caption = (
            f"The {each.of.metric} of `{each.model}` in each period, as estimated without labels on the day it ended, and as it "
            f"turned out; the band is meant to hold it {each.trust.confidence:.0%} of the time."
        )
        return figure(caption, data, each.of.metric, "end of the period (UTC)")


def _worth(each: Estimate) -> str:
    skill = float(each.trust.skill[each.latest])
    if math.isnan(skill):
        return "no estimate has met its labels yet"
    better = (
        f"its errors were {abs(skill):.0%} {'smaller' if skill > 0 else 'larger'} than those of the value last known"
    )
    return f"{better}, {'and it is reliable' if each.trust.reliable[each.latest] else 'so it is not to be relied on'}"


def _error(errors: Floats) -> str:
    return number(float(np.nanmean(np.abs(errors)))) if np.isfinite(errors).any() else "not known"


def _by_confidence(held: Held, model: str, periods: Periods, metric: str, calibration: Method) -> Estimated:
    rows = held.rows
    table = ScoreTable.of(
        rows.time_us,
        rows.known_us,
        held.prediction(model),
        rows.label,
        periods,
        until_us=held.until_us,
        first=held.first,
    )
    return estimate_by_confidence(table, metric, calibration)


def _by_regression(held: Held, model: str, periods: Periods, features: Sequence[str], seed: int) -> Estimated:
    """On the version of each label that counts in the end: it is learnt from once its period is settled, when none is left to come."""
    rows, of = held.rows, last_versions(held)
    told = np.column_stack([held.prediction(model), *(held.numbers(each) for each in features)])
    # what is learnt is the loss of a row, of which a root is shown
    metric = "squared_error" if held.loss.rooted else held.loss.name
    return estimate_by_regression(
        rows.time_us[of], rows.known_us[of], told[of], held.values(model)[of], periods, metric=metric, seed=seed
    )


def last_versions(held: Held) -> NDArray[np.int64]:
    """The row of each request's version that counts within the horizon, whenever that is known, int64 [requests]."""
    if held.until_us is None:
        return np.arange(len(held.rows))
    limit_us = held.rows.time_us + held.horizon_us
    in_time = held.rows.known_us <= limit_us
    last = np.where(held.first & ~in_time, True, in_time & ~(held.until_us <= limit_us))
    return np.flatnonzero(last)
