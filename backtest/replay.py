"""Replaying recorded traffic: what each look at it would have shown, judged only by what was known by then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError, nearest
from windtunnel.loss import loss_named
from windtunnel.recording import ID, TIME
from windtunnel.stats import ConfidenceSequence

from .compare import DAY_US, Blocks, bound_difference, follow
from .comparison import Candidate, Comparison, Delays, NoiseFloor, Timeline, moment
from .decision import best_of, decided_at, judge, status_of, winner_of
from .labels import Labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from windtunnel.loss import Loss
    from windtunnel.recording import Recording

    from .compare import Path

    Floats = NDArray[np.float64]

MOST_LOOKS = 1_000_000
"""More looks than that are a slip of the unit, not a wish."""

HALF_SEED = 1
"""Decides which rows fall into which half of the noise floor."""


def backtest(
    recording: Recording,
    predictions: Mapping[str, Floats],
    *,
    incumbent: str,
    candidates: Sequence[str],
    challenger: str | None = None,
    metric: str = "log_loss",
    every_s: float = 86400.0,
    horizon_s: float = 604800.0,
    max_loss: float = 0.0,
    level: float = 0.05,
    start: datetime | None = None,
) -> Comparison:
    """Compare candidates with the incumbent as one would have, looking again and again while the labels came in.

    One looks every `every_s` from the first UTC midnight after the first request to the last moment that the recording
    tells anything about. The level is split evenly over the candidates (Bonferroni), so that the chance that any of them
    is ever wrongly decided, at any look, is at most `level`, as far as an asymptotic confidence sequence over days, stretched
    by what each day carries over to the next, keeps its word. The difference weighs every day alike; the metric weighs every row alike.

    Args:
        recording: the requests and their labels.
        predictions: by model name, float64 [n] in the recording's order: the probability of label 1, or for
            `squared_error` and `absolute_error` the label itself.
        incumbent: the model that runs now.
        candidates: those that might replace it; the incumbent among them is passed over.
        challenger: the candidate whose fate is the verdict; the best where None. Where it is the incumbent, there is
            nothing to judge it against, and it stays.
        metric: a key of `LOSSES`.
        every_s: from one look to the next.
        horizon_s: how long after its request a label still counts.
        max_loss: how much greater the candidate's loss may be.
        level: the chance of a wrong decision.
        start: only requests asked from then on are replayed; without a zone it is UTC.

    Raises:
        ConfigError: an unknown model or metric, or a number that makes no sense.
        DataError: predictions or labels that the metric cannot take, or a recording without a midnight in it.
    """
    _check_numbers(every_s=every_s, horizon_s=horizon_s, max_loss=max_loss, level=level)
    named = _candidates(predictions, incumbent, candidates, challenger)
    loss = loss_named(metric)
    models = {name: np.asarray(predictions[name], dtype=np.float64) for name in (incumbent, *named)}
    for name, prediction in models.items():
        loss.check_predictions(name, prediction, len(recording))
    if start is not None:
        recording, models = _from(recording, models, start)
    labels = Labels.of(recording, horizon_s)
    loss.check_labels(labels.value)
    sequence = ConfidenceSequence(level=level / max(1, len(named)))
    replay = _Replay(loss, labels, Blocks.of(labels), sequence, _looks(labels, round(every_s * 1e6)), models, incumbent)
    timeline, bounds = replay.run()
    found = tuple(replay.candidate(name, timeline, bounds[name], max_loss) for name in named)
    asked_about = best_of(incumbent, found) if challenger is None else challenger
    chosen = next((candidate for candidate in found if candidate.name == asked_about), None)
    never, late = _unlabelled(labels, int(timeline.as_of_us[-1]))
    coverage = float(timeline.coverage[-1])
    return Comparison(
        recording=recording.name,
        rows=len(labels),
        start=recording.start,
        end=moment(int(timeline.as_of_us[-1])),
        metric=metric,
        unit=loss.unit,
        horizon_s=horizon_s,
        every_s=every_s,
        max_loss=max_loss,
        level=level,
        level_each=sequence.level,
        incumbent=incumbent,
        challenger=asked_about,
        candidates=found,
        timeline=timeline,
        winner=winner_of(incumbent, found),
        decided_at=chosen.decided_at if chosen else None,
        verdict=judge(
            incumbent, chosen, timeline.paths.get(asked_about), sequence, metric=metric, max_loss=max_loss, level=level,
            candidates=len(named), label_coverage=coverage, horizon_s=horizon_s,
        ),
        label_coverage=coverage,
        never_arrived=never,
        late=late,
        delays=_delays(labels),
        noise_floor=replay.noise_floor(_halves(recording)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Replay:
    """What one replay works on."""

    loss: Loss
    labels: Labels
    blocks: Blocks
    sequence: ConfidenceSequence
    as_of_us: NDArray[np.int64]
    models: dict[str, Floats]
    incumbent: str

    def run(self) -> tuple[Timeline, dict[str, tuple[float, float] | None]]:
        """Pass over the rows once a model, and over the looks: the timeline, and each candidate's bounds."""
        first_seen = self.labels.first_seen(self.as_of_us)
        counts = self.labels.counts(self.as_of_us, first_seen)
        standard = self._losses(self.incumbent)
        metric = {self.incumbent: _running_mean(standard, first_seen, counts.matured)}
        paths, bounds = {}, {}
        for name in self.models:
            if name != self.incumbent:
                losses = self._losses(name)
                metric[name] = _running_mean(losses, first_seen, counts.matured)
                paths[name] = self._follow(self.blocks.means(losses - standard))
                bounds[name] = self._bounds(name, losses - standard)
        return Timeline(self.as_of_us, counts, metric, paths), bounds

    def candidate(
        self, name: str, timeline: Timeline, bounds: tuple[float, float] | None, max_loss: float
    ) -> Candidate:
        """Read what the last look shows of a candidate."""
        path = timeline.paths[name]
        low, high = float(path.low[-1]), float(path.high[-1])
        status = status_of(low, high, max_loss)
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
            bounds=bounds,
            status=status,
            decided_at=decided_at(path, status, max_loss, self.as_of_us),
        )

    def noise_floor(self, first_half: NDArray[np.bool_]) -> NoiseFloor:
        """Compare the incumbent with itself."""
        halves = self.blocks.halves(self._losses(self.incumbent), first_half[self.labels.on_time])
        path = self._follow(halves)
        return NoiseFloor(
            len(path.values),
            float(path.difference[-1]),
            float(path.low[-1]),
            float(path.high[-1]),
            path.autocorrelation,
        )

    def _bounds(self, name: str, differences: Floats) -> tuple[float, float] | None:
        pair = self.models[self.incumbent], self.models[name]
        return bound_difference(self.loss, self.labels, self.blocks, pair, differences, int(self.as_of_us[-1]))

    def _losses(self, name: str) -> Floats:
        # on every row first: where a row stands decides which vector lane computes it, and the last bit may hang on that
        return self.loss.of(self.labels.value, self.models[name])[self.labels.on_time]

    def _follow(self, means: Floats) -> Path:
        return follow(means, self.blocks.release_us, self.as_of_us, self.sequence)


