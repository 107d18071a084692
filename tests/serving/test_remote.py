"""A server is found and asked as it tells of itself; what is no server, or somebody else's, is refused by name."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.serving.protocol import HEADER_LENGTH, InferenceRequest, write_answer
from windtunnel.serving.remote import Address, Connection, discover, place, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = {
    "name": "m", "versions": ["1"], "platform": "none",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}  # fmt: skip
SERVER = {"name": "a server", "version": "7", "extensions": ["binary_tensor_data"]}
USUAL = {"/v2": (200, SERVER), "/v2/models/m": (200, METADATA), "/v2/models/m/ready": (200, {})}

Told = dict[str, tuple[int, Any]]


@contextmanager
def serving(told: Told, *, each: int = 1000, heard: list[str] | None = None) -> Iterator[Address]:
    """A server of sockets that answers by path, `each` questions a connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(line: socket.socket) -> None:
        with line, line.makefile("rb") as lines:
            for _ in range(each):
                request = lines.readline().decode()
                if not request:
                    return
                headers = http.client.parse_headers(lines)
                lines.read(int(headers.get("Content-Length", 0)))
                if heard is not None:
                    heard.append(headers.get("Authorization", ""))
                line.sendall(_written(*told.get(request.split()[1], (404, {"error": "nothing there"}))))

    def listen() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(line,), daemon=True).start()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield Address("127.0.0.1", listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _written(status: int, told: Any) -> bytes:
    headers: dict[str, str]
    body: bytes
    body, headers = told if isinstance(told, tuple) else (json.dumps(told).encode(), {})
    lines = [
        f"HTTP/1.1 {status} x",
        f"Content-Length: {len(body)}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_found() -> None:
    """Name, version, tensors and whether binary is spoken are the server's words."""
    with serving(USUAL) as address:
        model = discover(address, "m")

    assert (model.server, model.binary, model.path) == ("a server 7", True, "/v2/models/m/infer")
    assert [(t.name, t.dtype, t.shape[1:]) for t in model.signature.inputs] == [("x", "float32", (4,))]


@pytest.mark.parametrize(
    ("told", "named", "binary"),
    [((200, {**SERVER, "extensions": []}), "a server 7", False), ((404, {}), "unnamed", False), ((200, {"extensions": 3}), "unnamed", False)],
)  # fmt: skip
def test_reticent(told: tuple[int, Any], named: str, *, binary: bool) -> None:
    """A server that says little of itself is asked in JSON."""
    with serving({**USUAL, "/v2": told}) as address:
        model = discover(address, "m")

    assert (model.server, model.binary) == (named, binary)


def test_asked_in_its_form() -> None:
    """An answer in raw bytes is read, and the token goes with every question."""
    heard: list[str] = []
    answer = write_answer("m", InferenceRequest({}, binary=True), {"y": np.array([1.5], np.float32)})
    with serving({**USUAL, "/v2/models/m/infer": (200, answer)}, heard=heard) as address:
        model = discover(address, "m", token="secret")  # noqa: S106  # no secret
        with model.connect() as connection:
            found = model.infer(connection, {"x": np.ones((1, 4), np.float32)})

    assert HEADER_LENGTH in answer[1]
    assert found["y"].tolist() == [1.5]
    assert heard == ["Bearer secret"] * 4


def test_closed_meanwhile() -> None:
    """A kept connection that the server closed is opened anew, once, and the question is answered."""
    with serving(USUAL, each=1) as address, Connection(address) as connection:
        assert [connection.ask("GET", "/v2").told["name"] for _ in range(3)] == ["a server"] * 3


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"/v2/models/m": (404, {"error": "Request for unknown model"})}, "HTTP 404, 200: Request for unknown model"),
        ({"/v2/models/m/ready": (503, {})}, "HTTP 200, 503"),
        ({"/v2/models/m": (401, {"error": "a token is wanted"})}, "a token is wanted"),
    ],
)
def test_not_there(told: Told, words: str) -> None:
    """A model that is missing, not ready or not ours to ask is refused with what the server says."""
    with serving({**USUAL, **told}) as address, pytest.raises(ConfigError, match=words):
        discover(address, "m")


def test_another_protocol() -> None:
    """What answers 200 to everything and speaks something else is named."""
    page: Told = {**USUAL, "/v2/models/m": (200, ["a page"])}
    with serving(page) as address, pytest.raises(DataError, match="does not speak the Open Inference Protocol"):
        discover(address, "m")


def test_nobody() -> None:
    """Where nobody listens the message asks for the server."""
    with serving(USUAL) as address:
        pass
    with pytest.raises(ConfigError, match="is the server running there"):
        discover(address, "m")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9000", "https://127.0.0.1", "http://", "http://[::1", "http://a:b", "http://h/?q=1"]
)
def test_no_address(url: str) -> None:
    """What is no address of plain HTTP is refused."""
    with pytest.raises(ConfigError, match="is no address"):
        Address.parse(url)


def test_whose() -> None:
    """This machine may be loaded; another only if the user says that it is his."""
    assert refuse_foreign("http://localhost:9000/a/", owned=False) == Address("localhost", 9000, "/a")
    assert refuse_foreign("http://[::1]:9", owned=False).host == "::1"
    assert str(refuse_foreign("http://192.0.2.7:80", owned=True)) == "http://192.0.2.7:80"
    with pytest.raises(ConfigError, match="--i-own-this-target"):
        refuse_foreign("http://192.0.2.7", owned=False)
    with pytest.raises(ConfigError, match="is not known"):
        refuse_foreign("http://nobody.invalid", owned=False)


def test_odd_names() -> None:
    """A name cannot leave its place in the path."""
    assert place("../../v2") == "/v2/models/..%2F..%2Fv2"
