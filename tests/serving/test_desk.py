"""The desk, without a server: every place, every refusal, and that nobody pays for a neighbour's request."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.serving.app import Waiting, serve_batch
from windtunnel.serving.desk import Answer, Desk, Served
from windtunnel.serving.limits import Limits
from windtunnel.serving.meter import Meter
from windtunnel.serving.protocol import read_answer, write_request
from windtunnel.session import Session
from windtunnel.variant import Origin, Signature, Tensor, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNATURE = Signature((Tensor("x", "float32", ("n", "width")),), (Tensor("y", "float32", ("n",)),))

POISON = 666.0

TOKEN = "0123456789abcdef"  # noqa: S105  # of a test


class Fragile(Session):
    """Sums rows, unless there is a poisoned one among them; keeps what it was asked."""

    signature = SIGNATURE

    def __init__(self) -> None:
        self.asked: list[int] = []

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Sum, or raise."""
        self.asked.append(len(feeds["x"]))
        if (feeds["x"] == POISON).any():
            raise RuntimeError("an index is out of range")
        return {"y": feeds["x"].sum(axis=1)}


class Room:
    """Gathers whoever is admitted, and serves them as one batch when nobody else comes."""

    def __init__(self, variant: Variant, **settings_: Any) -> None:
        self.session, self.waiting = Fragile(), list[tuple[asyncio.Future[Served], Any]]()
        self.meter = Meter()
        self.desk = Desk(variant, self.infer, meter=self.meter, **settings_)

    async def infer(self, request: Any, _headers: Any, receive: Any) -> Served:
        """Wait for the batch."""
        seat: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
        self.waiting.append((seat, Waiting(0.0, request.feeds, receive)))
        return await seat

    async def ask_all(self, sent: list[tuple[str, str, dict[str, str], list[bytes]]]) -> list[Answer]:
        """Ask all at the same time."""
        tasks = [asyncio.create_task(self.ask(*each)) for each in sent]
        for _ in range(8):  # every task comes as far as it can
            await asyncio.sleep(0)
        waiting, self.waiting = self.waiting, []
        if waiting:
            served = serve_batch(self.session, self.meter, [asked for _, asked in waiting])
            for (seat, _), each in zip(waiting, served, strict=True):
                seat.set_result(each)
        return await asyncio.gather(*tasks)

    async def ask(self, method: str, path: str, headers: dict[str, str], pieces: list[bytes]) -> Answer:
        """Ask with a body in pieces; it never ends where the last is `slow`, and breaks off where it is `gone`."""
        rest = list(pieces)

        async def receive() -> dict[str, Any]:
            if not rest:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never
            if rest[0] == b"gone":
                return {"type": "http.disconnect"}
            piece = rest.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(rest) or piece == b"slow"}

        given_ = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        return await self.desk.answer(method, path, given_, receive)


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    return replace(Variant.from_file(tiny_model, name="m"), signature=SIGNATURE)


INFER = "/v2/models/m/infer"


def _ask(room: Room, *sent: tuple[str, str, dict[str, str], list[bytes]]) -> list[Answer]:
    return asyncio.run(room.ask_all(list(sent)))


def _post(body: bytes, **headers: str) -> tuple[str, str, dict[str, str], list[bytes]]:
    return "POST", INFER, {key.replace("_", "-"): value for key, value in headers.items()}, [body]


def _good(value: float, rows: int = 1, width: int = 2) -> tuple[str, str, dict[str, str], list[bytes]]:
    body, headers = write_request({"x": np.full((rows, width), value, np.float32)})
    return "POST", INFER, headers, [body]


def _told(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"])


def _headers(answer: Answer) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in answer.headers}


def test_says_where_the_time_went(variant: Variant) -> None:
    """An answered inference carries the protocol's body, its own length, its times, the batch's size and the replica."""
    room = Room(variant, replica=3)
    answer, _ = _ask(room, _good(1.0), _good(2.0, rows=2))
    headers = _headers(answer)

    assert answer.status == 200
    assert read_answer(answer.body, headers)["y"].tolist() == [2.0]
    assert (headers["x-batch-size"], headers["x-replica"], headers["content-length"]) == (
        "2",
        "3",
        str(len(answer.body)),
    )
    parts = dict(part.split(";dur=") for part in headers["server-timing"].split(", "))
    assert list(parts) == ["handler", "queue", "model"]
    assert all(float(part) >= 0.0 for part in parts.values())


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/m/ready", {"name": "m", "ready": True}),
        ("/v2/models/m/versions/1/ready", {"name": "m", "ready": True}),
    ],
)
def test_places_without_a_body(variant: Variant, path: str, told: Any) -> None:
    """Health and readiness are told, with and without a slash behind and by HEAD too."""
    room = Room(variant)
    for method, place in (("GET", path), ("GET", path + "/"), ("HEAD", path)):
        (answer,) = _ask(room, (method, place, {}, []))
        assert (answer.status, json.loads(answer.body)) == (200, told)


