"""Why each candidate disagrees with the incumbent: flips, where they part, and the costliest requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.disagreement import Costliest, Explanation, Flips, draw, explain_difference
from windtunnel.backtest.metrics import Clocks, Judged, Metric
from windtunnel.errors import DataError

from .sliced import joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.loss import Loss
    from windtunnel.report.section import Section

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Disagreement:
    """One candidate and the incumbent.

    Args:
        flips: how often they decide otherwise.
        costliest: the requests on which it costs most more; None for a metric that rows have no share in.
        explanation: where their answers lie apart, from features; None where there is no feature, or nothing to explain.
    """

    flips: Flips
    costliest: Costliest | None
    explanation: Explanation | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.flips.to_dict(),
            "costliest": None if self.costliest is None else self.costliest.to_dict(),
            "explanation": None if self.explanation is None else self.explanation.to_dict(),
        }


@dataclass(frozen=True)
class Disagreements:
    """All candidates, by name."""

    found: dict[str, Disagreement]

    @staticmethod
    def of(
        held: Held, *, threshold: float = 0.5, columns: Sequence[str] = (), most: int = 100, rng: np.random.Generator
    ) -> Disagreements:
        """Look at the requests on which two models differ, by what is known at the last look.

        Args:
            held: the recording.
            threshold: from which answer on the decision is yes.
            columns: features to explain by; all where empty.
            most: how many of the costliest requests are told.
            rng: draws which rows lend values when a feature is hidden.
        """
        return Disagreements({name: _of(held, name, threshold, columns, most, rng) for name in held.models[1:]})

    @property
    def doubts(self) -> tuple[str, ...]:
        """A flip is no doubt: the metric has counted it."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """`disagreement`, one entry a candidate."""
        return {"disagreement": [{"name": name, **each.to_dict()} for name, each in self.found.items()]}

    def draw(self) -> Section:
        """What is known of every candidate's."""
        return joined([
            draw(name, each.flips, costliest=each.costliest, explanation=each.explanation) for name, each in self.found.items()
        ])  # fmt: skip

    def write(self, folder: Path) -> None:
        """Lay the costliest requests down with their lines of the log, a Parquet file a candidate."""
        for number, each in enumerate(self.found.values(), start=1):
            if each.costliest is not None:
                each.costliest.write(folder / f"costliest-{number}.parquet")

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


def _of(
    held: Held, model: str, threshold: float, columns: Sequence[str], most: int, rng: np.random.Generator
) -> Disagreement:
    """Flips over requests, by the label that counts; the costliest among the rows that do."""
    requests = np.flatnonzero(held.first)
    label = np.full(len(requests), np.nan)
    label[held.request[held.final]] = held.rows.label[held.final]
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
    return Disagreement(flips, costliest, explanation)


def _judged(held: Held, prediction: Floats) -> Judged:
    return Judged(held.rows.label, prediction, amount=held.amount)


def _metric(loss: Loss) -> Metric:
    """The comparison's loss as the cost of each row, times what is at stake in it."""

    def cost(rows: Judged) -> Floats:
        return loss.of(rows.label, rows.prediction) * rows.amount

    labels: Any = "classes" if loss.classes else "binary" if loss.binary else "numbers"
    takes: Any = "probabilities" if loss.classes else "probability" if loss.binary else "number"
    return Metric(loss.name, loss.unit, "lower", labels, takes, row=cost)
