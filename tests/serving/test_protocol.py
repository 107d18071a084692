"""The Open Inference Protocol, without a server: requests and answers, written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError, InputError, ModelError
from windtunnel.execution import Execution
from windtunnel.serving.protocol import (
    HEADER_LENGTH,
    InferenceRequest,
    RequestReader,
    datatype,
    metadata,
    read_answer,
    read_metadata,
    read_request,
    refuse_not_finite,
    write_answer,
    write_request,
)  # fmt: skip
from windtunnel.serving.tensor_data import DATATYPES
from windtunnel.variant import Origin, Signature, Tensor, Variant

SIGNATURE = Signature(
    (Tensor("x", "float32", ("batch", 2)), Tensor("k", "int64", ("batch",))),
    (Tensor("y", "float32", ("batch",)), Tensor("z", "float32", ("batch",))),
)


def _body(**changes: Any) -> dict[str, Any]:
    x = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]} | changes
    return {"inputs": [x, {"name": "k", "datatype": "INT64", "shape": [2], "data": [5, 6]}]}


def _read(told: Any) -> InferenceRequest:
    return read_request(json.dumps(told).encode(), None, SIGNATURE)


def test_reads_tensors_by_name() -> None:
    """Flat and nested data become arrays of the model's dtype and the request's shape."""
    flat, nested = _read(_body()).feeds, _read(_body(data=[[1, 2], [3, 4]])).feeds

    assert [[1.0, 2.0], [3.0, 4.0]] == flat["x"].tolist() == nested["x"].tolist()
    assert (str(flat["x"].dtype), str(flat["k"].dtype)) == ("float32", "int64")


@pytest.mark.parametrize(
    ("told", "needle"),
    [
        (None, "list of tensors"),
        ({"inputs": {}}, "list of tensors"),
        ({"inputs": [3]}, "list of tensors"),
        ({"inputs": []}, "given once"),
        ({"inputs": _body()["inputs"] * 2}, "given once"),
        (_body(name="z"), "given once"),
        (_body(name=[]), "given once"),
        (_body(datatype="FP64"), "must be FP32"),
        (_body(datatype={}), "must be FP32"),
        (_body(shape=[2, 3]), "must have the shape"),
        (_body(shape=[-1, 2]), "must have the shape"),
        (_body(shape=[True, 2]), "must have the shape"),
        (_body(shape=[2.0, 2]), "must have the shape"),
        (_body(shape=None), "must have the shape"),
        (_body(shape=[10**30, 2]), "do not fill"),
        (_body(data=[1]), "do not fill"),
        (_body(data="nonsense"), "must be a list"),
        (_body(shape=[1, 2], data=[1, 2]), "same number of rows"),
        (_body(parameters=3), "must be an object"),
        (_body(parameters={"shared_memory_region": "a"}), "not spoken here"),
        (_body(parameters={"binary_data_size": 16}), "within the 0 bytes"),
        (_body() | {"id": 7}, "must be text"),
        (_body() | {"outputs": [{"name": "w"}]}, "not an output"),
        (_body() | {"outputs": [{"name": "y"}] * 2}, "asked for twice"),
        (_body() | {"outputs": 3}, "must be a list"),
        (_body() | {"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "not spoken here"),
        (_body() | {"parameters": []}, "must be an object"),
    ],
)
def test_refuses_what_does_not_fit(told: Any, needle: str) -> None:
    """A request that is not one the model can answer is refused before it may join a batch."""
    with pytest.raises(InputError, match=needle):
        _read(told)


@pytest.mark.parametrize(
    ("body", "needle"),
    [
        (b'{"inputs": [], "inputs": []}', "stands twice"),
        (b"{", "cannot be read"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b"1" * 5000, "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_refuses_what_is_no_json(body: bytes, needle: str) -> None:
    """Keys that stand twice, what is cut, nested without end or not text are refused with a sentence."""
    with pytest.raises(DataError, match=needle):
        read_request(body, None, SIGNATURE)


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 30, "1000000", "1.0", "²"])
def test_a_head_that_is_longer_than_the_body(length: str) -> None:
    """A header that tells no length within the body is refused by its name."""
    with pytest.raises(DataError, match=HEADER_LENGTH):
        read_request(b"{}", length, SIGNATURE)


def _feeds(rows: int) -> dict[str, Any]:
    return {"x": np.arange(2 * rows, dtype=np.float32).reshape(rows, 2), "k": np.arange(rows)}


@pytest.mark.parametrize("tail", [b"", b"\0" * 4])
def test_bytes_that_belong_to_nobody(tail: bytes) -> None:
    """Too few bytes behind the head, and more than the tensors have, are both refused."""
    body, headers = write_request(_feeds(2))
    spoiled = body + tail if tail else body[:-1]

    with pytest.raises(DataError, match="bytes that"):
        read_request(spoiled, headers[HEADER_LENGTH], SIGNATURE)


def test_data_and_bytes_at_once() -> None:
    """A tensor that comes twice in one request is refused: which of them was meant?"""
    told = _body(parameters={"binary_data_size": 16})
    head = json.dumps(told).encode()

    with pytest.raises(ModelError, match="both"):
        read_request(head + b"\0" * 16, str(len(head)), SIGNATURE)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5), st.booleans(), st.text("ab7-é", max_size=5), st.sampled_from([(), ("z",), ("z", "y"), ("y",)])
)
def test_a_conversation(rows: int, binary: bool, name: str, outputs: tuple[str, ...]) -> None:
    """What a client writes a server reads, and back: by JSON and by bytes, with ids and chosen outputs, the same arrays."""
    feeds = _feeds(rows)
    body, headers = write_request(feeds, binary=binary, request_id=name, outputs=outputs)
    request = read_request(body, headers.get(HEADER_LENGTH), SIGNATURE)
    answers = {"y": np.linspace(0, 1, rows, dtype=np.float32), "z": np.full(rows, 0.1, np.float32)}
    text, told = write_answer("m", request, answers)
    back = read_answer(text, {key.upper(): value for key, value in told.items()})

    assert {key: array.tolist() for key, array in request.feeds.items()} == {k: v.tolist() for k, v in feeds.items()}
    assert request.id == name
    assert list(back) == list(outputs or ("y", "z"))
    assert all(array.tobytes() == answers[key].tobytes() for key, array in back.items())
    assert (HEADER_LENGTH in told) == binary


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 99), st.booleans()), min_size=1, max_size=8))
def test_a_head_that_was_read_before(sent: list[tuple[int, int, bool]]) -> None:
    """A reader that remembers heads reads every request as one that remembers nothing, whatever came before."""
    reader = RequestReader(SIGNATURE)
    for rows, value, turned in sent:
        feeds = {"x": np.full((rows, 2), value, np.float32), "k": np.full(rows, value)}
        body, headers = write_request(dict(reversed(feeds.items())) if turned else feeds)
        again, once = reader(body, headers[HEADER_LENGTH]), read_request(body, headers[HEADER_LENGTH], SIGNATURE)

        assert list(again.feeds) == ["x", "k"]
        assert all(np.array_equal(again.feeds[key], once.feeds[key]) for key in once.feeds)
        assert (again.binary, again.outputs, again.id) == (once.binary, once.outputs, once.id)
        with pytest.raises(DataError, match="bytes that"):
            reader(body[:-1], headers[HEADER_LENGTH])


def test_a_tensor_may_say_for_itself_whether_it_is_binary() -> None:
    """An output's own `binary_data` goes before what the request says of all, and a binary input may stand beside a JSON one."""
    told = _body() | {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
    }
    assert _read(told).outputs == {"y": False, "z": True}
    mixed = _body()
    mixed["inputs"][1] = {"name": "k", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}}
    head = json.dumps(mixed).encode()
    request = read_request(head + np.array([8, 9]).tobytes(), str(len(head)), SIGNATURE)
    assert (request.feeds["k"].tolist(), request.feeds["x"].tolist()) == ([8, 9], [[1, 2], [3, 4]])


