"""Replies: what a server said on a connection, as far as it is whole."""

from __future__ import annotations

import http.client
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windtunnel.errors import DataError
from windtunnel.serving.protocol import read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conversation import Arrays


_INTERIM = re.compile(rb"HTTP/1\.[0-9] 1(?!01)[0-9]{2}\b")
"""How an answer begins that another follows (RFC 9110, section 15.2); 101 is the last one in HTTP."""

_SWITCHING = http.client.SWITCHING_PROTOCOLS


@dataclass(frozen=True)
class Reply:
    """One HTTP answer.

    Args:
        status: of HTTP.
        headers: by name.
        body: all of it.
        closes: whether it says that no other follows.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False

    @property
    def taken(self) -> bool:
        """Whether it says that all is well."""
        return 200 <= self.status < 300

    def read(self) -> Arrays | None:
        """The outputs in it; None where there are none to be read."""
        try:
            return read_answer(self.body, self.headers)
        except (
            DataError,
            TypeError,
            ValueError,
            OverflowError,
        ):  # lists for names, shapes that no array has: it is a stranger's
            return None


class _Heard(io.BytesIO):
    """As much of a socket as `http.client` asks for: bytes that were heard, and that stay open when an answer was read."""

    def makefile(self, _mode: str) -> _Heard:
        """Give the bytes away."""
        return self

    def close(self) -> None:
        """Not yet: another answer may follow."""


def read_replies(heard: bytes, *, ended: bool) -> list[Reply] | None:
    r"""The whole answers that bytes begin with; interim ones (1xx) are passed over, and what follows a change of protocol.

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
        if (end := heard.find(b"\r\n\r\n", begin)) < 0:
            return found
        if _INTERIM.match(heard, begin):
            said.seek(end + 4)
            continue
        answer = http.client.HTTPResponse(said)  # type: ignore[arg-type]  # it asks a socket for its file only
        try:
            answer.begin()
            if answer.length is None and not answer.chunked and not ended:
                return found
            found.append(Reply(answer.status, dict(answer.getheaders()), answer.read(), answer.will_close))
        except (http.client.IncompleteRead, ValueError):  # its body, or its last chunk, is not there yet
            return found
        except http.client.HTTPException:
            return None
        if answer.status == _SWITCHING:
            return found
    return found
