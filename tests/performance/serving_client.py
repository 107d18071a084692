"""A bounded client: so many connections, each of which asks again when it was answered; in a process of its own.

    python serving_client.py HOST PORT FILE CONNECTIONS SECONDS [WARM_SECONDS]

FILE holds one whole HTTP request. Prints, as JSON, how many were answered 200 after the warm-up, how many otherwise, in how many
seconds, and what a request took.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import uvloop

WARM_S = 20.0
"""After so long it is measured in any case."""

LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Asking(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request, self._counts = request, counts
        self._buffer, self._sent_s = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first time."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]  # a connection's transport writes

    def data_received(self, data: bytes) -> None:
        """Ask again when the whole answer is there."""
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._buffer, 0, head)
        if length is None:
            raise ValueError(f"an answer without a length: {self._buffer[:head]!r}")
        if len(self._buffer) - head - 4 < int(length[1]):
            return
        self._counts.note(self._sent_s, good=self._buffer[9:12] == b"200")
        self._buffer = b""
        if not self._counts.over:
            self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        """Say so, unless it is over."""
        self._counts.lost += not self._counts.over


class Counts:
    """What was answered between two moments."""

    def __init__(self) -> None:
        self.counting = self.over = False
        self.bad = self.lost = self.seen = 0
        self.taken_s: list[float] = []

    def note(self, sent_s: float, *, good: bool) -> None:
        """One answer."""
        self.seen += 1
        if self.counting and good:
            self.taken_s.append(time.perf_counter() - sent_s)
        elif not good:
            self.bad += 1


async def ask(
    host: str, port: int, request: bytes, connections: int, seconds: float, warm_s: float
) -> dict[str, float]:
    """Load the server, and say what came of it."""
    counts, loop = Counts(), asyncio.get_running_loop()
    lines = [(await loop.create_connection(lambda: Asking(request, counts), host, port))[0] for _ in range(connections)]
    deadline = time.perf_counter() + WARM_S
    await asyncio.sleep(warm_s)
    # batches are as full as they will be when everyone was answered and asks again
    while counts.seen < 2 * connections and time.perf_counter() < deadline:  # noqa: ASYNC110  # nobody sets an event here
        await asyncio.sleep(0.05)
    print("warm", flush=True)  # noqa: T201  # who started us reads the server's CPU now
    counts.counting, started, cpu_s = True, time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    counts.counting, took_s = False, time.perf_counter() - started
    counts.over, own_s = True, time.process_time() - cpu_s
    for line in lines:
        line.close()
    times = np.array(counts.taken_s or [float("nan")])
    return {
        "answered": len(counts.taken_s), "bad": counts.bad, "lost": counts.lost, "seconds": took_s,
        "p50_s": float(np.quantile(times, 0.5)), "p99_s": float(np.quantile(times, 0.99)), "client_busy": own_s / took_s,
    }  # fmt: skip


def main() -> None:
    """Ask as the command line says."""
    host, port, file, connections, seconds, *warm = sys.argv[1:]
    asked = ask(
        host, int(port), Path(file).read_bytes(), int(connections), float(seconds), float(warm[0]) if warm else 0.5
    )
    print(json.dumps(uvloop.run(asked)))  # noqa: T201  # a script


if __name__ == "__main__":
    main()
