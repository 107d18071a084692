"""Ready: an answer as Ray Serve takes it from a handler, a Starlette response that is sent as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from windtunnel.serving.desk import Answer


class Ready(Response):
    """Sends what the desk made, headers and all, in two messages.

    Args:
        answer: of the desk.
    """

    def __init__(self, answer: Answer) -> None:  # Starlette's own would make headers
        self.answer = answer

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        answer = self.answer
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})
