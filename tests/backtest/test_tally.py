from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backtest.reference import DAY, NEVER, Request, day_difference, metric_at
from windtunnel.backtest.question import Question, first_look_us
from windtunnel.backtest.rows import Rows, versions
from windtunnel.backtest.tally import Tally, merged
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import LOSSES, Loss, cost_loss, loss_named

HOUR = DAY // 24
METRICS = ["log_loss", "brier", "zero_one", "absolute_error", "pinball@0.9", "cost"]

# hours, and now and then a day, so that requests, labels, horizons and looks fall on the same instants again and again
HOURS = st.one_of(st.integers(0, 96), st.sampled_from([0, 24, 48, 72]))
DELAYS = st.lists(st.one_of(st.integers(0, 60), st.sampled_from([0, 12, 24, 25, 48])), max_size=4)
# not below 1e-9: losses are exact down to 2⁻¹⁹² only
SAID = st.tuples(*[st.one_of(st.floats(1e-9, 1.0), st.sampled_from([0.0, 0.4, 0.5, 1.0]))] * 2)


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """Some requests, in any order, whose labels are known never, once, or again and again."""
    made = []
    for hour in draw(st.lists(HOURS, min_size=1, max_size=12)):
        delays = sorted(draw(DELAYS))
        labels = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(delays), max_size=len(delays)))
        known = tuple(((hour + delay) * HOUR, label) for delay, label in zip(delays, labels, strict=True))
        made.append(Request(hour * HOUR, known, draw(SAID)))
    return made


def loss_for(name: str) -> Loss:
    return cost_loss([[0.0, 1.0], [5.0, -0.3]], 0.4) if name == "cost" else loss_named(name)


def rows_of(asked: list[Request]) -> Rows:
    """The canonical rows of some requests."""
    flat = [
        (place, each.time, known, label)
        for place, each in enumerate(asked)
        for known, label in (each.versions or ((NEVER, math.nan),))
    ]
    place, time, known, label = (np.array(column) for column in zip(*flat, strict=True))
    kept, until, first = versions(place, known)
    said = np.array([asked[each].said for each in place[kept]]).T
    return Rows(
        time[kept],
        known[kept],
        label[kept].astype(float),
        np.ascontiguousarray(said),
        place[kept] % 2 == 0,
        until,
        first,
    )


def part_of(rows: Rows, chosen: np.ndarray) -> Rows:
    """Some of the rows, in some order."""
    return dataclasses.replace(
        rows, time_us=rows.time_us[chosen], known_us=rows.known_us[chosen], label=rows.label[chosen],
        predictions=np.ascontiguousarray(rows.predictions[:, chosen]), half=rows.half[chosen],
        until_us=rows.until_us[chosen], first=rows.first[chosen],
    )  # fmt: skip


def same(a: Tally, b: Tally) -> bool:
    """Whether two tallies are the same, to the last bit."""
    return all(np.array_equal(x, y) for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True))


@given(
    asked=requests(),
    metric=st.sampled_from(METRICS),
    horizon_h=st.sampled_from([1, 12, 24, 30]),
    every_h=st.sampled_from([1, 5, 24]),
)
@settings(max_examples=100, deadline=None)
def test_every_look_shows_what_the_definitions_say(
    asked: list[Request], metric: str, horizon_h: int, every_h: int
) -> None:
    """Counts and metrics as of every look are those of requests gone through one by one, equal to the last bit."""
    horizon, every = horizon_h * HOUR, every_h * HOUR
    rows = rows_of(asked)
    question = Question(
        ("old", "new"), loss_for(metric), first_look_us(min(each.time for each in asked)), every, horizon
    )
    tally = Tally.of(rows, question)
    looks = list(range(question.first_us, 7 * DAY, every))
    counts = tally.counts(len(looks))
    for look, as_of in enumerate(looks):
        states = [each.state_at(as_of, horizon) for each in asked]

        assert [states.count(name) for name in ("matured", "expired", "pending")] == [
            counts.matured[look], counts.expired[look], counts.pending[look]
        ]  # fmt: skip
        assert counts.asked[look] == len(states) - states.count("unasked")
    for model in (0, 1):
        expected = np.array([metric_at(asked, metric, model, as_of, horizon) for as_of in looks])

        assert expected.tobytes() == tally.metric(model, len(looks)).tobytes()
    days = range(tally.day_0, tally.day_0 + tally.days.shape[1])
    expected = np.array([day_difference(asked, metric, 1, day, horizon) for day in days])

    assert expected.tobytes() == tally.differences(1).tobytes()


