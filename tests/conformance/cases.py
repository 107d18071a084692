"""What a server of the Open Inference Protocol must do, a function each; `DIFFERS` says which server does otherwise, and how.

The protocol: KServe's `open-inference-protocol` (REST, v2) and its binary tensor data extension. Each case is asked of a server
with the model `every` of `other_servers.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.conformance.other_servers import MODEL
from windtunnel.errors import DataError
from windtunnel.serving.protocol import HEADER_LENGTH, read_answer, read_metadata, write_request
from windtunnel.serving.remote import Connection, Reply, place
from windtunnel.serving.tensor_data import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

INFER = f"{place(MODEL)}/infer"
JSON = {"Content-Type": "application/json"}

HALF = "FP16"
"""For which JSON has no number of its own: Triton takes it as raw bytes only."""

ROWS: dict[str, list[Any]] = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [0, 65535], "UINT32": [1, 2**32 - 1], "UINT64": [1, 2**53],
    "INT8": [-128, 127], "INT16": [-1, 1], "INT32": [-(2**31), 2**31 - 1], "INT64": [-(2**53), 2**53],
    "FP16": [0.5, -2.0], "FP32": [1.5, -0.25], "FP64": [0.1, 1e300], "BYTES": ["é", "two words"],
}  # fmt: skip
"""A row of each datatype, at its edges as far as JSON's numbers reach."""


@dataclass(frozen=True)
class Server:
    """What is asked, and what it can be asked.

    Args:
        connection: to it.
        name: which of the servers it is.
        datatypes: which it has an input of.
        binary: whether it speaks binary tensors.
    """

    connection: Connection
    name: str
    datatypes: tuple[str, ...] = tuple(DATATYPES)
    binary: bool = True

    def get(self, path: str) -> Reply:
        """Ask for a place."""
        return self.connection.ask("GET", path)

    def post(self, body: bytes, headers: Mapping[str, str] = JSON, path: str = INFER) -> Reply:
        """Ask the model."""
        return self.connection.ask("POST", path, body, headers)

    def feeds(self, rows: int = 1) -> dict[str, NDArray[Any]]:
        """So many rows of every datatype."""
        return {f"in_{name}": np.array([ROWS[name]] * rows, DATATYPES[name]) for name in self.datatypes}

    def plain(self) -> dict[str, NDArray[Any]]:
        """A row of every datatype that all servers take in JSON."""
        return {name: array for name, array in self.feeds().items() if name != f"in_{HALF}"}

    def request(self, **more: Any) -> dict[str, Any]:
        """A good request as JSON values, of which a case makes a bad one; its answer is JSON too."""
        told = json.loads(write_request(self.feeds(), binary=False)[0])
        return {**told, "outputs": [{"name": name.replace("in_", "out_")} for name in self.plain()], **more}

    def with_input(self, datatype: str, /, **more: Any) -> Reply:
        """Ask with one of the inputs otherwise."""
        told = self.request()
        told["inputs"] = [{**each, **more} if each["name"] == f"in_{datatype}" else each for each in told["inputs"]]
        return self.send(told)

    def send(self, told: Any, path: str = INFER, raw: Mapping[str, bytes] | None = None) -> Reply:
        """Ask in JSON, but for `FP16`, which not every server takes in it: as raw bytes where binary is spoken.

        Args:
            told: the request.
            path: where.
            raw: other inputs that go as raw bytes.
        """
        parts = {**(raw or {}), **({f"in_{HALF}": self.feeds()[f"in_{HALF}"].tobytes()} if self.binary else {})}
        sent = {**told, "inputs": [_as_raw(each, parts) for each in told["inputs"]]}
        head = json.dumps(sent).encode()
        tail = b"".join(parts[each["name"]] for each in sent["inputs"] if each["name"] in parts)
        return self.post(head + tail, {HEADER_LENGTH: str(len(head))} if tail else JSON, path)


