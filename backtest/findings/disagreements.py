"""Why each candidate disagrees with the incumbent: flips, where they part, and the costliest requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.disagreement import (
    Associations,
    Costliest,
    Drivers,
    Explanation,
    Flips,
    associate,
    draw,
    explain_difference,
    find_drivers,
)
from windtunnel.backtest.kernel import DAY_US
from windtunnel.backtest.metrics import Clocks, Judged, Metric
from windtunnel.errors import ConfigError, DataError

from .sliced import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.loss import Loss
    from windtunnel.report.section import Section

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """A model that can be asked.

    Args:
        inputs: the columns that it is asked with.
        ask: answers a table with float64 [rows].
    """

    inputs: tuple[str, ...]
    ask: Callable[[pl.DataFrame], Floats]


@dataclass(frozen=True)
class Disagreement:
    """One candidate and the incumbent.

    Args:
        flips: how often they decide otherwise.
        costliest: the requests on which it costs most more; None for a metric that rows have no share in.
        explanation: where their answers lie apart, from features; None where there is no feature, or nothing to explain.
        drivers: which features drive the flips, where both models were asked; else which features flips go with; None where
            nothing flips, or there is no feature.
    """

    flips: Flips
    costliest: Costliest | None
    explanation: Explanation | None
    drivers: Drivers | Associations | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.flips.to_dict(),
            "costliest": None if self.costliest is None else self.costliest.to_dict(),
            "explanation": None if self.explanation is None else self.explanation.to_dict(),
            "drivers": None if self.drivers is None else self.drivers.to_dict(),
        }


@dataclass(frozen=True)
class Disagreements:
    """All candidates, by name."""

    found: dict[str, Disagreement]

    @staticmethod
    def of(
        held: Held, *, threshold: float | None = None, columns: Sequence[str] = (), most: int = 100, rng: np.random.Generator,
        asked: Mapping[str, Asked] | None = None,
    ) -> Disagreements:  # fmt: skip
        """Look at the requests on which two models differ, by what is known at the last look.

        Args:
            held: the recording.
            threshold: from which answer on the decision is yes; None: 0.5, where labels are 0 and 1. Of labels that are other
                numbers, those that reach it are a yes too.
            columns: features to explain by; all where empty.
            most: how many of the costliest requests are told.
            rng: draws which rows lend values when a feature is hidden.
            asked: the models that can be asked, by name; of a pair that can, it is seen which features drive the flips, of any
                other, which features flips go with.

        Raises:
            ConfigError: no threshold is named, and labels are numbers or answers no probabilities.
        """
        found, numbers = {}, _numbers(held)
        scores = held.loss.binary and not _probable(*map(held.prediction, held.models))
        if threshold is None and (numbers or scores):
            what = "labels are numbers" if numbers else "answers are no probabilities"
            raise ConfigError(
                f"is not named, and {what}: nothing says from which answer on a decision is another",
                field="disagreement.threshold",
                fix="name the number that decisions hang on, such as threshold = 100.0, or leave [backtest.disagreement] out",
            )
        cut = 0.5 if threshold is None else threshold
        for name in held.models[1:]:
            flips, costliest, explanation = _of(held, name, cut, columns, most, rng, numbers=numbers)
            found[name] = Disagreement(
                flips, costliest, explanation, _drivers(held, name, cut, columns, rng, asked or {})
            )
        return Disagreements(found)

    @property
    def doubts(self) -> tuple[str, ...]:
        """A flip is no doubt: the metric has counted it."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """`disagreement`, one entry a candidate."""
        return {"disagreement": [{"name": name, **each.to_dict()} for name, each in self.found.items()]}

    def draw(self) -> Section:
        """What is known of every candidate's."""
        return joined(
            [
                draw(name, each.flips, costliest=each.costliest, explanation=each.explanation, drivers=each.drivers)
                for name, each in self.found.items()
            ]
        )

    def write(self, folder: Path) -> None:
        """Lay the costliest requests down with their lines of the log, a Parquet file a candidate."""
        for number, each in enumerate(self.found.values(), start=1):
            if each.costliest is not None:
                each.costliest.write(folder / f"costliest-{number}.parquet")

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


