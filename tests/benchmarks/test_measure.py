from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel import timer
from windtunnel.benchmarks.measure import (
    MAX_CALLS,
    MIN_BLOCKS,
    MIN_CALLS,
    WARM_S,
    Effort,
    clock_s,
    harness_floor_s,
    measure,
    precise,
)
from windtunnel.session import OnnxSession, Session
from windtunnel.stats import least_samples
from windtunnel.timer import time_calls
from windtunnel.timings import Timings
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FEEDS = {"x": np.arange(3.0)}
MODULE = importlib.import_module("windtunnel.benchmarks.measure")  # the package's own `measure` is the function


class _Clock:
    """Time that passes only when something says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def process_time(self) -> float:
        return 2e-9 * self.now_ns

    def monotonic(self) -> float:
        return self.now_ns * 1e-9

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class _Timed(Session):
    """Takes as long as it is told, by the number of its call, and writes down who was called."""

    def __init__(self, clock: _Clock, name: str, service_s: Any, log: list[tuple[str, int]]) -> None:
        self.signature = Signature((), (Tensor("y", "float32", ("batch",)),))
        self.clock, self.name, self.service_s, self.log, self.calls = clock, name, service_s, log, 0

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.log.append((self.name, len(feeds["x"])))
        self.clock.pass_s(self.service_s(self.calls))
        self.calls += 1
        return {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """A clock of our own in place of the module's."""
    own = _Clock()
    monkeypatch.setattr(MODULE, "time", own)
    monkeypatch.setattr(timer, "time", own)
    return own


def _noisy(seed: int, level_s: float = 1e-3, spread: float = 0.3) -> Any:
    rng = np.random.default_rng(seed)
    return lambda _: level_s * (1 + spread * rng.random())


def _opener(clock: _Clock, name: str, service_s: Any, log: list[tuple[str, int]]) -> Callable[[], Session]:
    """Opens the one session there is: what it has been called before goes on counting."""
    session = _Timed(clock, name, service_s, log)
    return lambda: session


