"""What the dashboard would have shown each morning, against what turned out true of the same requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite, moment
from windtunnel.backtest.plot import kept, line, times
from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration, format_instant
from windtunnel.report.section import Figure, Section

from .follow import follow_metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .clocks import Clocks, Window
    from .judged import Judged
    from .metric import Metric

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Hindsight:
    """One model's metric of the last days before each look, by known time and by event time; [looks] each.

    Args:
        metric: its name.
        unit: of it.
        better: which way is better: `higher`, `lower` or `nearer`.
        span_us: how long before a look a request still belongs to it.
        as_of_us: when one looks, int64.
        shown: over the labels known by then, float64; NaN where there was nothing to show.
        true: over the labels of the same requests that came within the horizon, in their last version, float64; NaN where
            they were not all settled when the recording ends.
        asked: how many requests there were, int64.
        labelled_then: how many of their labels were known by then, int64.
        labelled_now: how many came within the horizon, int64; of looks that are not settled, so far.
        settled: whether the fate of all of them was known when the recording ends, bool.
    """

    metric: str
    unit: str
    better: str
    span_us: int
    as_of_us: Ints
    shown: Floats
    true: Floats
    asked: Ints
    labelled_then: Ints
    labelled_now: Ints
    settled: NDArray[np.bool_]

    @staticmethod
    def of(metric: Metric, rows: Judged, clocks: Clocks, grid_us: Ints, horizon_us: int, window: Window) -> Hindsight:
        """Work both out.

        Args:
            metric: the metric.
            rows: one model's answers and the labels, one row for each version of a label.
            clocks: when they were asked and known.
            grid_us: when one looks, int64 [looks], rising; the last look is what is known by now.
            horizon_us: how long after its request a label still counts.
            window: the last days.

        Raises:
            ConfigError: the window is not one of the last days: what is never left behind is never settled.
            DataError: labels or answers that the metric cannot take.

        Example: wrong answers are found out fast. On the first morning all looks lost.

            >>> from windtunnel.backtest.metrics import Clocks, Judged, Window, metric_named
            >>> rows = Judged(np.array([1.0, 1.0, 1.0]), np.array([0.1, 0.8, 0.9]))
            >>> clocks = Clocks(np.array([1, 2, 3]), np.array([5, 12, 17]))
            >>> found = Hindsight.of(metric_named("accuracy"), rows, clocks, np.array([10, 20, 30]), 15, Window("last", 10))
            >>> found.shown.round(2).tolist(), found.true.round(2).tolist(), found.coverage_then.round(2).tolist()
            ([0.0, nan, nan], [0.67, nan, nan], [0.33, nan, nan])
        """
        if window.kind != "last":
            raise ConfigError("must be one of the last days", field="window", value=window.kind, fix="write 7d")
        shown = follow_metric(metric, rows, clocks, grid_us, horizon_us, window)
        # a label that was not known at the last look is not known by now either
        final = clocks.final(horizon_us) & (clocks.known_us <= grid_us[-1])
        ended = clocks.take(final).at_once()
        true = follow_metric(metric, rows.take(final), ended, grid_us, horizon_us, window)
        begin, end = clocks.requests().spans(grid_us, horizon_us, window)
        change = np.bincount(begin, minlength=len(grid_us) + 1) - np.bincount(end, minlength=len(grid_us) + 1)
        settled = grid_us + horizon_us <= grid_us[-1]
        return Hindsight(
            metric.name, metric.unit, metric.better, window.span_us, grid_us, shown.value,
            np.where(settled, true.value, math.nan), np.cumsum(change)[: len(grid_us)], shown.rows, true.rows, settled,
        )  # fmt: skip

    @property
    def coverage_then(self) -> Floats:
        """The share of the requests whose label was known at the look, float64; NaN without requests."""
        return _share(self.labelled_then, self.asked)

    @property
    def coverage_now(self) -> Floats:
        """The share of them whose label came within the horizon, so far."""
        return _share(self.labelled_now, self.asked)

    @property
    def gap(self) -> Floats:
        """What was shown less what turned out true, float64; NaN where either is not known."""
        return self.shown - self.true

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a look; what is not known is null."""
        columns = {
            "as_of_us": self.as_of_us, "asked": self.asked, "shown": self.shown, "coverage_then": self.coverage_then,
            "true": self.true, "coverage_now": self.coverage_now, "settled": self.settled,
        }  # fmt: skip
        listed = [
            [finite(value) if isinstance(value, float) else value for value in column.tolist()]
            for column in columns.values()
        ]
        return [dict(zip(columns, values, strict=True)) for values in zip(*listed, strict=True)]

    def draw(self, name: str) -> Section:
        """Draw it as a section of the report.

        Args:
            name: of the model.
        """
        return Section(
            "Hindsight", "", self._sentences(name), figures=(self._figure(name),), notes=(_SAME_REQUESTS, _OPEN_END)
        )

    def _sentences(self, name: str) -> tuple[str, ...]:
        known = np.isfinite(self.gap)
        if not known.any():
            return (f"of no look at `{name}` is it known yet how things turned out: the recording is too short",)
        worst = int(np.nanargmax(np.abs(self.gap)))
        means = f"{self.shown[known].mean():.4g} on average and turned out {self.true[known].mean():.4g}"
        then = f"{self.shown[worst]:.4g} shown with {self.coverage_then[worst]:.0%} of the labels"
        now = f"{self.true[worst]:.4g} true with {self.coverage_now[worst]:.0%}"
        sentences = (
            f"on {known.sum()} mornings of which the outcome is known, {self.metric} of `{name}` was shown as {means}",
            f"furthest off was {format_instant(moment(int(self.as_of_us[worst])))}: {then}, {now}",
        )
        if self.better == "nearer":
            return sentences
        rosy = self.gap[known] > 0.0 if self.better == "higher" else self.gap[known] < 0.0
        return (*sentences, f"it was shown better than it was on {rosy.mean():.0%} of them")

    def _figure(self, name: str) -> Figure:
        places = kept(len(self.as_of_us))
        x = times(self.as_of_us[places])
        shares, dots = {"yaxis": "y2"}, {"dash": "dot"}
        data = [
            line(x, self.shown[places], "shown that morning"),
            line(x, self.true[places], "turned out true"),
            line(x, self.coverage_then[places], "labels known that morning", line=dots, **shares),
            line(x, self.coverage_now[places], "labels that came", line=dots, **shares),
        ]
        right = {
            "title": {"text": "share of requests with a label"},
            "overlaying": "y",
            "side": "right",
            "range": [0, 1],
        }
        layout = {
            "xaxis": {"title": {"text": "as of (UTC)"}},
            "yaxis": {"title": {"text": f"{self.metric} ({self.unit})"}},
            "yaxis2": right,
        }
        caption = (
            f"{self.metric} of `{name}` over the last {format_duration(self.span_us / 1e6)} as each morning showed it, and as it "
            "turned out once every label that counts had come; where the lines part, those with fast labels were no fair sample."
        )
        return Figure(caption, {"data": data, "layout": layout})


_SAME_REQUESTS = (
    "Both lines are of the same requests, those asked in the last days before the look: one over the labels known at the look, one over "
    "those that came within the horizon, as last corrected."
)
_OPEN_END = "The last looks have no outcome: the horizon of some of their requests reaches beyond the last look."


def _share(part: Ints, whole: Ints) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)
    return share
