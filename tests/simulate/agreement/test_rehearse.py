"""Rehearsal: clocks are scaled, runs are cut into loads, and what tells nothing is refused."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import DataError, MeasurementError
from windtunnel.request_log import COMPLETED, SHED, TIMED_OUT, RequestLog
from windtunnel.road import LOADS
from windtunnel.seeds import Seeds
from windtunnel.simulate.agreement import Place, Roadside, rehearse, scale
from windtunnel.simulate.agreement.rehearse import observe
from windtunnel.simulate.agreement.survey import between, joined
from windtunnel.trace import Trace

from .conftest import BATCH, MACHINE, drive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.road import Road
    from windtunnel.simulate.agreement import Observed, Rehearsal

PLACE = Place("m", "", MACHINE, "2.60.0", "HAProxy", BATCH, 1)


class Synthetic(Roadside):
    """The synthetic road in a server's place."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(), SimpleNamespace(), generators=1, seeds=Seeds(3))  # type: ignore[arg-type]  # never asked
        self.driven: list[tuple[str, int]] = []
        self.slowing, self.stretch = 0.0, np.ones(1)

    def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
        """Drive it as `LiveRun` tells of it."""
        stretch = self.stretch + self.slowing * len(self.driven)
        seen = drive(arrivals_s - arrivals_s[0], len(self.driven), stretch=stretch)
        self.driven.append((name, len(seen)))
        return run_of(seen.scheduled_s, seen.finished_s, seen.queue_s, seen.model_s, seen.batch_size)


def run_of(
    scheduled_s: NDArray[np.float64],
    finished_s: NDArray[np.float64],
    queue_s: NDArray[np.float64],
    model_s: NDArray[np.float64],
    size: NDArray[np.int64],
) -> Any:
    """As much of a `LiveRun` as is read."""
    none = np.zeros(len(scheduled_s), dtype=np.int32)
    log = RequestLog(
        scheduled_s, scheduled_s, finished_s, finished_s, none, size.astype(np.int32), none, none + COMPLETED
    )
    return SimpleNamespace(log=log, queue_s=queue_s, model_s=model_s, reasons=(), valid=True)


def test_capacity_is_found_from_an_overload() -> None:
    """What a server answers that always has more to do: within 5% of what batches of eight make of its times and its loop's."""
    found = Synthetic().capacity_per_s()
    assert found == pytest.approx(
        8.0 / (0.0012 + 8 * 0.0034 + 0.0006 + 8 * (0.0001 + 0.0002 + 0.0001) + 0.0001), rel=0.05
    )


def test_turns_of_a_load_are_one_run(runs: list[Observed]) -> None:
    """Three turns, one of them without an answer, joined: nobody is lost, time goes on, and batches stay apart."""
    of = runs[0].batches.of
    cut = next(at for at in range(300, 400) if of[at] != of[at - 1])  # turns share no batch
    first, second = between(runs[0], 0, cut), between(runs[0], cut, 700)
    none = replace(between(first, 0, 0), asked=40)
    found = joined([first, none, second])
    assert (len(found), found.asked) == (700, 740)
    assert found.number.tolist() == [*first.number.tolist(), *(second.number + cut + 40).tolist()]
    assert np.all(np.diff(found.scheduled_s) >= 0.0)
    assert found.scheduled_s[len(first)] == pytest.approx(found.finished_s[: len(first)].max())
    assert np.allclose(found.latency_s, np.concatenate([first.latency_s, second.latency_s]))
    assert len(found.batches.size) == len(first.batches.size) + len(second.batches.size)


class Restless(Synthetic):
    """The same, of a machine that grows slower by a fifth while it is calibrated."""

    def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
        """Drive it."""
        if name == "a calibrating run":
            ended_s = drive(arrivals_s - arrivals_s[0], len(self.driven)).batches.ended_s
            self.stretch = np.where(np.arange(len(arrivals_s)) < np.searchsorted(ended_s, ended_s[-1] / 2.0), 1.0, 1.2)
        return super().drive(name, arrivals_s)


def test_a_machine_that_is_not_steady_is_doubted() -> None:
    """Batches that take a fifth longer in the last turn than in the first leave a doubt in the road; on a steady machine there is none."""
    assert Synthetic().first_survey(PLACE, 30.0).road(PLACE).doubts == ()
    (doubt,) = Restless().first_survey(PLACE, 30.0).road(PLACE).doubts
    assert re.search(r"took (19|2[0-2])% longer in one turn than in another", doubt)


def test_a_trace_is_calibrated_for_driven_and_compared() -> None:
    """From nothing to a verdict: a probe, an overload, the trace at its load between two surveys; and they agree."""
    side = Synthetic()
    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(60.0, 9000)))
    done = rehearse(side, PLACE, trace, load=0.5, duration_s=60.0, within=0.15, calibrate_s=30.0)
    assert [name for name, _ in side.driven] == [
        "a probe", "an overload", "a calibrating run", "held out", "a calibrating run",
    ]  # fmt: skip
    assert len(done.road.loads) == len(LOADS)
    assert done.calibrated
    assert done.told.scheduled_s[-1] == pytest.approx(60.0, rel=0.01)
    assert len(done.told.scheduled_s) == pytest.approx(30.0 * done.road.capacity_per_s, rel=0.01)
    assert done.agreement.verdict.outcome == "go"


