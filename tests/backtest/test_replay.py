from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from windtunnel.backtest.kernel import NEVER_US
from windtunnel.backtest.replay import backtest
from windtunnel.backtest.rows import Rows
from windtunnel.backtest.section import draw
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Traffic = Callable[..., tuple[Recording, Floats]]
    Make = Callable[..., Recording]

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24

# hours, and now and then a day, so that requests, labels, horizons and looks fall on the same instants again and again
ROWS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 96), st.sampled_from([0, 24, 48, 72])),
        st.one_of(st.none(), st.integers(0, 60), st.sampled_from([0, 12, 24, 48])),
        st.booleans(),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=15,
)


def replay(recording: Recording, old: Floats, new: Floats, **settings_: Any) -> Any:
    """Compare `new` with `old`."""
    return backtest(recording, {"old": old, "new": new}, **({"incumbent": "old", "candidates": ["new"]} | settings_))


def by_definition(time: int, known: int, horizon: int, as_of: int) -> str:
    if not time < as_of:
        return "unasked"
    if known != NEVER_US and known <= as_of and known - time <= horizon:
        return "matured"
    return "expired" if as_of - time > horizon else "pending"


@given(rows=ROWS, horizon_h=st.sampled_from([1, 12, 24, 30]), every_h=st.sampled_from([1, 12, 24]))
@settings(max_examples=150, deadline=None)
def test_the_timeline_is_that_of_the_definition(
    make_recording: Make, rows: list[tuple[int, int | None, bool, int]], horizon_h: int, every_h: int
) -> None:
    """Counts, metric and block means as of each look are those that rows, gone through one by one, give."""
    rows = sorted([*rows, (96, 24, True, 5)], key=lambda row: row[0])
    time = [asked * HOUR_US for asked, *_ in rows]
    known = [None if delay is None else (asked + delay) * HOUR_US for asked, delay, *_ in rows]
    label = [None if delay is None else float(y) for _, delay, y, _ in rows]
    old, new = np.array([p / 10 for *_, p in rows]), np.array([1 - p / 11 for *_, p in rows])
    found = replay(
        make_recording(time, known, label), old, new, metric="brier", horizon_s=horizon_h * 3600, every_s=every_h * 3600
    )
    rows_ = Rows.of(make_recording(time, known, label), {"old": old})
    horizon_us = horizon_h * HOUR_US
    first = (int(rows_.time_us[0]) // DAY_US + 1) * DAY_US
    looks = list(range(first, rows_.last_us + 1, every_h * HOUR_US))

    assert looks == found.timeline.as_of_us.tolist()
    for look, as_of in enumerate(looks):
        pairs = list(zip(rows_.time_us.tolist(), rows_.known_us.tolist(), strict=True))
        states = [by_definition(*pair, horizon_us, as_of) for pair in pairs]
        matured = [row for row, state in enumerate(states) if state == "matured"]
        for name in ("matured", "expired", "pending"):
            assert states.count(name) == getattr(found.timeline.counts, name)[look]
        for name, model in (("old", old), ("new", new)):
            losses = [(model[row] - rows_.label[row]) ** 2 for row in matured]
            expected = float(np.mean(losses)) if losses else math.nan
            assert pytest.approx(expected, nan_ok=True, rel=1e-12) == found.timeline.metric[name][look]
        days: dict[int, list[float]] = {}
        for row in matured:
            day = int(rows_.time_us[row]) // DAY_US
            if (day + 1) * DAY_US + horizon_us <= as_of:
                loss = (new[row] - rows_.label[row]) ** 2 - (old[row] - rows_.label[row]) ** 2
                days.setdefault(day, []).append(float(loss))
        expected = float(np.mean([np.mean(losses) for losses in days.values()])) if days else math.nan
        assert len(days) == found.timeline.paths["new"].blocks[look]
        assert pytest.approx(expected, nan_ok=True, abs=1e-12) == found.timeline.paths["new"].difference[look]


def test_a_timetable_that_can_be_checked_by_eye(make_recording: Make) -> None:
    """Three requests at noon of three days; labels after one day, never, and after three; a horizon of two days."""
    noon = DAY_US // 2
    recording = make_recording(
        [noon, DAY_US + noon, 2 * DAY_US + noon], [DAY_US + noon, None, 5 * DAY_US + noon], [1.0, None, 0.0]
    )
    timeline = replay(recording, np.full(3, 0.5), np.full(3, 0.8), horizon_s=2 * 86400.0, metric="brier").to_dict()[
        "timeline"
    ]
    shown = [
        (entry["as_of"][:10], entry["asked"], entry["matured"], entry["expired"], entry["pending"], entry["metric"])
        for entry in timeline
        if entry["name"] == "old"
    ]

    assert shown == [
        ("2013-01-02", 1, 0, 0, 1, None),
        ("2013-01-03", 2, 1, 0, 1, 0.25),
        ("2013-01-04", 3, 1, 0, 2, 0.25),
        ("2013-01-05", 3, 1, 1, 1, 0.25),
        ("2013-01-06", 3, 1, 2, 0, 0.25),
    ]


@pytest.mark.parametrize(
    ("old_noise", "new_noise", "max_loss", "status", "outcome"),
    [
        (0.4, 0.0, 0.0, "superior", "go"),
        (0.1, 0.1, 0.1, "non-inferior", "go"),
        (0.0, 0.5, 0.02, "worse", "no-go"),
        (0.2, 0.2, 0.0, "undecided", "inconclusive"),
    ],
)
def test_decisions_in_each_direction(
    make_traffic: Traffic, old_noise: float, new_noise: float, max_loss: float, status: str, outcome: str
) -> None:
    """A better, an equal enough, a worse and an unclear candidate each end in their own verdict."""
    recording, truth = make_traffic(60)
    rng = np.random.default_rng(4)
    old, new = (np.clip(truth + rng.normal(0.0, noise, len(truth)), 0.0, 1.0) for noise in (old_noise, new_noise))
    found = replay(recording, old, new, max_loss=max_loss, metric="brier")
    challenger = found.candidates[0]

    assert (status, outcome) == (challenger.status, found.verdict.outcome)
    assert found.winner == ("new" if outcome == "go" else "old")
    assert (found.decided_at is None) == (outcome == "inconclusive")
    assert found.verdict.evidence["difference"] == challenger.difference


def test_the_decision_is_dated_by_the_first_look_that_shows_it(make_traffic: Traffic) -> None:
    """Before `decided_at` no look's bounds leave zero out on the better side; at it they do; and it is past burn-in."""
    recording, truth = make_traffic(60)
    found = replay(recording, np.full(len(truth), 0.5), truth)
    looks = [entry for entry in found.to_dict()["timeline"] if entry["name"] == "new"]
    shown = [
        entry["as_of"] for entry in looks if entry["difference_high"] is not None and entry["difference_high"] <= 0.0
    ]

    assert shown[0] == found.to_dict()["decided_at"]
    assert found.decided_at >= datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=20 + 7)


