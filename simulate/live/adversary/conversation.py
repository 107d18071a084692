"""A Conversation: what an adversary sends on one connection, byte by byte, and what may be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from windtunnel.serving.protocol import write_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from windtunnel.simulate.live.target import Target

Arrays = Mapping[str, NDArray[Any]]


class Turn(Enum):
    """What is done instead of sending."""

    HALF_CLOSE = auto()
    """No more will be sent; answers are still heard."""
    RESET = auto()
    """The connection is broken off with a TCP reset, and nothing is awaited."""
    LEAVE = auto()
    """The connection is closed, and nothing is awaited."""


@dataclass(frozen=True)
class Pause:
    """Nothing for a while.

    Args:
        seconds: how long.
    """

    seconds: float


Step = bytes | Pause | Turn


class _Malformed:
    """What stands where no request stands that may be answered with 200."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = _Malformed()

Meaning = Arrays | _Malformed | None
"""The inputs of a well-formed request; `MALFORMED` where an answer of 200 is a fault; None where one is not compared with anything."""


@dataclass(frozen=True)
class Conversation:
    """What is sent on one connection, and what is right to answer.

    Args:
        name: what is wrong with it, in a few words.
        steps: what is done, in order.
        meant: of each request in it. An answer of 200 must be the model's own to that request; one more than there are requests is a fault.
        must: whether each of them has to be answered with 200; else a refusal (4xx or 5xx) or a closed connection is right too.
        held: whether the server may keep the connection open and say nothing.
        linger_s: how long is listened after the last answer that is expected, for one too many.
        other: whether it is no HTTP/1.1, so that an answer may be none either.
    """

    name: str
    steps: tuple[Step, ...]
    meant: tuple[Meaning, ...] = (MALFORMED,)
    must: bool = False
    held: bool = False
    linger_s: float = 0.0
    other: bool = False

    @property
    def leaves(self) -> bool:
        """Whether it goes away without waiting for an answer."""
        return self.steps[-1] in (Turn.RESET, Turn.LEAVE)

    @property
    def size_bytes(self) -> int:
        """What its steps take of memory: what is sent again and again is there once.

        Example:
            >>> Conversation("a drip", (b"POST", *[Pause(0.5), b" "] * 9)).size_bytes
            5
        """
        return sum(map(len, {each for each in self.steps if isinstance(each, bytes)}))

    def begun(self, most: int = 160) -> str:
        """Its first bytes, as one line that can be read."""
        sent = b"".join(each for each in self.steps if isinstance(each, bytes))
        return sent[:most].decode("latin-1").encode("unicode_escape").decode("ascii") + (
            "…" if len(sent) > most else ""
        )


@dataclass(frozen=True)
class Material:
    """What an adversary makes its conversations of.

    Args:
        target: whom it talks to.
        rows: honest requests, one or more rows each.
    """

    target: Target
    rows: Sequence[Arrays]

    @property
    def path(self) -> str:
        """Where inferences are asked."""
        return self.target.model.address.root + self.target.model.path

    def row(self, chance: np.random.Generator) -> Arrays:
        """An honest request's inputs."""
        return self.rows[int(chance.integers(len(self.rows)))]

    def binary(self, chance: np.random.Generator) -> bool:
        """Whether a request goes as raw bytes: one in two, where the server takes them."""
        return self.target.binary and bool(chance.random() < 0.5)

    def honest(self, chance: np.random.Generator) -> tuple[Arrays, bytes]:
        """An honest request and its inputs."""
        feeds = self.row(chance)
        body, headers = write_request(feeds, binary=self.binary(chance))
        return feeds, self.post(body, headers)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole request with a body."""
        return self.head(headers or {"Content-Type": "application/json"}, length=len(body)) + body

    def head(
        self,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        *,
        length: int | str | None = None,
        method: str = "POST",
        path: str = "",
        version: str = "HTTP/1.1",
    ) -> bytes:
        """The head of a request, as wrong as one likes; without Content-Length where `length` is None."""
        address, token = self.target.model.address, self.target.model.token
        host = str(address).removeprefix("http://").removesuffix(address.root)
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        lines = [f"{method} {path or self.path} {version}", f"Host: {host}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"{name}: {value}" for name, value in pairs]
        lines += [] if length is None else [f"Content-Length: {length}"]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
