"""A real server: it answers by both protocols, stands what strangers send, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.serving.limits import Limits
from windtunnel.serving.protocol import read_answer, read_metadata, write_request
from windtunnel.serving.running import Served, serving
from windtunnel.serving.server import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes where Linux tells of them")

LONGEST_BODY = 100_000


def _model(path: Path) -> Path:
    """A table that is looked up: whoever asks for a row that is not there makes the model raise."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [0.5, 1.5, 2.5, 3.5])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "k"], ["y"])],
        "rows",
        [helper.make_tensor_value_info("k", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [table],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of four a batch, which waits long enough for company that one can see who shared; then stopped while it is asked."""
    model = _model(tmp_path_factory.mktemp("served") / "rows.onnx")
    deployment = Deployment("rows", 1, BatchPolicy(4, 0.3), machines=1, usd_per_hour=0.0)
    with serving(model, deployment, Options(port=0, limits=Limits(max_body_bytes=LONGEST_BODY))) as running:
        before = {running.pid, *_descendants(running.pid)}
        yield running
        with ThreadPoolExecutor() as pool:
            last = pool.submit(_infer, running, [3])
            while _metrics(running)["windtunnel_in_flight"] < 2:  # whoever asks is one of them
                assert not last.done()
            os.kill(running.pid, 15)
            assert last.result()[0] == 200
    assert not [pid for pid in before if _is_alive(pid)]


def _descendants(pid: int) -> list[int]:
    parents = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended while we looked
            continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that is a zombie until its parent looks has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _connect(served: Served) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=30)


def _ask(
    served: Served, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = _connect(served)
    try:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def _infer(served: Served, rows: list[int], *, binary: bool = True) -> tuple[int, bytes, dict[str, str]]:
    body, headers = write_request({"k": np.array(rows)}, binary=binary)
    return _ask(served, "POST", "/v2/models/rows/infer", body, **headers)


def _metrics(served: Served) -> dict[str, float]:
    lines = _ask(served, "GET", "/metrics")[1].decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def _together(served: Served, asked: list[Any]) -> list[tuple[int, bytes, dict[str, str]]]:
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda each: each(served), asked))


@pytest.mark.parametrize("binary", [True, False])
def test_answers_as_it_was_asked(served: Served, binary: bool) -> None:
    """By JSON and by bytes the model's numbers come back, with the time they took and the company they had."""
    status, body, headers = _infer(served, [2, 0], binary=binary)

    assert status == 200
    assert read_answer(body, headers)["y"].tolist() == [2.5, 0.5]
    assert ("Inference-Header-Content-Length".lower() in {key.lower() for key in headers}) == binary
    assert (headers["x-batch-size"], headers["x-replica"]) == ("1", "0")
    assert [part.split(";")[0] for part in headers["server-timing"].split(", ")] == ["handler", "queue", "model"]


def test_it_stands_behind_haproxy(served: Served) -> None:
    """Where Ray brings HAProxy along it is used, and what listens for HTTP can be reached from this machine only."""
    names = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in _descendants(served.pid)}

    assert served.notes == ""
    assert "haproxy" in names
    assert {address for pid in names.values() for address in _listening(pid, ("haproxy", "ray::ServeRepli"))} == {
        "127.0.0.1"
    }


def _listening(pid: int, names: tuple[str, ...]) -> set[str]:
    """The IPv4 addresses on which a process of such a name listens."""
    if Path(f"/proc/{pid}/comm").read_text().strip() not in names:
        return set()
    held = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in held:
            found.add(socket.inet_ntoa(bytes.fromhex(words[1].split(":")[0])[::-1]))
    return found


def test_metadata_and_health(served: Served) -> None:
    """What the server tells of the model is enough to ask it."""
    told = json.loads(_ask(served, "GET", "/v2/models/rows")[1])

    assert read_metadata(told).inputs[0].dtype == "int64"
    assert _ask(served, "GET", "/v2/health/ready")[:2] == (200, b'{"ready": true}')
    assert _ask(served, "GET", "/v2/models/rows/ready")[0] == 200
    assert _ask(served, "GET", "/v2/models/other/ready")[0] == 404


def test_another_address_is_not_another_servers(served: Served, tmp_path: Path) -> None:
    """Beside it a server at another address of this machine: each answers with its own model, and only one wants a token."""
    token = tmp_path / "token"
    token.write_text("of-the-second-one-0123")
    token.chmod(0o600)
    model, alone = _model(tmp_path / "more.onnx"), Deployment("more", 1, BatchPolicy(1, 0.0), 1, 0.0)
    with serving(model, alone, Options(port=0, host="127.0.0.2", token_file=token)) as second:
        bearer = {"Authorization": "Bearer of-the-second-one-0123"}
        assert second.root.startswith("http://127.0.0.2:")
        assert _ask(second, "GET", "/v2/models/more")[0] == 401
        assert _ask(second, "GET", "/v2/models/more", None, **bearer)[0] == 200
        assert _ask(second, "GET", "/v2/models/rows", None, **bearer)[0] == 404
        assert _ask(served, "GET", "/v2/models/rows")[0] == 200
        listening = {address for pid in _descendants(second.pid) for address in _listening(pid, ("ray::ServeRepli",))}
        assert listening == {"127.0.0.1"}


def test_company_shares_a_batch_and_only_the_culprit_pays(served: Served) -> None:
    """Four come at once, one of them with a row that the model does not have: three are answered, one gets a 500."""
    answers = _together(served, [lambda s, k=k: _infer(s, [k]) for k in (0, 99, 2, 3)])

    assert [status for status, _, _ in answers] == [200, 500, 200, 200]
    assert [read_answer(body, headers)["y"].tolist() for status, body, headers in answers if status == 200] == [
        [0.5], [2.5], [3.5],
    ]  # fmt: skip
    assert {headers["x-batch-size"] for status, _, headers in answers if status == 200} == {"4"}


def test_bad_company(served: Served) -> None:
    """Bad requests at the same time each get their own refusal, and the good ones their own answers."""
    path = "/v2/models/rows/infer"
    bad = {
        400: lambda s: _ask(s, "POST", path, b'{"inputs": [], "inputs": []}'),
        404: lambda s: _ask(s, "POST", "/v2/models/none/infer", b"{}"),
        405: lambda s: _ask(s, "PUT", path, b"{}"),
        413: lambda s: _ask(s, "POST", path, b" " * (LONGEST_BODY + 1)),
        415: lambda s: _ask(s, "POST", path, b"{}", Content_Encoding="gzip"),
    }
    answers = _together(served, [*bad.values(), lambda s: _infer(s, [1]), lambda s: _infer(s, [2], binary=False)])

    assert [status for status, _, _ in answers] == [*bad, 200, 200]
    assert all(json.loads(body)["error"] for status, body, _ in answers[: len(bad)])
    assert [read_answer(body, headers)["y"].tolist() for _, body, headers in answers[len(bad) :]] == [[1.5], [2.5]]


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\1\2\3 nonsense\r\n\r\n",
        b"POST /v2/models/rows/infer HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2/models/rows/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"POST /v2/models/rows/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{}",
        b"POST /v2/models/rows/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["no-http", "negative-length", "two-lengths", "half-closed", "bad-chunk", "long-line"],
)
def test_what_is_no_request(served: Served, sent: bytes) -> None:
    """Lines that are no HTTP and bodies that end early are refused or hung up on, and the next one is served."""
    host, port = served.root.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        first = b""
        with contextlib.suppress(OSError):  # hung up on before all was said
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            first = raw.recv(65536)

    assert first == b"" or first.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert _infer(served, [1])[0] == 200