def _as_raw(each: Mapping[str, Any], parts: Mapping[str, bytes]) -> dict[str, Any]:
    if each["name"] not in parts:
        return dict(each)
    kept = {key: value for key, value in each.items() if key != "data"}
    return {**kept, "parameters": {"binary_data_size": len(parts[each["name"]])}}


def refused(reply: Reply) -> None:
    """The request was bad, and not the server."""
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])


def echoed(reply: Reply, feeds: Arrays) -> None:
    """Every input came back as it went."""
    assert reply.status == 200, reply.body[:500]
    answer = read_answer(reply.body, reply.headers)
    assert sorted(answer) == sorted(name.replace("in_", "out_") for name in feeds)
    for name, array in feeds.items():
        back = answer[name.replace("in_", "out_")]
        assert back.dtype == array.dtype, name
        assert back.shape == array.shape, name
        assert back.tolist() == array.tolist(), name


def live(server: Server) -> None:
    """`/v2/health/live` and `/v2/health/ready` are 200."""
    assert [server.get(f"/v2/health/{state}").status for state in ("live", "ready")] == [200, 200]


def server_metadata(server: Server) -> None:
    """`/v2` tells name, version and extensions."""
    told = server.get("/v2").told
    assert isinstance(told["name"], str)
    assert isinstance(told["version"], str)
    assert isinstance(told["extensions"], list)


def binary_extension(server: Server) -> None:
    """`/v2` lists the binary extension."""
    assert "binary_tensor_data" in server.get("/v2").told["extensions"]


def model_metadata(server: Server) -> None:
    """The model's metadata tell its tensors: names, datatypes, and −1 for the batch."""
    reply = server.get(place(MODEL))
    signature = read_metadata(reply.told)
    wanted = [(f"in_{name}", DATATYPES[name], 2) for name in server.datatypes]
    assert reply.told["name"] == MODEL
    assert [(t.name, t.dtype, t.shape[1]) for t in signature.inputs] == wanted
    assert [t.name for t in signature.outputs] == [f"out_{name}" for name in server.datatypes]
    assert all(isinstance(t.shape[0], str) for t in signature.inputs)


def model_ready(server: Server) -> None:
    """`/v2/models/NAME/ready` is 200."""
    assert server.get(f"{place(MODEL)}/ready").status == 200


def version(server: Server) -> None:
    """Version 1 of the model is told of, is ready, and answers."""
    at = f"{place(MODEL)}/versions/1"
    assert server.get(place(MODEL)).told["versions"] == ["1"]
    assert server.get(at).told["name"] == MODEL
    assert server.get(f"{at}/ready").status == 200
    body, headers = write_request(server.feeds(), binary=server.binary)
    echoed(server.post(body, headers, f"{at}/infer"), server.feeds())


def unknown_model(server: Server) -> None:
    """A model that is not there is refused, everywhere."""
    refused(server.get("/v2/models/nobody"))
    assert 400 <= server.get("/v2/models/nobody/ready").status < 500
    refused(server.send(server.request(), "/v2/models/nobody/infer"))


def unknown_version(server: Server) -> None:
    """A version that is not there is refused."""
    refused(server.send(server.request(), f"{place(MODEL)}/versions/7/infer"))


def as_json(server: Server) -> None:
    """Every datatype but FP16 goes and comes as JSON."""
    echoed(server.send(server.request()), server.plain())


def half_as_json(server: Server) -> None:
    """FP16 goes and comes as JSON too."""
    body, headers = write_request(server.feeds(), binary=False)
    echoed(server.post(body, headers), server.feeds())


def nested(server: Server) -> None:
    """Data may be nested as the shape is."""
    told = server.request()
    told["inputs"] = [{**each, "data": [each["data"]]} for each in told["inputs"]]
    echoed(server.send(told), server.plain())


def as_binary(server: Server) -> None:
    """Every datatype goes and comes as raw bytes."""
    body, headers = write_request(server.feeds(3))
    reply = server.post(body, headers)
    assert HEADER_LENGTH.lower() in {name.lower() for name in reply.headers}
    echoed(reply, server.feeds(3))


