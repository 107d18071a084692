"""Rehearsal: find what the server can do, calibrate the road, drive a trace that was held out, and compare."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError, MeasurementError
from windtunnel.quantity import format_duration, format_figure
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.live import LiveRun, Schedule, drive
from windtunnel.trace import Trace

from .calibrate import calibrate
from .compare import Agreement, compare
from .observed import Observed
from .predict import Prediction, predict
from .strangers import Strangers, doubt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.hardware import Hardware
    from windtunnel.road import Road
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.live import Bodies, Target

    Floats = NDArray[np.float64]

LOADS = (0.2, 0.5, 0.8)
"""Shares of capacity at which the road is measured."""

ROUNDS = 3
"""How often each of them has its turn: a slow moment of the machine is no property of one load."""

STEADY = 0.08
"""By so much the middle of what batches take may differ from turn to turn; 3% where a machine is left alone."""

CALIBRATING_S = 51.0
"""How long at all of them."""

TRIES = 3
"""How often it is driven where others were at work, or the generators late."""

PAUSE_S, PAUSE_REQUESTS = 1.0, 20
"""Between two turns, or as long as so many requests take at capacity, so that nothing is left of the first."""

LEAST_SENT = 120
"""Requests at each of them, however long they take."""

PROBE, PROBE_ROUNDS = 64, 4
"""Requests sent at once to see how fast the server is at all; more where they would not fill so many batches of every replica, as
answers of one batch come all at once and tell no rate."""

LEAST_ANSWERS = 8
"""From fewer answers no capacity is taken."""

SPANS = ("handler_s", "queue_s", "model_s", "batch_size", "replica")
"""Columns of what is seen that no clock of the run is in."""

OVERLOAD = 1.3
"""By how much more than it seems to bear it is asked, to see what it bears."""

OVERLOADED_S = 3.0
"""How long."""


@dataclass(frozen=True)
class Place:
    """What a road is measured on, or must be the same as it was measured on.

    Args:
        variant: the variant's name.
        sha256: of its file.
        hardware: this machine.
        ray: the version that serves.
        ingress: what stands in front.
        batch: when a batch leaves.
        replicas: how many serve.
    """

    variant: str
    sha256: str
    hardware: Hardware
    ray: str
    ingress: str
    batch: BatchPolicy
    replicas: int


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
    """

    road: Road
    calibrated: bool
    told: Prediction
    seen: Observed
    run: LiveRun
    agreement: Agreement
    load: float
    strange: float | None = None


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
        rate = _answers_per_s(self.drive("a probe", probe_s))
        count = max(int(OVERLOAD * rate * OVERLOADED_S), PROBE)
        return _answers_per_s(self.drive("an overload", np.arange(count) / (OVERLOAD * rate)))

    def calibrate(self, place: Place, lasts_s: float = CALIBRATING_S) -> Road:
        """Measure the road at several loads, in turns, for so long in all."""
        capacity = self.capacity_per_s(place.batch.max_batch * place.replicas)
        stretches, begin_s = [], 0.0
        rng = self.seeds.stream("arrivals", 1)
        for load in LOADS * ROUNDS:
            count = max(int(load * capacity * lasts_s / len(LOADS)), LEAST_SENT) // ROUNDS
            gaps_s = rng.exponential(1.0 / (load * capacity), count)
            stretches.append(begin_s + np.cumsum(gaps_s))
            begin_s = float(stretches[-1][-1]) + max(PAUSE_S, PAUSE_REQUESTS / capacity)
        arrivals_s = np.concatenate(stretches)
        self.say(f"  it answers {format_figure(capacity)} requests/s at most; calibrating at "
                 f"{', '.join(f'{each:.0%}' for each in LOADS)} of it, for {format_duration(float(arrivals_s[-1]))}")  # fmt: skip
        for _ in range(TRIES):
            run = self.drive("a calibrating run", arrivals_s)
            reasons = tuple(f"while the road was calibrated: {reason}" for reason in run.reasons)
            doubts = (*reasons, *doubt(self.strange, "while the road was calibrated"))
            if not doubts:
                break
            self.say(f"  {doubts[0]}")
        seen = observe(run, told_of="a calibrating run")
        turns = _split(seen, [len(each) for each in stretches])
        parts = [_joined(turns[at :: len(LOADS)]) for at in range(len(LOADS))]
        road = calibrate(parts, capacity_per_s=capacity, **vars(place))
        return replace(road, doubts=(*doubts, *_unsteady(turns, road)))


