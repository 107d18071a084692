"""A Comparison: what a replay found, and everything it would have shown on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.stats import Interval
    from windtunnel.verdict import Verdict

    from .compare import Path
    from .evidence import Wait
    from .tally import Counts

    Floats = NDArray[np.float64]

Status = Literal["superior", "non-inferior", "worse", "undecided"]
"""What is shown of a candidate: better than the incumbent; not worse beyond the tolerance; worse beyond it; none of these."""


@dataclass(frozen=True)
class Candidate:
    """What was known of one candidate when the recording ended.

    Args:
        name: the model.
        matured: rows its metric rests on.
        metric: its mean loss over them.
        difference: mean block difference of the metric, candidate − incumbent: of a loss, below zero is better. NaN without a
            mature block.
        difference_low: lower end of the confidence sequence.
        difference_high: upper end.
        e_value: the evidence against no difference.
        blocks: mature blocks that carry the difference.
        autocorrelation: of the block differences at lag one.
        stretch: how much wider the interval was made because blocks depend on each other; 1 where they do not.
        bounds: least and greatest mean block difference, whatever the labels that did not come; None where unbounded.
        status: what is settled.
        decided_at: the first look at which it was accepted, or rejected; None while undecided.
        greater_is_better: whether a difference above zero favours it.
        turned: whether the opposite had been settled before.
        evidence: the e-value for each claim, by its name.
        discovery: whether it is among those found better if a share of `level` of them may be false (e-BH over all candidates).
        placebo: how often the method would be fooled by these days without a difference; None where that cannot be tried.
        alike: how many days in a row are alike; 1 where they are not, or are too few to tell.
        wait: how many more days would settle it; None where it is settled, or where they are too few to say.
    """

    name: str
    matured: int
    metric: float
    difference: float
    difference_low: float
    difference_high: float
    e_value: float
    blocks: int
    autocorrelation: float
    stretch: float
    bounds: tuple[float, float] | None
    status: Status
    decided_at: datetime | None
    greater_is_better: bool = False
    turned: bool = False
    evidence: Mapping[str, float] = field(default_factory=dict)
    discovery: bool = False
    placebo: Interval | None = None
    alike: int = 1
    wait: Wait | None = None

    @property
    def loses(self) -> float:
        """The difference as a loss: by how much it is worse."""
        return -self.difference if self.greater_is_better else self.difference

    @property
    def may_lose(self) -> float:
        """By how much it is worse at most, as far as the interval says."""
        return -self.difference_low if self.greater_is_better else self.difference_high

    def to_dict(self) -> dict[str, Any]:
        """The candidate as JSON values; what is not known is null."""
        placebo = self.placebo
        return {
            "name": self.name,
            "status": self.status,
            "decided_at": iso(self.decided_at),
            "matured": self.matured,
            "metric": finite(self.metric),
            "difference": finite(self.difference),
            "difference_low": finite(self.difference_low),
            "difference_high": finite(self.difference_high),
            "e_value": finite(self.e_value),
            "blocks": self.blocks,
            "autocorrelation": self.autocorrelation,
            "stretch": self.stretch,
            "difference_if_missing_favour": None if self.bounds is None else self.bounds[0],
            "difference_if_missing_disfavour": None if self.bounds is None else self.bounds[1],
            "better_is": "above zero" if self.greater_is_better else "below zero",
            "turned": self.turned,
            "evidence": dict(self.evidence),
            "discovery": self.discovery,
            "placebo_share": None if placebo is None else placebo.value,
            "placebo_share_low": None if placebo is None else placebo.low,
            "placebo_share_high": None if placebo is None else placebo.high,
            "alike_days": self.alike,
            "wait": None if self.wait is None else self.wait.to_dict(),
        }


@dataclass(frozen=True)
class Binned:
    """What was not told apart of a metric of ranks because scores were counted in bins.

    Args:
        bins: how many there were.
        metric_error: by how much each model's metric may be off at the last look, by name; NaN where there is none.
        difference_error: by how much the mean of the days' differences may be, by candidate; NaN without a mature day.
    """

    bins: int
    metric_error: Mapping[str, float]
    difference_error: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The errors as JSON values."""
        return {
            "bins": self.bins,
            "metric_error": {name: finite(error) for name, error in self.metric_error.items()},
            "difference_error": {name: finite(error) for name, error in self.difference_error.items()},
        }

    def told(self) -> str:
        """In words, the worst of them."""
        metric, difference = (
            max((each for each in errors.values() if math.isfinite(each)), default=0.0)
            for errors in (self.metric_error, self.difference_error)
        )
        return (
            f"the recording is not held, so scores were counted in {self.bins:,} bins: the metric is exact to within {metric:.2g}, "
            f"the mean difference of days to within {difference:.2g}"
        )


