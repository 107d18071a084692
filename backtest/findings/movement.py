"""Whether the world moved: each watched column held against its own beginning, by every detector that was asked for."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite, iso, moment
from windtunnel.backtest.drift import DISTANCES, STREAMING, Stream, domain_auc, score_alarms, stream_alarms, watch
from windtunnel.backtest.plot import colour, figure, kept, line, rule, times
from windtunnel.errors import ConfigError, nearest
from windtunnel.quantity import format_duration, format_instant
from windtunnel.report.section import Figure, Section, Table

from .held import looks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from windtunnel.backtest.drift import Score

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

DOMAIN = "domain_classifier"
DETECTORS = (*DISTANCES, DOMAIN, *STREAMING)
"""The detectors by the name that users write."""

MOST_STREAMED = 100_000
"""A streaming detector is given at most so many requests, evenly thinned: river takes some 40,000 a second."""


LAST = 7
"""By so many last periods it is judged whether a column had moved when the recording ended."""

FOOLED = 0.05
"""The chance that this is said of anything though nothing moved."""


@dataclass(frozen=True)
class Watched:
    """What one detector said of one column, period by period.

    Args:
        column: its name; several, joined by commas, for the domain classifier.
        detector: by name.
        reference: how many of the first periods are the reference.
        distance: of each period from the reference, float64 [periods]; NaN of detectors that only raise alarms.
        threshold: beyond which a period is an alarm; NaN likewise.
        alarm: bool [periods].
        score: what the alarms were worth where changes are known; None where none is.
    """

    column: str
    detector: str
    reference: int
    distance: Floats
    threshold: float
    alarm: Flags
    score: Score | None

    def chance(self, rate: float) -> float:
        """How likely so many alarms in the last periods would be if nothing moved.

        The threshold is one of m distances of the reference, the k-th: while periods are exchangeable, the chance that a new one
        lies beyond it is itself drawn, from Beta(m + 1 − k, k), and the count of alarms is beta-binomial.

        Args:
            rate: the share of alarms while nothing moves, by which the threshold was set.

        Example:
            >>> said = [False] * 20 + [False, True, False, True, True, True, True]
            >>> nothing, none = np.empty(0), np.zeros(27, dtype=np.bool_)
            >>> round(Watched("x", "ks", 20, nothing, 1.0, np.array(said), None).chance(0.05), 4)
            0.0003
            >>> Watched("x", "ks", 20, nothing, 1.0, none, None).chance(0.05)
            1.0
        """
        from scipy.stats import betabinom

        last = self.alarm[max(self.reference, len(self.alarm) - LAST) :]
        beyond = max(1, self.reference + 1 - math.ceil((self.reference + 1) * (1.0 - rate) - 1e-9))
        alarms = betabinom(len(last), beyond, self.reference + 1 - beyond)
        return float(alarms.sf(int(last.sum()) - 1))

    def to_dict(self, looks_us: Ints, period_s: float) -> dict[str, Any]:
        """As JSON values; alarms as the look that raised them."""
        told = {
            "column": self.column, "detector": self.detector, "reference_periods": self.reference,
            "threshold": finite(self.threshold), "distance": [finite(float(each)) for each in self.distance],
            "alarms": [iso(moment(int(us))) for us in looks_us[self.alarm]],
        }  # fmt: skip
        if self.score is None:
            return told
        score = self.score.to_dict()
        delays = {name: score.pop(name) for name in ("delay", "dummy_delay")}
        rates = {f"{name}_periods": score.pop(f"{name}_per_1000") for name in ("false", "alarms")}
        return told | {
            "changes": score["changes"], "detected": score["detected"],
            "delay_s": _seconds(delays["delay"], period_s), "dummy_detected_share": score["dummy_detected"],
            "dummy_delay_s": _seconds(delays["dummy_delay"], period_s),
            "false_alarms_per_1000_periods": rates["false_periods"], "alarms_per_1000_periods": rates["alarms_periods"],
            "p_value": score["p_value"], "beats_dummy": score["beats_dummy"],
        }  # fmt: skip


@dataclass(frozen=True)
class Movement:
    """All that was watched.

    Args:
        looks_us: the end of each period, int64 [periods].
        period_s: how long one is.
        rate: the share of alarms to expect while nothing moves.
        watched: one a column and detector.
        changes_us: when the world is known to have changed.
    """

    looks_us: Ints
    period_s: float
    rate: float
    watched: tuple[Watched, ...]
    changes_us: Ints

    @staticmethod
    def of(
        held: Held,
        *,
        columns: Sequence[str] = (),
        detectors: Sequence[str] = ("psi",),
        reference_us: int = 30 * 86_400_000_000,
        rate: float = 0.05,
        period_us: int = 0,
        changes_us: Sequence[int] = (),
        patience_us: int = 14 * 86_400_000_000,
        seed: int = 1,
    ) -> Movement:
        """Watch columns, period by period.

        Args:
            held: the recording.
            columns: features, or models, whose predictions are meant; the incumbent's where empty.
            detectors: by name; the domain classifier takes all columns at once.
            reference_us: how much of the beginning is the reference.
            rate: the share of periods that may raise an alarm while nothing moves.
            period_us: how long a period is; see `Held.periods`.
            changes_us: when the world is known to have changed, to score the alarms by.
            patience_us: how late after a change an alarm may come.
            seed: of detectors that draw.

        Raises:
            ConfigError: an unknown detector, a recording that is hardly longer than the reference, or a change that lies in it.
        """
        for name in detectors:
            if name not in DETECTORS:
                raise ConfigError(
                    "is not a detector", field="drift.detectors", value=name, fix=nearest(name, DETECTORS)
                )
        chosen = tuple(columns) or held.models[:1]
        # periods end with the requests: what labels come later moves no edge
        periods = held.periods(period_us, until_us=int(held.rows.time_us.max()))
        reference = max(1, round(reference_us / periods.every_us))
        eyes = _Eyes(held, looks_of(periods), periods.of_request(held.rows.time_us), reference, rate, seed)
        watched = [
            eyes.look(columns, name)
            for name in detectors
            for columns in ([chosen] if name == DOMAIN else [(c,) for c in chosen])
        ]
        places = periods.of_request(np.sort(np.asarray(changes_us, dtype=np.int64)))
        if len(places):
            patience = max(1, round(patience_us / periods.every_us))
            watched = [_scored(each, places, patience) for each in watched]
        return Movement(
            eyes.looks_us, periods.every_us / 1e6, rate, tuple(watched), np.sort(np.asarray(changes_us, dtype=np.int64))
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Columns with more alarms in the last periods than chance raises, over all that is watched together."""
        moved = sorted({each.column for each in self.watched if each.chance(self.rate) * len(self.watched) <= FOOLED})
        if not moved:
            return ()
        names = ", ".join(f"`{name}`" for name in moved)
        told = (
            f"{names} had moved away from the beginning of the recording when it ended: what "
            "held on the whole of it need not hold of what comes"
        )
        return (told,)

    def to_dict(self) -> dict[str, Any]:
        """`drift`, one entry a column and detector."""
        return {"drift": [each.to_dict(self.looks_us, self.period_s) for each in self.watched]}

    def draw(self) -> Section:
        """What was watched, and its distance from the reference over time."""
        note = (
            f"Drift: each period of {format_duration(self.period_s)} is held against the first "
            f"{self.watched[0].reference}; the threshold is set by how far those lie from each other, so that about "
            f"{self.rate:.0%} of periods raise an alarm while nothing moves. Streaming detectors (ADWIN, KSWIN, Page–Hinkley) "
            "set their own. It says that inputs moved, not that the model got worse."
        )
        return Section("", "", (), (self._table(),), self._figures(), (note,))

    def series(self) -> Series:
        """Distances and alarms of the periods behind the reference, whose own distances hang on each other."""
        told: dict[str, NDArray[Any]] = {}
        for each in self.watched:
            behind = np.arange(len(self.looks_us)) >= each.reference
            told[f"{each.detector} of {each.column}"] = np.where(behind, each.distance, math.nan)
            told[f"alarm of {each.detector} of {each.column}"] = each.alarm
        return self.looks_us, told

    def _table(self) -> Table:
        heads: tuple[str, ...] = ("column", "detector", "periods with an alarm", "first alarm")
        rows = tuple((*self._row(each), *_told(each.score, self.period_s)) for each in self.watched)
        if len(self.changes_us):
            heads += ("changes found", "by alarms at random", "delay")
        return Table("What moved away from the beginning of the recording", heads, rows, brief=heads[:3])

    def _row(self, each: Watched) -> tuple[str, ...]:
        share = f"{int(each.alarm.sum())} of {len(self.looks_us) - each.reference}"
        first = moment(int(self.looks_us[int(each.alarm.argmax())])) if each.alarm.any() else None
        return each.column, each.detector, share, format_instant(first)

    def _figures(self) -> tuple[Figure, ...]:
        """Every distance over its own threshold, so that one axis serves all."""
        shown = [each for each in self.watched if math.isfinite(each.threshold) and each.threshold > 0.0]
        if not shown:
            return ()
        points = kept(len(self.looks_us))
        x = times(self.looks_us[points])
        data = [
            line(
                x,
                (each.distance / each.threshold)[points],
                f"{each.column}, {each.detector}",
                line={"color": f"rgb({colour(place)})"},
            )
            for place, each in enumerate(shown)
        ]
        top = max(1.0, *(float(np.nanmax(each.distance)) / each.threshold for each in shown))
        data += [rule(x, 1.0, "threshold", "dash")]
        data += [
            line([moment(int(us)).isoformat()] * 2, [0.0, top], "known change", line={"dash": "dot", "color": "gray"})
            for us in self.changes_us
        ]
        caption = "How far each period lies from the first ones, in multiples of its threshold: above one is an alarm."
        return (figure(caption, data, "distance ÷ threshold", "end of the period (UTC)"),)


