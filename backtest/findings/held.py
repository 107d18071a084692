"""A recording that is held whole, as the findings look at it: every version of every label, and all else that was logged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.estimate import Periods
from windtunnel.backtest.kernel import DAY_US
from windtunnel.backtest.question import RANKED, Question
from windtunnel.backtest.rows import Rows
from windtunnel.backtest.waits import coarse_us
from windtunnel.errors import ConfigError
from windtunnel.loss import loss_named
from windtunnel.table import take_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.backtest.comparison import Comparison
    from windtunnel.loss import Loss
    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Held:
    """The rows of the engine with the columns that it has no use for.

    Args:
        rows: one for each request and version of its label, in the order of the requests.
        columns: the recording's columns, one row a request.
        models: the incumbent, then the candidates.
        loss: what they are judged by.
        looks_us: when one looks, int64 [looks].
        every_us: from one look to the next.
        horizon_us: how long a label may take.
        file: named in messages.
        features: those of the columns that are the models' inputs.
    """

    rows: Rows
    columns: pl.DataFrame
    models: tuple[str, ...]
    loss: Loss
    looks_us: Ints
    every_us: int
    horizon_us: int
    file: str
    features: tuple[str, ...] = ()

    @staticmethod
    def of(
        recording: Recording,
        predictions: Mapping[str, Floats],
        comparison: Comparison,
        loss: Loss,
        corrections: pl.DataFrame | None = None,
        features: Sequence[str] = (),
    ) -> Held:
        """The recording that a comparison was made on.

        Args:
            recording: the requests, as `backtest` took them.
            predictions: by model, float64 [n].
            comparison: what it made of them.
            loss: what it judged by.
            corrections: later versions of labels.
            features: columns that are the models' inputs.
        """
        models = (comparison.incumbent, *(each.name for each in comparison.candidates))
        scales = {
            part: recording.frame[part].to_numpy() for part in ("amount", "weight") if part in recording.frame.columns
        }
        rows = Rows.of(recording, {name: predictions[name] for name in models}, corrections, **scales)
        every_us, horizon_us = round(comparison.every_s * 1e6), round(comparison.horizon_s * 1e6)
        looks_us = comparison.timeline.as_of_us
        return Held(
            rows, recording.frame, models, loss, looks_us, every_us, horizon_us, recording.name, tuple(features)
        )

    @property
    def question(self) -> Question:
        """What the comparison asked of the rows."""
        weighted = len(self.rows.weight) > 0
        return Question(self.models, self.loss, int(self.looks_us[0]), self.every_us, self.horizon_us, weighted)

    @property
    def as_of_us(self) -> int:
        """The last look."""
        return int(self.looks_us[-1])

    @cached_property
    def first(self) -> Flags:
        """Which rows stand for their request, bool [rows]."""
        return self.rows.first if len(self.rows.first) else np.ones(len(self.rows), dtype=np.bool_)

    @cached_property
    def until_us(self) -> Ints | None:
        """When each version was superseded, int64 [rows]; None where no label was corrected."""
        return self.rows.until_us if len(self.rows.until_us) else None

    @cached_property
    def request(self) -> Ints:
        """The place of each row's request in `columns`, int64 [rows]."""
        return np.cumsum(self.first) - 1

    @cached_property
    def final(self) -> Flags:
        """Which rows hold the version of a label that counts at the last look, bool [rows]; at most one a request."""
        final = self._counts(self.rows.known_us)
        return final if self.until_us is None else final & ~self._counts(self.until_us)

    def _counts(self, known_us: Ints) -> Flags:
        asked = self.rows.time_us < self.as_of_us
        counts: Flags = asked & (known_us <= self.rows.time_us + self.horizon_us) & (known_us <= self.as_of_us)
        return counts

    @cached_property
    def amount(self) -> Floats:
        """What each row's loss is multiplied by, float64 [rows]."""
        return self.rows.amount if len(self.rows.amount) else np.ones(len(self.rows))

    def prediction(self, model: str) -> Floats:
        """What a model said, float64 [rows]."""
        said: Floats = self.rows.predictions[self.models.index(model)]
        return said

    @property
    def additive(self) -> bool:
        """Whether the metric is a mean over rows."""
        return self.loss.family not in RANKED

    def check_additive(self, table: str) -> None:
        """Refuse what needs a loss of each row where there is none.

        Raises:
            ConfigError: the metric is one of how rows are ranked.
        """
        if not self.additive:
            raise ConfigError(
                f"is no mean over requests, which {table} needs",
                field="metric",
                value=self.loss.name,
                fix="choose log_loss",
            )

    @cached_property
    def judge(self) -> Loss:
        """The metric as something to be made small."""
        if not self.loss.greater_is_better:
            return self.loss
        return loss_named("zero_one").of_classes(self.loss.classes) if self.loss.classes else loss_named("zero_one")

    def values(self, model: str) -> Floats:
        """What each version of a label is worth to the metric, float64 [rows]; NaN where no label came."""
        return self.loss.of(self.rows.label, self.prediction(model)) * self.amount

    def losses(self, model: str) -> Floats:
        """The same as something to be made small, float64 [rows]."""
        return self.judge.of(self.rows.label, self.prediction(model)) * self.amount

    def day(self) -> Ints:
        """The UTC day of each row's request, int64 [rows], from that of the earliest."""
        days = self.rows.time_us // DAY_US
        told: Ints = days - days.min(initial=days[0])
        return told

    def numbers(self, column: str) -> Floats:
        """A column as numbers, float64 [rows]; NaN for null. Text is numbered in the order in which it first appeared; of several probabilities the greatest counts.

        A text's number hangs on nothing that came later, so that what is worked out of it does not either.

        Raises:
            DataError: no such column.
        """
        if column in self.models:
            said = self.prediction(column)
            return said if said.ndim == 1 else said.max(axis=1)
        values = take_column(self.columns, column, file=self.file)
        if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
            seen = values.unique(maintain_order=True).drop_nulls()
            values = values.replace_strict(seen, pl.Series(range(len(seen)), dtype=pl.Float64), default=None)
        numbers: Floats = values.cast(pl.Float64).fill_null(math.nan).to_numpy()[self.request]
        return numbers

    def texts(self, column: str) -> NDArray[np.str_]:
        """A column as text, str [rows]; empty for null.

        Raises:
            DataError: no such column.
        """
        values = take_column(self.columns, column, file=self.file).cast(pl.String).fill_null("")
        told: NDArray[np.str_] = values.to_numpy().astype(np.str_)[self.request]
        return told

    def matrix(self, columns: Sequence[str]) -> Floats:
        """Some columns as numbers, float64 [rows, columns]."""
        return np.column_stack([self.numbers(column) for column in columns])

    def table(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns as they are, a row for each version of a label.

        Raises:
            DataError: no such column.
        """
        for column in columns:
            take_column(self.columns, column, file=self.file)
        return self.columns.select(columns)[self.request]

    @property
    def coarse_us(self) -> int:
        """A multiple of the step between looks that is a day or more; see `waits.coarse_us`."""
        return coarse_us(self.every_us, self.horizon_us)

    def periods(self, step_us: int = 0, *, until_us: int | None = None) -> Periods:
        """A grid that has all requests in it, and ends with the last look of it that the recording reaches.

        Args:
            step_us: from one look to the next; `coarse_us` where zero.
            until_us: the last moment that the grid may reach; the last look where None.

        Raises:
            ConfigError: the recording is shorter than one step.
        """
        step_us, end_us = step_us or self.coarse_us, self.as_of_us if until_us is None else until_us
        first_look_us, first_asked_us = int(self.looks_us[0]), int(self.rows.time_us.min())
        start_us = first_look_us - step_us * max(0, -(-(first_look_us - first_asked_us) // step_us) - 1)
        looks = (end_us - start_us) // step_us + 1
        if looks < 1:
            raise ConfigError(
                "is longer than the recording", field="period", value=step_us / 1e6, fix="take a shorter one"
            )
        return Periods(start_us, step_us, looks, self.horizon_us)


def looks_of(periods: Periods) -> Ints:
    """The looks of a grid, int64 [looks].

    Example:
        >>> looks_of(Periods(10, 5, 3, 7)).tolist()
        [10, 15, 20]
    """
    return periods.first_us + periods.every_us * np.arange(periods.looks, dtype=np.int64)
