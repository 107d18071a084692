"""Rehearsal: find what the server can do, survey its road, drive a trace that was held out, survey it again, and compare.

A machine is a little faster at one time than at another, and near its capacity a hundredth of speed comes back sixfold in a queue. So the
road is measured before the trace and after it: what changes steadily meanwhile is the same in the mean of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError, MeasurementError
from windtunnel.quantity import format_duration, format_figure
from windtunnel.request_log import COMPLETED
from windtunnel.road import CALIBRATING_S, LOADS
from windtunnel.simulate.live import LiveRun, Schedule, drive
from windtunnel.trace import Trace

from .compare import Agreement, compare
from .observed import Observed
from .predict import Prediction, predict, told_afterwards
from .strangers import Strangers, doubt
from .survey import ROUNDS, Survey, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.road import Road
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.live import Bodies, Target

    from .place import Place

    Floats = NDArray[np.float64]

TRIES = 3
"""How often it is driven where others were at work, or the generators late."""

PAUSE_S, PAUSE_REQUESTS = 1.0, 20
"""Between two turns, or as long as so many requests take at capacity, so that nothing is left of the first."""

LEAST_SENT = 60
"""Requests at each of them in a survey, however long they take."""

PROBE, PROBE_ROUNDS = 64, 4
"""Requests sent at once to see how fast the server is at least; more where they would not fill so many batches of every replica."""

LEAST_ANSWERS = 8
"""From fewer answers no capacity is taken."""

OVERLOAD = 1.3
"""By how much more than it seems to bear it is asked, to see what it bears."""

OVERLOADED_S = 3.0
"""How long."""

BORNE, OVERRUN = 1.15, 1.7
"""A server that was asked for less than so many times what it answered may bear more; one that was asked for more than that was busy
with what it could not bear: an MLP that answers 2,900 requests a second answers 2,100 of 38,000, and is left with 26,000 connections."""

MORE = 1.5
"""By how much a server seems to bear more that bore all it was asked for."""

OVERLOADS = 8
"""How often it is asked for more, or less."""


@dataclass(frozen=True)
class Rehearsal:
    """A trace in the tunnel and on the road.

    Args:
        road: the stations.
        calibrated: whether they were measured in this run.
        told: by the tunnel.
        seen: on the road.
        run: what the driver says of it.
        agreement: how well they agree.
        load: the trace's share of capacity.
        strange: the share of the processors' time that others took while the trace was driven; None where that is not known.
        after: what was surveyed afterwards: before another trace, it need not be surveyed again. None where the road was given.
    """

    road: Road
    calibrated: bool
    told: Prediction
    seen: Observed
    run: LiveRun
    agreement: Agreement
    load: float
    strange: float | None = None
    after: Survey | None = None


class Roadside:
    """A server, and what is sent to it.

    Args:
        target: the server.
        bodies: of every size class.
        generators: processes that send.
        seeds: of the arrivals of calibrating runs (stream `arrivals`), and of the tunnel's luck (`service`).
        say: called with a line now and then.
    """

    def __init__(
        self,
        target: Target,
        bodies: Bodies,
        *,
        generators: int,
        seeds: Seeds,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.target, self.bodies, self.generators, self.seeds, self.say = target, bodies, generators, seeds, say
        self.strange: float | None = None
        self._surveys = 1

    def drive(self, name: str, arrivals_s: Floats) -> LiveRun:
        """Send requests at these times; `strange` is then what others took of the processors meanwhile.

        Raises:
            KeyboardInterrupt: it was stopped by hand.
        """
        schedule, strangers = Schedule.of(Trace(name, arrivals_s), self.bodies), Strangers()
        run = drive(self.target, schedule, self.bodies, generators=self.generators, seeds=self.seeds)
        self.strange = strangers.share()
        if not math.isnan(run.stopped_s):  # by Ctrl-C: a part of a run is not compared with a whole one
            raise KeyboardInterrupt
        return run

    def capacity_per_s(self, at_once: int = 1) -> float:
        """Answers a second of a server that always has more to do.

        Args:
            at_once: how many requests it takes to fill a batch of every replica.

        Raises:
            MeasurementError: it answers nothing.
        """
        probe_s = np.append(np.zeros(max(PROBE, PROBE_ROUNDS * at_once)), 0.001)
        rate, most = _least_per_s(self.drive("a probe", probe_s)), 0.0
        for _ in range(OVERLOADS):
            asked_per_s = OVERLOAD * rate
            count = max(int(asked_per_s * OVERLOADED_S), PROBE)
            rate = _answers_per_s(self.drive("an overload", np.arange(count) / asked_per_s))
            most = max(most, rate)
            if BORNE * rate <= asked_per_s <= OVERRUN * rate:
                break
            rate *= MORE if asked_per_s < BORNE * rate else 1.0
        return most

    def first_survey(self, place: Place, lasts_s: float) -> Survey:
        """Measure the road at shares of what the server can do, which is measured before."""
        capacity_per_s = self.capacity_per_s(place.batch.max_batch * place.replicas)
        self.say(f"  it answers {format_figure(capacity_per_s)} requests/s at most")
        return self.survey(capacity_per_s, lasts_s)

    def survey(self, capacity_per_s: float, lasts_s: float) -> Survey:
        """Measure the road at several loads, in turns, for so long in all.

        Args:
            capacity_per_s: of which the loads are shares.
            lasts_s: all loads together; longer where one would have too few requests.
        """
        rng, self._surveys = self.seeds.stream("arrivals", self._surveys), self._surveys + 1
        stretches, begin_s = [], 0.0
        for load in LOADS * ROUNDS:
            count = max(int(load * capacity_per_s * lasts_s / len(LOADS)), LEAST_SENT) // ROUNDS
            gaps_s = rng.exponential(1.0 / (load * capacity_per_s), count)
            stretches.append(begin_s + np.cumsum(gaps_s))
            begin_s = float(stretches[-1][-1]) + max(PAUSE_S, PAUSE_REQUESTS / capacity_per_s)
        arrivals_s = np.concatenate(stretches)
        self.say(f"  calibrating at {', '.join(f'{each:.0%}' for each in LOADS)} of {format_figure(capacity_per_s)} requests/s, "
                 f"for {format_duration(float(arrivals_s[-1]))}")  # fmt: skip
        for _ in range(TRIES):
            run = self.drive("a calibrating run", arrivals_s)
            reasons = tuple(f"while the road was calibrated: {reason}" for reason in run.reasons)
            doubts = (*reasons, *doubt(self.strange, "while the road was calibrated"))
            if not doubts:
                break
            self.say(f"  {doubts[0]}")
        seen = observe(run, told_of="a calibrating run")
        return Survey(capacity_per_s, tuple(split(seen, [len(each) for each in stretches])), doubts)


def rehearse(
    roadside: Roadside,
    place: Place,
    trace: Trace,
    *,
    load: float,
    duration_s: float,
    within: float,
    road: Road | None = None,
    before: Survey | None = None,
    calibrate_s: float = CALIBRATING_S,
    confidence: float = 0.95,
) -> Rehearsal:
    """Drive a trace at a share of capacity, tell it in the tunnel, and compare.

    A generator that did not keep up, or others at work on the machine, leave the verdict inconclusive, be it while calibrating (in
    this run, or in the one that the road is from) or afterwards.

    Args:
        roadside: the server.
        place: what it is.
        trace: held out: no calibration sees it.
        load: the share of capacity at which it comes, in the mean; its clock is scaled to that.
        duration_s: how long, at most.
        within: how far a quantile may be off; see `compare`.
        road: measured another time; measured now, before and after the trace, where None.
        before: what was surveyed just now; surveyed where None.
        calibrate_s: how long it is measured.
        confidence: of each interval.

    Raises:
        DataError: a road of another place, or a server that does not say how long batches took.
        MeasurementError: a server that answers nothing.
    """
    if road is not None:
        road.check(**vars(place))
        capacity_per_s = road.capacity_per_s
    else:
        before = before or roadside.first_survey(place, calibrate_s / 2.0)
        capacity_per_s = before.capacity_per_s
    scaled = scale(trace, load * capacity_per_s, duration_s)
    roadside.say(
        f"  {len(scaled):,} requests of {trace.name} over {format_duration(scaled.duration_s)}, at {load:.0%} of capacity"
    )
    run = roadside.drive(trace.name, scaled.arrivals_s)
    strange, seen, after = roadside.strange, observe(run, told_of=trace.name), None
    if before is not None:
        try:
            after = roadside.survey(capacity_per_s, calibrate_s / 2.0)
        except (DataError, MeasurementError) as error:  # what was driven for minutes is told all the same
            before = replace(
                before, doubts=(*before.doubts, f"the road could not be surveyed after the trace ({error})")
            )
        road = (before + after if after is not None else before).road(place)
    assert road is not None, "given, or measured"
    seed = roadside.seeds.number("service") % 2**31
    told = predict(road, run.log.scheduled_s, seed=seed)
    at_pace_s = told_afterwards(road, told.scheduled_s, seen, seed=seed)
    doubts = (*road.doubts, *run.reasons, *doubt(strange, "while the trace was driven"))
    agreement = compare(road, told, seen, within=within, confidence=confidence, doubts=doubts, at_pace_s=at_pace_s)
    return Rehearsal(road, before is not None, told, seen, run, agreement, load, strange, after)


def scale(trace: Trace, rate_per_s: float, duration_s: float) -> Trace:
    """As much of a trace as comes in a duration when its clock is scaled to a rate.

    Example:
        >>> scaled = scale(Trace("t", np.arange(100.0)), 10.0, 5.0)
        >>> len(scaled), scaled.duration_s
        (50, 5.0)
    """
    count = min(max(int(rate_per_s * duration_s), 2), len(trace))
    times_s = trace.arrivals_s[:count] - trace.arrivals_s[0]
    if times_s[-1] == 0.0:
        raise DataError("has all its first requests at one instant", field=trace.name, fix="give a longer --duration")
    return Trace(trace.name, times_s * (count / rate_per_s / times_s[-1]))


def observe(run: LiveRun, *, told_of: str) -> Observed:
    """What answers tell of a run.

    Raises:
        DataError: they do not say how long anything took.
    """
    seen = Observed.of(run.log, run.queue_s, run.model_s)
    if not len(seen):
        raise DataError(
            "has no answer that says how long its batch took", field=told_of,
            fix="drive a server that sends Server-Timing and X-Batch-Size (windtunnel serve), and see in its log whether it answers",
        )  # fmt: skip
    return seen


def _least_per_s(run: LiveRun) -> float:
    """Answers a second since the first request was sent, connections and all that is new to a server included.

    Raises:
        MeasurementError: too few answers.
    """
    log = run.log
    finished_s = log.finished_s[log.status == COMPLETED]
    if len(finished_s) < LEAST_ANSWERS:
        raise MeasurementError(
            f"the server answered {len(finished_s)} of {len(log)} requests, too few for a capacity; is the model right, or does it "
            "take many seconds a request?"
        )
    return len(finished_s) / float(finished_s.max() - log.scheduled_s[0])


def _answers_per_s(run: LiveRun) -> float:
    """Answers a second of the second half but its last tenth: what is new to a server it has met by then.

    Refusals, and those who waited in vain, are no answers. Of a server that had not answered half of them when nobody waited any
    more, the rate since the first was sent: to one that slow its first requests are like any other.
    """
    log = run.log
    finished_s = np.sort(log.finished_s[log.status == COMPLETED])
    if 2 * len(finished_s) < len(log):
        return _least_per_s(run)
    first, last = len(finished_s) // 2, len(finished_s) - 1 - len(finished_s) // 10
    return (last - first) / float(finished_s[last] - finished_s[first])
