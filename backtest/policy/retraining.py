"""Replaying retraining schedules: who would have been trained when, on what was known, and from when on it would have served."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.drift import DISTANCES, watch
from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import Workers, fan_out
from windtunnel.loss import zero_one
from windtunnel.quantity import format_duration
from windtunnel.table import take_column

from .course import Course, Event, Outcome
from .trainer import Order, Trained, Workshop, train

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from .known import Labels
    from .prices import Prices
    from .schedule import Drift, Schedule

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Walk = Generator[Order, Trained, "Tour"]


@dataclass(frozen=True)
class Tour:
    """One replay of a schedule: what it did, which models served from when on, and how long its trainings took."""

    course: Course
    models: tuple[tuple[int, Trained], ...]
    training_s: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """What every schedule is replayed on.

    Args:
        shop: the recording and the user's `fit`.
        judged: the labels that count in judging: those within the horizon.
        start: the look at which the first model, trained on all that was known then, begins to serve.
        wrong_above: a prediction with a greater loss is wrong; not asked where the loss is binary.
    """

    shop: Workshop
    judged: Labels
    start: int
    wrong_above: float = math.inf

    @property
    def first(self) -> Order:
        """The training of the model that serves at the start, the same for every schedule; it is not charged."""
        return Order(int(self.shop.looks_us[self.start]))


def replay_schedules(
    schedules: Sequence[Schedule],
    bench: Bench,
    *,
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> list[Tour]:
    """Replay schedules side by side, training each model that any of them wants once.

    Each walks from look to look until it wants a model; then all that are wanted are trained, on Ray where that pays, and
    the walks go on. Trainings that a fixed schedule will want are begun together.

    Args:
        schedules: the policies.
        bench: the recording.
        workers: who trains.
        report: called with the number of models trained.
    """
    walks = [_walk(schedule, bench) for schedule in schedules]
    tours: dict[int, Tour] = {}
    trained: dict[Order, Trained] = {}
    wants = {place: next(walk) for place, walk in enumerate(walks)}
    ahead = [order for schedule in schedules for order in _planned(schedule, bench)]
    while wants:
        missing = [order for order in dict.fromkeys([*wants.values(), *ahead]) if order not in trained]
        ahead = []
        # one alone is not worth starting Ray for
        who = Workers(1) if len(missing) < 2 else workers
        items = [(order, trained[order.before] if order.before else None) for order in missing]
        found = fan_out(train, items, shared=bench.shop, workers=who)
        trained |= dict(zip(missing, found.results, strict=True))
        if missing:
            report(len(trained))
        for place, order in list(wants.items()):
            try:
                wants[place] = walks[place].send(trained[order])
            except StopIteration as stop:
                tours[place] = stop.value
                del wants[place]
    return [tours[place] for place in range(len(walks))]


def price_schedule(tour: Tour, bench: Bench, prices: Prices) -> Outcome:
    """What a replay was worth against never training again, by all labels that the recording knows at its last look."""
    shop, looks_us = bench.shop, bench.shop.looks_us
    first, end = shop.place(int(looks_us[bench.start])), shop.place(int(looks_us[-1]))
    known = bench.judged.standing(int(looks_us[-1]) + 1, first, end)
    served, number = _served(tour.models, shop, first, end)
    before = tour.models[0][1].predictions[: end - first]
    at = known.place - first
    saved = shop.loss.of(known.label, before[at]) - shop.loss.of(known.label, served[at])
    wrong = [_wrong(bench, known.label, each[at]) for each in (before, served)]
    look = np.searchsorted(looks_us, shop.time_us[known.place], side="right")
    gained = prices.usd_per_loss * saved + prices.usd_per_wrong * (wrong[0].astype(np.float64) - wrong[1])
    usd: Floats = np.bincount(look, gained, minlength=len(looks_us)).astype(np.float64)
    retrained = np.bincount(look[number[at] > 0], minlength=len(looks_us))
    expected = retrained * (usd.sum() / max(1, int(retrained.sum())))
    costs = [prices.usd_per_training + prices.usd_per_training_hour * each / 3600.0 for each in tour.training_s]
    begun = [event.at_us for event in tour.course.events if event.what == "training"]
    for each in (usd, expected):
        np.subtract.at(each, np.searchsorted(looks_us, begun), costs)
    counts = np.bincount(number, minlength=len(tour.models)).tolist()
    return Outcome(
        tour.course, usd, expected, {f"model {n}": rows for n, rows in enumerate(counts)}, float(saved.sum()),
        int(wrong[0].sum()) - int(wrong[1].sum()), bad_before_detection=int((wrong[1] & ~wrong[0]).sum()),
        trainings=len(costs), training_s=float(sum(tour.training_s)), spent_usd=float(sum(costs)),
    )  # fmt: skip


def _wrong(bench: Bench, label: Floats, prediction: Floats) -> NDArray[np.bool_]:
    if bench.shop.loss.binary:
        return np.equal(zero_one(label, prediction), 1.0)
    return np.greater(bench.shop.loss.of(label, prediction), bench.wrong_above)


def _served(models: tuple[tuple[int, Trained], ...], shop: Workshop, first: int, end: int) -> tuple[Floats, Ints]:
    """The prediction that each request was served, float64 [end − first], and the number of the model that made it."""
    served, number = np.empty(end - first), np.zeros(end - first, dtype=np.int64)
    for n, (from_us, model) in enumerate(models):
        place = max(shop.place(from_us), first)
        served[place - first :] = model.predictions[place - model.first : end - model.first]
        number[place - first :] = n
    return served, number


def _planned(schedule: Schedule, bench: Bench) -> list[Order]:
    """The trainings that a fixed schedule will want, if none is put off."""
    if schedule.every_s is None or schedule.warm or schedule.drift or schedule.alert:
        return []
    # where its time is not stated, a training is taken to be short: a few may be done in vain
    busy_s = (schedule.training_s or 0.0) + schedule.deploy_s
    every = max(_steps(each, bench) for each in (schedule.every_s, schedule.rest_s, busy_s))
    first = bench.start + _steps(schedule.every_s, bench)
    return [Order(int(us), schedule.window_us) for us in bench.shop.looks_us[first:-1:every]]


def _steps(seconds: float, bench: Bench) -> int:
    """How many looks a time takes, at least one, rounded up."""
    every_us = int(bench.shop.looks_us[1] - bench.shop.looks_us[0])
    return max(1, math.ceil(seconds * 1e6 / every_us - 1e-9))


def _walk(schedule: Schedule, bench: Bench) -> Walk:
    """Go from look to look; wants a model by yielding its order, and is sent it."""
    looks_us, start = bench.shop.looks_us, bench.start
    model = yield bench.first
    guard = _Guard(schedule, bench, int(looks_us[start]), model, start)
    order, fitted = bench.first, start
    waiting: tuple[int, Order, Trained, int] | None = None
    events: list[Event] = []
    models: list[tuple[int, Trained]] = [(int(looks_us[start]), model)]
    training_s: list[float] = []
    for look in range(start + 1, len(looks_us)):
        if waiting is not None and waiting[0] <= looks_us[look]:
            from_us, order, model, fitted = waiting
            models.append((from_us, model))
            events.append(Event(from_us, "deployed", f"learnt from {model.rows:,} rows", len(models) - 1))
            guard, waiting = _Guard(schedule, bench, from_us, model, fitted), None
        # what is begun at the last look serves nobody
        if waiting is not None or look == len(looks_us) - 1:
            continue
        reason = guard.reason(look)
        if not reason or (training_s and look - fitted < _steps(schedule.rest_s, bench)):
            continue
        wanted = Order(int(looks_us[look]), schedule.window_us, order if schedule.warm else None)
        events.append(Event(wanted.at_us, "training", reason, len(models) - 1))
        new = yield wanted
        training_s.append(new.wall_s if schedule.training_s is None else schedule.training_s)
        ready_us = wanted.at_us + math.ceil((training_s[-1] + schedule.deploy_s) * 1e6)
        waiting = ready_us, wanted, new, look
    return Tour(Course(start, tuple(events), _levels(models, looks_us, start)), tuple(models), tuple(training_s))


def _levels(models: list[tuple[int, Trained]], looks_us: Ints, start: int) -> Floats:
    """The number of the model that serves as each look's requests begin, float64 [looks]."""
    froms = np.array([from_us for from_us, _ in models])
    level = np.zeros(len(looks_us))
    level[start + 1 :] = np.searchsorted(froms, looks_us[start:-1], side="right") - 1
    return level


