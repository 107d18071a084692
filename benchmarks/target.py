"""What a server of the Open Inference Protocol takes: service times over the wire, and the server's own cost a request."""

from __future__ import annotations

import http.client
import re
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.progress import SILENT, Progress
from windtunnel.server_cost import ServerCost
from windtunnel.serving.protocol import read_answer, write_request
from windtunnel.session import cut
from windtunnel.stats import mean_interval
from windtunnel.verdict import Verdict

from .measure import Effort, precise
from .process_tree import ProcessTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.serving.remote import RemoteModel, Reply

    Arrays = Mapping[str, NDArray[Any]]
    Request = tuple[bytes, dict[str, str]]

WARM_CALLS = 10
"""Calls of each batch size that are not counted."""

BLOCK_CALLS = 10
"""Calls of one batch size before it is another's turn."""

PIECES = 8
"""Into how many pieces the loaded stretch is cut, so that its figures have intervals."""

PIECE_S = 0.5
"""A piece lasts so long at least: the kernel counts CPU in ticks of 10 ms."""

LEAST = 4
"""A piece has so many answers at least."""

MAX_DRIFT = 0.15
"""The halves of a measurement may differ by so much and no more."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a server.

    Args:
        model: there.
        feeds: rows, by input; batches are cut from their start.
        batch_sizes: rows a request.
        connections: how many ask at once, to learn what the server itself costs under load.
        effort: how long, and how precisely.
        model_cpu_s: CPU seconds of one call of the model by batch size, where it was measured without a server.
    """

    model: RemoteModel
    feeds: Arrays
    batch_sizes: tuple[int, ...]
    connections: int = 16
    effort: Effort = field(default_factory=Effort)
    model_cpu_s: Mapping[int, float] = field(default_factory=dict)

    def request(self, rows: int) -> Request:
        """A request of so many rows, in the form that the server speaks."""
        return write_request(cut(self.feeds, rows), binary=self.model.binary)


@dataclass(frozen=True)
class Answered:
    """What one answer says of its way.

    Args:
        model_s: how long its batch was computed; NaN where the server does not say.
        batch: requests in it; 0 where it does not say.
    """

    model_s: float
    batch: int


def measure_target(asked: Asked, *, instance: str = "", progress: Progress = SILENT) -> LatencyProfile:
    """Measure a model behind a server: service times over the wire, one request at a time, and what the server costs.

    Args:
        asked: of which server, and with what.
        instance: what this machine is sold as, where it does not say so itself.
        progress: shown while measuring.

    Returns:
        A profile whose service times hold the server and the way there.

    Raises:
        DataError: the server refuses a request, or does not speak the protocol.
        MeasurementError: it falls silent.
    """
    here = asked.model.address.loopback
    hardware = (
        Hardware.detect(instance) if here else Hardware(f"unknown, at {asked.model.address}", "unknown", (), 1.0, 0)
    )
    progress.say(f"  asking {asked.model.server} at {asked.model.address}, one request at a time")
    samples, rounds = _service_times(asked)
    cost = measure_server(asked, progress=progress)
    words = asked.model.server.split()
    runtime = f"{words[0]} {' '.join(words[1:]) or '-'} over the wire"
    return LatencyProfile(
        asked.model.name, "", hardware, runtime, 1, "measured", asked.batch_sizes, samples, 1.0,
        _judge(samples, asked, rounds), rounds=rounds, server=cost.held(),
    )  # fmt: skip


def _service_times(asked: Asked) -> tuple[tuple[NDArray[np.float64], ...], int]:
    """Round trips in seconds by batch size, in turns, until they are precise or the time is spent; and in how many turns."""
    requests = [asked.request(rows) for rows in asked.batch_sizes]
    times: list[list[float]] = [[] for _ in requests]
    with asked.model.connect() as connection:
        line = _Line(asked.model, connection)
        for request in requests:
            read_answer(*_whole(line.ask(request)))  # refused once and by name, before anything is timed
            line.times(request, WARM_CALLS)
        rounds, deadline = 0, time.monotonic() + asked.effort.budget_s / 2
        while rounds < asked.effort.rounds or (
            time.monotonic() < deadline and not _precise(times, asked.effort, rounds)
        ):
            for index, request in enumerate(requests):
                times[index] += line.times(request, BLOCK_CALLS)
            rounds += 1
            if time.monotonic() > 2.0 * asked.effort.budget_s + deadline:
                break
    return tuple(np.array(kept) for kept in times), rounds