def rehearse(
    roadside: Roadside,
    place: Place,
    trace: Trace,
    *,
    load: float,
    duration_s: float,
    within: float,
    road: Road | None = None,
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
        road: measured before; measured now where None.
        calibrate_s: how long it is measured.
        confidence: of each interval.

    Raises:
        DataError: a road of another place, or a server that does not say how long batches took.
        MeasurementError: a server that answers nothing.
    """
    if road is not None:
        road.check(**vars(place))
    measured = roadside.calibrate(place, calibrate_s) if road is None else road
    scaled = scale(trace, load * measured.capacity_per_s, duration_s)
    roadside.say(
        f"  {len(scaled):,} requests of {trace.name} over {format_duration(scaled.duration_s)}, at {load:.0%} of capacity"
    )
    run = roadside.drive(trace.name, scaled.arrivals_s)
    seen = observe(run, told_of=trace.name)
    told = predict(measured, run.log.scheduled_s, seed=roadside.seeds.number("service") % 2**31)
    doubts = (*measured.doubts, *run.reasons, *doubt(roadside.strange, "while the trace was driven"))
    agreement = compare(measured, told, seen, within=within, confidence=confidence, doubts=doubts)
    return Rehearsal(measured, road is None, told, seen, run, agreement, load, roadside.strange)


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
    seen = Observed.of(run.log, run.handler_s, run.queue_s, run.model_s)
    if not len(seen):
        raise DataError(
            "has no answer that says how long its batch took", field=told_of,
            fix="drive a server that sends Server-Timing and X-Batch-Size (windtunnel serve), and see in its log whether it answers",
        )  # fmt: skip
    return seen


def _split(seen: Observed, counts: Sequence[int]) -> list[Observed]:
    """The stretches of one run, each as a run of its own."""
    ends = np.cumsum(counts)
    return [_between(seen, int(end - count), int(end)) for end, count in zip(ends, counts, strict=True)]


def _between(seen: Observed, first: int, end: int) -> Observed:
    """The requests from one number up to another."""
    chosen = (seen.number >= first) & (seen.number < end)
    columns = {name: getattr(seen, name)[chosen] for name in ("scheduled_s", "finished_s", *SPANS)}
    return replace(seen, **columns, number=seen.number[chosen] - first, asked=end - first)


def _joined(turns: Sequence[Observed]) -> Observed:
    """The turns of one load as one run, each begun when the one before was answered."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*SPANS, "scheduled_s", "finished_s", "number")}
    over_s, asked = 0.0, 0
    for turn in turns:
        shift_s = over_s - float(turn.scheduled_s[0]) if len(turn) else 0.0
        for name in SPANS:
            columns[name].append(getattr(turn, name))
        columns["scheduled_s"].append(turn.scheduled_s + shift_s)
        columns["finished_s"].append(turn.finished_s + shift_s)
        columns["number"].append(turn.number + asked)
        over_s, asked = float(np.max(turn.finished_s + shift_s, initial=over_s)), asked + turn.asked
    return replace(turns[0], **{name: np.concatenate(each) for name, each in columns.items()}, asked=asked)


def _unsteady(turns: Sequence[Observed], road: Road) -> tuple[str, ...]:
    """Why a road was not measured on a machine that stays as fast as it is; nothing where the turns of each load tell the same.

    A neighbour on the same host, or a clock that changes, takes no time that a kernel counts.
    """
    off = 0.0
    for at in range(len(LOADS)):
        batches = [each.batches for each in turns[at :: len(LOADS)] if len(each)]
        spans = [float(np.median(each.model_s / road.service_s[each.size])) for each in batches]
        off = max(off, max(spans) / min(spans) - 1.0)
    if off <= STEADY:
        return ()
    return (
        f"while the road was calibrated batches took {off:.0%} longer in one turn than in another at the same load: the machine is not steady",
    )


def _answers_per_s(run: LiveRun) -> float:
    """Answers a second of the second half but its last tenth: what is new to a server it has met by then.

    Refusals, and those who waited in vain, are no answers. Of a server that had not answered half of them when nobody waited any
    more, the rate since the first was sent: to one that slow its first requests are like any other.
    """
    log = run.log
    finished_s = np.sort(log.finished_s[log.status == COMPLETED])
    if len(finished_s) < LEAST_ANSWERS:
        raise MeasurementError(
            f"the server answered {len(finished_s)} of {len(log)} requests, too few for a capacity; is the model right, or does it "
            "take many seconds a request?"
        )
    if 2 * len(finished_s) < len(log):
        return len(finished_s) / float(finished_s[-1] - log.scheduled_s[0])
    first, last = len(finished_s) // 2, len(finished_s) - 1 - len(finished_s) // 10
    return (last - first) / float(finished_s[last] - finished_s[first])