@dataclass(frozen=True)
class _Eyes:
    """What all detectors look at: the requests by period."""

    held: Held
    looks_us: Ints
    period: Ints
    reference: int
    rate: float
    seed: int

    def look(self, columns: Sequence[str], detector: str) -> Watched:
        if detector in STREAMING:
            return self._streamed(columns[0], detector)
        values = self.held.matrix(columns) if detector == DOMAIN else self.held.numbers(columns[0])
        distance: Callable[[Floats, Floats], float] = domain_auc if detector == DOMAIN else DISTANCES[detector]
        order = self._order()
        edges = np.searchsorted(self.period[order], np.arange(len(self.looks_us) + 1))
        parts = [values[order[begin:end]] for begin, end in itertools.pairwise(edges)]
        seen = watch(", ".join(columns), parts, distance, reference=self.reference, rate=self.rate)
        return Watched(seen.name, detector, self.reference, seen.distance, seen.threshold, seen.alarm, None)

    def _streamed(self, column: str, detector: str) -> Watched:
        order = self._order()
        order = order[self.period[order] < len(self.looks_us)]
        thinned = order[:: -(-len(order) // MOST_STREAMED)]
        reference = int(np.searchsorted(self.period[thinned], self.reference))
        alarms = stream_alarms(detector, self.held.numbers(column)[thinned], reference=reference, seed=self.seed)
        alarm = np.zeros(len(self.looks_us), dtype=np.bool_)
        alarm[self.period[thinned][alarms]] = True
        return Watched(column, detector, self.reference, np.full(len(alarm), math.nan), math.nan, alarm, None)

    def _order(self) -> Ints:
        """The requests, each once, in the order in which they were asked."""
        requests = np.flatnonzero(self.held.first)
        return requests[np.argsort(self.held.rows.time_us[requests], kind="stable")]


def _scored(each: Watched, changes: Ints, patience: int) -> Watched:
    if changes[0] < each.reference or changes[-1] >= len(each.alarm):
        raise ConfigError(
            "lies in the reference or beyond the last period", field="drift.changes", value=changes.tolist(),
            fix="name changes that lie between, or take a shorter reference",
        )  # fmt: skip
    stream = Stream(each.distance, np.unique(changes), each.reference)
    # what lasts is one alarm: after a change every period lies far from the first ones, and rightly so
    begun = np.flatnonzero(each.alarm & ~np.append(False, each.alarm[:-1]))
    score = score_alarms(each.detector, [stream], [begun], patience)
    return Watched(each.column, each.detector, each.reference, each.distance, each.threshold, each.alarm, score)


def _told(score: Score | None, period_s: float) -> tuple[str, ...]:
    if score is None:
        return ()
    delay = "—" if math.isnan(score.delay) else format_duration(score.delay * period_s)
    return f"{score.detected} of {score.changes}", f"{score.dummy_detected:.0%}", delay


def _seconds(periods: float | None, period_s: float) -> float | None:
    return None if periods is None else periods * period_s