def level(road: Road, done: Rehearsal) -> float:
    """What batches took on the road, as a share of what it says that they take."""
    batches = done.seen.batches
    stretch = np.mean([each.stretch for each in road.loads])
    return float(np.median(batches.model_s / road.service_s[batches.size])) / float(stretch)


def test_a_machine_that_grows_slower_is_told_as_it_was_in_between() -> None:
    """3% slower from drive to drive: surveys before and after tell of the trace within 1%; the one before alone would be 3% off."""
    side = Synthetic()
    side.slowing = 0.03
    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(60.0, 9000)))
    before = side.first_survey(PLACE, 30.0)
    done = rehearse(side, PLACE, trace, load=0.5, duration_s=30.0, within=0.15, before=before, calibrate_s=60.0)
    assert level(before.road(PLACE), done) == pytest.approx(1.0 + 0.03 / 1.06, abs=0.01)
    assert level(done.road, done) == pytest.approx(1.0, abs=0.01)


def test_a_survey_serves_the_trace_before_it_and_the_one_after_it() -> None:
    """Of two traces in a row the second needs no survey before it, and both are told from arrivals of their own."""
    side, trace = Synthetic(), Trace("held out", np.cumsum(np.random.default_rng(1).exponential(60.0, 9000)))
    first = rehearse(side, PLACE, trace, load=0.5, duration_s=10.0, within=0.15, calibrate_s=30.0)
    again = rehearse(side, PLACE, trace, load=0.2, duration_s=10.0, within=0.15, before=first.after, calibrate_s=30.0)
    assert [name for name, _ in side.driven][4:] == ["a calibrating run", "held out", "a calibrating run"]
    assert first.after is not None
    assert again.after is not None
    assert not np.array_equal(first.after.turns[0].scheduled_s, again.after.turns[0].scheduled_s)


def test_a_road_that_was_kept_is_not_measured_again(made_up: Road) -> None:
    """With stations at hand only the trace is driven."""
    side = Synthetic()
    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(1.0, 2000)))
    done = rehearse(side, PLACE, trace, load=0.5, duration_s=10.0, within=0.1, road=made_up)
    assert [name for name, _ in side.driven] == ["held out"]
    assert not done.calibrated
    assert done.after is None
    with pytest.raises(DataError, match="was measured with another"):
        rehearse(side, replace(PLACE, ray="2.61.0"), trace, load=0.5, duration_s=10.0, within=0.1, road=made_up)


def test_others_at_work_leave_it_open(made_up: Road) -> None:
    """Where others took a third of the processors while the trace was driven nothing is decided."""
    side = Synthetic()
    side.strange = 0.33
    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(1.0, 2000)))
    done = rehearse(side, PLACE, trace, load=0.5, duration_s=10.0, within=0.1, road=made_up)
    assert done.strange == 0.33
    assert done.agreement.verdict.outcome == "inconclusive"
    assert "others took 33% of the processors" in done.agreement.verdict.reasons[0]


def test_a_clock_is_scaled_to_a_rate() -> None:
    """As many requests as the rate gives in the time, in that time, in the same rhythm."""
    trace = Trace("t", np.cumsum(np.random.default_rng(1).exponential(7.0, 1000)))
    scaled = scale(trace, 50.0, 10.0)
    assert len(scaled) == 500
    assert scaled.duration_s == pytest.approx(10.0)
    assert np.allclose(
        np.diff(scaled.arrivals_s) / np.diff(trace.arrivals_s[:500]), scaled.duration_s / np.ptp(trace.arrivals_s[:500])
    )
    assert len(scale(trace, 500.0, 10.0)) == 1000


def test_a_beginning_without_time_is_refused() -> None:
    """Requests of one instant have no rate."""
    with pytest.raises(DataError, match="at one instant"):
        scale(Trace("t", np.array([0.0, 0.0, 0.0, 5.0])), 1.0, 2.0)


def test_a_server_that_tells_nothing_is_refused() -> None:
    """Answers without Server-Timing are no stations."""
    times_s = np.arange(100.0)
    silent = run_of(times_s, times_s + 0.01, times_s * math.nan, times_s * math.nan, np.zeros(100, dtype=np.int64))
    with pytest.raises(DataError, match="how long its batch took"):
        observe(silent, told_of="t")