def test_the_level_is_split_over_the_candidates(make_traffic: Traffic) -> None:
    """With more candidates each interval is wider, since the same level has to do for all of them."""
    recording, truth = make_traffic(40)
    models = {"old": np.full(len(truth), 0.5), "a": truth, "b": truth**2}
    alone = backtest(recording, models, incumbent="old", candidates=["a"])
    shared = backtest(recording, models, incumbent="old", candidates=["a", "b"])

    assert (alone.level_each, shared.level_each) == (0.05, 0.025)
    assert alone.candidates[0].difference == shared.candidates[0].difference
    assert shared.candidates[0].difference_high > alone.candidates[0].difference_high


def test_the_last_metric_is_sklearns(make_traffic: Traffic) -> None:
    """The metric at the last look is scikit-learn's over the rows matured by then."""
    recording, truth = make_traffic(30)
    found = replay(recording, truth, truth)
    rows = Rows.of(recording, {"new": truth})
    matured = rows.state_at(int(found.timeline.as_of_us[-1]), round(found.horizon_s * 1e6)) == "matured"

    assert pytest.approx(metrics.log_loss(rows.label[matured], truth[matured])) == found.candidates[0].metric
    assert int(matured.sum()) == found.candidates[0].matured


def test_the_noise_floor_holds_zero(make_traffic: Traffic) -> None:
    """The incumbent differs from itself by nothing that the interval does not cover, and its width is finite."""
    for seed in range(5):
        recording, truth = make_traffic(60, seed=seed)
        floor = replay(recording, truth, truth).noise_floor

        assert floor.low < 0.0 < floor.high
        assert floor.width == floor.high - floor.low < 1.0


