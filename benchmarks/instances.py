"""Instances of a model, a process each, as replicas are: started, told what to do together, ended.

Threads of one process share an interpreter and an allocator, and so are no stand-in for replicas. Each process here runs
`windtunnel.instance`. All its orders and answers lie outside the stretch that is timed: the calls that count are those
made while every other instance was busy too.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.session import cut
from windtunnel.timer import time_calls

from .process import PATIENCE_S, Process, checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .process import Answer, Head

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[Any]]
    Source = Variant | str

RUNTIME = "onnxruntime-cpu"

FIRST_S = 240.0
"""How much longer loading a model and its first answer may take: some runtimes compile."""

LEAD_S = 0.002
"""How long before a block its instances begin to be busy, at first; doubled as often as one of them was late."""

TRIES = 9


class Processes:
    """The processes of one measurement, started once and used for every variant.

    Args:
        count: how many instances there may be at once.
        patience_s: how long an answer may take.

    Raises:
        MeasurementError: one could not be started.
    """

    def __init__(self, count: int, *, patience_s: float = PATIENCE_S) -> None:
        self._all: list[Process] = []
        self._lead_s, self._names = LEAD_S, itertools.count()
        try:
            for _ in range(count):
                self._all.append(Process(patience_s=patience_s))
            timer = f"{time_calls.__module__}:{time_calls.__qualname__}"
            ask_all(self._all, {"order": "timer", "timer": timer})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def pids(self) -> tuple[int, ...]:
        """By which the system knows them."""
        return tuple(process.pid for process in self._all)

    def close(self) -> None:
        """End them all."""
        for process in self._all:
            process.dismiss()
        while self._all:
            self._all.pop().close()

    def take(self, count: int) -> tuple[str, list[Process]]:
        """A name that no other model has, and the processes that shall hold it.

        Raises:
            ValueError: more instances than processes.
        """
        if not 1 <= count <= len(self._all):
            raise ValueError(f"{count} instances in {len(self._all)} processes")
        return f"model {next(self._names)}", self._all[:count]

    def run_together(self, busy: Sequence[Process], head: Head, extra_s: float) -> list[Answer]:
        """Let some make timed calls at once, again until all were busy before the first of them began to count.

        Args:
            busy: the processes.
            head: model, batch and calls.
            extra_s: how long the calls may take.

        Raises:
            MeasurementError: they could not be started together, or one died or fell silent.
        """
        for _ in range(TRIES):
            at_s = time.perf_counter() + self._lead_s
            for process in busy:
                process.tell({"order": "block", **head, "at_s": at_s})
            answers = [process.hear(extra_s + self._lead_s) for process in busy]
            ask_all(busy, {"order": "rest"}, extra_s)
            if all(answer["busy_from_s"] <= at_s for answer, _ in checked(answers)):
                return answers
            self._lead_s *= 2.0
        raise MeasurementError(
            f"{len(busy)} instances could not be started together in {TRIES} tries; measure on a machine that does nothing else"
        )


def ask_all(processes: Sequence[Process], head: Head, extra_s: float = 0.0) -> list[Head]:
    """Give all the same order, then wait for all the answers."""
    for process in processes:
        process.tell(head)
    return [answer for answer, _ in checked([process.hear(extra_s) for process in processes])]


def opening(source: Source, model: str, threads: int, runtime: str, home: Path) -> Head:
    """The order to load a model under a name."""
    return {
        "order": "open", "model": model, "source": _told(source), "threads": threads, "runtime": runtime,
        "home": str(home.resolve()),
    }  # fmt: skip


def _told(source: Source) -> str | list[Any]:
    if isinstance(source, str):
        return source
    path = str(source.path.resolve())
    return [
        source.name, path, source.sha256, source.precision, source.bytes, source.signature.to_dict(), source.execution.to_dict(),
    ]  # fmt: skip


def name_of(source: Source) -> str:
    """What a model is called: a variant's name, or the function as it was given."""
    return source if isinstance(source, str) else source.name


@dataclass(frozen=True)
class Block:
    """What some instances did while all of them were busy.

    Args:
        times_s: float64 `[instances × calls]`, service times in seconds, the instances in turns.
        cpu_s: CPU seconds that these calls used, of all threads of all instances.
        rows_per_s: rows that all together finished a second.
    """

    times_s: Floats
    cpu_s: float
    rows_per_s: float


class Instances:
    """Instances of one model that are busy at once: a `Subject` of a measurement.

    Every call that counts was made while all others were busy too: each begins before the block and goes on after it,
    uncounted, until the last has finished.

    Args:
        processes: who holds them.
        source: the model: a variant, or `file.py:function` for torch's runtimes.
        feeds: rows, by input name; batches are cut from their start.
        batch_sizes: rows a call.
        count: how many are busy at once.
        threads: intra-op threads of each.
        runtime: by name.
        home: the folder that a function's file is relative to.

    Raises:
        ValueError: more instances than processes.
        MeasurementError: a process died or fell silent; so do all methods.
    """

    def __init__(
        self,
        processes: Processes,
        source: Source,
        feeds: Arrays,
        batch_sizes: Sequence[int],
        *,
        count: int,
        threads: int = 1,
        runtime: str = RUNTIME,
        home: Path = Path(),
    ) -> None:
        self._processes, self._batch_sizes = processes, tuple(batch_sizes)
        self._model, self._busy = processes.take(count)
        self._opening = opening(source, self._model, threads, runtime, home)
        self._slowest_s: dict[int, float] = {}
        for batch in batch_sizes:
            rows = cut(feeds, batch)
            for process in self._busy:
                process.ask({"order": "rows", "model": self._model, "batch": batch}, rows)

    def open(self) -> None:
        """Load the model anew in each process, in the place of the one that was loaded; the first time, run each batch once.

        Raises:
            ModelError: the runtime cannot load or run it.
        """
        ask_all(self._busy, self._opening, FIRST_S)
        for batch in self._batch_sizes:
            if batch not in self._slowest_s:
                head = {"order": "answer", "model": self._model, "batch": batch}
                answers = ask_all(self._busy, head, FIRST_S)
                self._slowest_s[batch] = max(answer["service_s"] for answer in answers)

    def time(self, batch: int, calls: int) -> tuple[Floats, float]:
        """Time calls of one batch size by each at once: seconds each, the instances in turns; and their CPU seconds."""
        block = self.block(batch, calls)
        return block.times_s, block.cpu_s

    def block(self, batch: int, calls: int) -> Block:
        """Time calls of one batch size by each at once."""
        # ten times as slow as ever seen is slow; beyond that, and the usual patience, it hangs
        extra_s = 10.0 * (calls + 2) * self._slowest_s[batch]
        head = {"model": self._model, "batch": batch, "calls": calls}
        answers = self._processes.run_together(self._busy, head, extra_s)
        times = np.stack([arrays["times_s"] for _, arrays in answers], axis=1).ravel()
        self._slowest_s[batch] = max(self._slowest_s[batch], float(np.max(times)))
        seconds = [answer["ended_s"] - answer["started_s"] for answer, _ in answers]
        rate = batch * calls * sum(1.0 / each for each in seconds)
        return Block(times, sum(answer["cpu_s"] for answer, _ in answers), rate)

    def close(self) -> None:
        """Let the model and its batches go, to give their memory back."""
        ask_all(self._busy, {"order": "close", "model": self._model})
