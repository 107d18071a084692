"""Measures that add up, counted piece by piece: of a recording that is not held they are exact all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.metrics import CUMULATIVE, Changes, Clocks, Judged, Window, followed_sums
from windtunnel.table import take_column

from .measures import MOST_GROUPS, Measure, Measures, check, chosen_metrics, commonest, windows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.backtest.metrics import Metric
    from windtunnel.backtest.question import Question
    from windtunnel.backtest.rows import Rows

    Ints = NDArray[np.int64]
    Key = tuple[str, str, Window]

MOST_VALUES = 200
"""So many values of a column are counted apart; of one with more only a sample is told by value."""


@dataclass(frozen=True)
class MeasurePlan:
    """What is counted.

    Args:
        metrics: those that are means over rows.
        windows: which requests count.
        by: the column whose values are told apart; empty: none.
        file: named in messages.
    """

    metrics: tuple[Metric, ...]
    windows: tuple[Window, ...]
    by: str
    file: str

    @staticmethod
    def of(
        metrics: Sequence[str], *, home: Path, last_s: float, half_life_s: float, by: str, query: str, file: str
    ) -> MeasurePlan:
        """Take those that add up among all that are asked for; see `Measures.of`."""
        chosen = tuple(each for each in chosen_metrics(metrics, home, query) if each.additive)
        return MeasurePlan(chosen, tuple(windows_of(last_s, half_life_s)), by, file)

    def count(self, frame: pl.DataFrame, rows: Rows, question: Question, as_of_us: int) -> MeasureSums:
        """Count the rows of one piece.

        Args:
            frame: canonical rows, with the column whose values are told apart.
            rows: the same as the engine takes them.
            question: what is asked.
            as_of_us: the last look.
        """
        looks_us = np.arange(question.first_us, as_of_us + 1, question.every_us, dtype=np.int64)
        clocks, none = Clocks.of(rows), np.empty(0)
        values, place, asked = self._values(frame)
        amount, weight = (each if len(each) else none for each in (rows.amount, rows.weight))
        alike: dict[Key, Changes] = {}
        inside: dict[Key, Changes] = {}
        for model, said in zip(question.models, rows.predictions, strict=True):
            judged = Judged(rows.label, said, amount, weight=weight)
            for metric in self.metrics:
                check(metric, judged, model)
                grid = looks_us, question.horizon_us
                for window in self.windows:
                    alike[model, metric.name, window] = Changes.of(metric, judged, clocks, *grid, window)
                if values:
                    changes = Changes.of(metric, judged, clocks, *grid, CUMULATIVE, place, len(values))
                    inside[model, metric.name, CUMULATIVE] = changes
        return MeasureSums(self, looks_us, alike, inside, values, asked)

    def _values(self, frame: pl.DataFrame) -> tuple[tuple[str, ...] | None, Ints, Ints]:
        """The values of the column in a piece, which each row has, and how many requests have each; None for too many of them."""
        none = np.empty(0, np.int64)
        if not self.by or not self.metrics:
            return (), none, none
        texts = take_column(frame, self.by, file=self.file).cast(pl.String).fill_null("")
        values = texts.unique().sort()
        if len(values) > MOST_VALUES:
            return None, none, none
        place = texts.replace_strict(values, pl.Series(range(len(values)), dtype=pl.Int64)).to_numpy()
        asked = np.bincount(place[frame["first"].to_numpy()], minlength=len(values))
        return tuple(values.to_list()), place, asked


@dataclass(frozen=True)
class MeasureSums:
    """What some pieces came to.

    Args:
        plan: what was counted.
        looks_us: when one looks, int64 [looks].
        alike: of all requests, by model, metric and window.
        inside: the same of each value of a column.
        values: which they are; None where they were too many.
        asked: how many requests have each, int64 [values].
    """

    plan: MeasurePlan
    looks_us: Ints
    alike: dict[Key, Changes]
    inside: dict[Key, Changes]
    values: tuple[str, ...] | None
    asked: Ints

    def __add__(self, other: MeasureSums) -> MeasureSums:
        """Those of both."""
        both = replace(self, alike={key: changes + other.alike[key] for key, changes in self.alike.items()})
        values = None if self.values is None or other.values is None else sorted({*self.values, *other.values})
        if values is None or len(values) > MOST_VALUES:
            return replace(both, values=None, inside={}, asked=np.empty(0, np.int64))
        inside: dict[Key, Changes] = {}
        asked = np.zeros(len(values), np.int64)
        for part in (self, other):
            places = np.searchsorted(values, list(part.values or ())).astype(np.int64)
            asked[places] += part.asked
            for key, changes in part.inside.items():
                placed = changes.placed(places, len(values))
                inside[key] = inside[key] + placed if key in inside else placed
        return replace(both, inside=inside, values=tuple(values), asked=asked)

    @property
    def known(self) -> frozenset[tuple[str, bool]]:
        """The metrics that were counted, and whether by value of a column."""
        inside = () if self.values is None else ((each.name, True) for each in self.plan.metrics)
        return frozenset([*((each.name, False) for each in self.plan.metrics), *inside])

    def measures(self) -> Measures:
        """What each look would have shown."""
        metrics = {each.name: each for each in self.plan.metrics}
        values = self.values or ()
        told = []
        for (model, name, window), changes in self.alike.items():
            told.append(
                Measure(model, metrics[name], window, "", followed_sums(metrics[name], changes, self.looks_us, window))
            )
            if window != CUMULATIVE or (model, name, window) not in self.inside:
                continue
            inside = self.inside[model, name, window]
            for place in commonest(np.array(values), self.asked)[:MOST_GROUPS].tolist():
                followed = followed_sums(metrics[name], inside, self.looks_us, window, place)
                told.append(Measure(model, metrics[name], window, values[place] or "(empty)", followed))
        return Measures(tuple(told), {}, self.plan.by if self.inside else "")