def test_text_is_bytes_in_the_protocol() -> None:
    """Text goes in and out as JSON strings under the name BYTES; numbers in its place are refused."""
    signature = Signature((Tensor("t", "object", ("batch", 1)),), ())
    given_ = {"name": "t", "datatype": "BYTES", "shape": [2, 1], "data": ["JFK", "é"]}

    read = read_request(json.dumps({"inputs": [given_]}).encode(), None, signature)
    assert read.feeds["t"].tolist() == [["JFK"], ["é"]]
    with pytest.raises(ModelError, match=r"`t` must be text; send JSON strings"):
        read_request(json.dumps({"inputs": [given_ | {"data": [1, 2]}]}).encode(), None, signature)
    for told in (np.array(["a", "é"], object), np.array(["a", "é"])):
        for binary in (False, True):
            answer = read_answer(*write_answer("m", InferenceRequest({}, binary=binary), {"y": told}))
            assert answer["y"].tolist() == ["a", "é"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(value: float) -> None:
    """NaN and infinities are refused by the input's name; whole numbers and text have none."""
    refuse_not_finite({"x": np.ones(2, np.float32), "k": np.arange(2), "t": np.array(["nan"], object)})
    with pytest.raises(ModelError, match=r"`x` has a value that is not finite; fill it, or serve with --nan allow"):
        refuse_not_finite({"x": np.array([1.0, value], np.float32)})


def test_a_dtype_without_a_name() -> None:
    """A tensor that the protocol has no name for is refused by its own name."""
    with pytest.raises(ModelError, match=r"`z` \(='complex64'\) has no name in the Open Inference Protocol; cast it"):
        datatype(Tensor("z", "complex64", (1,)))


def test_metadata_tells_a_signature() -> None:
    """Dynamic axes are −1, dtypes have the protocol's names, and whoever reads it knows what to send."""
    variant = Variant("m@2", Path("m.onnx"), "", "fp32", 1, SIGNATURE, Origin("file"), Execution("openvino-bf16"))
    told = metadata(variant)

    assert told["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    assert (told["name"], told["platform"]) == ("m-2", "openvino_onnx")
    assert read_metadata(told).inputs[0] == Tensor("x", "float32", ("axis_0", 2))
    assert all(np.dtype(dtype) for dtype in DATATYPES.values())


@pytest.mark.parametrize("told", [None, {}, {"inputs": [], "outputs": 3}, {"inputs": [{"name": "x"}], "outputs": []}])
def test_metadata_of_something_else(told: Any) -> None:
    """What is not the protocol's metadata is refused."""
    with pytest.raises(DataError, match="metadata"):
        read_metadata(told)


@pytest.mark.parametrize(
    ("body", "needle"),
    [
        (b'{"error": "no such model"}', "no such model"),
        (b"{}", "has no outputs"),
        (b'{"outputs": [{"name": "y"}]}', "no known datatype"),
        (b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}', "`y` .*do not fill"),
        (b"<html>", "cannot be read"),
    ],
)
def test_answers_that_are_none(body: bytes, needle: str) -> None:
    """An error is told in the server's words, and what is not the protocol is refused."""
    with pytest.raises(DataError, match=needle):
        read_answer(body, {})
