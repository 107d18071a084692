"""From a tally to a Comparison: what each look showed, whether it decided anything, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration, format_instant

from .compare import follow
from .comparison import Candidate, Cohorts, Comparison, Delays, NoiseFloor, Timeline, moment
from .decision import Labels, Ruling, alike, best_of, judge, placebo_of, wait_for, winner_of
from .evidence import Asymptotic, Claims, e_bh
from .figures import Figures
from .kernel import DAY_US
from .ranks import figures_of_ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.loss import Loss

    from .compare import Path
    from .question import Question
    from .rows import Rows
    from .tally import Tally

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """By what a comparison is decided.

    Args:
        challenger: the candidate whose fate is the verdict; the best where None.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.

    Raises:
        ConfigError: a number that makes no sense.
    """

    challenger: str | None
    max_loss: float
    level: float
    every_s: float
    horizon_s: float

    def __post_init__(self) -> None:
        for field, seconds in (("every", self.every_s), ("horizon", self.horizon_s)):
            if not 1e-6 <= seconds <= 1e10:
                raise ConfigError(
                    "must be above zero and below 300 years", field=field, value=seconds, fix="write 1d or 7d"
                )
        if not 0.0 <= self.max_loss < math.inf:
            raise ConfigError(
                "must be zero or more", field="max_loss", value=self.max_loss, fix="0 tolerates no loss at all"
            )
        if not 0.0 < self.level < 1.0:
            raise ConfigError("must lie between 0 and 1", field="level", value=self.level, fix="0.05 is common")

    @property
    def every_us(self) -> int:
        """From one look to the next, in whole microseconds."""
        return round(self.every_s * 1e6)

    @property
    def horizon_us(self) -> int:
        """How long a label may take, in whole microseconds."""
        return round(self.horizon_s * 1e6)


def conclude(
    tally: Tally,
    question: Question,
    terms: Terms,
    name: str,
    notes: tuple[str, ...] = (),
    rows: Rows | None = None,
    figures: Figures | None = None,
) -> Comparison:
    """Read a tally of all rows: follow every candidate over the looks, and judge.

    Args:
        tally: of the whole recording.
        question: what was counted.
        terms: by what to decide.
        name: the recording's.
        notes: what its reader has to say of it.
        rows: all of them, for a metric of how they are ranked.
        figures: of such a metric, where the rows are not at hand.

    Raises:
        DataError: the recording ends before the first look.
        ConfigError: there are too many looks.
    """
    as_of_us = question.looks(tally.last_us)
    _check_looks(question, tally.last_us)
    if rows is not None and question.ranked:
        figures = figures_of_ranks(rows, question, tally, as_of_us)
    elif figures is None:
        figures = Figures.of_sums(tally, question, as_of_us)
    return _Reading(tally, question, terms, as_of_us, figures).comparison(name, notes)


def _check_looks(question: Question, last_us: int) -> None:
    """Refuse to look but once, at the first midnight, at a recording that goes on for days after it."""
    left_us = last_us - question.first_us
    if DAY_US <= left_us < question.every_us:
        first, last = (format_instant(moment(us // DAY_US * DAY_US)) for us in (question.first_us, last_us))
        raise ConfigError(
            f"is longer than the recording: the only look would be at its first midnight, {first}, though it goes on to {last}",
            field="every", value=format_duration(question.every_us / 1e6), fix='write "1d"',
        )  # fmt: skip


@dataclass(frozen=True)
class _Reading:
    tally: Tally
    question: Question
    terms: Terms
    as_of_us: NDArray[np.int64]
    figures: Figures

    @property
    def incumbent(self) -> str:
        return self.question.models[0]

    @property
    def named(self) -> tuple[str, ...]:
        return self.question.models[1:]

    @property
    def greater(self) -> bool:
        return self.question.loss.greater_is_better

    @property
    def sequence(self) -> Asymptotic:
        return Asymptotic(level=self.terms.level / max(1, len(self.named)))

    def comparison(self, name: str, notes: tuple[str, ...]) -> Comparison:
        """All of it."""
        timeline, terms, loss = self.timeline, self.terms, self.question.loss
        found = self.candidates()
        asked_about = best_of(self.incumbent, found) if terms.challenger is None else terms.challenger
        chosen = next((candidate for candidate in found if candidate.name == asked_about), None)
        rows, coverage = int(self.tally.days[0].sum()), float(timeline.coverage[-1])
        never, late = self.unlabelled()
        end, delays = moment(int(self.as_of_us[-1])), Delays.of(self.tally.delays)
        return Comparison(
            recording=name, rows=rows, start=moment(self.tally.first_us), end=end, metric=loss.name, unit=loss.unit,
            differenced=loss.differenced, differenced_unit=loss.differenced_unit,
            horizon_s=terms.horizon_s, every_s=terms.every_s, max_loss=terms.max_loss, level=terms.level,
            level_each=self.sequence.level, incumbent=self.incumbent, challenger=asked_about, candidates=found,
            timeline=timeline, cohorts=self.cohorts(), winner=winner_of(self.incumbent, found),
            decided_at=chosen.decided_at if chosen else None,
            verdict=judge(
                self.incumbent, chosen, burn_in=self.sequence.burn_in, metric=loss.name, differenced=_worded(loss), max_loss=terms.max_loss,
                level=terms.level, candidates=len(self.named), label_coverage=coverage, labels=self.labels(delays),
            ),
            label_coverage=coverage, never_arrived=never, late=late, delays=delays,
            noise_floor=self.noise_floor(), notes=(*notes, *self.notes()), greater_is_better=self.greater,
        )  # fmt: skip

    @cached_property
    def timeline(self) -> Timeline:
        """What each look showed."""
        figures, models = self.figures, self.question.models
        return Timeline(
            self.as_of_us, self.tally.counts(len(self.as_of_us)), dict(zip(models, figures.metric, strict=True)),
            dict(zip(models, figures.turned_out, strict=True)), self.tally.labelled_by(self.as_of_us),
            {name: self.follow(figures.differences[place]) for place, name in enumerate(models) if place},
        )  # fmt: skip

    def follow(self, means: Floats) -> Path:
        """Follow a mean difference of days."""
        return follow(means, self.tally.release_us(self.question.horizon_us), self.as_of_us, self.sequence)

    def candidates(self) -> tuple[Candidate, ...]:
        """All of them, each weighed alone, and then together."""
        claims = {name: self.claims(self.timeline.paths[name]) for name in self.named}
        better = np.array([each.superior.e_value for each in claims.values()])
        discoveries = e_bh(better, self.terms.level)
        return tuple(
            self.candidate(name, claims[name], discovery=bool(found))
            for name, found in zip(self.named, discoveries, strict=True)
        )

    def claims(self, path: Path) -> Claims:
        """Weigh what is claimed of a candidate."""
        return Claims.of(self.worse_by(path), self.sequence, self.terms.max_loss)

    def worse_by(self, path: Path) -> Floats:
        """By how much a candidate was worse on each mature day."""
        return -path.values if self.greater else path.values

    def candidate(self, name: str, claims: Claims, *, discovery: bool) -> Candidate:
        """Read what the last look shows of a candidate."""
        timeline, path, place = self.timeline, self.timeline.paths[name], self.question.models.index(name)
        ruling, worse_by = Ruling.of(path, claims, self.as_of_us), self.worse_by(path)
        undecided = ruling.status == "undecided"
        return Candidate(
            name=name, matured=int(timeline.counts.matured[-1]), metric=float(timeline.metric[name][-1]),
            difference=float(path.difference[-1]), difference_low=float(path.low[-1]),
            difference_high=float(path.high[-1]), e_value=float(path.e_value[-1]), blocks=len(path.values),
            autocorrelation=path.autocorrelation, stretch=path.stretch, bounds=self.bounds(place), status=ruling.status,
            decided_at=ruling.decided_at, greater_is_better=self.greater, turned=ruling.turned,
            evidence={each.name: each.e_value for each in (claims.superior, claims.non_inferior, claims.worse)},
            discovery=discovery, placebo=placebo_of(path.values, self.sequence, place), alike=alike(path.values),
            wait=wait_for(worse_by, self.sequence, self.terms.max_loss, place) if undecided else None,
        )  # fmt: skip

    def bounds(self, place: int) -> tuple[float, float] | None:
        """Between what the labels that did not come could have moved a candidate's difference on mature days; where none is, on all."""
        if not self.question.bounded:
            return None
        mature = self.tally.release_us(self.question.horizon_us) <= self.as_of_us[-1]
        return self.tally.bounds(place, mature if mature.any() else np.ones_like(mature))

    def labels(self, delays: Delays) -> Labels:
        """What is known of the labels at the last look."""
        counts, span_us = self.timeline.counts, int(self.as_of_us[-1]) - self.tally.first_us
        asked, matured, pending = (int(each[-1]) for each in (counts.asked, counts.matured, counts.pending))
        slow_s = float(delays.percentiles_s[90])
        return Labels(asked, matured, pending, delays.labels, slow_s, span_us / 1e6, self.terms.horizon_s)

    def noise_floor(self) -> NoiseFloor:
        """Compare the incumbent with itself."""
        path = self.follow(self.figures.halves)
        ends = float(path.difference[-1]), float(path.low[-1]), float(path.high[-1])
        return NoiseFloor(len(path.values), *ends, path.autocorrelation)

    def cohorts(self) -> Cohorts:
        """What turned out true of each day's requests."""
        tally = self.tally
        metric = dict(zip(self.question.models, self.figures.days, strict=True))
        return Cohorts(tally.day_0, tally.days[0], tally.days[1], metric)

    def notes(self) -> tuple[str, ...]:
        """What has to be said of a metric of ranks, and of one that is shown as a root."""
        if self.question.loss.rooted:
            return (_of_squares(self.question.loss),)
        if not self.question.ranked:
            return ()
        labelled = self.tally.days[1] > 0
        lost = int(np.sum(labelled & np.isnan(self.figures.days[0])))
        note = (
            f"{self.question.loss.name} is better the greater it is: differences above zero favour the candidate. The metric is over "
            "all matured requests together; the difference is the mean over days of the difference within each day, on the same "
            f"requests. {lost} of {int(labelled.sum())} days with labels hold one label only: they have none and are passed over."
        )
        return (note,)

    def unlabelled(self) -> tuple[float, float]:
        """Of the requests older than the horizon: the share whose label never came, and the share whose label came too late."""
        never, late, old = self.tally.unlabelled(len(self.as_of_us))
        return (never / old, late / old) if old else (math.nan, math.nan)


def _worded(loss: Loss) -> str:
    """What differences are of, with its unit where it is not the metric."""
    return f"{loss.differenced} ({loss.differenced_unit})" if loss.rooted else loss.name


def _of_squares(loss: Loss) -> str:
    return (
        f"{loss.name} is shown as the root of a mean; a day's difference is that of the means themselves, so differences, their "
        f"intervals, `max_loss` and the A/A line are of the {_worded(loss)}."
    )