def test_a_slow_server_has_the_capacity_that_it_has() -> None:
    """A second a request: 30 of 65 are answered while somebody waits, the others given up at one instant; that is one a second."""

    class Slow(Synthetic):
        def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
            self.driven.append((name, len(arrivals_s)))
            at_s = np.arange(1.0, len(arrivals_s) + 1.0) + arrivals_s[0]
            until_s = arrivals_s[-1] + 30.0
            run = run_of(arrivals_s, np.minimum(at_s, until_s), at_s, at_s, np.ones(len(at_s), dtype=np.int64))
            run.log = replace(run.log, status=np.where(at_s < until_s, COMPLETED, TIMED_OUT).astype(np.int32))
            return run

    side = Slow()
    assert side.capacity_per_s() == pytest.approx(1.0, rel=0.05)
    assert side.driven == [("a probe", 65), ("an overload", 64)]


def test_refusals_are_no_answers() -> None:
    """Three of four requests are turned away at once: capacity is what was answered."""

    class Full(Synthetic):
        def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
            run = super().drive(name, arrivals_s)
            turned_away = np.arange(len(arrivals_s)) % 4 > 0
            finished_s = np.where(turned_away, run.log.scheduled_s + 1e-4, run.log.finished_s)
            run.log = replace(
                run.log, finished_s=finished_s, status=np.where(turned_away, SHED, COMPLETED).astype(np.int32)
            )
            return run

    assert Full().capacity_per_s() < 240.0 / 3.0


@pytest.mark.parametrize("probed_per_s", [20.0, 30_000.0])
def test_a_server_that_was_asked_for_far_too_much_is_asked_again(probed_per_s: float) -> None:
    """It answers 200 a second, and half of that while it turns others away; what a probe says is far off, and capacity is 200."""

    class Bursting(Synthetic):
        def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
            self.driven.append((name, len(arrivals_s)))
            count = len(arrivals_s)
            asked_per_s = (count - 1) / float(arrivals_s[-1] - arrivals_s[0])
            per_s = probed_per_s if name == "a probe" else min(asked_per_s, 200.0) if asked_per_s < 400.0 else 100.0
            at_s = np.arange(1.0, count + 1.0) / per_s
            run = run_of(arrivals_s, at_s, at_s, at_s, np.ones(count, dtype=np.int64))
            status = np.where(at_s <= max(arrivals_s[-1], 1.0) + 1.0, COMPLETED, SHED)
            run.log = replace(run.log, status=status.astype(np.int32))
            return run

    side = Bursting()
    assert side.capacity_per_s() == pytest.approx(200.0, rel=0.02)
    assert side.driven[-1][1] < 200.0 * 1.7 * 3.0


def test_large_batches_are_probed_with_more() -> None:
    """So many at once that every replica has four batches to serve, for the answers of one come all at once."""
    side = Synthetic()
    side.capacity_per_s(32)
    assert side.driven[0] == ("a probe", 129)


def test_a_road_that_was_disturbed_leaves_later_runs_open(made_up: Road) -> None:
    """Whatever was amiss while it was calibrated is amiss for whoever uses it afterwards."""
    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(1.0, 2000)))
    road = replace(made_up, doubts=("while the road was calibrated others took 30% of the processors",))
    done = rehearse(Synthetic(), PLACE, trace, load=0.5, duration_s=10.0, within=0.1, road=road)
    assert done.agreement.verdict.outcome == "inconclusive"
    assert road.doubts[0] in done.agreement.verdict.reasons


def test_what_disturbs_a_calibration_is_kept() -> None:
    """Others at work all the while: it is tried again, twice, and the road says so."""
    side = Synthetic()
    side.strange = 0.33
    road = side.first_survey(PLACE, 20.0).road(PLACE)
    assert [name for name, _ in side.driven].count("a calibrating run") == 3
    assert "others took 33%" in road.doubts[0]


def test_a_server_that_answers_nothing_has_no_capacity() -> None:
    """Nothing came back: there is no capacity to take a share of."""

    class Dead(Synthetic):
        def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
            run = super().drive(name, arrivals_s)
            run.log = replace(
                run.log, finished_s=np.full(len(run.log), np.nan), status=np.full(len(run.log), TIMED_OUT, np.int32)
            )
            return run

    with pytest.raises(MeasurementError, match="too few"):
        Dead().capacity_per_s()


def test_a_trace_is_told_though_the_road_was_lost_after_it() -> None:
    """The server dies in the second survey: what was driven is compared with the first, and decides nothing."""

    class Dying(Synthetic):
        def drive(self, name: str, arrivals_s: NDArray[np.float64]) -> Any:
            if [each for each, _ in self.driven].count("a calibrating run") and "held out" in dict(self.driven):
                raise MeasurementError("the server is gone")
            return super().drive(name, arrivals_s)

    trace = Trace("held out", np.cumsum(np.random.default_rng(1).exponential(60.0, 9000)))
    done = rehearse(Dying(), PLACE, trace, load=0.5, duration_s=10.0, within=0.15, calibrate_s=60.0)

    assert done.after is None
    assert done.calibrated
    assert done.agreement.verdict.outcome == "inconclusive"
    assert "could not be surveyed after the trace (the server is gone)" in done.agreement.verdict.reasons[0]
