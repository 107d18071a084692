"""Slices: what is found is there, what is not there is seldom found, and nothing later is looked at."""

from __future__ import annotations

from statistics import fmean as mean

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.metrics import Clocks
from windtunnel.backtest.slices import Slices, search_slices
from windtunnel.errors import ConfigError, DataError

DAY = 86_400_000_000
HORIZON = 2 * DAY


def traffic(rng: np.random.Generator, days: int, per_day: int) -> tuple[pl.DataFrame, Clocks]:
    """Requests with a number, two texts and a flag, and labels that come within two days."""
    rows = days * per_day
    time = np.sort(rng.integers(0, days * DAY, size=rows))
    features = pl.DataFrame(
        {
            "size": rng.exponential(size=rows),
            "port": rng.choice(["AMS", "JFK", "LHR"], size=rows),
            "plan": rng.choice(["free", "paid"], p=[0.8, 0.2], size=rows),
            "mobile": rng.random(rows) < 0.4,
        }
    )
    return features, Clocks(time, time + rng.integers(0, HORIZON, size=rows))


def search(features: pl.DataFrame, difference: np.ndarray, clocks: Clocks, days: int, **options: object) -> Slices:
    """As of the end, with a reference of ten days."""
    told: dict[str, object] = {"as_of_us": days * DAY + HORIZON, "horizon_us": HORIZON, "reference_days": 10} | options
    return search_slices(features, difference, clocks, **told)  # type: ignore[arg-type]  # options of a test


def test_a_planted_slice_of_two_columns_is_found_and_is_the_plainest() -> None:
    """Worse only for large requests from JFK: that very pair has the most evidence, and its interval holds the truth."""
    rng = np.random.default_rng(0)
    features, clocks = traffic(rng, 90, 300)
    planted = ((features["port"] == "JFK") & (features["size"] > 1.4)).to_numpy()
    found = search(features, rng.normal(scale=0.5, size=len(clocks)) + 0.3 * planted, clocks, 90)
    first = found.slices[0]

    assert (first.columns, first.values[1], first.direction) == (("size", "port"), "JFK", "worse")
    assert first.low < 0.3 < first.high
    assert {each.name for each in found.parents(first)} >= {"port = JFK"}
    assert "worse in" in found.draw("challenger", "log_loss", "nats").sentences[0]
    assert found.to_dict()["found"][0]["name"] == first.name


def test_against_the_rest_finds_where_a_better_candidate_is_not() -> None:
    """A candidate that is better everywhere but for the paying: against the rest that is plain, in itself it is not worse."""
    rng = np.random.default_rng(1)
    features, clocks = traffic(rng, 90, 200)
    difference = rng.normal(scale=0.5, size=len(clocks)) - 0.3 * (features["plan"] == "free").to_numpy()
    ways = {
        against: search(features, difference, clocks, 90, columns=["plan", "port"], pairs=False, against=against)
        for against in ("incumbent", "rest")
    }

    assert {each.name for each in ways["rest"].found} == {"plan = free", "plan = paid"}
    assert {each.name for each in ways["incumbent"].found} == {
        "plan = free", "port = AMS", "port = JFK", "port = LHR"
    }  # fmt: skip


def moods(rng: np.random.Generator, days: int, carried: float) -> np.ndarray:
    """What each day is like for all requests alike; it carries over to the next."""
    mood = np.zeros(days + 30)
    for day in range(1, days + 30):
        mood[day] = carried * mood[day - 1] + 0.05 * rng.normal()
    return mood[30:] * (carried > 0.0)


@pytest.mark.parametrize(("carried", "days"), [(0.0, 70), (0.5, 70), (0.9, 70), (0.9, 160)])
def test_where_there_is_no_difference_false_finds_keep_to_the_rate(carried: float, days: int) -> None:
    """Of 50 recordings without a difference, with rare flips and moods that last, at most some 5% name any slice at all, unasked."""
    rng = np.random.default_rng(2)
    features, clocks = traffic(rng, days, 50)
    rows, repeats = len(clocks), 50
    day = clocks.time_us // DAY
    found = [
        # one row in ten differs, either way alike
        search(
            features, rng.choice([-1.0, 1.0], size=rows) * (rng.random(rows) < 0.1) + moods(rng, days + 1, carried)[day], clocks, days,
            least_share=0.05,
        )
        for _ in range(repeats)
    ]  # fmt: skip

    assert sum(bool(each.found) for each in found) / repeats < 0.05 + 2 * np.sqrt(0.05 * 0.95 / repeats)
    if carried == 0.0:
        assert sum(each.basis.against == "incumbent" and each.basis.block_days == 1 for each in found) >= 0.85 * repeats
    if carried == 0.9:
        assert sum(each.basis.against == "rest" for each in found) >= 0.85 * repeats


