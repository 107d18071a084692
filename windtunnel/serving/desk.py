"""Desk: HTTP in, HTTP out, for one model; it knows no server, and infers by a function that it is given.

    GET  /v2                                      the server's metadata
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/1][/ready]     the model's metadata; whether it is ready
    POST /v2/models/NAME[/versions/1]/infer       {"inputs": [{"name", "shape", "datatype", "data"}, …]}, or binary tensors
    GET  /metrics                                 counts, for Prometheus

Every answered inference says where its time went: `Server-Timing: handler;dur=…, queue;dur=…, model;dur=…` in milliseconds
(W3C Server Timing), `X-Batch-Size`, the requests in its batch, and `X-Replica`. A request is checked before it may join a batch.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.errors import InputError
from windtunnel.serving.bearer import carries
from windtunnel.serving.gone import gone, is_gone, read_on
from windtunnel.serving.limits import Limits, Refused
from windtunnel.serving.meter import Meter, expose, read_numbers
from windtunnel.serving.protocol import RequestReader, metadata, refuse_not_finite, served_name, write_answer
from windtunnel.serving.store import Part, Store
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.serving.protocol import InferenceRequest
    from windtunnel.variant import Variant

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Headers = Sequence[tuple[bytes, bytes]]

LONGEST_MESSAGE = 600
"""How many characters of an error are told: what a stranger sent may stand in it."""

_log = logging.getLogger(__name__)


class Served(NamedTuple):
    """What became of one request in a batch.

    Args:
        outputs: arrays by output, or why there are none.
        queue_s: from joining the batch to its start.
        model_s: the batch's service.
        batch_size: requests in the batch.
        headers: more of them for the answer.
    """

    outputs: dict[str, NDArray[Any]] | Exception
    queue_s: float
    model_s: float
    batch_size: int
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answer(NamedTuple):
    """What goes back: status, headers and body, as ASGI has them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Desk:
    """Answers whatever is asked about one model.

    Args:
        variant: the model.
        infer: runs one request, in a batch with others; whether whoever asks is still there, `receive` knows.
        limits: what is taken.
        token: what requests must carry; nothing where empty.
        meter: what is counted.
        meters: the folder where every replica counts; None where there is but this one.
        replica: which it is, told in answers.
        ongoing: requests that are taken on at once, once their bodies are there; the others wait in turn. Any number where 0.
    """

    def __init__(
        self,
        variant: Variant,
        infer: Callable[[InferenceRequest, Mapping[bytes, bytes], Receive], Awaitable[Served]],
        *,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        token: str = "",
        meter: Meter | None = None,
        meters: Path | None = None,
        replica: int = 0,
        ongoing: int = 0,
    ) -> None:
        self.variant, self.infer, self.limits, self.token = variant, infer, limits, token
        self.meter, self.meters = meter or Meter(), meters
        self.name = served_name(variant)
        self._replica = (b"x-replica", str(replica).encode())
        self._pages = _pages(variant)
        self._read = RequestReader(variant.signature)
        self._places, self._store = asyncio.Semaphore(ongoing or sys.maxsize), Store(limits.awaited_bytes)
        self._infer_places = {f"/v2/models/{self.name}/infer", f"/v2/models/{self.name}/versions/1/infer"}

    async def answer(self, method: str, path: str, headers: Headers, receive: Receive) -> Answer:
        """Answer one request; what is wrong with it is told as `{"error": …}`, and nothing is raised.

        Args:
            method: of HTTP.
            path: decoded, without the query.
            headers: names in small letters.
            receive: gives the body's messages, as ASGI has them.
        """
        entered_s = perf_counter()
        given, path = dict(headers), path.rstrip("/")
        self.meter.add("in_flight")
        try:
            if path in self._infer_places and method == "POST":
                made = await self._inferred(given, receive, entered_s)
            else:
                made = self._page(method, path, given)
        except Refused as refused:
            made = _error(refused)
        except Exception:  # noqa: BLE001  # a defect of ours: it is told in the log, not to strangers
            _log.exception("could not answer %s %s", method, path[:200])
            made = _error(Refused(500, "the server failed; its log says more"))
        finally:  # also where the client went away, and Serve cancels this
            self.meter.add("in_flight", -1.0)
        self.meter.answered(made.status)
        return made

    async def _inferred(self, headers: Mapping[bytes, bytes], receive: Receive, entered_s: float) -> Answer:
        self._admit(headers)
        part = self._store.part()
        try:
            body = await read_body(headers, receive, self.limits, part)
            if len(body) > self.limits.held_bytes:
                read_on(receive)
            came_s = perf_counter()
            async with self._places:
                if is_gone(receive):
                    raise gone()
                # the turn that it waited for is neither the handler's time nor the batch's
                return await self._served(body, headers, receive, entered_s + perf_counter() - came_s)
        finally:
            part.free()

    async def _served(self, body: bytes, headers: Mapping[bytes, bytes], receive: Receive, entered_s: float) -> Answer:
        length = headers.get(b"inference-header-content-length")
        try:
            request = self._read(body, None if length is None else length.decode("latin-1"))
            if self.limits.nan == "refuse":
                refuse_not_finite(request.feeds)
        except InputError as error:
            raise Refused(400, str(error)) from error
        served = await self.infer(request, headers, receive)
        if isinstance(served.outputs, Refused):
            raise served.outputs
        if isinstance(served.outputs, Exception):
            raise Refused(500, f"the model failed on this request ({first_line(served.outputs)})") from served.outputs
        text, told = write_answer(self.name, request, served.outputs)
        return Answer(200, self._headers(told, text, served, entered_s), text)

    def _headers(
        self, told: Mapping[str, str], text: bytes, served: Served, entered_s: float
    ) -> list[tuple[bytes, bytes]]:
        handler_s = perf_counter() - entered_s
        self.meter.observe("handler_seconds", handler_s)
        self.meter.observe("queue_seconds", served.queue_s)
        took = b"handler;dur=%.3f, queue;dur=%.3f, model;dur=%.3f" % (
            handler_s * 1e3, served.queue_s * 1e3, served.model_s * 1e3,
        )  # fmt: skip
        return [
            *[_on_the_wire(name, value) for name, value in told.items()],
            (b"content-length", str(len(text)).encode()),
            (b"server-timing", took),
            (b"x-batch-size", str(served.batch_size).encode()),
            self._replica,
            *served.headers,
        ]

    def _admit(self, headers: Mapping[bytes, bytes]) -> None:
        if self.token and not carries(headers.get(b"authorization", b""), self.token):
            raise Refused(401, "needs the header Authorization: Bearer TOKEN", ((b"www-authenticate", b"Bearer"),))

    def _page(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Answer:
        if not path.startswith("/v2/health/"):  # whoever watches over servers has no token
            self._admit(headers)
        allowed = "POST" if path in self._infer_places else "GET" if path in self._pages or path == "/metrics" else ""
        if not allowed:
            raise Refused(404, f"there is nothing at {path[:200] or '/'}; POST /v2/models/{self.name}/infer")
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            raise Refused(405, f"takes {allowed}", ((b"allow", allowed.encode()),))
        if path == "/metrics":
            return self._metrics()
        return _plain(200, self._pages[path], b"application/json")

    def _metrics(self) -> Answer:
        each = [self.meter.numbers] if self.meters is None else read_numbers(self.meters)
        return _plain(200, expose(each).encode(), b"text/plain; version=0.0.4; charset=utf-8")


@functools.lru_cache(512)
def _on_the_wire(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as ASGI has it; what kind of body comes, and how long its JSON is, is soon always the same."""
    return name.lower().encode(), value.encode()


def _pages(variant: Variant) -> dict[str, bytes]:
    """What is asked without a body, by path."""
    name = served_name(variant)
    pages: dict[str, Any] = {
        "/v2": {"name": "windtunnel", "version": version("windtunnel"), "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
    }
    for place in (f"/v2/models/{name}", f"/v2/models/{name}/versions/1"):
        pages |= {place: metadata(variant), f"{place}/ready": {"name": name, "ready": True}}
    return {place: json.dumps(page).encode() for place, page in pages.items()}


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limits: Limits, part: Part) -> bytes:
    """Read a body that is no longer, and takes no longer to come, than is allowed.

    Args:
        headers: of the request.
        receive: gives the body's messages.
        limits: what is allowed.
        part: what the body takes of the room that there is for long ones.

    Raises:
        Refused: too long (413, before it is read where the header says so), too slow (408), packed (415), cut off (400), or there is no
            room for it (503).
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(
            415, "does not take packed bodies; send them without Content-Encoding", ((b"accept-encoding", b"identity"),)
        )
    most, binary = limits.max_body_bytes, b"inference-header-content-length" in headers
    if not binary:
        most = min(most, limits.max_json_bytes)
    told = headers.get(b"content-length", b"")
    length = int(told[:19]) if told.isdigit() else most
    if length > most:
        raise _too_long(most, binary=binary)
    if length <= limits.held_bytes:
        pieces = await _gather(receive, most, None)
    else:
        try:
            async with asyncio.timeout(limits.body_s):
                pieces = await _gather(receive, most, part)
        except TimeoutError as error:
            why = f"has not come whole in {limits.body_s:g} seconds"
            raise Refused(408, why, ((b"connection", b"close"),)) from error
    if pieces is None:
        raise _too_long(most, binary=binary)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _gather(receive: Receive, most: int, part: Part | None) -> list[bytes] | None:
    """The pieces of a body; None where it is longer than so many bytes."""
    pieces: list[bytes] = []
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "was cut off")
        pieces.append(message.get("body", b""))
        length, more = length + len(pieces[-1]), message.get("more_body", False)
        if length > most:
            return None
        if part is not None:
            part.add(len(pieces[-1]))
    return pieces


def _too_long(most: int, *, binary: bool) -> Refused:
    way = (
        "send fewer rows, or serve with --max-body"
        if binary
        else "send binary tensors or fewer rows, or serve with --max-json and --max-body"
    )
    return Refused(413, f"is longer than the {most} bytes that are taken; {way}", ((b"connection", b"close"),))


def _error(refused: Refused) -> Answer:
    made = _plain(
        refused.status, json.dumps({"error": refused.message[:LONGEST_MESSAGE]}).encode(), b"application/json"
    )
    made.headers.extend(refused.headers)
    return made


def _plain(status: int, body: bytes, kind: bytes) -> Answer:
    return Answer(status, [(b"content-type", kind), (b"content-length", str(len(body)).encode())], body)