def _blocks(log: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The log with each stretch of equal calls as one."""
    return [each for each, before in zip(log, [None, *log], strict=False) if each != before]


def _measure(
    clock: _Clock, sessions: Mapping[str, Any], effort: Effort, seed: int = 1
) -> tuple[Timings, list[tuple[str, int]]]:
    log: list[tuple[str, int]] = []
    timed = {name: _opener(clock, name, service_s, log) for name, service_s in sessions.items()}
    return measure(timed, FEEDS, (1, 4), effort=effort, rng=np.random.default_rng(seed)), log


def test_every_pair_gets_the_same_blocks_in_changing_order(clock: _Clock) -> None:
    """Each round runs one block of every pair, and the order differs from round to round."""
    timings, log = _measure(clock, {"a": lambda _: 1e-3, "b": lambda _: 2e-3}, Effort(0.0, 0.5))
    pairs = {("a", 1), ("a", 4), ("b", 1), ("b", 4)}
    counts = {key: len(blocks) for key, blocks in timings.blocks_s.items()}

    assert set(counts) == pairs == set(timings.warm)
    assert len(set(counts.values())) == 1
    rounds = min(counts.values())
    orders = _orders(log, timings, rounds)
    assert all(set(each) == pairs for each in orders)
    assert len(set(orders)) > 1


def _orders(log: list[tuple[str, int]], timings: Timings, rounds: int) -> list[tuple[tuple[str, int], ...]]:
    """The order of pairs in each round, read from the end of the log, whose blocks have known lengths."""
    lengths = {key: len(blocks[0]) + round(WARM_S / blocks[0][0]) for key, blocks in timings.blocks_s.items()}
    end, order = len(log), []
    for _ in range(rounds * len(lengths)):
        order.append(log[end - 1])
        stretch = log[end - lengths[log[end - 1]] : end]
        assert set(stretch) == {log[end - 1]}
        end -= len(stretch)
    return [tuple(order[i : i + len(lengths)]) for i in range(0, len(order), len(lengths))]


def test_times_are_those_of_the_calls(clock: _Clock) -> None:
    """Every call's own time is kept, in seconds, block by block."""
    timings, _ = _measure(clock, {"a": lambda _: 1e-3}, Effort())

    assert timings.samples_s("a", 1) == pytest.approx(1e-3)
    assert timings.warm == {("a", 1): True, ("a", 4): True}
    assert [len(block) for block in timings.blocks_s["a", 1]] == [20] * Effort().rounds


def test_stops_when_precise(clock: _Clock) -> None:
    """Where every median is known well enough the least number of rounds is enough, whatever budget is left."""
    timings, _ = _measure(clock, {"a": _noisy(1)}, Effort(0.5, 1e6))

    assert len(timings.blocks_s["a", 1]) == Effort().rounds
    assert clock.monotonic() < 2


def test_goes_on_until_precise(clock: _Clock) -> None:
    """A noisier session gets more rounds, and in the end its medians are as precise as was asked for."""
    rng = np.random.default_rng(2)
    shifts = np.repeat(rng.uniform(0.5, 1.5, 5000), 20)
    timings, _ = _measure(clock, {"a": lambda call: 1e-3 * shifts[call]}, Effort(0.05, 1e6))

    assert len(timings.blocks_s["a", 1]) > Effort().rounds


@pytest.mark.parametrize(("budget_s", "least"), [(0.0, MIN_BLOCKS), (2.0, 20)])
def test_stops_at_the_budget(clock: _Clock, budget_s: float, least: int) -> None:
    """What is never precise stops at the end of the budget, and not before the least number of rounds."""
    timings, _ = _measure(clock, {"a": _noisy(1)}, Effort(0.0, budget_s))

    assert len(timings.blocks_s["a", 1]) >= least
    assert clock.monotonic() < budget_s + 2


def test_warm_up_is_not_counted(clock: _Clock) -> None:
    """Calls that are slow at first are run until two windows agree, and none of them is in the times."""
    timings, _ = _measure(clock, {"a": lambda call: 1e-3 * (1 + 9 * 0.9**call)}, Effort(0.05, 60))

    assert timings.warm == {("a", 1): True, ("a", 4): True}
    assert timings.samples_s("a", 1).max() < 1.3e-3


def test_what_never_gets_warm_says_so(clock: _Clock) -> None:
    """A session whose times double from window to window is measured, and marked as not warm."""
    timings, _ = _measure(clock, {"a": lambda call: 1e-6 * 1.01**call}, Effort(0.5, 0.0))

    assert not timings.warm["a", 1]


@pytest.mark.parametrize(("service_s", "calls"), [(1e-9, MAX_CALLS), (1e-3, 20), (10.0, MIN_CALLS)])
def test_length_of_a_block(clock: _Clock, service_s: float, calls: int) -> None:
    """A block lasts about 20 ms, but has no fewer than five calls and no more than five hundred."""
    timings, _ = _measure(clock, {"a": lambda _: service_s}, Effort(0.5, 0.0))

    assert {len(block) for block in timings.blocks_s["a", 1]} == {calls}


def test_same_seed_same_order(clock: _Clock) -> None:
    """The order of the blocks is decided by the stream that is handed over."""
    sessions = {"a": lambda _: 1e-3, "b": lambda _: 1e-3}

    first, again, other = (_blocks(_measure(clock, sessions, Effort(0.5, 0.0), seed)[1]) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_is_collected_again(clock: _Clock, collecting: bool, fails: bool) -> None:
    """The collector is off while times are taken, and afterwards as it was before, also after an error."""
    seen = []

    def service_s(call: int) -> float:
        seen.append(gc.isenabled())
        if fails and call == 30:
            raise RuntimeError("out of memory")
        return 1e-3

    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        if fails:
            with pytest.raises(RuntimeError, match="out of memory"):
                _measure(clock, {"a": service_s}, Effort(0.5, 0.0))
        else:
            _measure(clock, {"a": service_s}, Effort(0.5, 0.0))
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()
    assert not any(seen)


def test_harness_floor(clock: _Clock) -> None:
    """The floor is the time of a session that does nothing: with a clock that stands still, none; the real one is not run."""
    session = _Timed(clock, "a", lambda _: 1.0, [])

    assert harness_floor_s(session, FEEDS) == 0.0
    assert session.calls == 0


def test_time_calls(clock: _Clock) -> None:
    """Each call is timed by itself."""
    times = iter([1.0, 2.0, 3.0])

    assert time_calls(lambda: clock.pass_s(next(times)), 3).tolist() == [1.0, 2.0, 3.0]


class _Laid(Session):
    """A session whose level is drawn when it is opened, as the place in memory decides it."""

    def __init__(self, clock: _Clock, rng: np.random.Generator) -> None:
        self.signature = Signature((), (Tensor("y", "float32", ("batch",)),))
        self.clock, self.rng, self.level_s = clock, rng, 1e-3 * rng.lognormal(0.0, 0.02)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        del feeds
        self.clock.pass_s(self.level_s * self.rng.lognormal(0.0, 0.01))
        return {}


def _layer(clock: _Clock, rng: np.random.Generator, *, anew: bool) -> Callable[[], Session]:
    held = _Laid(clock, rng)
    return lambda: _Laid(clock, rng) if anew else held


def test_each_round_opens_anew(clock: _Clock) -> None:
    """Every round is measured on sessions opened for it: as many levels are seen as there are rounds."""
    rng = np.random.default_rng(1)
    opened = []

    def opener() -> Session:
        opened.append(_Laid(clock, rng))
        return opened[-1]

    timings = measure({"a": opener}, FEEDS, (1, 4), effort=Effort(0.5, 0.0), rng=np.random.default_rng(1))

    assert len(opened) == 1 + timings.rounds == 1 + MIN_BLOCKS
    levels = [np.median(block) for block in timings.blocks_s["a", 1]]
    assert levels == pytest.approx([each.level_s for each in opened[1:]], rel=0.01)


def test_inputs_are_copied_on_each_opening(clock: _Clock) -> None:
    """The inputs too lie elsewhere for each opening, and hold the same."""
    seen: list[NDArray[Any]] = []

    class Looking(_Timed):
        def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            if not any(feeds["x"] is each for each in seen):
                seen.append(feeds["x"])
            return super().run(feeds)

    measure(
        {"a": lambda: Looking(clock, "a", lambda _: 1e-3, [])}, FEEDS, (2,), effort=Effort(0.5, 0.0),
        rng=np.random.default_rng(1),
    )  # fmt: skip

    assert len(seen) == 2 + MIN_BLOCKS  # one is tried before anything is timed
    assert all(each.tolist() == [0.0, 1.0] for each in seen)


@pytest.mark.parametrize("anew", [True, False])
def test_twins_that_lie_elsewhere(clock: _Clock, anew: bool) -> None:
    """Two sessions of one file differ by where they lie: opened anew they are seldom called different, held they mostly are."""
    rng, different = np.random.default_rng(2), 0
    for _ in range(100):
        timings = measure(
            {name: _layer(clock, rng, anew=anew) for name in ("a", "b")}, FEEDS, (1,), effort=Effort(0.5, 0.0), rng=rng
        )
        ratio = timings.speedup("a", "b", 1)
        different += not ratio.low <= 1.0 <= ratio.high

    assert different <= 12 if anew else different >= 70


def test_cpu_seconds_of_a_call(clock: _Clock) -> None:
    """The CPU seconds of the timed calls alone are counted; this clock's processor works twice as long as it takes."""
    timings, _ = _measure(clock, {"a": lambda _: 1e-3}, Effort(0.5, 0.0))

    assert timings.cpu_s == {("a", 1): pytest.approx(2e-3), ("a", 4): pytest.approx(2e-3)}


def test_another_quantile(clock: _Clock) -> None:
    """Asked for p99, rounds go on until the samples carry it, which takes at least MLPerf's count."""
    timings, _ = _measure(clock, {"a": _noisy(1)}, Effort(0.2, 1e6, 0.99))

    assert len(timings.samples_s("a", 1)) >= least_samples(0.99)
    assert precise(timings.samples_s("a", 1), Effort(0.2, 0.0, 0.99), timings.rounds)


def test_nothing_of_ours_is_timed(tiny_model: Path) -> None:
    """What is timed is the runtime's own call on inputs that are there, not our door around it."""
    session = OnnxSession(tiny_model)
    call = session.ready({"x": np.zeros((1, 4), np.float32)})

    assert session._session.run in [cell.cell_contents for cell in call.__closure__ or ()]
    answer = call()
    assert isinstance(answer, list)
    assert np.array_equal(answer[0], session.run({"x": np.zeros((1, 4), np.float32)})["y"])


def _twins(rng: np.random.Generator, rounds: int = 12, calls: int = 20) -> Timings:
    """Two sessions that are the same, on a machine whose speed drifts and whose calls are now and then slow."""
    machine = np.exp(np.cumsum(rng.normal(scale=0.02, size=rounds)))
    blocks = {
        (name, 1): tuple(1e-3 * m * rng.lognormal(0.0, 0.05) * (1 + rng.pareto(3.0, calls)) for m in machine)
        for name in ("a", "b")
    }
    return Timings(blocks, dict.fromkeys(blocks, True))


def test_twins_are_seldom_called_different() -> None:
    """Of two sessions that are the same one is called faster in about one case of twenty, as 95% intervals promise."""
    rng = np.random.default_rng(4)
    different = 0
    for _ in range(300):
        speedup = _twins(rng).speedup("a", "b", 1)
        different += not speedup.low <= 1.0 <= speedup.high

    assert different <= 300 * 0.05 + 2.6 * np.sqrt(300 * 0.05 * 0.95)


def test_a_real_difference_is_seen() -> None:
    """A session that is a tenth faster is called faster in nearly every case."""
    rng = np.random.default_rng(4)
    seen = 0
    for _ in range(100):
        twins = _twins(rng, rounds=30)
        faster = {
            key: tuple(block / (1.1 if key[0] == "b" else 1.0) for block in blocks)
            for key, blocks in twins.blocks_s.items()
        }
        seen += Timings(faster, twins.warm).speedup("a", "b", 1).low > 1.0

    assert seen >= 95


def test_each_block_is_warm(clock: _Clock) -> None:
    """What another model did to caches is gone before a block counts: a session that is slow after every other's is not seen so."""
    last: list[object] = []

    class Chilled(_Timed):
        def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            last.append(self)
            calls = next((i for i, each in enumerate(reversed(last)) if each is not self), len(last))
            self.service_s = lambda _: 1e-5 * (1.3 if calls < 300 else 1.0)
            return super().run(feeds)

    sessions = {name: Chilled(clock, name, lambda _: 1e-5, []) for name in ("a", "b")}
    openers: dict[str, Callable[[], Session]] = {"a": lambda: sessions["a"], "b": lambda: sessions["b"]}
    timings = measure(openers, FEEDS, (1,), effort=Effort(0.5, 0.0), rng=np.random.default_rng(1))

    assert timings.samples_s("a", 1) == pytest.approx(1e-5)


def test_what_the_clock_cannot_tell() -> None:
    """Two readings of the real clock in a row differ by less than two microseconds, and by something."""
    assert 0.0 < clock_s() < 2e-6


def test_a_call_too_short_to_be_known(clock: _Clock) -> None:
    """Where the clock's own doubt is more than the precision asked for, no number of rounds is enough."""
    series = np.full(1000, 1e-6) * np.random.default_rng(1).uniform(0.999, 1.001, 1000)

    assert precise(series, Effort(0.05), 20, 4e-8)
    assert not precise(series, Effort(0.05), 20, 6e-8)
    assert clock.now_ns == 0