@pytest.mark.parametrize(
    "name", ["X-Request-Id", "X-Session-Id", "X-Request-Timeout-Seconds", "serve-multiplexed-model-id", "Traceparent"]
)
def test_headers_that_are_no_text(served: Served, name: str) -> None:
    """What Ray reads as text and is none is refused as the caller's mistake; in a header that nobody reads it may stand."""
    body, headers = write_request({"k": np.array([1])}, binary=True)
    path = "/v2/models/rows/infer"

    assert _ask(served, "POST", path, body, **headers, **{name: "a\xff"})[0] == 400
    assert _ask(served, "POST", path, body, **headers, **{name: "a-1"})[0] == 200
    assert _ask(served, "POST", path, body, **headers, User_Agent=f"{name}: \xff")[0] == 200


def test_nothing_else_is_spoken(served: Served) -> None:
    """Who asks for a socket of the web is told that a model is asked by POST; who would rather speak HTTP/2 is answered all the same."""
    socket_ = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
    }
    body, headers = write_request({"k": np.array([1])}, binary=True)
    other = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAARAAAAAAAIAAAAA"}

    assert _ask(served, "GET", "/v2/models/rows/infer", None, **socket_)[0] == 405
    assert _ask(served, "POST", "/v2/models/rows/infer", body, **headers, **other)[0] == 200


def test_what_is_counted_can_be_read(served: Served) -> None:
    """Prometheus reads requests, batches and times at /metrics; one more request is one more."""
    before = _metrics(served)
    _infer(served, [1, 1])
    after = _metrics(served)

    assert after['windtunnel_requests_total{code="200"}'] >= before['windtunnel_requests_total{code="200"}'] + 1
    assert after["windtunnel_rows_total"] == before["windtunnel_rows_total"] + 2
    assert after["windtunnel_model_seconds_count"] == after["windtunnel_batches_total"]


def test_who_has_hung_up_is_not_served(served: Served) -> None:
    """Two ask, and one hangs up before the batch begins: the other is served alone, and the server says of one that it was gone."""
    before, (body, headers) = _metrics(served), write_request({"k": np.array([1, 2, 3])})
    leaver = _connect(served)
    leaver.request("POST", "/v2/models/rows/infer", body, headers)
    deadline_s = time.monotonic() + 20.0
    while _metrics(served)["windtunnel_in_flight"] < 2:  # it waits for company; whoever asks is the other
        assert time.monotonic() < deadline_s, "it was answered before it was seen"
    leaver.close()
    status, _, answer = _infer(served, [2])
    after = _metrics(served)

    assert (status, answer["x-batch-size"]) == (200, "1")
    assert after['windtunnel_requests_total{code="499"}'] == before['windtunnel_requests_total{code="499"}'] + 1
    assert after["windtunnel_rows_total"] == before["windtunnel_rows_total"] + 1