@dataclass
class _Guard:
    """Watches one model from when it serves: whether it should be trained anew."""

    schedule: Schedule
    bench: Bench
    from_us: int
    model: Trained
    fitted: int
    excess: list[float] = field(default_factory=list)
    first_window: float = math.nan

    def __post_init__(self) -> None:
        self.alarm = _alarms(self.schedule.drift, self.bench, self.fitted) if self.schedule.drift else None

    def reason(self, look: int) -> str:
        """Why a training should begin now; empty: it need not."""
        every_s, drift, alert = self.schedule.every_s, self.schedule.drift, self.schedule.alert
        if every_s is not None and look - self.fitted >= _steps(every_s, self.bench):
            return f"{format_duration(every_s)} have passed"
        if drift is not None and self.alarm is not None and self.alarm[max(0, look - drift.looks + 1) : look + 1].all():
            return f"`{drift.column}` has moved for {drift.looks} looks"
        if alert is not None:
            self.excess.append(self._excess(look))
            if alert.fires(self.excess):
                return f"the last {format_duration(alert.window_s)} lost {self.excess[-1]:.4g} more a request"
        return ""

    def _excess(self, look: int) -> float:
        """How much more the model's own requests of the window lost than the reference, by the labels that are in; NaN: too few."""
        alert, shop = self.schedule.alert, self.bench.shop
        assert alert is not None
        now_us, window_us = int(shop.looks_us[look]), round(alert.window_s * 1e6)
        since_us = max(self.from_us, now_us - window_us)
        known = self.bench.judged.standing(now_us + 1, shop.place(since_us), shop.place(now_us))
        if len(known.place) < alert.least_rows:
            return math.nan
        loss = float(shop.loss.of(known.label, self.model.predictions[known.place - self.model.first]).mean())
        if alert.reference is not None:
            return loss - alert.reference
        if now_us - self.from_us < window_us:
            return math.nan
        if math.isnan(self.first_window):
            self.first_window = loss
        return loss - self.first_window


