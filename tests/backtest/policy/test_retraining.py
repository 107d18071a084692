from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.policy import Alert, Drift, Labels, Prices, Schedule, price_schedule, replay_schedules
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import log_loss
from windtunnel.recording import LABEL, LABEL_TIME, Recording
from windtunnel.source import load_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.backtest.policy.retraining import Bench, Tour

    MakeBench = Callable[..., Bench]
    MakeStream = Callable[..., Recording]

DAY_US, DAY_S = 86_400_000_000, 86_400.0
PRICES = Prices(usd_per_loss=1.0, usd_per_training=2.0, usd_per_training_hour=1.0)
FORTNIGHT = Schedule("fortnight", every_s=14 * DAY_S, window_s=20 * DAY_S, training_s=7200.0, deploy_s=DAY_S)


def days(tour: Tour) -> list[tuple[float, str]]:
    return [(event.at_us / DAY_US, event.what) for event in tour.course.events]


def test_a_fixed_schedule_is_charged_for_its_delays(make_stream: MakeStream, make_bench: MakeBench) -> None:
    """From day 33 every 14 days, two hours of training and a day of deployment later, to the second, the new model serves."""
    (tour,) = replay_schedules([FORTNIGHT], make_bench(make_stream(80)))

    late = 1.0 + 2.0 / 24.0
    assert days(tour) == [(47.0, "training"), (47.0 + late, "deployed"), (61.0, "training"), (61.0 + late, "deployed"), (75.0, "training"), (75.0 + late, "deployed")]  # fmt: skip
    # at the look of day 49 the requests of the day that begins then are the first that the new model serves whole
    assert [int(tour.course.level[look]) for look in (47, 48, 49)] == [0, 0, 1]


def test_value_is_what_a_plain_count_finds(make_stream: MakeStream, make_bench: MakeBench) -> None:
    """Each request is served by the newest model that served when it was asked; what never retrains gains nothing."""
    bench = make_bench(make_stream(80))
    tours = replay_schedules([FORTNIGHT, Schedule.never()], bench)
    outcome, never = (price_schedule(tour, bench, PRICES) for tour in tours)
    frame, end_us = bench.shop.recording.frame, int(bench.shop.looks_us[-1])
    saved, served = 0.0, {f"model {n}": 0 for n in range(4)}
    for place, (asked, known, label) in enumerate(
        zip(bench.shop.time_us, frame[LABEL_TIME].dt.timestamp("us"), frame[LABEL], strict=True)
    ):
        if not 33 * DAY_US <= asked < end_us:
            continue
        number = max(n for n, (from_us, _) in enumerate(tours[0].models) if from_us <= asked)
        served[f"model {number}"] += 1
        if known <= end_us and known - asked <= 10 * DAY_US:
            said = [
                float(model.predictions[place - model.first])
                for model in (tours[0].models[0][1], tours[0].models[number][1])
            ]
            losses = [float(log_loss(np.array([label]), np.array([each]))[0]) for each in said]
            saved += losses[0] - losses[1]

    assert outcome.served == served
    assert outcome.loss_saved == pytest.approx(saved)
    assert (outcome.trainings, outcome.training_s, outcome.spent_usd) == (3, 3 * 7200.0, 3 * (2.0 + 2.0))
    assert outcome.value_usd == pytest.approx(saved - 12.0)
    assert (never.value_usd, never.trainings) == (0.0, 0)


