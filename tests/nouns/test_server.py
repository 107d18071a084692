"""The Open Inference Protocol, without a server: reading requests, writing answers, sharing batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.server import DATATYPES, metadata, read_request, run_together, write_answer
from windtunnel.variant import Signature, Tensor

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


def test_metadata_and_answers_speak_the_protocol() -> None:
    """Dynamic axes are −1, dtypes have the protocol's names, and an answer carries the request's id if it had one."""
    assert metadata("m", SIGNATURE)["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    answer = write_answer("m", "7", {"y": np.array([1.5], np.float32)})
    assert (answer["id"], answer["outputs"]) == ("7", [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.5]}])
    assert "id" not in write_answer("m", None, {})
    assert all(np.dtype(dtype) for dtype in DATATYPES.values())
