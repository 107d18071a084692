"""From a tally to a Comparison: what each look showed, whether it decided anything, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError
from windtunnel.stats import ConfidenceSequence

from .compare import follow
from .comparison import Candidate, Cohorts, Comparison, Delays, NoiseFloor, Timeline, moment
from .decision import best_of, decided_at, judge, status_of, winner_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .compare import Path
    from .question import Question
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


def conclude(tally: Tally, question: Question, terms: Terms, name: str, notes: tuple[str, ...] = ()) -> Comparison:
    """Read a tally of all rows: follow every candidate over the looks, and judge.

    Args:
        tally: of the whole recording.
        question: what was counted.
        terms: by what to decide.
        name: the recording's.
        notes: what its reader has to say of it.

    Raises:
        DataError: the recording ends before the first look.
        ConfigError: there are too many looks.
    """
    return _Reading(tally, question, terms, question.looks(tally.last_us)).comparison(name, notes)


@dataclass(frozen=True)
class _Reading:
    tally: Tally
    question: Question
    terms: Terms
    as_of_us: NDArray[np.int64]

    @property
    def incumbent(self) -> str:
        return self.question.models[0]

    @property
    def named(self) -> tuple[str, ...]:
        return self.question.models[1:]

    @property
    def sequence(self) -> ConfidenceSequence:
        return ConfidenceSequence(level=self.terms.level / max(1, len(self.named)))

    def comparison(self, name: str, notes: tuple[str, ...]) -> Comparison:
        """All of it."""
        timeline, terms = self.timeline(), self.terms
        found = tuple(self.candidate(each, timeline) for each in self.named)
        asked_about = best_of(self.incumbent, found) if terms.challenger is None else terms.challenger
        chosen = next((candidate for candidate in found if candidate.name == asked_about), None)
        rows, coverage = int(self.tally.days[0].sum()), float(timeline.coverage[-1])
        never, late = self.unlabelled()
        end = moment(int(self.as_of_us[-1]))
        return Comparison(
            recording=name, rows=rows, start=moment(self.tally.first_us), end=end,
            metric=self.question.loss.name, unit=self.question.loss.unit, horizon_s=terms.horizon_s,
            every_s=terms.every_s, max_loss=terms.max_loss, level=terms.level, level_each=self.sequence.level,
            incumbent=self.incumbent, challenger=asked_about, candidates=found, timeline=timeline, cohorts=self.cohorts(),
            winner=winner_of(self.incumbent, found), decided_at=chosen.decided_at if chosen else None,
            verdict=judge(
                self.incumbent, chosen, timeline.paths.get(asked_about), self.sequence, metric=self.question.loss.name,
                max_loss=terms.max_loss, level=terms.level, candidates=len(self.named), label_coverage=coverage,
                horizon_s=terms.horizon_s,
            ),
            label_coverage=coverage, never_arrived=never, late=late, delays=Delays.of(self.tally.delays),
            noise_floor=self.noise_floor(), notes=notes,
        )  # fmt: skip

    def timeline(self) -> Timeline:
        """What each look showed."""
        looks, loss, tally = len(self.as_of_us), self.question.loss, self.tally
        metric = {name: loss.shown(tally.metric(place, looks)) for place, name in enumerate(self.question.models)}
        paths = {
            name: self.follow(tally.differences(place)) for place, name in enumerate(self.question.models) if place
        }
        return Timeline(self.as_of_us, tally.counts(looks), metric, paths)

    def follow(self, means: Floats) -> Path:
        """Follow a mean difference of days."""
        return follow(means, self.tally.release_us(self.question.horizon_us), self.as_of_us, self.sequence)

    def candidate(self, name: str, timeline: Timeline) -> Candidate:
        """Read what the last look shows of a candidate."""
        path = timeline.paths[name]
        low, high = float(path.low[-1]), float(path.high[-1])
        status = status_of(low, high, self.terms.max_loss)
        return Candidate(
            name=name,
            matured=int(timeline.counts.matured[-1]),
            metric=float(timeline.metric[name][-1]),
            difference=float(path.difference[-1]),
            difference_low=low,
            difference_high=high,
            e_value=float(path.e_value[-1]),
            blocks=len(path.values),
            autocorrelation=path.autocorrelation,
            stretch=path.stretch,
            bounds=self.bounds(name),
            status=status,
            decided_at=decided_at(path, status, self.terms.max_loss, self.as_of_us),
        )

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Between what the labels that did not come could have moved a candidate's difference."""
        if not self.question.bounded:
            return None
        mature = self.tally.release_us(self.question.horizon_us) <= self.as_of_us[-1]
        return self.tally.bounds(self.question.models.index(name), mature)

    def noise_floor(self) -> NoiseFloor:
        """Compare the incumbent with itself."""
        path = self.follow(self.tally.half_differences())
        ends = float(path.difference[-1]), float(path.low[-1]), float(path.high[-1])
        return NoiseFloor(len(path.values), *ends, path.autocorrelation)

    def cohorts(self) -> Cohorts:
        """What turned out true of each day's requests."""
        tally, loss = self.tally, self.question.loss
        metric = {name: loss.shown(tally.day_means(place)) for place, name in enumerate(self.question.models)}
        return Cohorts(tally.day_0, tally.days[0], tally.days[1], metric)

    def unlabelled(self) -> tuple[float, float]:
        """Of the requests older than the horizon: the share whose label never came, and the share whose label came too late."""
        never, late, old = self.tally.unlabelled(len(self.as_of_us))
        return (never / old, late / old) if old else (math.nan, math.nan)