def test_a_copy_of_the_incumbent_is_not_inferior(make_traffic: Traffic) -> None:
    """A candidate that says the same on every row differs by exactly nothing: not worse, and not better."""
    recording, truth = make_traffic(60)
    candidate = replay(recording, truth, truth.copy()).candidates[0]

    assert (
        candidate.difference,
        candidate.difference_low,
        candidate.difference_high,
        candidate.status,
    ) == (0.0, 0.0, 0.0, "non-inferior")


def test_order_among_equal_times_does_not_matter(make_recording: Make) -> None:
    """Rows with the same time stamp may stand in any order: counts and states are equal, figures equal to rounding."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(40, size=800)) * DAY_US + 3
    known = time + rng.integers(3 * DAY_US, size=800)
    label, old, new = (rng.random(800) < 0.5).astype(float), rng.random(800), rng.random(800)
    other = np.lexsort((rng.random(800), time))
    reports = []
    for order in (np.arange(800), other):
        recording = make_recording(time[order].tolist(), known[order].tolist(), label[order].tolist(), order.tolist())
        reports.append(replay(recording, old[order], new[order]))
    before, after = (report.timeline.series(NEVER_US) for report in reports)

    assert not np.array_equal(other, np.arange(800))
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-9, atol=1e-13)
    assert reports[0].candidates[0].status == reports[1].candidates[0].status
    assert pytest.approx(reports[0].noise_floor.difference) == reports[1].noise_floor.difference


def test_without_any_label_nothing_is_claimed(make_recording: Make) -> None:
    """Where no label ever came the verdict is inconclusive, and no figure is made up."""
    recording = make_recording([day * DAY_US for day in range(40)], [None] * 40, [None] * 40)
    found = replay(recording, np.full(40, 0.5), np.full(40, 0.6)).to_dict()

    assert (found["verdict"]["outcome"], found["decided_at"], found["winner"]) == ("inconclusive", None, "old")
    assert (found["label_coverage"], found["never_arrived"], found["delay"]["p50_s"]) == (0.0, 1.0, None)
    assert (found["candidates"][0]["metric"], found["candidates"][0]["difference"]) == (None, None)


def test_one_class_is_enough(make_recording: Make) -> None:
    """Losses of rows need no second class: a recording of ones can still be decided."""
    time = [day * DAY_US + hour * HOUR_US for day in range(60) for hour in range(24)]
    recording = make_recording(time, [us + HOUR_US for us in time], [1.0] * len(time))
    rng = np.random.default_rng(0)
    found = replay(recording, rng.uniform(0.3, 0.5, len(time)), rng.uniform(0.6, 0.8, len(time)))

    assert (found.verdict.outcome, found.candidates[0].status) == ("go", "superior")


def test_a_recording_shorter_than_the_horizon_is_inconclusive(make_traffic: Traffic) -> None:
    """Before any day is mature no difference is judged, but the metric and the coverage so far are still said."""
    recording, truth = make_traffic(3)
    found = replay(recording, np.full(len(truth), 0.5), truth, horizon_s=30 * 86400.0)

    assert found.verdict.outcome == "inconclusive"
    assert (
        "a label may take 30 d, and a day of requests is judged once all its labels had that long, so no day is"
        in found.verdict.reasons[1]
    )
    assert "a recording longer by 41 days or more" in found.verdict.would_change[0]
    assert 0.0 < found.label_coverage < 1.0
    assert math.isfinite(found.candidates[0].metric)


def test_the_incumbent_as_challenger_replaces_nothing(make_traffic: Traffic) -> None:
    """Where the parent itself was chosen there is nothing to promote: it stays, and that is said."""
    recording, truth = make_traffic(40)
    for candidates, challenger in ((["old"], None), ([], None), (["new"], "old")):
        found = replay(recording, truth, truth, candidates=candidates, challenger=challenger)

        assert (found.verdict.outcome, found.challenger, found.decided_at) == ("go", "old", None)
        assert "`old` stays" in found.verdict.reasons[0]


def test_the_challenger_named_is_the_one_judged(make_traffic: Traffic) -> None:
    """The verdict is about the challenger that was named, even where another candidate wins."""
    recording, truth = make_traffic(60)
    models = {"old": np.full(len(truth), 0.4), "good": truth, "bad": 1.0 - truth}
    found = backtest(recording, models, incumbent="old", candidates=["good", "bad"], challenger="bad")

    assert (found.winner, found.challenger, found.verdict.outcome) == ("good", "bad", "no-go")
    assert backtest(recording, models, incumbent="old", candidates=["bad", "good"]).challenger == "good"


def test_start_leaves_out_what_was_asked_before(make_traffic: Traffic) -> None:
    """From a start on, the replay is that of the recording cut there, with or without a time zone."""
    recording, truth = make_traffic(50)
    start = datetime(2013, 1, 11, 6, tzinfo=UTC)
    later = recording.asked_between(start=start)
    kept = truth[len(recording) - len(later) :]
    expected = replay(later, kept, kept**2).to_dict()

    assert expected == replay(recording, truth, truth**2, start=start).to_dict()
    assert expected == replay(recording, truth, truth**2, start=start.replace(tzinfo=None)).to_dict()


def test_the_document_is_plain_json(make_traffic: Traffic) -> None:
    """The comparison is JSON without NaN or infinity, with times in ISO 8601 and one entry a look and model."""
    recording, truth = make_traffic(30)
    found = replay(recording, truth, truth**2)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    moments = [datetime.fromisoformat(entry["as_of"]) for entry in document["timeline"]]

    assert [moment for moment in moments if moment.utcoffset() != timedelta(0)] == []
    assert 2 * len(found.timeline.as_of_us) == len(moments)
    assert moments[0] == datetime(2013, 1, 2, tzinfo=UTC)
    assert 0.0 <= document["never_arrived"] + document["late"] <= 1.0


@pytest.mark.parametrize(
    ("settings_", "error", "words"),
    [
        ({"incumbent": "odl"}, ConfigError, "did you mean `old`"),
        ({"candidates": ["nwe"]}, ConfigError, "did you mean `new`"),
        ({"challenger": "nwe"}, ConfigError, "`challenger` .* is not a candidate"),
        ({"metric": "auc"}, ConfigError, "is not a loss"),
        ({"every_s": 0.0}, ConfigError, "`every`"),
        ({"every_s": 1e-6}, ConfigError, "more than 1,000,000 looks"),
        ({"horizon_s": math.nan}, ConfigError, "`horizon`"),
        ({"horizon_s": math.inf}, ConfigError, "`horizon`"),
        ({"max_loss": -0.1}, ConfigError, "`max_loss`"),
        ({"max_loss": math.inf}, ConfigError, "`max_loss`"),
        ({"level": 0.0}, ConfigError, "`level`"),
        ({"start": datetime(2030, 1, 1, tzinfo=UTC)}, DataError, "has no requests in the given time"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make_traffic: Traffic, settings_: dict[str, Any], error: type[Exception], words: str
) -> None:
    """An unknown name or a number that makes no sense is refused before work starts, by name and with the way out."""
    recording, truth = make_traffic(3)
    with pytest.raises(error, match=words):
        replay(recording, truth, truth, **settings_)


def test_data_that_cannot_be_judged_is_refused(make_recording: Make) -> None:
    """NaN predictions, labels of another kind and a recording within one day are refused."""
    day = make_recording([0, 1, DAY_US], [5, 6, DAY_US + 1], [0.0, 1.0, 2.0])
    short = make_recording([0, 1, 2], [5, 6, 7], [0.0, 1.0, 1.0])
    half = np.full(3, 0.5)
    with pytest.raises(DataError, match=r"`new` \(=nan\) is the prediction of request 1"):
        replay(short, half, np.array([0.5, np.nan, 0.5]))
    with pytest.raises(DataError, match="needs 0 or 1"):
        replay(day, half, half)
    with pytest.raises(DataError, match="ends before the first UTC midnight"):
        replay(short, half, half)


def test_a_root_is_shown_and_squares_are_differenced(make_traffic: Traffic) -> None:
    """Of `rmse` the metric is the root, and every difference says that it is of squared errors, and its unit."""
    recording, truth = make_traffic(40)
    told = replay(recording, truth, 0.5 * truth, metric="rmse", max_loss=0.01)
    squared = replay(recording, truth, 0.5 * truth, metric="squared_error", max_loss=0.01)
    section = draw(told)
    axes = [figure.plotly["layout"]["yaxis"]["title"]["text"] for figure in section.figures[:2]]

    assert told.candidates[0].metric == pytest.approx(math.sqrt(squared.candidates[0].metric))
    assert told.candidates[0].difference == squared.candidates[0].difference
    assert (told.to_dict()["difference_of"], told.to_dict()["difference_unit"]) == ("squared error", "label units²")
    assert (squared.to_dict()["difference_of"], squared.to_dict()["difference_unit"]) == (
        "squared_error",
        "label units²",
    )
    assert axes == ["difference in squared error<br>(label units²)", "rmse (label units)"]
    assert section.tables[0].columns[1:3] == ("rmse (label units)", "difference in squared error (label units²)")
    assert told.verdict.reasons[0].startswith(
        "`new` is worse than `old` by more than 0.01 of squared error (label units²)"
    )
    assert told.verdict.reasons[1].startswith("difference in squared error (label units²) +")
    assert any("rmse is shown as the root of a mean" in note for note in section.notes)


def test_only_the_order_of_scores_counts_for_ranks(make_traffic: Traffic) -> None:
    """`roc_auc` takes scores of any size, as logits are, and says of them what it says of the probabilities they stand for."""
    recording, truth = make_traffic(30)
    worse = 0.5 + 0.1 * np.sin(np.arange(len(truth)))
    plain = replay(recording, worse, truth, metric="roc_auc")
    logits = replay(recording, 100.0 * worse - 7.0, np.log(truth / (1.0 - truth)), metric="roc_auc")

    assert logits.candidates[0].to_dict() == plain.candidates[0].to_dict()
    with pytest.raises(DataError, match=r"`old` \(=inf\) is the prediction of request 0, which roc_auc cannot take"):
        replay(recording, np.where(np.arange(len(truth)) == 0, np.inf, worse), truth, metric="roc_auc")


def test_start_leaves_out_corrections_of_what_was_asked_before(make_traffic: Traffic) -> None:
    """Corrections of requests before the start go with them; one of a request that never was is still refused."""
    recording, truth = make_traffic(10)
    start, came = (
        recording.start + timedelta(days=3),
        recording.frame.drop_nulls("label").select("id", "label", "label_time"),
    )
    corrections = came.with_columns(1.0 - pl.col("label"), pl.col("label_time").dt.offset_by("1h"))
    later = recording.asked_between(start=start)
    ours = corrections.filter(pl.col("id").is_in(later.frame["id"].implode()))
    expected = replay(later, truth[-len(later) :], truth[-len(later) :] ** 2, corrections=ours).to_dict()

    assert expected == replay(recording, truth, truth**2, start=start, corrections=corrections).to_dict()
    with pytest.raises(DataError, match="never asked"):
        replay(recording, truth, truth**2, start=start, corrections=corrections.with_columns(pl.col("id") + 10**6))
