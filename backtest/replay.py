"""Replaying recorded traffic: what each look at it would have shown, judged only by what was known by then."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, nearest
from windtunnel.loss import Loss, loss_named
from windtunnel.recording import ID

from .conclusion import Terms, conclude
from .question import Question, first_look_us
from .rows import Rows, check_scale
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    from .comparison import Comparison

    Floats = NDArray[np.float64]


def backtest(
    recording: Recording,
    predictions: Mapping[str, Floats],
    *,
    incumbent: str,
    candidates: Sequence[str],
    challenger: str | None = None,
    metric: str | Loss = "log_loss",
    every_s: float = 86400.0,
    horizon_s: float = 604800.0,
    max_loss: float = 0.0,
    level: float = 0.05,
    start: datetime | None = None,
    corrections: pl.DataFrame | None = None,
    amount: Floats | None = None,
    weight: Floats | None = None,
) -> Comparison:
    """Compare candidates with the incumbent as one would have, looking again and again while the labels came in.

    One looks every `every_s` from the first UTC midnight after the first request to the last moment that the recording
    tells anything about. The level is split evenly over the candidates (Bonferroni), so that the chance that any of them
    is ever wrongly decided, at any look, is at most `level`, as far as an asymptotic confidence sequence over days, stretched
    by what each day carries over to the next, keeps its word. The difference weighs every day alike; the metric weighs every row alike.

    Args:
        recording: the requests and their labels.
        predictions: by model name, float64 [n] in the recording's order: the probability of label 1, or for losses of
            numbers the label itself; or [n, classes], the probability of each class, where labels are their numbers.
        incumbent: the model that runs now.
        candidates: those that might replace it; the incumbent among them is passed over.
        challenger: the candidate whose fate is the verdict; the best where None. Where it is the incumbent, there is
            nothing to judge it against, and it stays.
        metric: as `loss_named` takes it, or a loss.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        start: only requests asked from then on are replayed; without a zone it is UTC.
        corrections: later versions of labels, see `Rows.of`; each counts from its own known time on.
        amount: what each request's loss is multiplied by, float64 [n], such as what it was worth.
        weight: how many requests each counts for in the metric and within its day, float64 [n].

    Raises:
        ConfigError: an unknown model or metric, or a number that makes no sense.
        DataError: predictions or labels that the metric cannot take, or a recording without a midnight in it.
    """
    terms = Terms(challenger, max_loss, level, every_s, horizon_s)
    named = named_candidates(list(predictions), incumbent, candidates, challenger)
    models = {name: np.asarray(predictions[name], dtype=np.float64) for name in (incumbent, *named)}
    loss = loss_of(metric, models[incumbent].shape[1] if models[incumbent].ndim == 2 else 0)
    for name, prediction in models.items():
        loss.check_predictions(name, prediction, len(recording), ids=recording.frame[ID])
    scales = {part: each for part, each in (("amount", amount), ("weight", weight)) if each is not None}
    for part, each in scales.items():
        check_scale(each, part, len(recording), recording.name, ids=recording.frame[ID])
    if start is not None:
        before = recording
        recording, models, scales = _from(recording, models, scales, start)
        corrections = None if corrections is None else _of_those_left(corrections, before, recording)
    rows = Rows.of(recording, models, corrections, **scales)
    loss.check_labels(rows.label)
    question = asked(tuple(models), loss, int(rows.time_us.min()), terms, parts=scales)
    question.looks(rows.last_us)
    return conclude(Tally.of(rows, question), question, terms, recording.name, rows=rows)


def asked(models: tuple[str, ...], loss: Loss, first_us: int, terms: Terms, parts: Collection[str] = ()) -> Question:
    """What every piece is asked.

    Args:
        models: the incumbent, then the candidates.
        loss: the metric.
        first_us: when the first request was asked.
        terms: by what is decided.
        parts: of `amount` and `weight`, those that rows have.

    Raises:
        ConfigError: a metric of ranks, and amounts or weights.
    """
    question = Question(models, loss, first_look_us(first_us), terms.every_us, terms.horizon_us, "weight" in parts)
    if question.ranked and parts:
        raise ConfigError(
            "counts pairs of requests, which have no amount and no weight", field="metric", value=loss.name,
            fix=f"leave out {' and '.join(sorted(parts))}, or choose log_loss",
        )  # fmt: skip
    return question


def loss_of(metric: str | Loss, classes: int) -> Loss:
    """The loss that is meant, in the form that takes so many numbers a prediction; 0: one number."""
    loss = metric if isinstance(metric, Loss) else loss_named(metric)
    return loss.of_classes(classes) if classes else loss


def named_candidates(
    known: Sequence[str], incumbent: str, candidates: Sequence[str], challenger: str | None = None
) -> list[str]:
    """The candidates by name, each once and without the incumbent, once every name is known to be one.

    Args:
        known: the models that have predictions.
        incumbent: the model that runs now.
        candidates: those that might replace it.
        challenger: the one that is asked about, if any.

    Raises:
        ConfigError: one of them has no predictions, or the challenger is no candidate.
    """
    for field, names in (("incumbent", (incumbent,)), ("candidates", candidates)):
        for name in names:
            if name not in known:
                raise ConfigError("has no predictions", field=field, value=name, fix=nearest(name, known))
    named = [name for name in dict.fromkeys(candidates) if name != incumbent]
    if challenger is not None and challenger not in (*named, incumbent):
        raise ConfigError(
            "is not a candidate", field="challenger", value=challenger, fix=nearest(challenger, (*named, incumbent))
        )
    return named


def _from(
    recording: Recording, models: dict[str, Floats], scales: dict[str, Floats], start: datetime
) -> tuple[Recording, dict[str, Floats], dict[str, Floats]]:
    """Leave out what was asked before a time."""
    later = recording.asked_between(start=start if start.tzinfo is not None else start.replace(tzinfo=UTC))
    skipped = len(recording) - len(later)
    models, scales = ({name: each[skipped:] for name, each in parts.items()} for parts in (models, scales))
    return later, models, scales


def _of_those_left(corrections: pl.DataFrame, before: Recording, later: Recording) -> pl.DataFrame:
    """The corrections but those of requests that were left out; one of a request that never was stays, to be refused."""
    skipped = before.frame[ID].head(len(before) - len(later))
    return corrections.filter(~corrections[ID].is_in(skipped.implode()))
