"""A server with a fault that was planted: it sums the rows of `x`, and is wrong in just one way.

    python vulnerable.py FAULT        says its port on stdout and ends with its stdin

Faults: `none`; `crash` ends the process at a shape below nothing; `restart` does so too, and a parent starts it anew; `wrong` answers the
neighbour's sum after a bad request; `take` answers 200 to what it cannot read; `hang` says nothing to a nest of JSON; `patient` waits for
ever for what trickles.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from typing import Any

METADATA = {
    "name": "sum", "versions": ["1"], "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}  # fmt: skip

PAGES: dict[str, Any] = {
    "/v2": {"name": "vulnerable", "version": "1", "extensions": ["binary_tensor_data"]}, "/v2/health/ready": {"ready": True},
    "/v2/models/sum": METADATA, "/v2/models/sum/ready": {"ready": True},
}  # fmt: skip

GIVEN_UP_S = 0.4


class _BadError(Exception):
    """What was asked is malformed."""


class Server:
    """One process of it."""

    def __init__(self, fault: str) -> None:
        self.fault, self.spoilt = fault, False

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on a connection until one is bad."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            while await self.turn(reader, writer):
                await writer.drain()
        writer.close()

    async def turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it; whether another may follow."""
        wait_s = None if self.fault == "patient" else GIVEN_UP_S
        async with asyncio.timeout(wait_s):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            try:
                method, path, headers = parse(head)
                length = length_of(headers)
            except _BadError:
                writer.write(reply(400, {"error": "bad"}))
                return False
            body = await reader.readexactly(length)
        if method == "GET" and path in PAGES:
            writer.write(reply(200, PAGES[path]))
        elif (method, path) != ("POST", "/v2/models/sum/infer"):
            writer.write(reply(404, {"error": "not here"}))
        else:
            await self.infer(body, headers, writer)
        return True

    async def infer(self, body: bytes, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        """Answer with sums, if the fault lets it."""
        if self.fault == "hang" and b"[" * 40 in body:
            await asyncio.sleep(3600.0)
        try:
            sums = [sum(row) for row in read(body, headers, self.fault)]
        except (_BadError, ValueError, KeyError, TypeError, RecursionError, OverflowError, struct.error):
            self.spoilt = True
            bad: dict[str, Any] = {"outputs": []} if self.fault == "take" else {"error": "bad"}
            writer.write(reply(200 if self.fault == "take" else 400, bad))
            return
        if self.fault == "wrong" and self.spoilt:
            sums, self.spoilt = [each + 1.0 for each in sums], False
        finite = [each if abs(each) < 1e39 else None for each in sums]
        writer.write(reply(200, {"outputs": [{"name": "y", "datatype": "FP32", "shape": [len(sums)], "data": finite}]}))


def parse(head: str) -> tuple[str, str, dict[str, str]]:
    """The parts of a head."""
    first, *lines = head.rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if (
            not colon
            or not name
            or not all("!" <= each <= "~" for each in name)
            or "\0" in value
            or name.lower() in headers
        ):
            raise _BadError
        headers[name.lower()] = value.strip()
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _BadError
    return words[0], words[1], headers


def length_of(headers: dict[str, str]) -> int:
    """How long the body is."""
    told = headers.get("content-length", "0")
    if not told.isdigit() or int(told) > 1 << 23 or "transfer-encoding" in headers or "content-encoding" in headers:
        raise _BadError
    return int(told)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once."""
    if len(dict(pairs)) < len(pairs):
        raise _BadError
    return dict(pairs)


def read(body: bytes, headers: dict[str, str], fault: str) -> list[list[float]]:
    """The rows in a body."""
    told_length = headers.get("inference-header-content-length", str(len(body)))
    if not (told_length.isascii() and told_length.isdigit() and int(told_length) <= len(body)):
        raise _BadError
    length = int(told_length)
    told = json.loads(body[:length], object_pairs_hook=once)
    (tensor,) = told["inputs"]
    shape, raw = tensor["shape"], body[length:]
    if (
        fault in ("crash", "restart")
        and isinstance(shape, list)
        and shape
        and isinstance(shape[0], int)
        and shape[0] < 0
    ):
        os._exit(1)
    data = tensor.get("data")
    size = tensor.get("parameters", {}).get("binary_data_size")
    good = (
        tensor["name"] == "x" and tensor["datatype"] == "FP32" and isinstance(shape, list) and len(shape) == 2 and type(shape[0]) is int
        and shape[0] > 0 and type(shape[1]) is int and shape[1] == 4 and isinstance(told.get("id", ""), str)
        and (data is None) != (size is None) and (size is None or (type(size) is int and size == len(raw) == 16 * shape[0]))
        and (size is not None or not raw) and set(tensor.get("parameters", {})) <= {"binary_data_size"}
    )  # fmt: skip
    if not good:
        raise _BadError
    values = list(struct.unpack(f"<{len(raw) // 4}f", raw)) if data is None else data
    numbers = isinstance(values, list) and all(type(each) in (int, float) for each in values)
    if not numbers or len(values) != 4 * shape[0]:
        raise _BadError
    return [values[at : at + 4] for at in range(0, len(values), 4)]


def reply(status: int, told: dict[str, Any]) -> bytes:
    """A whole answer."""
    body = json.dumps(told).encode()
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


async def serve(listening: socket.socket, fault: str, *, ends: bool) -> None:
    """Serve until stdin ends."""
    server = await asyncio.start_server(Server(fault).talk, sock=listening, limit=1 << 18)
    ended = asyncio.Event()
    if ends:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def supervise(listening: socket.socket, fault: str) -> None:
    """Start it again whenever it ends, until stdin ends."""
    import select
    import signal

    listening.set_inheritable(True)
    while True:
        pid = os.fork()
        if not pid:
            asyncio.run(serve(listening, fault, ends=False))
        watched = os.pidfd_open(pid)
        ready, _, _ = select.select([sys.stdin, watched], [], [])
        os.close(watched)
        if sys.stdin in ready:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if sys.stdin in ready:
            return


def main() -> None:
    """Run it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    if sys.argv[1] == "restart":
        supervise(listening, sys.argv[1])
    else:
        asyncio.run(serve(listening, sys.argv[1], ends=True))


if __name__ == "__main__":
    main()