def test_moods_that_last_are_doubted_where_the_user_asks_for_days() -> None:
    """Held to the incumbent by days because that is what was asked, moods are taken for slices, and it is said that they may be."""
    rng = np.random.default_rng(7)
    features, clocks = traffic(rng, 220, 40)
    day = clocks.time_us // DAY
    named = doubted = 0
    for _ in range(30):
        difference = rng.choice([-1.0, 1.0], size=len(day)) * (rng.random(len(day)) < 0.1) + moods(rng, 221, 0.9)[day]
        found = search(
            features, difference, clocks, 220, least_share=0.05, pairs=False, against="incumbent", block_days=1
        )
        named += bool(found.found)
        doubted += bool(found.doubts)

    assert named >= doubted >= 0.8 * named > 0


def test_it_is_said_by_what_slices_are_weighed_and_why() -> None:
    """Moods of weeks in two years are weighed in weeks or against the rest, and why stands in the first sentence and the document."""
    rng = np.random.default_rng(8)
    features, clocks = traffic(rng, 160, 40)
    day = clocks.time_us // DAY
    planted = 0.4 * (features["plan"] == "paid").to_numpy()
    difference = rng.normal(scale=0.2, size=len(day)) + planted + 3.0 * moods(rng, 161, 0.9)[day]
    found = search(features, difference, clocks, 160, pairs=False)

    assert (found.basis.against, found.basis.block_days) == ("rest", 1)
    assert (
        found.draw("challenger", "log_loss", "nats")
        .sentences[0]
        .startswith("good and bad days last (by longer blocks an interval over ")
    )
    assert found.to_dict()["why_so"] == found.basis.why
    assert {each.name for each in found.found} >= {"plan = paid"}
    assert found.doubts == ()


def test_every_slice_that_is_drawn_has_its_name_beside_it() -> None:
    """The figure is as high as its slices need, no name is passed over, and the axis says what is differenced."""
    rng = np.random.default_rng(5)
    features, clocks = traffic(rng, 60, 100)
    planted = 0.5 * (features["plan"] == "paid").to_numpy()
    section = search(features, rng.normal(scale=0.1, size=len(planted)) + planted, clocks, 60).draw(
        "challenger", "squared error", "label units²"
    )
    (figure,) = section.figures
    names, layout = figure.plotly["data"][0]["y"], figure.plotly["layout"]

    assert (layout["yaxis"]["type"], layout["yaxis"]["dtick"]) == ("category", 1)
    assert layout["height"] == 110 + 24 * len(names)
    assert layout["xaxis"]["title"]["text"].startswith("difference (squared error, label units²")


def test_the_requests_add_up() -> None:
    """Each request is of the reference, judged, without a label, or too young; and slices by one column with the rare ones are all that is judged."""
    rng = np.random.default_rng(9)
    features, clocks = traffic(rng, 60, 50)
    difference = np.where(rng.random(len(clocks)) < 0.1, np.nan, rng.normal(size=len(clocks)))
    for block_days in (1, 7):
        found = search(features, difference, clocks, 60, block_days=block_days, as_of_us=60 * DAY, least_share=0.3)
        told = found.to_dict()
        by_port = sum(each["rows"] for each in told["found"] + told["others"] if each["columns"] == ["port"])
        days = 48 // block_days * block_days

        assert told["requests"] == len(clocks)
        assert told["reference"] + told["too_young"] + told["unlabelled"] + told["rows"] == told["requests"]
        assert told["too_young"] == int((clocks.time_us >= (10 + days) * DAY).sum())
        assert by_port + told["rare"]["port"] == told["rows"]


