"""More ways to judge every model at each look: over all requests so far, over the last days, fading, and within groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite, iso, moment
from windtunnel.backtest.metrics import (
    CUMULATIVE,
    Clocks,
    Hindsight,
    Judged,
    Window,
    follow_by_slice,
    follow_metric,
    metric_named,
)
from windtunnel.backtest.plot import number
from windtunnel.errors import ConfigError, DataError
from windtunnel.quantity import format_duration
from windtunnel.report.section import Section, Table

from .sliced import joined

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.backtest.metrics import Followed, Metric

    from .finding import Series
    from .held import Held

MOST_GROUPS = 20
"""So many values of a column are told of, those with the most requests first."""

MOST_DRAWN = 2
"""Of so many models it is drawn what the mornings showed: the incumbent and the first candidate."""


@dataclass(frozen=True)
class Measure:
    """One metric of one model.

    Args:
        model: whose answers.
        metric: the metric.
        window: which requests count.
        group: the value of a column that they share; empty for all.
        followed: what each look would have shown.
    """

    model: str
    metric: Metric
    window: Window
    group: str
    followed: Followed

    @property
    def name(self) -> str:
        """All four in words."""
        inside = f" where it is {self.group}" if self.group else ""
        return f"{self.metric.name} of {self.model}, {worded(self.window)}{inside}"

    def to_dict(self) -> dict[str, Any]:
        """The last look, and of all requests together every look, as JSON values."""
        followed = self.followed
        told: dict[str, Any] = {
            "name": self.model, "metric": self.metric.name, "better": self.metric.better, "window": self.window.kind,
            "span_s": self.window.span_us / 1e6 or None, "group": self.group or None, "value": finite(float(followed.value[-1])),
            "rows": int(followed.rows[-1]), "why": followed.why[-1] or None,
        }  # fmt: skip
        if not self.group:
            told["timeline"] = [
                {"as_of": iso(moment(us)), "value": finite(value), "rows": rows}
                for us, value, rows in zip(
                    followed.as_of_us.tolist(), followed.value.tolist(), followed.rows.tolist(), strict=True
                )
            ]
        return told


@dataclass(frozen=True)
class Measures:
    """Metrics beside the one that decides.

    Args:
        measures: of every model, metric, window and group.
        mornings: by model, what the first metric showed of the last days each morning, and what turned out true.
        by: the column of the groups.
    """

    measures: tuple[Measure, ...]
    mornings: dict[str, Hindsight]
    by: str

    @staticmethod
    def of(
        held: Held,
        metrics: Sequence[str],
        *,
        home: Path = Path(),
        last_s: float = 0.0,
        half_life_s: float = 0.0,
        by: str = "",
        query: str = "",
        known: Collection[tuple[str, bool]] = (),
    ) -> Measures:
        """Follow them all.

        Args:
            held: the recording.
            metrics: by name; see `metric_named`.
            home: the folder that a user's cost function is named from.
            last_s: how long before a look a request still counts, for a window of the last days; none where zero.
            half_life_s: after how long a request counts half as much, for a fading window; none where zero.
            by: the column whose values are told apart; none where empty.
            query: the column that says which requests were ranked together.
            known: metrics that are told of elsewhere, by name, and whether that is by value of a column; they are left out.

        Raises:
            ConfigError: no such metric, one that cannot fade, or a query column that none of them asks for.
            DataError: labels or answers that one of them cannot take, or no such column.
        """
        chosen, windows = chosen_metrics(metrics, home, query), windows_of(last_s, half_life_s)
        clocks, groups = Clocks.of(held.rows), _groups(held, by) if by else {}
        ids = held.columns["id"][held.request]
        told: list[Measure] = []
        mornings = {}
        for model in held.models:
            rows = _judged(held, model, query)
            for metric in chosen:
                check(metric, rows, model, ids)
                for window in windows if (metric.name, False) not in known else ():
                    followed = follow_metric(metric, rows, clocks, held.looks_us, held.horizon_us, window)
                    told.append(Measure(model, metric, window, "", followed))
                told_apart = groups if (metric.name, True) not in known else {}
                inside = follow_by_slice(metric, rows, clocks, held.looks_us, held.horizon_us, told_apart)
                told += [Measure(model, metric, CUMULATIVE, name, followed) for name, followed in inside.items()]
            if last_s:
                mornings[model] = Hindsight.of(
                    chosen[0], rows, clocks, held.looks_us, held.horizon_us, Window.last(last_s)
                )
        return Measures(tuple(told), mornings, by)

    @property
    def doubts(self) -> tuple[str, ...]:
        """None: how much a metric means is for the reader to say."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """`measures[]` and, where there is a window of the last days, `mornings[]`."""
        told: dict[str, Any] = {"measures": [each.to_dict() for each in self.measures]}
        if self.mornings:
            told["mornings"] = [
                {"name": model, "metric": each.metric, "timeline": [_dated(look) for look in each.to_dict()]}
                for model, each in self.mornings.items()
            ]
        return told

    def draw(self) -> Section:
        """A table of all requests, one of the groups, and what the mornings showed."""
        drawn = [each.draw(model) for model, each in list(self.mornings.items())[:MOST_DRAWN]]
        whole = joined(drawn)
        apart = any(each.group for each in self.measures)
        tables = (*([self._table()] if self.measures else []), *([self._by_group()] if apart else []))
        return Section("", "", whole.sentences, tables=tables, figures=whole.figures, notes=whole.notes)

    def _table(self) -> Table:
        rows = [
            (each.metric.name, each.model, worded(each.window), *_said(each))
            for each in self.measures if not each.group
        ]  # fmt: skip
        heads = ("metric", "model", "requests", "value", "rows")
        return Table("Other measures, at the last look", heads, tuple(rows))

    def _by_group(self) -> Table:
        rows = [(each.metric.name, each.group, each.model, *_said(each)) for each in self.measures if each.group]
        rows.sort(key=lambda row: row[0])
        heads = ("metric", self.by, "model", "value", "rows")
        return Table(f"Other measures by {self.by}, at the last look", heads, tuple(rows), brief=())

    def series(self) -> Series:
        """Every measure at every look."""
        looks_us = self.measures[0].followed.as_of_us if self.measures else np.empty(0, np.int64)
        return looks_us, {each.name: each.followed.value for each in self.measures}


def worded(window: Window) -> str:
    """Which requests count, in words.

    Example:
        >>> worded(CUMULATIVE), worded(Window.last(7 * 86400.0)), worded(Window.decayed(86400.0))
        ('all so far', 'of the last 7 d', 'fading by half in 24 h')
    """
    if window.kind == "cumulative":
        return "all so far"
    span = format_duration(window.span_us / 1e6)
    return f"of the last {span}" if window.kind == "last" else f"fading by half in {span}"


def chosen_metrics(metrics: Sequence[str], home: Path, query: str) -> list[Metric]:
    """The metrics by name.

    Raises:
        ConfigError: no such metric, or a query column that none of them asks for.
    """
    chosen = [metric_named(text, home) for text in metrics]
    if query and not any("query" in metric.needs for metric in chosen):
        raise ConfigError(
            "is asked for by none of the metrics",
            field="measures.query",
            value=query,
            fix="leave it out, or add ndcg",
        )
    return chosen


def windows_of(last_s: float, half_life_s: float) -> list[Window]:
    """All requests so far; where asked for, those of the last days, and all of them fading."""
    windows = [CUMULATIVE, *([Window.last(last_s)] if last_s else [])]
    return [*windows, *([Window.decayed(half_life_s)] if half_life_s else [])]


def check(metric: Metric, rows: Judged, model: str, ids: pl.Series | None = None) -> None:
    """Refuse what a metric cannot take, and say of which model, and of which request where ids are given.

    Raises:
        DataError: labels or answers of another kind.
        ConfigError: weights where it takes none, or a column that it needs and that is not named.
    """
    try:
        metric.check(rows, ids)
    except DataError as error:
        if error.field in metric.needs:
            key = "measures.query" if error.field == "query" else f"columns.{error.field}"
            raise ConfigError(error.problem, field=key, fix=error.fix) from error
        field = model if error.field == "prediction" else error.field
        raise DataError(error.problem, file=error.file, field=field, value=error.value, fix=error.fix) from error


def _judged(held: Held, model: str, query: str) -> Judged:
    rows, none = held.rows, np.empty(0)
    queries = np.unique(held.texts(query), return_inverse=True)[1] if query else np.empty(0, np.int64)
    amount, weight = (each if len(each) else none for each in (rows.amount, rows.weight))
    return Judged(rows.label, held.prediction(model), amount, queries.astype(np.int64), weight)


def _groups(held: Held, by: str) -> dict[str, NDArray[np.bool_]]:
    """The commonest values of a column, and which rows have each; what has none is called so."""
    texts = held.texts(by)
    values, counts = np.unique(texts[held.first], return_counts=True)
    return {str(value) or "(empty)": texts == value for value in values[commonest(values, counts)[:MOST_GROUPS]]}


def commonest(values: NDArray[np.str_], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of values, the commonest first, ties by name: the same whatever the labels."""
    return np.lexsort((values, -counts))


def _dated(look: dict[str, Any]) -> dict[str, Any]:
    return {"as_of": iso(moment(look["as_of_us"]))} | {key: value for key, value in look.items() if key != "as_of_us"}


def _said(measure: Measure) -> tuple[str, str]:
    followed = measure.followed
    value = followed.why[-1] or number(float(followed.value[-1]))
    return value, f"{int(followed.rows[-1]):,}"