def test_on_a_stream_that_turns_round_retraining_beats_never(make_stream: MakeStream, make_bench: MakeBench) -> None:
    """By the calendar, by performance and by drift: each gains; on a stream that stays as it is none gains much."""
    schedules = [
        FORTNIGHT,
        Schedule("performance", alert=Alert(5 * DAY_S, 0.05, 2), window_s=20 * DAY_S, training_s=3600.0, rest_s=10 * DAY_S),
        Schedule("drift", drift=Drift("x"), window_s=20 * DAY_S, training_s=3600.0, rest_s=10 * DAY_S),
    ]  # fmt: skip
    gains = {}
    for turns in (1.0, 0.0):
        bench = make_bench(make_stream(turns=turns))
        tours = replay_schedules(schedules, bench)
        gains[turns] = [price_schedule(tour, bench, Prices(1.0)).value_usd for tour in tours]
        by_drift = tours[2].course.first("training")
        # x jumps on day 60; three looks in a row must say so
        assert by_drift is not None
        assert by_drift.at_us == 63 * DAY_US

    assert min(gains[1.0]) > 300.0
    assert max(np.abs(gains[0.0])) < 60.0


def test_a_warm_start_is_given_the_model_before(make_stream: MakeStream, make_bench: MakeBench, fit_home: Path) -> None:
    """The third argument is the model that the training before made; the first training of all has none."""
    saw = load_function("fits.py:fit", fit_home).__globals__["SAW"]
    saw.clear()

    (tour,) = replay_schedules([replace(FORTNIGHT, warm=True)], make_bench(make_stream(80), keep=True))

    assert [before is None for *_, before in saw] == [True, False, False, False]
    chain = [tuple(saw[n][2].rates) for n in (1, 2, 3)]
    assert len({*chain}) == 3
    assert len({model.snapshot for _, model in tour.models}) == 4


def test_equal_trainings_are_done_once(make_stream: MakeStream, make_bench: MakeBench, fit_home: Path) -> None:
    """Two schedules that train on the same days share the models; they may deploy them at other times."""
    saw = load_function("fits.py:fit", fit_home).__globals__["SAW"]
    saw.clear()

    tours = replay_schedules([FORTNIGHT, replace(FORTNIGHT, name="fast", deploy_s=0.0)], make_bench(make_stream(80)))

    assert len(saw) == 4
    assert [len(tour.models) for tour in tours] == [4, 4]


def test_a_training_is_not_begun_while_one_is_under_way(make_stream: MakeStream, make_bench: MakeBench) -> None:
    """With six days of training a daily schedule trains weekly; a time that is not stated is what was measured."""
    slow = Schedule("slow", every_s=DAY_S, training_s=5.5 * DAY_S)
    measured = Schedule("measured", every_s=40 * DAY_S)
    tours = replay_schedules([slow, measured], make_bench(make_stream(80)))

    begun = [at for at, what in days(tours[0]) if what == "training"]
    assert begun == [34.0, 40.0, 46.0, 52.0, 58.0, 64.0, 70.0, 76.0]
    assert tours[1].training_s == (tours[1].models[1][1].wall_s,)


def test_labels_and_features_of_the_future_move_nothing_of_the_past(
    make_stream: MakeStream, make_bench: MakeBench
) -> None:
    """Everything known after day 70 is scrambled: trainings, their snapshots and what was served until then stay, bit by bit."""
    recording, cut_us = make_stream(), 70 * DAY_US
    rng = np.random.default_rng(0)
    frame = recording.frame
    late = frame[LABEL_TIME].dt.timestamp("us").to_numpy() > cut_us
    unasked = frame["time"].dt.timestamp("us").to_numpy() >= cut_us
    moved = frame[LABEL_TIME].dt.offset_by("3d")
    scrambled = frame.with_columns(
        pl.when(pl.Series(late)).then(pl.Series(rng.integers(2, size=len(frame)).astype(float))).otherwise(pl.col(LABEL)).alias(LABEL),
        pl.when(pl.Series(late)).then(moved).otherwise(pl.col(LABEL_TIME)).alias(LABEL_TIME),
        pl.when(pl.Series(unasked)).then(pl.Series(rng.normal(9.0, size=len(frame)))).otherwise(pl.col("x")).alias("x"),
    )  # fmt: skip
    schedules = [
        FORTNIGHT,
        Schedule("performance", alert=Alert(5 * DAY_S, 0.05), training_s=3600.0),
        Schedule("drift", drift=Drift("x"), training_s=3600.0),
    ]

    told = []
    for each in (recording, Recording("scrambled", scrambled)):
        bench = make_bench(each)
        until = bench.shop.place(cut_us)
        for tour in replay_schedules(schedules, bench):
            models = [(at, model) for at, model in tour.models if model.at_us <= cut_us]
            told.append((
                [event for event in tour.course.events if event.at_us <= cut_us and event.what == "training"],
                [(at, model.snapshot, model.predictions[: until - model.first].tolist()) for at, model in models],
            ))  # fmt: skip

    assert told[:3] == told[3:]
    assert [len(models) for _, models in told[:3]] >= [3, 2, 2]


