"""A server that does nothing: it speaks the Open Inference Protocol and answers every inference with the same two bytes.

    python -P -m windtunnel.driving.null_server '{"service_s": 0.002, "max_batch": 4}'

It shows how many requests a generator can make, since nothing here keeps it waiting, and in tests it is a server of which everything
is known: how long it works, when it stalls, whom it turns away, when it dies. It says its port on stdout and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "null"
"""The model that it serves."""

METADATA = {
    "name": NAME, "versions": ["1"], "platform": "null",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}  # fmt: skip

SERVER = {"name": "null", "version": "1", "extensions": ["binary_tensor_data"]}

PLACES = {
    b"/v2": SERVER, b"/v2/health/live": {"live": True}, b"/v2/health/ready": {"ready": True},
    f"/v2/models/{NAME}".encode(): METADATA, f"/v2/models/{NAME}/ready".encode(): {"ready": True},
}  # fmt: skip


@dataclass(frozen=True)
class Manner:
    """How it serves.

    Args:
        service_s: how long a batch takes; where zero, each request is answered at once.
        max_batch: requests that are served together; they never wait for company.
        stall_after_s: when, counted from the first request, it stops answering,
        stall_s: and for how long; what is due then is answered when it is over.
        refuse_every: one in so many is turned away with 503; none where zero.
        die_after: inferences after which the process ends without a word; never where zero.
    """

    service_s: float = 0.0
    max_batch: int = 1
    stall_after_s: float = 0.0
    stall_s: float = 0.0
    refuse_every: int = 0
    die_after: int = 0


def answer(status: str, body: bytes, more: str = "") -> bytes:
    """A whole HTTP answer.

    Example:
        >>> answer("200 OK", b"{}").splitlines()[0]
        b'HTTP/1.1 200 OK'
    """
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


AT_ONCE = answer("200 OK", b"{}")
REFUSED = answer("503 Service Unavailable", b'{"error": "turned away"}')
UNKNOWN = answer("404 Not Found", b'{"error": "there is nothing here"}')


class Station:
    """One queue, one server, batches of whoever waits; the mutable part of a run."""

    def __init__(self, manner: Manner) -> None:
        self.manner, self.asked, self.first_s, self.busy = manner, 0, 0.0, False
        self.waiting: list[tuple[Callable[[bytes], None], float]] = []

    def ask(self, say: Callable[[bytes], None]) -> None:
        """Serve one inference, now or later."""
        self.asked += 1
        manner, now_s = self.manner, time.monotonic()
        self.first_s = self.first_s or now_s
        if manner.die_after and self.asked > manner.die_after:
            os._exit(1)
        if manner.refuse_every and self.asked % manner.refuse_every == 0:
            say(REFUSED)
        elif manner.service_s or manner.stall_s:
            self.waiting.append((say, now_s))
            self.serve()
        else:
            say(AT_ONCE)

    def serve(self) -> None:
        """Begin a batch, if there is one and nothing is being served."""
        if self.busy or not self.waiting:
            return
        batch, self.waiting = self.waiting[: self.manner.max_batch], self.waiting[self.manner.max_batch :]
        self.busy = True
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        loop.call_later(self.stalled_s(began_s) + self.manner.service_s, self.end, batch, began_s)

    def stalled_s(self, now_s: float) -> float:
        """How long it will go on doing nothing."""
        since_s = now_s - self.first_s - self.manner.stall_after_s
        return self.manner.stall_s - since_s if 0.0 <= since_s < self.manner.stall_s else 0.0

    def end(self, batch: list[tuple[Callable[[bytes], None], float]], began_s: float) -> None:
        """Answer a batch and begin the next."""
        now_s = time.monotonic()
        for say, came_s in batch:
            parts = {"handler": now_s - came_s, "queue": began_s - came_s, "model": now_s - began_s}
            timing = ", ".join(f"{name};dur={1e3 * span_s:.4f}" for name, span_s in parts.items())
            told = f"Server-Timing: {timing}\r\nX-Batch-Size: {len(batch)}\r\nX-Replica: 0\r\n"
            say(answer("200 OK", b"{}", told))
        self.busy = False
        self.serve()


class Talk(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def __init__(self, station: Station) -> None:
        self.station, self.heard, self.awaited = station, b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Read whole requests and have each answered."""
        self.heard += data
        self.read()

    def read(self) -> None:
        """Take the next request, if it is whole and the one before it was answered."""
        while not self.awaited:
            end = self.heard.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.heard[:end]
            whole = end + 4 + content_length(head)
            if len(self.heard) < whole:
                return
            self.heard = self.heard[whole:]
            self.take(head)

    def take(self, head: bytes) -> None:
        """Answer one request by its first line."""
        method, place, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if method == b"POST":
            self.awaited = True
            self.station.ask(self.say)
        elif place in PLACES:
            self.write(answer("200 OK", json.dumps(PLACES[place]).encode()))
        else:
            self.write(UNKNOWN)

    def say(self, whole: bytes) -> None:
        """Answer an inference, and look whether another has come meanwhile."""
        self.awaited = False
        self.write(whole)
        if self.heard:
            asyncio.get_running_loop().call_soon(self.read)

    def write(self, whole: bytes) -> None:
        """Send an answer to whoever is still there."""
        if not self.transport.is_closing():
            self.transport.write(whole)  # type: ignore[attr-defined]  # a stream's transport writes


def content_length(head: bytes) -> int:
    r"""How long the body is that belongs to a head.

    Example:
        >>> content_length(b"POST / HTTP/1.1\r\ncontent-length: 12"), content_length(b"GET / HTTP/1.1")
        (12, 0)
    """
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(manner: Manner) -> None:
    """Serve on a free port of loopback until stdin ends."""
    loop, station = asyncio.get_running_loop(), Station(manner)
    server = await loop.create_server(lambda: Talk(station), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    """Run the program."""
    manner = Manner(**json.loads(sys.argv[1])) if len(sys.argv) > 1 else Manner()
    with contextlib.suppress(ImportError):  # it is faster, and comes with Ray Serve's own server on most systems
        import uvloop

        uvloop.run(serve(manner))
        return
    asyncio.run(serve(manner))


if __name__ == "__main__":
    main()