@dataclass(frozen=True)
class NoiseFloor:
    """The incumbent against itself: one random half of each block's rows against the other.

    Args:
        blocks: mature blocks with rows in both halves.
        difference: mean difference of the halves; NaN without a block.
        low: lower end of its confidence sequence.
        high: upper end; the interval should hold zero, for there is nothing to find.
        autocorrelation: of the block differences at lag one.
    """

    blocks: int
    difference: float
    low: float
    high: float
    autocorrelation: float

    @property
    def width(self) -> float:
        """How wide the interval is; ∞ during burn-in."""
        return self.high - self.low

    def to_dict(self) -> dict[str, Any]:
        """The noise floor as JSON values; what is not known is null."""
        return {
            "blocks": self.blocks,
            "difference": finite(self.difference),
            "difference_low": finite(self.low),
            "difference_high": finite(self.high),
            "width": finite(self.width),
            "autocorrelation": self.autocorrelation,
        }


@dataclass(frozen=True)
class Delays:
    """How long the labels took that came.

    Args:
        labels: how many came.
        percentiles_s: the 0th to the 100th, float64 [101], NaN where none came; the others may yet be slower.
    """

    labels: int
    percentiles_s: Floats

    @staticmethod
    def of(steps: NDArray[np.int64]) -> Delays:
        """Read the steps of a tally: each percentile is the longest delay of its step, so at most 1/128 too long."""
        counts = np.cumsum(steps[0])
        labels = int(counts[-1])
        if labels == 0:
            return Delays(0, np.full(101, np.nan))
        places = np.linspace(0, labels - 1, 101).round().astype(np.int64)
        return Delays(labels, steps[1][np.searchsorted(counts, places, side="right")] / 1e6)

    def to_dict(self) -> dict[str, Any]:
        """Three percentiles as JSON values."""
        return {"labels": self.labels} | {f"p{p}_s": finite(float(self.percentiles_s[p])) for p in (50, 90, 99)}


@dataclass(frozen=True)
class Cohorts:
    """What turned out true of each UTC day of requests, once everything that the recording holds was known.

    Args:
        day_0: the first day, counted from 1970.
        asked: requests, int64 [days].
        labelled: those of them whose label counts, int64 [days].
        metric: over those by model, float64 [days]; NaN where there are none.
    """

    day_0: int
    asked: NDArray[np.int64]
    labelled: NDArray[np.int64]
    metric: dict[str, Floats]

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a day and model, in order of time."""
        coverage = _share(self.labelled, self.asked).tolist()
        days = [moment((self.day_0 + day) * 86_400_000_000).date().isoformat() for day in range(len(self.asked))]
        return [
            {"day": day, "name": name, "asked": asked, "labelled": labelled, "coverage": finite(share), "metric": finite(float(values[place]))}
            for place, (day, asked, labelled, share) in enumerate(
                zip(days, self.asked.tolist(), self.labelled.tolist(), coverage, strict=True)
            )
            for name, values in self.metric.items()
        ]  # fmt: skip


@dataclass(frozen=True)
class Timeline:
    """What each look would have shown, as arrays over the looks.

    Args:
        as_of_us: when one looks, int64 [looks], microseconds since 1970 in UTC.
        counts: the states of the requests, the same for every model.
        metric: over the matured rows by model, float64 [looks]; NaN while there are none.
        turned_out: what it turned out to be over the same requests, all those asked by then, once every label was in that
            counts; by model, float64 [looks]; known at the end only, and NaN at looks other than UTC midnights.
        labelled: how many of them got one, int64 [looks]; −1 at looks other than UTC midnights.
        paths: the comparison with the incumbent by candidate.
    """

    as_of_us: NDArray[np.int64]
    counts: Counts
    metric: dict[str, Floats]
    turned_out: dict[str, Floats]
    labelled: NDArray[np.int64]
    paths: dict[str, Path]

    @property
    def coverage(self) -> Floats:
        """Matured over asked, float64 [looks]."""
        return _share(self.counts.matured, self.counts.asked)

    @property
    def mature_coverage(self) -> Floats:
        """Matured over those whose fate is known, matured or expired, float64 [looks]."""
        return _share(self.counts.matured, self.counts.matured + self.counts.expired)

    @property
    def final_coverage(self) -> Floats:
        """Of the requests asked by then, the share whose label came in the end, float64 [looks]; NaN where that is not told."""
        return _share(self.labelled, np.where(self.labelled < 0, 0, self.counts.asked))

    def series(self, until_us: int) -> dict[str, NDArray[Any]]:
        """Everything said up to and including a time, as named arrays of one length; what turned out later is not among it."""
        looks = int(np.searchsorted(self.as_of_us, until_us, side="right"))
        all_series: dict[str, NDArray[Any]] = {"as_of_us": self.as_of_us}
        all_series |= {state: getattr(self.counts, state) for state in ("asked", "matured", "expired", "pending")}
        all_series |= {f"metric of {name}": values for name, values in self.metric.items()}
        for name, path in self.paths.items():
            for part in ("blocks", "difference", "low", "high", "e_value"):
                all_series[f"{part} of {name}"] = getattr(path, part)
        return {name: values[:looks] for name, values in all_series.items()}

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a look and model, in order of time; the incumbent has no comparison, so null there."""
        states = {state: getattr(self.counts, state).tolist() for state in ("asked", "matured", "expired", "pending")}
        shares = {name: getattr(self, name).tolist() for name in ("coverage", "mature_coverage", "final_coverage")}
        told = []
        for look, as_of_us in enumerate(self.as_of_us.tolist()):
            shared = {"as_of": iso(moment(as_of_us))} | {state: counts[look] for state, counts in states.items()}
            shared |= {name: finite(each[look]) for name, each in shares.items()}
            told += [shared | self._entry(look, name) for name in self.metric]
        return told

    def _entry(self, look: int, name: str) -> dict[str, Any]:
        path = self.paths.get(name)
        return {
            "name": name,
            "metric": finite(float(self.metric[name][look])),
            "metric_turned_out": finite(float(self.turned_out[name][look])),
            "blocks": None if path is None else int(path.blocks[look]),
            "difference": None if path is None else finite(float(path.difference[look])),
            "difference_low": None if path is None else finite(float(path.low[look])),
            "difference_high": None if path is None else finite(float(path.high[look])),
            "e_value": None if path is None else finite(float(path.e_value[look])),
        }