def _precise(times: Sequence[Sequence[float]], effort: Effort, rounds: int) -> bool:
    return all(precise(np.array(kept), effort, rounds) for kept in times)


def _whole(reply: Reply) -> tuple[bytes, Mapping[str, str]]:
    return reply.body, reply.headers


class _Line:
    """A connection that asks for one model."""

    def __init__(self, model: RemoteModel, connection: Any) -> None:
        self._model, self._connection = model, connection

    def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            MeasurementError: no answer.
        """
        try:
            reply: Reply = self._connection.ask("POST", self._model.path, *request)
        except (OSError, http.client.HTTPException) as error:
            raise MeasurementError(
                f"{self._model.address} fell silent ({error}): is the server still there?"
            ) from error
        if reply.status != http.client.OK:
            read_answer(reply.body, reply.headers)  # which raises with what the server says
            raise MeasurementError(f"{self._model.address} answered {reply.status}")
        return reply

    def times(self, request: Request, calls: int) -> list[float]:
        """How long each of some calls took, in seconds."""
        taken = []
        for _ in range(calls):
            started = time.perf_counter()
            self.ask(request)
            taken.append(time.perf_counter() - started)
        return taken


def _judge(samples: Sequence[NDArray[np.float64]], asked: Asked, rounds: int) -> Verdict:
    """Whether the service times can be trusted."""
    faults = []
    for size, series in zip(asked.batch_sizes, samples, strict=True):
        first, last = (float(np.median(half)) for half in np.array_split(series, 2))
        if abs(last / first - 1.0) > MAX_DRIFT:
            faults.append(
                f"batch {size} drifted: the halves of the measurement differ by {abs(last / first - 1.0):.0%}"
            )
        if not precise(series, asked.effort, rounds):
            faults.append(f"batch {size} is not known to ±{asked.effort.precision:.0%}")
    if faults:
        return Verdict("inconclusive", tuple(faults), ("a longer budget", "a quiet machine"))
    return Verdict("go", (f"{len(samples)} batch sizes measured over the wire, steady and precise",))


def measure_server(asked: Asked, *, progress: Progress = SILENT) -> ServerCost:
    """Measure what a server itself costs a request, while some connections ask at once.

    On this machine it is the CPU of all its processes, less what they use while nobody asks, less the model's: that of its
    profile at the batches that were formed (`X-Batch-Size`), else the computing time that the server tells
    (`Server-Timing: model`). A server that tells neither is asked by one connection, whose batches are its requests. On another
    machine it is the time on the clock of a lone request.

    Raises:
        MeasurementError: the server falls silent, or ends.
    """
    address = asked.model.address
    tree = ProcessTree.of_server(address.port) if address.loopback else None
    with asked.model.connect() as connection:
        tells = _read(_Line(asked.model, connection).ask(asked.request(1))).batch > 0
    connections = asked.connections if tree is not None and (tells or not asked.model_cpu_s) else 1
    progress.say(f"  loading it with {connections} connections, to learn what the server costs")
    pieces = _pieces(asked, tree, connections)
    model_s = float(np.mean([piece.model_s for piece in pieces]))
    own = mean_interval(np.array([piece.cost_s for piece in pieces]))
    # below nothing where more was taken off than there was: a piece may be, and the mean of all says nothing then
    own = replace(own, value=max(0.0, own.value), low=max(0.0, own.low), high=max(0.0, own.high))
    return ServerCost(
        asked.model.server, own, "cpu" if tree is not None else "wall", model_s, connections,
        float(np.mean([piece.per_s for piece in pieces])), len(tree.members()) if tree is not None else 0,
    )  # fmt: skip


@dataclass(frozen=True)
class _Piece:
    """A stretch under load.

    Args:
        cost_s: the server's seconds a request.
        model_s: the model's, that were taken off; 0 where they are not known.
        per_s: requests a second.
    """

    cost_s: float
    model_s: float
    per_s: float


def _pieces(asked: Asked, tree: ProcessTree | None, connections: int) -> list[_Piece]:
    idle = _idle(tree)
    length = max(PIECE_S, asked.effort.budget_s / 2 / PIECES)
    request = asked.request(1)
    with _Crowd(asked.model, request, connections) as crowd:
        crowd.drain(length / 2)
        return [_piece(asked, tree, crowd, length, idle) for _ in range(PIECES)]


def _idle(tree: ProcessTree | None) -> float:
    """CPU seconds a second while nobody asks."""
    if tree is None:
        return 0.0
    before, started = _cpu_s(tree), time.monotonic()
    time.sleep(2.0 * PIECE_S)  # what is measured is a stretch in which nothing happens
    return (_cpu_s(tree) - before) / (time.monotonic() - started)


def _cpu_s(tree: ProcessTree) -> float:
    try:
        return tree.cpu_s()
    except ProcessLookupError as error:
        raise MeasurementError("the server ended while it was measured: start it again") from error


def _piece(asked: Asked, tree: ProcessTree | None, crowd: _Crowd, length: float, idle: float) -> _Piece:
    before, started = _cpu_s(tree) if tree is not None else 0.0, time.monotonic()
    answers, waited_s = crowd.drain(length)
    taken_s = time.monotonic() - started
    # a told time that a neighbour held up is no computing: the median knows nothing of it
    model_s = float(np.median([_model_s(each, asked.model_cpu_s) for each in answers]))
    spent_s = _cpu_s(tree) - before - idle * taken_s if tree is not None else waited_s
    return _Piece(spent_s / len(answers) - model_s, model_s, len(answers) / taken_s)


def _model_s(answer: Answered, cpu_s: Mapping[int, float]) -> float:
    """The model's part of one request; 0 where nobody knows.

    Example:
        >>> _model_s(Answered(float("nan"), 0), {1: 0.001}), _model_s(Answered(0.004, 4), {}), _model_s(Answered(9.0, 4), {1: 1.0, 4: 2.0})
        (0.001, 0.001, 0.5)
    """
    batch = max(1, answer.batch)
    if cpu_s:
        sizes = sorted(cpu_s)
        return float(np.interp(batch, sizes, [cpu_s[size] for size in sizes])) / batch
    return 0.0 if np.isnan(answer.model_s) else answer.model_s / batch


def _read(reply: Reply) -> Answered:
    """What the headers say (W3C Server Timing: durations in milliseconds)."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    found = re.search(r"(?:^|,)\s*model\s*;\s*dur=([0-9.]+)", headers.get("server-timing", ""))
    batch = headers.get("x-batch-size", "0")
    return Answered(float(found[1]) / 1e3 if found else float("nan"), int(batch) if batch.isdigit() else 0)


