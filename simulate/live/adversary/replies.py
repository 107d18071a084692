"""Replies: what a server said on a connection, as far as it is whole."""

from __future__ import annotations

import http.client
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windtunnel.errors import DataError
from windtunnel.serving.protocol import read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conversation import Arrays


@dataclass(frozen=True)
class Reply:
    """One HTTP answer.

    Args:
        status: of HTTP.
        headers: by name.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def taken(self) -> bool:
        """Whether it says that all is well."""
        return 200 <= self.status < 300

    def read(self) -> Arrays | None:
        """The outputs in it; None where there are none to be read."""
        try:
            return read_answer(self.body, self.headers)
        except DataError:
            return None


class _Heard(io.BytesIO):
    """As much of a socket as `http.client` asks for: bytes that were heard, and that stay open when an answer was read."""

    def makefile(self, _mode: str) -> _Heard:
        """Give the bytes away."""
        return self

    def close(self) -> None:
        """Not yet: another answer may follow."""


def read_replies(heard: bytes, *, ended: bool) -> list[Reply] | None:
    r"""The whole answers that bytes begin with; interim ones (1xx) are passed over.

    Args:
        heard: since the connection was opened.
        ended: whether nothing more will come, so that an answer without a length is whole.

    Returns:
        None where what came is no HTTP.

    Example:
        >>> heard = b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"
        >>> [reply.status for reply in read_replies(heard, ended=False)], read_replies(b"hello there!", ended=True)
        ([400], None)
    """
    found: list[Reply] = []
    said = _Heard(heard)
    while said.tell() < len(heard):
        begin = said.tell()
        if heard[begin : begin + 5] != b"HTTP/"[: len(heard) - begin]:
            return None
        if heard.find(b"\r\n\r\n", begin) < 0:
            return found
        answer = http.client.HTTPResponse(said)  # type: ignore[arg-type]  # it asks a socket for its file only
        try:
            answer.begin()
            if answer.length is None and not answer.chunked and not ended:
                return found
            found.append(Reply(answer.status, dict(answer.getheaders()), answer.read()))
        except (http.client.IncompleteRead, ValueError):  # its body, or its last chunk, is not there yet
            return found
        except http.client.HTTPException:
            return None
    return found