@dataclass(frozen=True)
class Comparison:
    """Who would have won, and when one would have known.

    Args:
        recording: its name.
        rows: requests replayed.
        start: when the first of them was asked.
        end: the last look.
        metric: by name.
        unit: of the metric.
        differenced: what differences are of: the metric, but where a root is shown, what is below the root.
        differenced_unit: of the differences.
        horizon_s: how long a label may take.
        every_s: from one look to the next.
        max_loss: by how much a candidate may be worse.
        level: the chance of any wrong decision, over all looks and candidates.
        level_each: what of it each candidate gets: `level` split evenly (Bonferroni).
        incumbent: the model that runs now.
        challenger: the candidate whose fate is the verdict; the incumbent where there is none.
        candidates: what was known of each at the end.
        timeline: what each look would have shown.
        winner: the candidate that may replace the incumbent, superior before non-inferior, then the smallest difference;
            the incumbent where none may.
        decided_at: the first time as of which the challenger's fate was known; None while undecided.
        verdict: go where the challenger may replace the incumbent, no-go where it is worse; go without a challenger.
        label_coverage: share of all requests whose label counts at the last look.
        never_arrived: share of the requests older than the horizon at the last look whose label never came at all.
        late: share of them whose label came too late to count.
        delays: how long labels took.
        noise_floor: the incumbent against itself.
        cohorts: what turned out true, by event time.
        notes: what the reader of the recording has to say of it.
        greater_is_better: whether the metric is better the greater it is.
        binned: what was not told apart of a metric of ranks, of a recording that is not held; None where everything was.
    """

    recording: str
    rows: int
    start: datetime
    end: datetime
    metric: str
    unit: str
    differenced: str
    differenced_unit: str
    horizon_s: float
    every_s: float
    max_loss: float
    level: float
    level_each: float
    incumbent: str
    challenger: str
    candidates: tuple[Candidate, ...]
    timeline: Timeline
    winner: str
    decided_at: datetime | None
    verdict: Verdict
    label_coverage: float
    never_arrived: float
    late: float
    delays: Delays
    noise_floor: NoiseFloor
    cohorts: Cohorts
    notes: tuple[str, ...] = ()
    greater_is_better: bool = False
    binned: Binned | None = None

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values: times in ISO 8601, null for what is not known."""
        plain = ("recording", "rows", "metric", "unit", "horizon_s", "every_s", "max_loss", "level", "level_each")
        names = ("incumbent", "challenger", "winner")
        return {
            **{name: getattr(self, name) for name in (*plain, *names)},
            "start": iso(self.start),
            "end": iso(self.end),
            "difference_of": self.differenced,
            "difference_unit": self.differenced_unit,
            "greater_is_better": self.greater_is_better,
            "decided_at": iso(self.decided_at),
            "label_coverage": finite(self.label_coverage),
            "never_arrived": finite(self.never_arrived),
            "late": finite(self.late),
            "delay": self.delays.to_dict(),
            "noise_floor": self.noise_floor.to_dict(),
            "verdict": self.verdict.to_dict(),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "timeline": self.timeline.to_dict(),
            "by_event_time": self.cohorts.to_dict(),
            "binned": None if self.binned is None else self.binned.to_dict(),
            "notes": list(self.notes),
        }


def moment(microseconds: int) -> datetime:
    """The time that a count of microseconds since 1970 means.

    Example:
        >>> moment(86_400_000_000).isoformat()
        '1970-01-02T00:00:00+00:00'
    """
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def finite(value: float) -> float | None:
    """A figure for JSON, which knows neither NaN nor ∞.

    Example:
        >>> finite(0.5), finite(math.inf)
        (0.5, None)
    """
    return value if math.isfinite(value) else None


def iso(time: datetime | None) -> str | None:
    """A time for JSON, in ISO 8601."""
    return None if time is None else time.isoformat()


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    share = np.full(len(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