def binary_to_json(server: Server) -> None:
    """Raw bytes may be answered in JSON: the answer is as the request asks, not as it came."""
    body, headers = write_request(server.feeds())
    at = int(headers[HEADER_LENGTH])
    told = {**json.loads(body[:at]), "outputs": server.request()["outputs"]}
    del told["parameters"]
    head = json.dumps(told).encode()
    reply = server.post(head + body[at:], {**headers, HEADER_LENGTH: str(len(head))})
    assert reply.told is not None
    echoed(reply, server.plain())


def half_binary(server: Server) -> None:
    """One tensor may be raw and the others JSON."""
    raw = {"in_FP32": server.feeds()["in_FP32"].tobytes()}
    echoed(server.send(server.request(), raw=raw), server.plain())


def one_output_binary(server: Server) -> None:
    """One output may be asked for as raw bytes and another as JSON."""
    outputs = [{"name": "out_FP32", "parameters": {"binary_data": True}}, {"name": "out_INT64"}]
    feeds = {name: server.feeds()[name] for name in ("in_FP32", "in_INT64")}
    reply = server.send(server.request(outputs=outputs))
    assert HEADER_LENGTH.lower() in {name.lower() for name in reply.headers}
    echoed(reply, feeds)


def rows(server: Server) -> None:
    """A request may have several rows."""
    feeds = server.feeds(5)
    body, headers = write_request(feeds, binary=server.binary)
    echoed(server.post(body, headers), feeds)


def own_id(server: Server) -> None:
    """A request's id comes back."""
    assert server.send(server.request(id="an id, née 7")).told["id"] == "an id, née 7"


def wanted_outputs(server: Server) -> None:
    """Only the outputs that are asked for are answered."""
    answer = server.send(server.request(outputs=[{"name": "out_INT64"}, {"name": "out_BOOL"}])).told
    assert sorted(each["name"] for each in answer["outputs"]) == ["out_BOOL", "out_INT64"]


def unknown_output(server: Server) -> None:
    """An output that the model has not is refused."""
    refused(server.send(server.request(outputs=[{"name": "nobody"}])))


def bad_datatype(server: Server) -> None:
    """Another datatype than the model's is refused."""
    refused(server.with_input("FP32", datatype="FP64"))


def no_datatype(server: Server) -> None:
    """A datatype that the protocol has not is refused."""
    refused(server.with_input("FP32", datatype="FLOAT"))


def bad_shape(server: Server) -> None:
    """Another shape than the model's is refused."""
    refused(server.with_input("FP32", shape=[1, 3], data=[1.0, 2.0, 3.0]))


def bad_rank(server: Server) -> None:
    """Another number of axes is refused."""
    refused(server.with_input("FP32", shape=[2]))


def too_few(server: Server) -> None:
    """Data that do not fill the shape are refused."""
    refused(server.with_input("FP32", data=[1.0]))


def too_many(server: Server) -> None:
    """Data that overflow the shape are refused."""
    refused(server.with_input("FP32", data=[1.0, 2.0, 3.0]))


def not_whole(server: Server) -> None:
    """A fraction is no whole number."""
    refused(server.with_input("INT64", data=[1.5, 2.0]))


def out_of_range(server: Server) -> None:
    """A number that the datatype cannot hold is refused."""
    refused(server.with_input("UINT8", data=[256, 1]))


def unequal_rows(server: Server) -> None:
    """Inputs of different numbers of rows are refused."""
    refused(server.with_input("FP32", shape=[2, 2], data=[1.0, 2.0, 3.0, 4.0]))


def missing_input(server: Server) -> None:
    """A missing input is refused."""
    told = server.request()
    refused(server.send({**told, "inputs": told["inputs"][1:]}))


def unknown_input(server: Server) -> None:
    """An input that the model has not is refused."""
    refused(server.with_input("FP32", name="in_nobody"))


def no_inputs(server: Server) -> None:
    """A request without inputs is refused."""
    refused(server.post(b"{}"))