def _numbers(held: Held) -> bool:
    """Whether labels are numbers, and neither 0 and 1 nor classes."""
    if held.loss.binary or held.loss.classes:
        return False
    label = held.rows.label[~np.isnan(held.rows.label)]
    return not len(label) or bool(((label != 0.0) & (label != 1.0)).any())


def _of(
    held: Held, model: str, threshold: float, columns: Sequence[str], most: int, rng: np.random.Generator, *, numbers: bool
) -> tuple[Flips, Costliest | None, Explanation | None]:  # fmt: skip
    """Flips over requests, by the label that counts; the costliest among the rows that do."""
    requests = np.flatnonzero(held.first)
    label = np.full(len(requests), np.nan)
    told = held.rows.label[held.final]
    label[held.request[held.final]] = (told >= threshold) if numbers else told
    ours, theirs = held.prediction(held.models[0]), held.prediction(model)
    flips = Flips.of(label, ours[requests], theirs[requests], threshold)
    costliest = None
    if held.additive:
        log = held.table([name for name in held.columns.columns if name not in {"label", "label_time"}])
        costliest = Costliest.of(
            _metric(held.loss), _judged(held, ours), _judged(held, theirs), Clocks.of(held.rows), log,
            as_of_us=held.as_of_us, horizon_us=held.horizon_us, id_column="id", most=most,
        )  # fmt: skip
    chosen = list(columns or held.features)
    explanation = None
    if chosen and ours.ndim == 1:
        try:
            explanation = explain_difference(
                held.columns.select(chosen), ours[requests], theirs[requests], held.rows.time_us[requests], rng, columns=chosen
            )  # fmt: skip
        except DataError as error:
            if error.field != "predictions":
                raise
            # models that answer alike everywhere leave nothing to explain
    return flips, costliest, explanation


def _drivers(
    held: Held, model: str, threshold: float, columns: Sequence[str], rng: np.random.Generator, asked: Mapping[str, Asked]
) -> Drivers | Associations | None:  # fmt: skip
    """Ask both models where both can be asked; else see which features flips go with."""
    requests = np.flatnonzero(held.first)
    ours, theirs = held.prediction(held.models[0])[requests], held.prediction(model)[requests]
    time_us = held.rows.time_us[requests]
    pair = [asked[name] for name in (held.models[0], model) if name in asked]
    if len(pair) < 2:
        flips = Flips.of(np.full(len(requests), np.nan), ours, theirs, threshold).rows
        flipped = np.isin(np.arange(len(requests)), flips)
        return associate(held.columns.select(list(columns or held.features)), flipped, time_us, rng)
    inputs = dict.fromkeys(name for each in pair for name in each.inputs)
    return find_drivers(
        held.columns.select(list(inputs)), pair[0].ask, pair[1].ask, rng, threshold=threshold,
        scale="log-odds" if held.loss.binary and held.judge.binary and _probable(ours, theirs) else "answers", told=(ours, theirs), day=time_us // DAY_US,
    )  # fmt: skip


def _probable(*answers: Floats) -> bool:
    """Whether answers are probabilities; where only their order counts they need not be."""
    return all(each.min(initial=0.0) >= 0.0 and each.max(initial=1.0) <= 1.0 for each in answers)


def _judged(held: Held, prediction: Floats) -> Judged:
    return Judged(held.rows.label, prediction, amount=held.amount)


def _metric(loss: Loss) -> Metric:
    """The comparison's loss as the cost of each row, times what is at stake in it."""

    def cost(rows: Judged) -> Floats:
        return loss.of(rows.label, rows.prediction) * rows.amount

    labels: Any = "classes" if loss.classes else "binary" if loss.binary else "numbers"
    takes: Any = "probabilities" if loss.classes else "probability" if loss.binary else "number"
    return Metric(loss.differenced, loss.differenced_unit, "lower", labels, takes, row=cost)
