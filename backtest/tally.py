"""A Tally: all that rows have to say to a question, in small arrays that are added up exactly.

The order of the rows, the pieces they come in and the workers who count them change no bit of it: counts are whole numbers,
and so are sums (see `kernel`). So a tally of the whole is that of its parts, merged, however it was parted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError

from .exact import carried, means, running
from .figures import midnights
from .kernel import DAY_US, GIVEN, LIMBS, STEPS, look_of, pass_over, span_of
from .question import losses_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .question import Question
    from .rows import Rows

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

WEIGHTS, HALF_WEIGHTS = -2, -1
"""Where the sums of weights stand, behind those of the models."""


@dataclass(frozen=True)
class Counts:
    """How many requests were in which state, as of each time of a grid; int64 [grid] each."""

    asked: Ints
    matured: Ints
    expired: Ints
    pending: Ints


@dataclass(frozen=True)
class Tally:
    """What was counted, of every look and every UTC day of requests between the first and the last that the rows touch.

    Args:
        first_us: when the first request was asked.
        last_us: the last moment that the rows tell anything about, by either clock.
        look_0: which look of the question the first one here is.
        day_0: which day since 1970 the first one here is.
        looks: requests that at each look are newly asked, matured, expired without a label ever, expired with one that came too
            late, older than the horizon; int64 [5, looks].
        sums: loss that came to be known at each look less what was corrected away, int64 [models, looks, LIMBS].
        days: requests asked each day, with a label that counts, of those in the first half, without one; int64 [4, days].
        day_sums: the final loss of each day, int64 [models, days, LIMBS].
        half_sums: of it, the incumbent's in the first half, int64 [days, LIMBS].
        extremes: the least and the greatest difference from the incumbent that the labels which did not count could
            have made, int64 [2, models − 1, days, LIMBS].
        weighted: whether means are taken with weights; then the last two places among the models of `sums` and `day_sums` hold the sums
            of all weights and of those in the first half.
        delays: labels by how long they took, and the longest of each step, int64 [2, STEPS].
    """

    first_us: int
    last_us: int
    look_0: int
    day_0: int
    looks: Ints
    sums: Ints
    days: Ints
    day_sums: Ints
    half_sums: Ints
    extremes: Ints
    delays: Ints
    weighted: bool = False

    @staticmethod
    def of(rows: Rows, question: Question) -> Tally:
        """Count the rows of one piece.

        Raises:
            ConfigError: they span too many looks.
            DataError: a loss that is no number, or too large to be summed.
        """
        first_us, latest_us, last_us = map(int, span_of(rows.time_us, rows.known_us))
        question.check_span(first_us, latest_us + question.horizon_us)
        clock = question.first_us, question.every_us
        look_0 = look_of(first_us + 1, *clock)
        looks = look_of(latest_us + question.horizon_us + 1, *clock) - look_0 + 1
        day_0 = first_us // DAY_US
        days = latest_us // DAY_US - day_0 + 1
        models = 0 if question.ranked else len(rows.predictions) + 2 * question.weighted
        tally = Tally(
            first_us, last_us, int(look_0), day_0,
            np.zeros((5, looks), np.int64), np.zeros((models, looks, LIMBS), np.int64), np.zeros((4, days), np.int64),
            np.zeros((models, days, LIMBS), np.int64), np.zeros((days, LIMBS), np.int64),
            np.zeros((2, max(models - 1, 0) if question.bounded else 0, days, LIMBS), np.int64), np.zeros((2, STEPS), np.int64), question.weighted,
        )  # fmt: skip
        return _counted(rows, question, tally).carried()

    def carried(self) -> Tally:
        """The same tally in the one form that equal tallies share."""
        return Tally(
            self.first_us, self.last_us, self.look_0, self.day_0, self.looks, carried(self.sums), self.days,
            carried(self.day_sums), carried(self.half_sums), carried(self.extremes), self.delays, self.weighted,
        )  # fmt: skip

    def counts(self, looks: int) -> Counts:
        """The states as of the first looks of the question."""
        asked, matured, never, late, _ = np.cumsum(self._shown(self.looks, looks), axis=1)
        return Counts(asked, matured, never + late, asked - matured - never - late)

    def unlabelled(self, looks: int) -> tuple[int, int, int]:
        """Of the requests older than the horizon at the last of so many looks: never labelled, labelled too late, all of them."""
        never, late, old = self._shown(self.looks, looks)[2:].sum(axis=1).tolist()
        return never, late, old

    def metric(self, model: int, looks: int) -> Floats:
        """The mean loss of the matured rows as of each look, float64 [looks]; NaN while there are none."""
        sums = running(self._shown(self.sums, looks), axis=1)
        return means(sums[model], sums[WEIGHTS] if self.weighted else self.counts(looks).matured)

    def labelled_by(self, as_of_us: Ints) -> Ints:
        """Of the requests asked before each look, how many got a label that counts in the end, int64 [looks]; −1 but at UTC midnights."""
        told: Ints = np.where(midnights(as_of_us), self._days_before(self.days[1], as_of_us), -1)
        return told

    def turned_out(self, model: int, as_of_us: Ints) -> Floats:
        """The mean final loss over the requests asked before each look that is a UTC midnight, float64 [looks]; else NaN."""
        sums = self._days_before(carried(self.day_sums[model]), as_of_us)
        return np.where(midnights(as_of_us), means(sums, self._days_before(self.day_weights, as_of_us)), np.nan)

    @property
    def day_weights(self) -> Ints:
        """By what the final losses of each day are divided: how many there are, int64 [days], or their weights, [days, LIMBS]."""
        weights: Ints = self.day_sums[WEIGHTS] if self.weighted else self.days[1]
        return weights

    def _days_before(self, values: Ints, as_of_us: Ints) -> Ints:
        """Values by day, summed over the days that end at or before each moment."""
        so_far = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        told: Ints = so_far[np.clip(as_of_us // DAY_US - self.day_0, 0, len(values))]
        return told

    def day_means(self, model: int) -> Floats:
        """The mean final loss of each day, float64 [days]; NaN where no label counts."""
        return means(self.day_sums[model], self.day_weights)

    def differences(self, model: int) -> Floats:
        """The mean difference from the incumbent on each day, float64 [days]; NaN where no label counts."""
        return means(self.day_sums[model] - self.day_sums[0], self.day_weights)

    def half_differences(self) -> Floats:
        """The incumbent's mean loss on one half of each day's rows less that on the other; NaN where a half is empty."""
        rest, in_half = (
            self.day_sums[0] - self.half_sums,
            self.day_sums[HALF_WEIGHTS] if self.weighted else self.days[2],
        )
        return means(self.half_sums, in_half) - means(rest, self.day_weights - in_half)

    def release_us(self, horizon_us: int) -> Ints:
        """When each day is mature, int64 [days]: its end plus the horizon, when every label that may count has come."""
        return (self.day_0 + 1 + np.arange(self.days.shape[1], dtype=np.int64)) * DAY_US + horizon_us

    def bounds(self, model: int, mature: NDArray[np.bool_]) -> tuple[float, float] | None:
        """The least and the greatest mean of the days' differences that the labels which did not come could have made.

        Each missing label is set to whichever of 0 and 1 favours the candidate, then to the other: no assumption about why it
        is missing, hence wide. None where no day is mature. Only where labels are 0 or 1.

        Args:
            model: the candidate's place.
            mature: which days count, bool [days].
        """
        rows = self.days[1] + self.days[3]
        counted = mature & (rows > 0)
        if not mature.any():
            return None
        known = self.day_sums[model] - self.day_sums[0]
        least, most = (means(known + each[model - 1], rows)[counted].mean() for each in self.extremes)
        return float(least), float(most)

    def _shown(self, values: Ints, looks: int) -> Ints:
        """Values by look, which is their second axis, placed among the first looks of the question."""
        axis = 1
        shape = list(values.shape)
        shape[axis] = looks
        told = np.zeros(shape, np.int64)
        end = min(looks, self.look_0 + values.shape[axis])
        if end > self.look_0:
            into = (slice(None),) * axis + (slice(self.look_0, end),)
            out_of = (slice(None),) * axis + (slice(0, end - self.look_0),)
            told[into] = values[out_of]
        return told


def _counted(rows: Rows, question: Question, tally: Tally) -> Tally:
    """Pass over the rows."""
    given, code, scale, loss = rows.predictions, question.code, rows.amount, question.loss
    if question.ranked:
        given = np.empty((0, len(rows)))
    elif question.weighted:
        given, code, scale = _weighed(rows, question), GIVEN, rows.weight
    elif code == GIVEN:
        given = np.ascontiguousarray([loss.of(rows.label, each) for each in given])
    halves = np.zeros((2, *tally.half_sums.shape), np.int64)
    try:
        pass_over(
            (rows.time_us, rows.known_us, rows.until_us), (rows.first, rows.half), rows.label, given, scale,
            (code, np.array([*loss.parameters, 0.0]), question.bounded),
            (question.first_us, question.every_us, tally.look_0, question.horizon_us, tally.day_0),
            tally.looks, tally.sums.ravel(), tally.days, tally.day_sums.ravel(), halves.ravel(),
            tally.extremes.reshape(2, -1), tally.delays,
        )  # fmt: skip
    except OverflowError as error:
        raise DataError(
            f"has a loss of {loss.name} that is no number or beyond 10⁴⁴ in some row",
            fix="look for predictions and labels that are far off",
        ) from error
    tally.day_sums[:1] = halves.sum(axis=0)
    return replace(tally, half_sums=halves[1])


def _weighed(rows: Rows, question: Question) -> Floats:
    """What is summed where rows have weights: the losses, then a one for every row, and one for every row of the first half."""
    losses = [losses_at(question.loss, rows.label, each) for each in rows.predictions]
    scaled = [each * rows.amount if len(rows.amount) else each for each in losses]
    half = rows.half if len(rows.half) else np.zeros(len(rows))
    return np.ascontiguousarray([*scaled, np.ones(len(rows)), half.astype(np.float64)])


def merged(tallies: Iterable[Tally]) -> Tally:
    """The tally of all their rows together, exactly."""
    return reduce(_joined, tallies).carried()


def _joined(a: Tally, b: Tally) -> Tally:
    look_0, day_0 = min(a.look_0, b.look_0), min(a.day_0, b.day_0)
    looks = (a.look_0, b.look_0)
    days = (a.day_0, b.day_0)
    return Tally(
        min(a.first_us, b.first_us), max(a.last_us, b.last_us), look_0, day_0,
        _added(a.looks, b.looks, looks, 1), _added(a.sums, b.sums, looks, 1), _added(a.days, b.days, days, 1),
        _added(a.day_sums, b.day_sums, days, 1), _added(a.half_sums, b.half_sums, days, 0),
        _added(a.extremes, b.extremes, days, 2),
        np.stack([a.delays[0] + b.delays[0], np.maximum(a.delays[1], b.delays[1])]), a.weighted,
    )  # fmt: skip


def _added(a: Ints, b: Ints, starts: tuple[int, int], axis: int) -> Ints:
    """Two arrays that begin at different places of one axis, added over all that either covers."""
    first = min(starts)
    shape = list(a.shape)
    shape[axis] = max(starts[0] + a.shape[axis], starts[1] + b.shape[axis]) - first
    told = np.zeros(shape, np.int64)
    for each, start in zip((a, b), starts, strict=True):
        told[(slice(None),) * axis + (slice(start - first, start - first + each.shape[axis]),)] += each
    return told