def test_the_cut_is_by_both_clocks_for_every_training(
    make_stream: MakeStream, make_bench: MakeBench, fit_home: Path
) -> None:
    """Whatever begins a training, `fit` never saw a label that was not known strictly before it."""
    saw = load_function("fits.py:fit", fit_home).__globals__["SAW"]
    saw.clear()
    schedules = [
        FORTNIGHT,
        Schedule("performance", alert=Alert(5 * DAY_S, 0.05), training_s=0.0),
        Schedule("drift", drift=Drift("x")),
    ]

    tours = replay_schedules(schedules, make_bench(make_stream()))

    begun = sorted({model.at_us for tour in tours for _, model in tour.models})
    latest = sorted(rows[LABEL_TIME].dt.timestamp("us").max() for rows, *_ in saw)
    assert all(any(0 < at_us - known_us < DAY_US for at_us in begun) for known_us in latest)


def test_what_makes_no_sense_is_refused(make_stream: MakeStream, make_bench: MakeBench) -> None:
    """A reference from before the looks, a feature that is no number, a start at the end, and lengths that are none."""
    bench = make_bench(make_stream(60), start=10)
    text = replace(bench.shop.recording, frame=bench.shop.recording.frame.with_columns(x=pl.lit("a")))

    with pytest.raises(ConfigError, match="`drift reference`"):
        replay_schedules([Schedule("drift", drift=Drift("x"))], bench)
    with pytest.raises(DataError, match="watch a numeric feature"):
        replay_schedules([Schedule("drift", drift=Drift("origin", reference=5))], replace(
            bench, shop=replace(bench.shop, recording=replace(text, frame=bench.shop.recording.frame.with_columns(origin=pl.lit("a"))))
        ))  # fmt: skip
    with pytest.raises(ConfigError, match="leaves no look"):
        make_bench(make_stream(60), start=60)
    for field in ("every_s", "window_s", "training_s", "deploy_s", "rest_s"):
        odd: dict[str, Any] = {"name": "odd", field: -math.inf}
        with pytest.raises(ConfigError, match=field):
            Schedule(**odd)
    with pytest.raises(ConfigError, match="did you mean `ks`"):
        Drift("x", "kss")


def test_a_corrected_label_is_learnt_from_its_own_known_time_on(
    make_stream: MakeStream, make_bench: MakeBench, fit_home: Path
) -> None:
    """Corrections that came by day 50 turn what a training on day 61 sees, and not what one on day 47 saw."""
    recording = make_stream(80)
    first = recording.frame.head(500)
    corrections = first.select(
        "id", (1.0 - pl.col(LABEL)).alias(LABEL), (pl.lit(recording.start) + pl.duration(days=50)).alias(LABEL_TIME)
    ).with_columns(pl.col(LABEL_TIME).cast(first.schema[LABEL_TIME]))
    saw = load_function("fits.py:fit", fit_home).__globals__["SAW"]
    saw.clear()

    replay_schedules([replace(FORTNIGHT, window_s=math.inf)], make_bench(recording, corrections=corrections))

    turned = [float((rows["label"][:500] != first[LABEL][: min(500, len(rows))]).mean()) for rows, *_ in saw]
    assert turned == [0.0, 0.0, 1.0, 1.0]
    assert len(Labels.of(recording, corrections).label) == len(recording) + 500