class _Crowd:
    """Some connections, each of which asks again when it was answered, until the block ends."""

    def __init__(self, model: RemoteModel, request: Request, connections: int) -> None:
        self._model, self._request = model, request
        self._answers: list[tuple[Answered, float]] = []
        self._error: Exception | None = None
        self._over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self._model.connect() as connection:
            line = _Line(self._model, connection)
            while not self._over.is_set():
                started = time.perf_counter()
                try:
                    answer = _read(line.ask(self._request))
                except Exception as error:  # noqa: BLE001  # told to who waits, in `drain`
                    self._error = error
                    return
                with self._lock:
                    self._answers.append((answer, time.perf_counter() - started))

    def drain(self, seconds: float) -> tuple[list[Answered], float]:
        """Wait, and take what was answered meanwhile: what each answer says, and how long all of them took together.

        Longer than asked where less than `LEAST` was answered; a server that answers nothing at all is given up by who asks.
        """
        deadline = time.monotonic() + seconds
        while self._error is None and ((left := deadline - time.monotonic()) > 0.0 or len(self._answers) < LEAST):
            self._over.wait(min(max(left, 0.01), 0.1))
        if self._error is not None:
            raise self._error
        with self._lock:
            taken, self._answers = self._answers, []
        return [answer for answer, _ in taken], sum(waited for _, waited in taken)
