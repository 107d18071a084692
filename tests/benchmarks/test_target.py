"""What is measured of a server is what the server does: its round trips, its CPU, and not the model's."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks import target as target_file
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.section import server_table
from windtunnel.benchmarks.target import Answered, Asked, measure_server, measure_target
from windtunnel.benchmarks.target_section import draw_target
from windtunnel.errors import DataError, InputError, MeasurementError
from windtunnel.serving.protocol import read_request, write_answer
from windtunnel.serving.remote import Address, discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from windtunnel.serving.protocol import InferenceRequest

METADATA = {
    "name": "m", "versions": ["1"], "platform": "none",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
}  # fmt: skip
FEEDS = {"x": np.ones((8, 4), np.float32)}
EFFORT = Effort(precision=0.5, budget_s=0.2, rounds=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, answer: Callable[[InferenceRequest], dict[str, str]], *args: Any) -> None:
        self._told = answer
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        told = {"/v2": {"name": "fake", "version": "1", "extensions": ["binary_tensor_data"]}, "/v2/models/m": METADATA}
        self._send(200, json.dumps(told.get(self.path, {})).encode(), {})

    def do_POST(self) -> None:
        from windtunnel.serving.protocol import read_metadata

        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            request = read_request(body, self.headers["Inference-Header-Content-Length"], read_metadata(METADATA))
            headers = self._told(request)
        except InputError as error:
            return self._send(400, json.dumps({"error": str(error)}).encode(), {})
        answer, told = write_answer("m", request, {"y": request.feeds["x"]})
        return self._send(200, answer, {**told, **headers})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A connection that is cut on purpose is no news."""


@contextmanager
def server(answer: Callable[[InferenceRequest], dict[str, str]]) -> Iterator[Address]:
    """A server in this process, which answers what came."""
    listening = _Quiet(("127.0.0.1", 0), partial(_Handler, answer))
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Address("127.0.0.1", listening.server_address[1])
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def told(_request: InferenceRequest) -> dict[str, str]:
    return {"Server-Timing": "handler;dur=9, queue;dur=1.5, model;dur=4", "X-Batch-Size": "4"}


def asked(address: Address, **more: Any) -> Asked:
    return Asked(discover(address, "m"), FEEDS, (1, 8), connections=2, effort=EFFORT, **more)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A process tree that uses 3 ms of CPU an answer, and nothing while idle."""
    spent = [0.0]

    class Tree:
        def cpu_s(self) -> float:
            return spent[0]

        def members(self) -> tuple[int, ...]:
            return (7, 8)

    monkeypatch.setattr(
        target_file, "ProcessTree", type("Found", (), {"of_server": staticmethod(lambda _port: Tree())})
    )
    monkeypatch.setattr(target_file, "PIECE_S", 0.05)
    return spent


def counting(
    spent: list[float], lock: threading.Lock, headers: dict[str, str], _request: InferenceRequest
) -> dict[str, str]:
    with lock:
        spent[0] += 0.003
    return headers


def cost_of(spent: list[float], headers: dict[str, str], **more: Any) -> Any:
    with server(partial(counting, spent, threading.Lock(), headers)) as address:
        return measure_server(asked(address, **more))


def test_model_told_by_server(counted: list[float]) -> None:
    """3 ms of CPU a request, of which the server says that 4 ms a batch of 4 were the model's: 2 ms are its own."""
    cost = cost_of(counted, told(None))  # type: ignore[arg-type]  # says the same of any request

    assert cost.cpu_s.value == pytest.approx(0.002, rel=0.1)
    assert (cost.model_s, cost.of, cost.connections, cost.processes) == (pytest.approx(0.001), "cpu", 2, 2)
    assert cost.counted


def test_model_from_its_profile(counted: list[float]) -> None:
    """Where the model's CPU was measured it is taken at the batches that were formed, between the measured sizes."""
    cost = cost_of(counted, {"X-Batch-Size": "4"}, model_cpu_s={1: 0.001, 7: 0.007})

    assert cost.model_s == pytest.approx(0.001)
    assert cost.cpu_s.value == pytest.approx(0.002, rel=0.1)


