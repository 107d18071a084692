"""Kinds of nodes measure: those on different machines at the same time, those that share one in turns."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.errors import MeasurementError, WindtunnelError
from windtunnel.quantity import format_duration

from .kind import turns_of
from .node import ARRIVED_S, LOOK_S, ask, fetch, occupants, pinned

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from windtunnel.progress import Progress

    from .kind import Kind
    from .node import Node
    from .parcel import Answer, Parcel


class Bench:
    """The actor that holds a node and measures on it."""

    def hold(self) -> None:
        """Answers as soon as the node is held."""

    def measure(self, parcel: Parcel) -> Answer:
        """Measure here."""
        return parcel.measure()


class _Wait(NamedTuple):
    """What a turn waits for, and how long."""

    reference: Any
    patience_s: float = math.inf


class Measuring:
    """One measurement on a cluster, thrown away after it: all machines at the same time, one process to wait for them all."""

    def __init__(self, parcel: Parcel, patience_s: float, progress: Progress) -> None:
        import ray

        self._parcel, self._patience_s, self._progress = ray.put(parcel), patience_s, progress
        # a name of its own: Ray shows it on the node, where another measurement may be under way
        self._bench = type(f"windtunnel_{secrets.token_hex(4)}", (Bench,), {})
        self._measured: dict[str, Kind] = {}
        self._errors: dict[str, WindtunnelError] = {}

    def run(self, kinds: Sequence[Kind]) -> tuple[Kind, ...]:
        """Measure all that can be measured.

        Raises:
            WindtunnelError: none could be.
        """
        seen = [kind for kind in kinds if kind.hardware is not None]
        self._errors = {kind.label: MeasurementError(kind.problem) for kind in kinds if kind.hardware is None}
        turns = [self._turn(turn) for turn in turns_of(seen)]
        try:
            self._wait_for_all(turns)
        finally:
            for turn in turns:
                turn.close()  # ends its actor, also when we are interrupted
        if not self._measured:
            raise none_measured(self._errors)
        return tuple(self._outcome(kind) for kind in kinds)

    def _outcome(self, kind: Kind) -> Kind:
        return self._measured.get(kind.label) or replace(kind, problem=str(self._errors[kind.label]))

    def _wait_for_all(self, turns: Sequence[Generator[_Wait, bool, None]]) -> None:
        """Let every turn go on as soon as what it waits for is there, or too late."""
        import ray

        waiting: dict[Any, tuple[Generator[_Wait, bool, None], float]] = {}
        steps: list[tuple[Generator[_Wait, bool, None], Any]] = [(turn, None) for turn in turns]  # None starts it
        while steps or waiting:
            for turn, in_time in steps:
                with contextlib.suppress(StopIteration):
                    wait = turn.send(in_time)
                    waiting[wait.reference] = (turn, time.monotonic() + wait.patience_s)
            steps = []
            if waiting:
                left_s = min(deadline for _, deadline in waiting.values()) - time.monotonic()
                timeout = None if left_s == math.inf else max(0.0, left_s)
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout)
                late = [each for each, (_, deadline) in waiting.items() if deadline <= time.monotonic()]
                steps = [(waiting.pop(each)[0], each in ready) for each in dict.fromkeys([*ready, *late])]

    def _turn(self, kinds: Sequence[Kind]) -> Generator[_Wait, bool, None]:
        for kind in kinds:
            try:
                answer: Answer = yield from self._measure(kind)
            except WindtunnelError as error:
                self._errors[kind.label] = error
                self._progress.say(f"  {kind.label}: {error}")
            else:
                self._measured[kind.label] = replace(kind, benchmark=answer.benchmark, left_out=answer.left_out)
                self._progress.say(f"  {kind.label}: {answer.benchmark.verdict.outcome}")

    def _measure(self, kind: Kind) -> Generator[_Wait, bool, Answer]:
        """Hold the first node of a kind, measure there, let it go."""
        import ray

        node = kind.nodes[0]
        bench: Any = ray.remote(num_cpus=node.cpus, num_gpus=node.gpus, max_restarts=0)(self._bench)
        actor = bench.options(scheduling_strategy=pinned(node)).remote()
        try:
            yield from self._hold(actor, node)
            self._progress.say(f"  {kind.label}: measuring on {node} …")
            measured = actor.measure.remote(self._parcel)
            yield _Wait(measured)
            answer: Answer = fetch(measured, node, "finish measuring")
            return answer
        finally:
            ray.kill(actor)

    def _hold(self, actor: Any, node: Node) -> Generator[_Wait, bool, None]:
        """Wait until nothing else is on the node; and longer where nothing is there but our own process, just starting."""
        held = actor.hold.remote()
        if not (yield _Wait(held, self._patience_s)):
            found = yield from self._occupants(node)
            if found or not (yield _Wait(held, LOOK_S)):
                runs = ", ".join(found) or "something that holds its CPUs without a process, such as a placement group"
                raise MeasurementError(
                    f"{node} was not free within {format_duration(self._patience_s)}: it runs {runs}; "
                    "wait for that or end it, and measure again"
                )
        fetch(held, node, "be held")

    def _occupants(self, node: Node) -> Generator[_Wait, bool, tuple[str, ...]]:
        looking = ask(occupants, node, self._bench.__name__)
        yield _Wait(looking, LOOK_S)
        found: tuple[str, ...] = fetch(looking, node, "say what it runs", ARRIVED_S)
        return found


def none_measured(errors: Mapping[str, WindtunnelError]) -> WindtunnelError:
    """Why no kind was measured: of the type that all errors are of."""
    first, *others = errors.values()
    if not others:
        return first
    alike = type(first) if all(type(other) is type(first) for other in others) else MeasurementError
    return alike("no kind of node could be measured: " + "; ".join(f"{label}: {e}" for label, e in errors.items()))
