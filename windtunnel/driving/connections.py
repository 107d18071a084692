"""Connections: kept alive, as many as are needed at once up to a bound, the one used last first."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gevent import socket as green
from geventhttpclient.response import HTTPParseError, HTTPSocketResponse

BLOCK = 1 << 16
"""Bytes that are read at once."""

_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: of HTTP.
        timing: the header `Server-Timing`; empty where there is none.
        batch_size: the header `X-Batch-Size`; 0 where there is none.
        replica: the header `X-Replica`; −1 where there is none.
        body: all of it.
        json_bytes: how much of it is JSON before raw tensors (`Inference-Header-Content-Length`); −1 where all is.
    """

    status: int
    timing: str
    batch_size: int
    replica: int
    body: bytes | bytearray = b""
    json_bytes: int = -1


class Connections:
    """A pool that opens connections on demand and never more than `most`.

    geventhttpclient's own pool asks `select` whether a socket is alive, which no file number above 1023 survives: every connection
    beyond that would be opened anew. This one looks into the socket instead.

    Args:
        address: host and port that are connected to.
        most: connections at once.
        timeout_s: how long opening one may take.
    """

    def __init__(self, address: tuple[str, int], most: int, timeout_s: float = 60.0) -> None:
        self.address, self.most, self.timeout_s = address, most, timeout_s
        self.open, self.opened = 0, 0
        self._idle: list[green.socket] = []

    @property
    def exhausted(self) -> bool:
        """Whether nobody could be given a connection now."""
        return not self._idle and self.open >= self.most

    def idle(self) -> green.socket | None:
        """One that is open, alive and unused; None where there is none."""
        while self._idle:
            sock = self._idle.pop()
            if _alive(sock):
                return sock
            self.drop(sock)
        return None

    def fresh(self) -> green.socket:
        """Open another.

        Raises:
            OSError: nobody answers there.
        """
        self.open += 1
        self.opened += 1
        sock = green.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
        try:
            sock.settimeout(self.timeout_s)
            sock.connect(self.address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(None)
        except BaseException:  # also when whoever waits for it is told to give up
            self.drop(sock)
            raise
        return sock

    def keep(self, sock: green.socket) -> None:
        """Take back what may be used again."""
        self._idle.append(sock)

    def drop(self, sock: green.socket) -> None:
        """Take back what may not."""
        self.open -= 1
        sock.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self.drop(self._idle.pop())


def _alive(sock: green.socket) -> bool:
    """Whether an unused connection is silent, as it should be: its end is readable, and so is what nobody asked for."""
    try:
        sock._sock.recv(1, _LOOK)  # noqa: SLF001  # gevent's own would wait
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def begin(sock: green.socket, message: memoryview) -> memoryview:
    """Send as much as the kernel takes at once, without waiting; what is left is returned.

    Raises:
        OSError: the connection is broken.
    """
    try:
        return message[sock._sock.send(message) :]  # noqa: SLF001  # gevent's own would wait
    except BlockingIOError:
        return message


def receive(sock: green.socket) -> tuple[Answer, bool]:
    """Wait for a whole answer; the second value is whether the connection may be used again.

    Raises:
        OSError: the connection broke.
        HTTPParseError: what came is no HTTP, or not whole.
    """
    response = _Response(sock, block_size=BLOCK, method="POST")
    body = response.read()
    reusable = not response.should_close()
    timing = response.get("server-timing") or ""
    shown = timing if isinstance(timing, str) else ", ".join(timing)
    batch_size, replica = _whole(response.get("x-batch-size"), 0), _whole(response.get("x-replica"), -1)
    json_bytes = _whole(response.get("inference-header-content-length"), -1)
    return Answer(response.get_code(), shown, batch_size, replica, body, json_bytes), reusable


class _Response(HTTPSocketResponse):
    """geventhttpclient's, that leaves the socket to its owner and says when an answer breaks off."""

    def release(self) -> None:
        """Close nothing."""

    def feed(self, data: str | bytes) -> None:
        """Read on; an end before the whole answer is an error, not an endless loop."""
        super().feed(data)
        if not data and self.headers_complete and not self.message_complete:
            raise HTTPParseError("the connection was closed within an answer")


def _whole(text: str | list[str] | None, otherwise: int) -> int:
    """A header's whole number."""
    return int(text) if isinstance(text, str) and text.isdecimal() else otherwise