def _running_mean(losses: Floats, first_seen: NDArray[np.int64], matured: NDArray[np.int64]) -> Floats:
    """The mean over the rows matured as of each look, float64 [looks]; NaN while there are none."""
    sums = np.bincount(first_seen, weights=losses, minlength=len(matured) + 1)[: len(matured)]
    mean = np.full(len(matured), np.nan)
    np.divide(np.cumsum(sums), matured, out=mean, where=matured > 0)
    return mean


def _looks(labels: Labels, every_us: int) -> NDArray[np.int64]:
    """The times to look as of: from the first midnight after the first request, as long as the recording says anything."""
    first = (int(labels.time_us[0]) // DAY_US + 1) * DAY_US
    if first > labels.last_known_us:
        raise DataError(
            "ends before the first UTC midnight after its first request", field=TIME, fix="replay a longer recording"
        )
    if (labels.last_known_us - first) // every_us >= MOST_LOOKS:
        raise ConfigError(
            f"makes more than {MOST_LOOKS} looks at this recording", field="every", value=every_us / 1e6, fix="write 1d"
        )
    return np.arange(first, labels.last_known_us + 1, every_us, dtype=np.int64)


def _halves(recording: Recording) -> NDArray[np.bool_]:
    """A fair coin a row that hangs on its id alone, so that neither order nor labels can move it."""
    hashed: NDArray[np.uint64] = recording.frame[ID].hash(HALF_SEED).to_numpy()
    half: NDArray[np.bool_] = (hashed >> np.uint64(32)) % np.uint64(2) == 1
    return half


def _from(recording: Recording, models: dict[str, Floats], start: datetime) -> tuple[Recording, dict[str, Floats]]:
    """Leave out what was asked before a time."""
    later = recording.asked_between(start=start if start.tzinfo is not None else start.replace(tzinfo=UTC))
    skipped = len(recording) - len(later)
    return later, {name: prediction[skipped:] for name, prediction in models.items()}


def _unlabelled(labels: Labels, as_of_us: int) -> tuple[float, float]:
    """Of the requests older than the horizon: the share whose label never came, and the share whose label came too late."""
    old = as_of_us - labels.time_us > labels.horizon_us
    if not old.any():
        return math.nan, math.nan
    never = float(np.mean(~labels.came[old]))
    return never, float(np.mean(~labels.on_time[old])) - never


def _delays(labels: Labels) -> Delays:
    delays = np.sort((labels.known_us - labels.time_us)[labels.came])
    if len(delays) == 0:
        return Delays(0, np.full(101, np.nan))
    return Delays(len(delays), delays[np.linspace(0, len(delays) - 1, 101).round().astype(np.int64)] / 1e6)


def _candidates(
    predictions: Mapping[str, Floats], incumbent: str, candidates: Sequence[str], challenger: str | None
) -> list[str]:
    """The candidates by name, each once and without the incumbent, once every name is known to be one."""
    for field, names in (("incumbent", (incumbent,)), ("candidates", candidates)):
        for name in names:
            if name not in predictions:
                raise ConfigError("has no predictions", field=field, value=name, fix=nearest(name, predictions))
    named = [name for name in dict.fromkeys(candidates) if name != incumbent]
    if challenger is not None and challenger not in (*named, incumbent):
        raise ConfigError(
            "is not a candidate", field="challenger", value=challenger, fix=nearest(challenger, (*named, incumbent))
        )
    return named


def _check_numbers(*, every_s: float, horizon_s: float, max_loss: float, level: float) -> None:
    """Refuse numbers that make no sense."""
    for field, seconds in (("every", every_s), ("horizon", horizon_s)):
        if not 1e-6 <= seconds <= 1e10:
            raise ConfigError(
                "must be above zero and below 300 years", field=field, value=seconds, fix="write 1d or 7d"
            )
    if not 0.0 <= max_loss < math.inf:
        raise ConfigError("must be zero or more", field="max_loss", value=max_loss, fix="0 tolerates no loss at all")
    if not 0.0 < level < 1.0:
        raise ConfigError("must lie between 0 and 1", field="level", value=level, fix="0.05 is common")