def not_json(server: Server) -> None:
    """What is no JSON is refused."""
    refused(server.post(b'{"inputs": [' + b"["))


def empty(server: Server) -> None:
    """An empty body is refused."""
    refused(server.post(b""))


def size_too_large(server: Server) -> None:
    """A tensor that claims more bytes than there are is refused."""
    body, headers = write_request(server.feeds())
    refused(server.post(body[:-1], headers))


def bytes_left(server: Server) -> None:
    """Bytes that belong to no tensor are refused."""
    body, headers = write_request(server.feeds())
    refused(server.post(body + b"\0", headers))


def header_beyond(server: Server) -> None:
    """A JSON longer than the body is refused."""
    body, headers = write_request(server.feeds())
    refused(server.post(body, {**headers, HEADER_LENGTH: str(len(body) + 1)}))


def header_no_number(server: Server) -> None:
    """A length that is no number is refused."""
    body, headers = write_request(server.feeds())
    refused(server.post(body, {**headers, HEADER_LENGTH: "many"}))


def error_told(server: Server) -> None:
    """A refusal is JSON with an `error`, whatever was wrong."""
    replies = [server.with_input("FP32", datatype="FLOAT"), server.post(b"{}"), server.get("/v2/models/nobody")]
    assert all(isinstance(each.told, dict) and each.told.get("error") for each in replies), replies


def told_by_client(server: Server) -> None:
    """Our client's half tells the server's error as its own."""
    reply = server.send(server.request(), "/v2/models/nobody/infer")
    try:
        read_answer(reply.body, reply.headers)
    except DataError as error:
        assert "was refused by the server" in str(error)  # noqa: PT017  # the cases are asked outside of pytest too
    else:
        raise AssertionError(reply.body)


def still_there(server: Server) -> None:
    """After all of that it answers as before."""
    body, headers = write_request(server.feeds(), binary=server.binary)
    echoed(server.post(body, headers), server.feeds())


CASES: tuple[Callable[[Server], None], ...] = (
    live, server_metadata, binary_extension, model_metadata, model_ready, version, unknown_model, unknown_version, as_json,
    half_as_json, nested, as_binary, binary_to_json, half_binary, one_output_binary, rows, own_id, wanted_outputs, unknown_output, bad_datatype, no_datatype,
    bad_shape, bad_rank, too_few, too_many, not_whole, out_of_range, unequal_rows, missing_input, unknown_input, no_inputs,
    not_json, empty, size_too_large, bytes_left, header_beyond, header_no_number, error_told, told_by_client, still_there,
)  # fmt: skip

NEEDS_BINARY = frozenset({
    "binary_extension", "as_binary", "binary_to_json", "half_binary", "one_output_binary", "size_too_large", "bytes_left",
    "header_beyond", "header_no_number",
})  # fmt: skip
"""Cases of the binary extension, which a server need not speak."""

_UNREAD = "answers 500 to JSON that it cannot read, as if the fault were its own"
_UNCHECKED = "compares no request with the model's metadata: the model's own code is asked whatever came"

DIFFERS: dict[tuple[str, str], str] = {
    ("triton", "half_as_json"): "takes FP16 as raw bytes alone",
    **{("triton", case): _UNREAD for case in ("too_few", "too_many", "not_whole", "no_inputs", "not_json")},
    ("triton", "out_of_range"): "wraps numbers that do not fit: 256 as UINT8 is answered as 0",
    ("mlserver", "version"): "a model without a version in its settings has none, and its path does not take 1",
    ("mlserver", "error_told"): "tells what its framework found under `detail`, not `error`",
    **{
        ("mlserver", case): _UNCHECKED
        for case in (
            "unknown_output", "bad_datatype", "bad_shape", "bad_rank", "too_few", "too_many", "not_whole", "out_of_range",
            "unequal_rows", "missing_input", "unknown_input",
        )
    },
}  # fmt: skip
"""By server and case: what it does instead, as tested: Triton 2.51.0, MLServer 1.7.1. Ours differs in none."""