@given(asked=requests(), metric=st.sampled_from(METRICS), seed=st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_the_parts_make_the_whole(asked: list[Request], metric: str, seed: int) -> None:
    """Rows in another order, cut into pieces at random and merged in any order, give the same tally to the last bit."""
    rng, rows = np.random.default_rng(seed), rows_of(asked)
    question = Question(("old", "new"), loss_for(metric), DAY, HOUR, 24 * HOUR)
    pieces = np.array_split(rng.permutation(len(rows)), rng.integers(1, 5))

    assert same(
        Tally.of(rows, question), merged(Tally.of(part_of(rows, each), question) for each in pieces if len(each))
    )


def test_sums_are_exact() -> None:
    """Losses of very different size cancel wholly: what a correction takes back leaves nothing behind."""
    huge, tiny = 1e40, 1e-9
    rows = Rows(
        np.array([0, 0, 1]), np.array([5, 2 * DAY, 6]), np.array([huge, 0.0, tiny]), np.zeros((1, 3)),
        until_us=np.array([2 * DAY, NEVER, NEVER]), first=np.array([True, False, True]),
    )  # fmt: skip
    tally = Tally.of(rows, Question(("old",), LOSSES["absolute_error"], DAY, DAY, 9 * DAY))

    assert tally.metric(0, 3).tolist() == [huge / 2, tiny / 2, tiny / 2]


@pytest.mark.parametrize("label", [1e60, math.inf])
def test_what_cannot_be_summed_is_refused(label: float) -> None:
    """A loss beyond all measure, or none at all, is refused instead of left out."""
    rows = Rows(np.array([0]), np.array([5]), np.array([label]), np.zeros((1, 1)))

    with pytest.raises(DataError, match="has a loss of absolute_error that is no number or beyond"):
        Tally.of(rows, Question(("old",), LOSSES["absolute_error"], DAY, DAY, 9 * DAY))


def test_amounts_weigh_what_went_wrong() -> None:
    """A row's loss counts as many times as its amount says, in the metric, the days and the bounds alike."""
    label, said = np.array([0.0, 1.0, np.nan]), np.array([[0.9, 0.9, 0.1], [0.1, 0.1, 0.9]])
    rows = Rows(np.array([0, 1, 2]), np.array([5, 6, NEVER]), label, said, amount=np.array([10.0, 3.0, 4.0]))
    tally = Tally.of(rows, Question(("old", "new"), LOSSES["zero_one"], DAY, DAY, 9))

    assert [tally.metric(0, 1)[0], tally.metric(1, 1)[0]] == [5.0, 1.5]
    assert tally.differences(1).tolist() == [-3.5]
    assert tally.bounds(1, np.ones(1, dtype=bool)) == ((-7.0 - 4.0) / 3.0, (-7.0 + 4.0) / 3.0)


def test_a_label_known_at_its_request_counts_only_after_it() -> None:
    """At the instant of its request a request is not asked yet, so its label is not seen yet either."""
    rows = Rows(np.array([DAY]), np.array([DAY]), np.ones(1), np.zeros((1, 1)))
    tally = Tally.of(rows, Question(("old",), LOSSES["brier"], DAY, 1, 3))

    assert [tally.counts(2).asked.tolist(), tally.counts(2).matured.tolist()] == [[0, 1], [0, 1]]


def test_a_day_is_mature_one_horizon_after_its_end() -> None:
    """A day of requests is released at the very instant at which its end is one horizon old, not one tick before."""
    rows = Rows(np.array([DAY + 5, 2 * DAY]), np.array([DAY + 6, 2 * DAY + 1]), np.ones(2), np.zeros((2, 2)))
    tally = Tally.of(rows, Question(("old", "new"), LOSSES["brier"], DAY, DAY, 7))

    assert tally.release_us(7).tolist() == [2 * DAY + 7, 3 * DAY + 7]


def test_halves_split_each_day() -> None:
    """The noise floor is the mean over one half of a day minus that over the other; a day with one half only has none."""
    said = np.array([[1.0, 2.0, 5.0, 9.0]])
    half = np.array([True, False, False, True])
    rows = Rows(np.array([0, 1, 2, DAY]), np.array([1, 2, 3, DAY + 1]), np.zeros(4), said, half)
    tally = Tally.of(rows, Question(("old",), LOSSES["absolute_error"], DAY, DAY, 7))

    assert pytest.approx([-2.5, np.nan], nan_ok=True) == tally.half_differences().tolist()


@pytest.mark.parametrize("metric", ["log_loss", "brier", "zero_one", "cost"])
def test_bounds_hold_every_way_the_missing_labels_could_have_gone(metric: str) -> None:
    """The bounds are the least and the greatest mean of days over all assignments of the missing labels."""
    rng, loss = np.random.default_rng(5), loss_for(metric)
    time = np.sort(rng.integers(3 * DAY, size=12))
    missing = np.arange(12) % 3 == 0
    value = np.where(missing, np.nan, (rng.random(12) < 0.5).astype(np.float64))
    said = rng.random((2, 12))
    rows = Rows(time, np.where(missing, NEVER, time + 1), value, said)
    found = Tally.of(rows, Question(("old", "new"), loss, DAY, DAY, 7)).bounds(1, np.ones(3, dtype=bool))
    means = []
    for guess in itertools.product((0.0, 1.0), repeat=int(missing.sum())):
        full = value.copy()
        full[missing] = guess
        difference = loss.of(full, said[1]) - loss.of(full, said[0])
        means.append(np.mean([difference[time // DAY == day].mean() for day in range(3)]))

    assert pytest.approx((min(means), max(means))) == found


def test_a_span_of_centuries_is_refused() -> None:
    """One time stamp that is off by centuries is refused before memory is taken for all the looks between."""
    rows = Rows(np.array([0, 4000 * 365 * DAY]), np.array([1, NEVER]), np.zeros(2), np.zeros((1, 2)))

    with pytest.raises(ConfigError, match="more than 1,000,000 looks"):
        Tally.of(rows, Question(("old",), LOSSES["brier"], DAY, DAY, 7))