def test_metadata_of_server_and_model(variant: Variant) -> None:
    """The server tells its extension, and the model its tensors, with and without its version."""
    server, plain, versioned = (
        json.loads(_ask(Room(variant), ("GET", path, {}, []))[0].body)
        for path in ("/v2", "/v2/models/m", "/v2/models/m/versions/1")
    )

    assert server["extensions"] == ["binary_tensor_data"]
    assert plain == versioned
    assert plain["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]


@pytest.mark.parametrize(
    ("asked", "status", "needle"),
    [
        (("GET", "/v2/nothing", {}, []), 404, "POST /v2/models/m/infer"),
        (("POST", "/v2/models/other/infer", {}, [b"{}"]), 404, "nothing at"),
        (("POST", "/v2/models/m/versions/2/infer", {}, [b"{}"]), 404, "nothing at"),
        (("GET", INFER, {}, []), 405, "takes POST"),
        (("DELETE", "/v2/models/m", {}, []), 405, "takes GET"),
        (("POST", INFER + "/", {}, [b"{"]), 400, "cannot be read"),
        (("GET", "/", {}, []), 404, "nothing at /;"),
        (_post(b"{"), 400, "cannot be read"),
        (_post(b"{}", inference_header_content_length="9"), 400, "Inference-Header-Content-Length"),
        (_post(b"x" * 2000), 413, "--max-body"),
        (("POST", INFER, {}, [b"x" * 600, b"x" * 600]), 413, "--max-body"),
        (_post(b"", content_length="99999999999999999999999"), 413, "--max-body"),
        (_post(b"{}", content_encoding="gzip"), 415, "packed"),
        (("POST", INFER, {}, [b"gone"]), 400, "cut off"),
        (("POST", INFER, {}, [b"slow"]), 408, "seconds"),
        (_good(float("nan")), 400, "--nan allow"),
        (_good(float("inf")), 400, "--nan allow"),
        (_good(POISON), 500, "an index is out of range"),
    ],
)
def test_refusals(variant: Variant, asked: Any, status: int, needle: str) -> None:
    """Each bad request gets its status and a sentence that helps; none of the refused reaches the model."""
    room = Room(variant, limits=Limits(max_body_bytes=1000, body_s=0.05))
    (answer,) = _ask(room, asked)

    assert answer.status == status
    assert needle in _told(answer)
    assert len(_told(answer)) <= 600
    assert room.session.asked == ([1] if status == 500 else [])


def test_a_long_body_is_refused_before_it_is_read(variant: Variant) -> None:
    """What the header says is too long is not waited for."""
    room = Room(variant, limits=Limits(max_body_bytes=10, body_s=60.0))
    (answer,) = _ask(room, ("POST", INFER, {"Content-Length": "11"}, []))

    assert answer.status == 413


@pytest.mark.parametrize(("binary", "status"), [(False, 413), (True, 400)])
def test_numbers_as_text_may_be_less_long(variant: Variant, *, binary: bool, status: int) -> None:
    """A body without binary tensors has a limit of its own, for reading it stops whoever else is served; the way out is told."""
    room = Room(variant, limits=Limits(max_body_bytes=1000, max_json_bytes=100))
    length = {"inference_header_content_length": "400"} if binary else {}
    (answer,) = _ask(room, _post(b"{" + b" " * 399, **length))

    assert answer.status == status
    assert ("send binary tensors" in _told(answer)) is not binary


def test_nan_where_it_is_allowed(variant: Variant) -> None:
    """A model that takes NaN for a missing value gets it, and NaN comes back."""
    (answer,) = _ask(Room(variant, limits=Limits(nan="allow")), _good(float("nan")))

    assert np.isnan(read_answer(answer.body, _headers(answer))["y"]).all()


def test_a_token_is_asked_for_everywhere_but_at_the_health(variant: Variant) -> None:
    """Without the token nothing but health is told, not even which places there are."""
    room, token = Room(variant, token=TOKEN), {"Authorization": f"Bearer {TOKEN}"}
    method, path, headers, pieces = _good(1.0)
    refused = [("GET", "/v2", {}, []), ("GET", "/metrics", {}, []), ("GET", "/nothing", {}, []), _good(1.0)]
    refused.append((method, path, headers | {"Authorization": "Bearer 0123456789abcdeX"}, pieces))

    assert [answer.status for answer in _ask(room, *refused)] == [401] * 5
    assert room.session.asked == []
    allowed = [("GET", "/v2/health/live", {}, []), ("GET", "/v2", token, []), (method, path, headers | token, pieces)]
    assert [answer.status for answer in _ask(room, *allowed)] == [200] * 3


def test_what_is_counted(variant: Variant) -> None:
    """Requests by status, batches, rows and times can be read at /metrics, and nothing stays in flight."""
    room = Room(variant)
    _ask(room, _good(1.0), _good(2.0, rows=3), _post(b"{"))
    (answer,) = _ask(room, ("GET", "/metrics", {}, []))
    told = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if not line.startswith("#"))

    assert told['windtunnel_requests_total{code="200"}'] == "2"
    assert told['windtunnel_requests_total{code="400"}'] == "1"
    assert (told["windtunnel_batches_total"], told["windtunnel_rows_total"]) == ("1", "4")
    assert told["windtunnel_handler_seconds_count"] == told["windtunnel_queue_seconds_count"] == "2"
    assert told["windtunnel_in_flight"] == "1"  # the one that asks