def test_a_weight_is_as_many_requests() -> None:
    """A row of weight two counts as two rows do, one of weight zero as none; shares are of rows."""
    rng = np.random.default_rng(10)
    features, clocks = traffic(rng, 60, 50)
    difference, weight = rng.normal(size=len(clocks)), rng.integers(0, 3, size=len(clocks)).astype(float)
    # the reference as it is, so that both have the same edges
    weight[clocks.time_us < 10 * DAY] = 1.0
    again = np.repeat(np.arange(len(clocks)), weight.astype(int))
    for against in ("incumbent", "rest"):
        weighed, repeated = (
            {
                each.name: (each.blocks, each.difference, each.low, each.e_value)
                for each in search(
                    table, values, times, 60, weight=given, against=against, block_days=1, pairs=False
                ).slices
            }
            for table, values, times, given in (
                (features, difference, clocks, weight),
                (features[again], difference[again], clocks.take(again), None),
            )
        )

        assert weighed.keys() == repeated.keys()
        for name, told in weighed.items():
            assert told == pytest.approx(repeated[name], rel=1e-9)


def test_of_what_is_found_few_finds_are_false_and_few_intervals_miss() -> None:
    """With one slice truly worse, the false share of those named stays below the rate, and so does the share of intervals that miss."""
    rng = np.random.default_rng(3)
    features, clocks = traffic(rng, 70, 60)
    worse = (features["plan"] == "paid").to_numpy()
    false, missed = [], []
    for _ in range(100):
        found = search(
            features,
            rng.normal(scale=0.4, size=len(clocks)) + 0.4 * worse - 0.08,
            clocks,
            70,
            against="rest",
            pairs=False,
        ).found
        false.append(mean([each.columns != ("plan",) for each in found]) if found else 0.0)
        truth = {"paid": 0.4, "free": -0.4}
        missed.append(
            mean([not each.low <= truth.get(each.values[0], 0.0) <= each.high for each in found]) if found else 0.0
        )

    assert mean(false) < 0.05
    assert mean(missed) < 0.05


def test_nothing_known_or_asked_later_moves_a_bit() -> None:
    """As of a look, deleting later requests and scrambling later labels and features changes nothing that is said."""
    rng = np.random.default_rng(4)
    features, clocks = traffic(rng, 80, 60)
    difference = rng.normal(size=len(clocks))
    look = 60 * DAY
    full = search(features, difference, clocks, 80, as_of_us=look)
    early = clocks.time_us < look
    scrambled = np.where(clocks.known_us > look, -5.0, difference)
    later = features.with_columns(size=pl.when(pl.Series(early)).then("size").otherwise(1e9))

    assert search(features.filter(early), difference[early], clocks.take(early), 80, as_of_us=look) == full
    assert search(later, scrambled, clocks, 80, as_of_us=look) == full


def test_what_cannot_be_searched_is_refused() -> None:
    """Columns that are not there or cannot be cut, a rate that is none, and a recording shorter than its reference."""
    rng = np.random.default_rng(5)
    features, clocks = traffic(rng, 30, 20)
    difference = np.zeros(len(clocks))
    with pytest.raises(DataError, match="the columns are: size, port, plan, mobile"):
        search(features, difference, clocks, 30, columns=["colour"])
    with pytest.raises(DataError, match="cannot be cut into slices"):
        search(features.with_columns(at=pl.lit(0).cast(pl.Date)), difference, clocks, 30, columns=["at"])
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        search(features, difference, clocks, 30, rate=0.0)
    with pytest.raises(ConfigError, match=r"block_days.*must be a day or more"):
        search(features, difference, clocks, 30, block_days=0)
    with pytest.raises(DataError, match="not one whole block of 30"):
        search(features, difference, clocks, 30, block_days=30)
    with pytest.raises(DataError, match="after the first 40 days"):
        search(features, difference, clocks, 30, reference_days=40)
    with pytest.raises(DataError, match="give one of each a row"):
        search(features, difference[1:], clocks, 30)


def test_models_that_never_differ_have_no_slice() -> None:
    """A difference of zero in every row is evidence of nothing, and says so."""
    features, clocks = traffic(np.random.default_rng(6), 60, 30)
    found = search(features, np.zeros(len(clocks)), clocks, 60)

    assert found.found == ()
    assert "none is shown" in found.draw("challenger", "log_loss", "nats").sentences[0]
