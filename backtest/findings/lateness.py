"""How late labels are, and what the metric over those that came would be of all that was asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite, iso, moment
from windtunnel.backtest.estimate import bound_mean, mean_by_age, mean_by_delay, plain_mean
from windtunnel.backtest.plot import band, beside, colour, figure, kept, line, number, span
from windtunnel.backtest.waits import Waits
from windtunnel.quantity import format_duration
from windtunnel.report.section import Figure, Section, Table

from .held import looks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.backtest.estimate import DelayCurve, Triangle, WeightedMean
    from windtunnel.backtest.question import Question
    from windtunnel.loss import Loss

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MOST_STEPS = 200
"""Steps of a delay curve that are told."""


@dataclass(frozen=True)
class Weighted:
    """The mean loss of one model over all that was asked, as of each look, by whoever says so; float64 [looks].

    Args:
        plain: over the matured rows: what a dashboard shows.
        by_age: each label for those of its age that have not come.
        by_delay: each label for those that were not watched as long as it took.
        bounds: the missing labels at their best, and at their worst; None where a loss has no end.
    """

    plain: Floats
    by_age: WeightedMean
    by_delay: WeightedMean
    bounds: tuple[Floats, Floats] | None

    @staticmethod
    def of(triangle: Triangle, model: str, loss: Loss) -> Weighted:
        """Read the triangle of a recording."""
        bounds = bound_mean(triangle, model) if model in triangle.limits else None
        return Weighted(
            loss.shown(plain_mean(triangle, model)), _shown(mean_by_age(triangle, model), loss),
            _shown(mean_by_delay(triangle, model), loss),
            None if bounds is None else (loss.shown(bounds[0]), loss.shown(bounds[1])),
        )  # fmt: skip

    def at(self, look: int) -> dict[str, Any]:
        """What one look says, as JSON values."""
        told: dict[str, Any] = {"plain": finite(float(self.plain[look]))}
        for name, mean in (("by_age", self.by_age), ("by_delay", self.by_delay)):
            told[name] = finite(float(mean.mean[look]))
            told |= {f"{name}_{end}": finite(float(getattr(mean, end)[look])) for end in ("low", "high")}
        ends = (None, None) if self.bounds is None else (finite(float(end[look])) for end in self.bounds)
        return told | dict(zip(("least", "greatest"), ends, strict=True))

    @property
    def disagree(self) -> bool:
        """Whether the two weightings lie apart by more than both their intervals, at the last look."""
        return bool(self.by_age.low[-1] > self.by_delay.high[-1] or self.by_delay.low[-1] > self.by_age.high[-1])


@dataclass(frozen=True)
class Lateness:
    """The delay of labels at the last look, and what it does to the metric at every look.

    Args:
        curve: Kaplan and Meier's, at the last look.
        horizon_s: how long a label may take.
        as_of_us: the looks of the weighted means, int64 [looks]; a day apart or more.
        weighted: by model; none for metrics that are no mean over rows, and where rows have weights.
        metric: what is averaged.
    """

    curve: DelayCurve
    horizon_s: float
    as_of_us: Ints
    weighted: dict[str, Weighted]
    metric: str

    @staticmethod
    def of(held: Held) -> Lateness:
        """Follow the labels of a recording.

        Args:
            held: the recording.
        """
        return Lateness.of_waits(Waits.of(held.rows, held.question, held.as_of_us, compact=False), held.question)

    @staticmethod
    def of_waits(waits: Waits, question: Question) -> Lateness:
        """Read what was counted of a whole recording.

        Args:
            waits: of all its rows.
            question: what they were asked.
        """
        triangle, loss = waits.triangle.whole(), question.loss
        weighted = {name: Weighted.of(triangle, name, loss) for name in triangle.losses}
        return Lateness(waits.curve, question.horizon_us / 1e6, looks_of(triangle.periods), weighted, loss.name)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Where the weightings disagree, one of their assumptions is wrong."""
        return tuple(
            f"the two ways of weighing late labels disagree about `{name}` "
            f"({number(float(each.by_age.mean[-1]))} by age, {number(float(each.by_delay.mean[-1]))} by delay): how long a "
            "label takes hangs on what it says, or the traffic changed; only the bounds hold"
            for name, each in self.weighted.items()
            if each.disagree
        )

    def to_dict(self) -> dict[str, Any]:
        """`delays`, with the curve in at most 200 steps, and `weighted`, one entry a look and model."""
        steps = self._steps()
        curve = [
            dict(zip(("delay_s", "waiting", "low", "high"), map(float, step), strict=True))
            for step in zip(
                self.curve.delay_s[steps], self.curve.waiting[steps], self.curve.low[steps], self.curve.high[steps], strict=True
            )
        ]  # fmt: skip
        weighted = [
            {"as_of": iso(moment(int(us))), "name": name, **each.at(look)}
            for look, us in enumerate(self.as_of_us)
            for name, each in self.weighted.items()
        ]
        return {"delays": {**self.curve.to_dict(), "curve": curve}, "weighted": weighted}

    def draw(self) -> Section:
        """A curve, and the metric as each weighing has it."""
        longest = format_duration(self.curve.longest_s)
        waiting = float(self.curve.waiting[-1]) if len(self.curve.waiting) else 1.0
        note = (
            f"Label delays are Kaplan and Meier's: a request still waited for counts for as long as it was. After {longest}, "
            f"the longest watched within the horizon, {waiting:.2%} were still waited for. Weighted by age or by delay, a "
            "label also stands for those that have not come; the first is right where delay hangs on nothing but age, the "
            "second where traffic stays as it is, the bounds always."
        )
        tables = (self._table(),) if self.weighted else ()
        return Section("", "", (), tables, (self._delay_figure(),), (note,))

    def series(self) -> Series:
        """The weighted means at every look."""
        told: dict[str, Floats] = {}
        for name, each in self.weighted.items():
            told |= {f"plain mean of {name}": each.plain}
            for way, mean in (("by age", each.by_age), ("by delay", each.by_delay)):
                told |= {f"{way}, {end}, of {name}": getattr(mean, end) for end in ("mean", "low", "high", "left_out")}
            told |= {
                f"{end} bound of {name}": values
                for end, values in zip(("low", "high"), each.bounds or (), strict=False)
            }
        return self.as_of_us, told

    def _steps(self) -> Ints:
        points = len(self.curve.delay_s)
        return np.unique(np.linspace(0, points - 1, min(points, MOST_STEPS)).round().astype(np.int64))

    def _table(self) -> Table:
        rows = [
            (
                name, number(float(each.plain[-1])),
                _mean(each.by_age),
                _mean(each.by_delay),
                "unbounded" if each.bounds is None else span(float(each.bounds[0][-1]), float(each.bounds[1][-1]), signed=False),
            )
            for name, each in self.weighted.items()
        ]  # fmt: skip
        caption = f"The mean {self.metric} of all that was asked, from the labels that have come, as of {iso(moment(int(self.as_of_us[-1])))}"
        heads = ("model", "of the matured", "weighted by age", "weighted by delay", "whatever the missing labels")
        return Table(caption, heads, tuple(rows), brief=())

    def _delay_figure(self) -> Figure:
        steps = kept(len(self.curve.delay_s)) if len(self.curve.delay_s) else np.empty(0, np.int64)
        hours = [0.0, *(self.curve.delay_s[steps] / 3600.0).tolist()]
        came, low, high = (
            [0.0, *(1.0 - each[steps]).tolist()] for each in (self.curve.waiting, self.curve.high, self.curve.low)
        )
        stepped = {"shape": "hv", "color": f"rgb({colour(0)})"}
        data = [
            *band(hours, low, high, colour(0), "labels"),
            line(hours, came, "labels that have come", legendgroup="labels", line=stepped),
            line([self.horizon_s / 3600.0] * 2, [0.0, 1.0], "horizon", line={"dash": "dash", "width": 1, "color": "gray"}),
        ]  # fmt: skip
        caption = (
            f"How long labels take, over {self.curve.requests:,} requests, with those still waited for; where the curve ends "
            "below one, the rest never came in time."
        )
        return figure(caption, data, "share of requests with a label", "label delay (hours)")


def _shown(mean: WeightedMean, loss: Loss) -> WeightedMean:
    """The same in the unit that the loss is shown in; a mean loss that is shown as its root has no lower end below zero."""
    if not loss.rooted:
        return mean
    middle, low, high = (loss.shown(np.maximum(values, 0.0)) for values in (mean.mean, mean.low, mean.high))
    return replace(mean, mean=middle, low=low, high=high)


def _mean(mean: WeightedMean) -> str:
    ends = float(mean.low[-1]), float(mean.high[-1])
    return f"{beside(float(mean.mean[-1]), *ends, signed=False)} {span(*ends, signed=False)}"