def _alarms(drift: Drift, bench: Bench, fitted: int) -> NDArray[np.bool_]:
    """Drift alarms by look, bool [looks]: a look's requests against those of the looks up to the training."""
    looks_us, shop = bench.shop.looks_us, bench.shop
    alarm = np.zeros(len(looks_us), dtype=np.bool_)
    first = fitted - drift.reference
    if first < 0:
        raise ConfigError(
            f"begins before the first look: the model was trained at look {fitted}", field="drift reference", value=drift.reference,
            fix="begin later, or take a shorter reference",
        )  # fmt: skip
    if fitted + 1 >= len(looks_us):
        return alarm
    column = take_column(shop.recording.frame, drift.column, file=shop.recording.name)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError("is not a number", file=shop.recording.name, field=drift.column, fix="watch a numeric feature")
    values = column.cast(pl.Float64).fill_null(math.nan).to_numpy()
    edges = [shop.place(int(us)) for us in looks_us[first:]]
    periods = [values[a:b] for a, b in itertools.pairwise(edges)]
    kept = [each[~np.isnan(each)] for each in periods]
    # the threshold comes from the reference alone, and each period's distance from it and the period
    found = watch(drift.column, kept, DISTANCES[drift.distance], reference=drift.reference, rate=drift.rate)
    alarm[first + 1 :] = found.alarm
    return alarm


def bench_of(shop: Workshop, horizon_s: float, start: int, wrong_above: float = math.inf) -> Bench:
    """Set up what schedules are replayed on.

    Args:
        shop: the recording and the user's `fit`.
        horizon_s: how long after its request a label still counts in judging.
        start: the look at which the first model begins to serve.
        wrong_above: see `Bench`.

    Raises:
        ConfigError: a start that leaves no look.
        DataError: labels that the loss cannot take.
    """
    if not 0 <= start < len(shop.looks_us) - 1:
        raise ConfigError(
            "leaves no look", field="start", value=start, fix=f"begin before look {len(shop.looks_us) - 1}"
        )
    shop.loss.check_labels(shop.labels.label)
    return Bench(shop, shop.labels.within(round(horizon_s * 1e6)), start, wrong_above)