def test_a_batch_that_was_run_again(variant: Variant) -> None:
    """One of three is poison: the model is asked for all, then for each, and the count of such batches tells of it."""
    room = Room(variant)
    answers = _ask(room, _good(1.0), _good(POISON), _good(3.0))
    (told,) = _ask(room, ("GET", "/metrics", {}, []))

    assert [answer.status for answer in answers] == [200, 500, 200]
    assert room.session.asked == [3, 1, 1, 1]
    assert b"windtunnel_batches_rerun_total 1\n" in told.body


SPOILED = [
    lambda: _post(b"{"),
    lambda: _post(b'{"inputs": []}'),
    lambda: _post(b"[" * 5000),
    lambda: _post(b"x" * 3000),
    lambda: _post(b"{}", content_encoding="br"),
    lambda: _good(float("nan")),
    lambda: _good(POISON, rows=2),
    lambda: ("POST", INFER, {}, [b"gone"]),
    lambda: ("GET", "/v2/nothing", {}, []),
]


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(st.tuples(st.integers(0, 50), st.integers(1, 3), st.integers(1, 3)), st.sampled_from(SPOILED)),
        min_size=1,
        max_size=10,
    )
)
def test_nobody_pays_for_a_neighbour(mixture: list[Any]) -> None:
    """Whatever comes at the same time: each good request is answered as by the model alone, each bad one with its own error."""
    from pathlib import Path

    variant = Variant("m", Path("m.onnx"), "", "fp32", 1, SIGNATURE, Origin("file"))
    room = Room(variant, limits=Limits(max_body_bytes=2000))
    sent = [_good(*each) if isinstance(each, tuple) else each() for each in mixture]
    for each, answer in zip(mixture, _ask(room, *sent), strict=True):
        if isinstance(each, tuple):
            value, rows, width = each
            alone = Fragile().run({"x": np.full((rows, width), value, np.float32)})["y"]
            assert answer.status == 200
            assert read_answer(answer.body, _headers(answer))["y"].tobytes() == alone.tobytes()
        else:
            assert 400 <= answer.status <= 500
            assert _told(answer)


def test_a_body_that_trickles_takes_nobodys_place(variant: Variant) -> None:
    """With a place for one, whoever's body is still awaited holds it not: the other is answered."""
    room = Room(variant, ongoing=1, limits=Limits(body_s=0.05))
    slow, good = _ask(room, ("POST", INFER, {}, [b"slow"]), _good(1.0))

    assert (slow.status, good.status) == (408, 200)


def test_long_bodies_have_so_much_room(variant: Variant) -> None:
    """What long bodies take together is bounded; who is refused for it is told to come again, and what was taken is given back."""
    room = Room(variant, limits=Limits(held_bytes=10, awaited_bytes=300))
    first, second = _ask(room, _post(b" " * 250), _post(b" " * 400))
    (third,) = _ask(room, _good(1.0))

    assert (first.status, second.status, third.status) == (400, 503, 200)
    assert (b"retry-after", b"1") in second.headers
