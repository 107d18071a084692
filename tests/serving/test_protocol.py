"""The Open Inference Protocol, without a server: reading requests, writing answers, sharing batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.serving.batch import run_together
from windtunnel.serving.protocol import DATATYPES, datatype, metadata, read_request, write_answer
from windtunnel.variant import Origin, Signature, Tensor, Variant

SIGNATURE = Signature(
    (Tensor("x", "float32", ("batch", 2)), Tensor("k", "int64", ("batch",))), (Tensor("y", "float32", ("batch",)),)
)


def _body(**changes: Any) -> dict[str, Any]:
    x = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]} | changes
    return {"inputs": [x, {"name": "k", "datatype": "INT64", "shape": [2], "data": [5, 6]}]}


def test_reads_tensors_by_name() -> None:
    """Flat and nested data become arrays of the model's dtype and the request's shape."""
    flat, nested = read_request(_body(), SIGNATURE), read_request(_body(data=[[1, 2], [3, 4]]), SIGNATURE)

    assert [[1.0, 2.0], [3.0, 4.0]] == flat["x"].tolist() == nested["x"].tolist()
    assert (str(flat["x"].dtype), str(flat["k"].dtype)) == ("float32", "int64")


@pytest.mark.parametrize(
    ("body", "needle"),
    [
        (None, "list of tensors"),
        ({"inputs": {}}, "list of tensors"),
        ({"inputs": [3]}, "list of tensors"),
        ({"inputs": []}, "given once"),
        ({"inputs": _body()["inputs"] * 2}, "given once"),
        (_body(name="z"), "given once"),
        (_body(datatype="FP64"), "must be FP32"),
        (_body(shape=[2, 3]), "must have the shape"),
        (_body(shape=[-1, 2]), "must have the shape"),
        (_body(shape=None), "must have the shape"),
        (_body(data=[1]), "do not fill"),
        (_body(data="nonsense"), "do not fill"),
        (_body(shape=[1, 2], data=[1, 2]), "same number of rows"),
    ],
)
def test_refuses_what_does_not_fit(body: Any, needle: str) -> None:
    """A request that is not one the model can answer is refused before it may join a batch."""
    with pytest.raises(ModelError, match=needle):
        read_request(body, SIGNATURE)


def test_everyone_gets_their_own_rows_back() -> None:
    """Requests of one, three and two rows run as one batch of six, and each gets its own answers."""
    sizes: list[int] = []

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(feeds["k"]))
        return {"y": feeds["k"] * 10}

    requests = [{"k": np.array(rows)} for rows in ([1], [2, 3, 4], [5, 6])]

    assert [answer["y"].tolist() for answer in run_together(run, requests)] == [[10], [20, 30, 40], [50, 60]]
    assert sizes == [6]


def test_other_lengths_go_in_another_batch() -> None:
    """Requests whose rows are longer cannot be stacked with the others: each length is a batch, and the order stays."""
    sizes: list[tuple[int, ...]] = []

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        sizes.append(feeds["k"].shape)
        return {"y": feeds["k"].sum(axis=1)}

    requests = [{"k": np.array(rows)} for rows in ([[1, 1]], [[2, 2, 2]], [[3, 3]])]

    assert [answer["y"].tolist() for answer in run_together(run, requests)] == [[2], [6], [6]]
    assert sizes == [(2, 2), (1, 3)]


def test_an_answer_without_rows() -> None:
    """A request that is alone in its batch gets what the model gave, rows or not."""
    assert run_together(lambda feeds: {"y": feeds["k"].max()}, [{"k": np.array([4, 2])}]) == [{"y": 4}]


def test_text_is_bytes_in_the_protocol() -> None:
    """Text goes in and out as JSON strings under the name BYTES; numbers in its place are refused."""
    signature = Signature((Tensor("t", "object", ("batch", 1)),), ())
    given = {"name": "t", "datatype": "BYTES", "shape": [2, 1], "data": ["JFK", "é"]}

    assert read_request({"inputs": [given]}, signature)["t"].tolist() == [["JFK"], ["é"]]
    with pytest.raises(ModelError, match=r"`t` .*must be text; send JSON strings"):
        read_request({"inputs": [given | {"data": [1, 2]}]}, signature)
    for told in (np.array(["a", "é"], object), np.array(["a", "é"])):
        answer = write_answer("m", None, {"y": told})["outputs"]
        assert answer == [{"name": "y", "datatype": "BYTES", "shape": [2], "data": ["a", "é"]}]


def test_a_dtype_without_a_name() -> None:
    """A tensor that the protocol has no name for is refused by its own name."""
    with pytest.raises(ModelError, match=r"`z` \(='complex64'\) has no name in the Open Inference Protocol; cast it"):
        datatype(Tensor("z", "complex64", (1,)))


def test_metadata_and_answers_speak_the_protocol() -> None:
    """Dynamic axes are −1, dtypes have the protocol's names, and an answer carries the request's id if it had one."""
    variant = Variant("m@2", Path("m.onnx"), "", "fp32", 1, SIGNATURE, Origin("file"), Execution("openvino-bf16"))
    told = metadata(variant)
    assert told["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    assert (told["name"], told["platform"]) == ("m-2", "openvino_onnx")
    answer = write_answer("m", "7", {"y": np.array([1.5], np.float32)})
    assert (answer["id"], answer["outputs"]) == ("7", [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.5]}])
    assert "id" not in write_answer("m", None, {})
    assert all(np.dtype(dtype) for dtype in DATATYPES.values())