def test_silent_server_is_asked_alone(counted: list[float]) -> None:
    """A server that does not tell its batches is asked by one connection: then each batch is one request."""
    cost = cost_of(counted, {}, model_cpu_s={1: 0.001})

    assert (cost.connections, cost.model_s) == (1, 0.001)


def test_nothing_known_of_the_model(counted: list[float]) -> None:
    """Where nobody knows the model's part it stays within, and nothing is counted beside the model."""
    cost = cost_of(counted, {})

    assert (cost.model_s, cost.share, cost.counted) == (0.0, None, False)
    assert cost.cpu_s.value == pytest.approx(0.003, rel=0.1)


def test_more_taken_off_than_there_was(counted: list[float]) -> None:
    """A model that says it took longer than all CPU leaves a server that costs nothing as far as known, and it can be drawn."""
    cost = cost_of(counted, {"Server-Timing": "model;dur=50", "X-Batch-Size": "1"})

    assert (cost.cpu_s.value, cost.cpu_s.low, cost.model_s) == (0.0, 0.0, pytest.approx(0.05))
    assert server_table(cost).rows[0][1].startswith("0")


def test_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server whose processes nobody here sees the clock is read, and said to be."""
    monkeypatch.setattr(target_file, "ProcessTree", type("None_", (), {"of_server": staticmethod(lambda _port: None)}))
    monkeypatch.setattr(target_file, "PIECE_S", 0.05)
    with server(lambda _request: {}) as address:
        cost = measure_server(asked(address))

    assert (cost.of, cost.connections, cost.processes, cost.counted) == ("wall", 1, 0, False)
    assert cost.cpu_s.value > 0.0


def test_round_trips(counted: list[float]) -> None:
    """A profile over the wire holds the server: rows that take longer there take longer in it."""

    def slow(request: InferenceRequest) -> dict[str, str]:
        until = time.perf_counter() + 0.001 * len(request.feeds["x"])
        while time.perf_counter() < until:
            pass
        return counting(counted, threading.Lock(), told(request), request)

    with server(slow) as address:
        profile = measure_target(asked(address))

    assert profile.name == "m, fake over the wire"
    assert profile.batch_sizes == (1, 8)
    assert float(np.median(profile.samples_s[0])) >= 0.001
    assert float(np.median(profile.samples_s[1])) >= 0.008
    assert profile.server is not None
    assert profile.server.inside
    assert profile.served is profile
    section = draw_target(profile, generated=True)
    assert profile.server.sentence in section.sentences


def test_refusal() -> None:
    """What the server says against a request is told, before anything is timed."""
    with server(told) as address:
        wrong = Asked(discover(address, "m"), {"x": np.ones((8, 3), np.float32)}, (1,), effort=EFFORT)
        with pytest.raises(DataError, match="must have the shape"):
            measure_target(wrong)


def test_death(counted: list[float]) -> None:
    """A server that falls silent under load ends the measurement with a sentence."""
    calls = iter(range(5))

    def dying(request: InferenceRequest) -> dict[str, str]:
        if next(calls, None) is None:
            raise ConnectionAbortedError
        return counting(counted, threading.Lock(), told(request), request)

    with server(dying) as address, pytest.raises(MeasurementError, match="fell silent"):
        measure_server(asked(address))


def test_headers_read() -> None:
    """Durations are milliseconds, wherever `model` stands; what is not told is not made up."""
    reply = target_file._read
    from windtunnel.serving.remote import Reply

    assert reply(Reply(200, {"server-timing": "model;dur=2"}, b"")) == Answered(0.002, 0)
    assert reply(
        Reply(200, {"Server-Timing": 'cache;desc="model;x", model; dur=1.5', "x-batch-size": "3"}, b"")
    ) == Answered(0.0015, 3)
    assert np.isnan(reply(Reply(200, {"X-Batch-Size": "many"}, b"")).model_s)
