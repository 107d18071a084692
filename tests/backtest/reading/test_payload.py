from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.backtest.reading.payload import PayloadError, decode, rows_of

ROW = [{"km": 7.0, "at": "JFK"}]
TWO = [{"input[0]": 1.0, "input[1]": 2.0}, {"input[0]": 3.0, "input[1]": 4.0}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"dataframe_split": {"index": [0], "columns": ["km", "at"], "data": [[7, "JFK"]]}}, ROW),
        ({"dataframe_records": [{"km": 7, "at": "JFK"}]}, ROW),
        ({"inputs": {"km": [7], "at": ["JFK"]}}, ROW),
        ({"inputs": [{"name": "km", "shape": [1, 1], "datatype": "FP32", "data": [7]},
                     {"name": "at", "shape": [1], "datatype": "BYTES", "data": ["JFK"]}]}, ROW),
        ({"instances": [{"km": 7, "at": "JFK"}]}, ROW),
        ({"km": 7, "at": "JFK"}, ROW),
        ({"data": {"names": ["km", "at"], "ndarray": [[7, "JFK"]]}}, ROW),
        ({"jsonData": {"km": 7, "at": "JFK"}}, ROW),
        ({"inputs": [[1, 2], [3, 4]]}, TWO),
        ({"instances": [[1, 2], [3, 4]]}, TWO),
        ({"instances": [{"features": [1, 2]}, {"features": [3, 4]}]}, TWO),
        ({"inputs": [{"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}, TWO),
        ({"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}}, TWO),
        ([[1, 2], [3, 4]], TWO),
        ({"features": [1, 2]}, TWO[:1]),
        ([1, 2], TWO[:1]),
    ],
)  # fmt: skip
def test_what_was_sent(body: Any, expected: list[dict[str, Any]]) -> None:
    """One request is the same rows, whichever protocol carried it."""
    assert expected == rows_of(body, "input")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"predictions": [0.25, 0.5]}, [{"output": 0.25}, {"output": 0.5}]),
        ({"predictions": [[0.25], [0.5]]}, [{"output": 0.25}, {"output": 0.5}]),
        ({"predictions": [{"score": 0.25}, {"score": 0.5}]}, [{"score": 0.25}, {"score": 0.5}]),
        ({"outputs": [{"name": "p", "shape": [2], "datatype": "FP32", "data": [0.25, 0.5]}]}, [{"output": 0.25}, {"output": 0.5}]),
        ({"data": {"names": ["t:0"], "ndarray": [[0.25], [0.5]]}}, [{"output": 0.25}, {"output": 0.5}]),
        ([0.25, 0.5], [{"output": 0.25}, {"output": 0.5}]),
    ],
)  # fmt: skip
def test_what_was_answered(body: Any, expected: list[dict[str, Any]]) -> None:
    """An answer has a row for each instance that was asked about."""
    assert expected == rows_of(body, "output", count=2)


def test_encodings() -> None:
    """CSV, JSON, JSON lines, and any of them in base64, are read for what they are."""
    assert decode("1,,x", "CSV", "text/csv") == [[1.0, None, "x"]]
    assert decode(base64.b64encode(b"1,2").decode(), "BASE64", "text/csv; charset=utf-8") == [[1.0, 2.0]]
    assert decode('{"a": 1}\n{"a": 2}', "JSON", "application/jsonlines") == [{"a": 1}, {"a": 2}]
    assert decode({"a": 1}, "", "") == {"a": 1}


@pytest.mark.parametrize(("data", "encoding"), [("not json", "JSON"), ("%%", "BASE64"), ("/w==", "BASE64")])
def test_unreadable(data: str, encoding: str) -> None:
    """What is neither JSON nor CSV is said to be unreadable, and not guessed at."""
    with pytest.raises(PayloadError):
        decode(data, encoding, "application/octet-stream")


def test_a_list_of_another_length() -> None:
    """Answers for another number of instances than were asked about cannot be told apart."""
    with pytest.raises(PayloadError):
        rows_of({"predictions": [0.1, 0.2, 0.3]}, "output", count=2)


def test_a_shape_that_its_data_do_not_fill() -> None:
    """A tensor of a thousand million rows without data makes no rows."""
    tensor = {"name": "x", "shape": [10**9], "datatype": "FP32", "data": []}
    with pytest.raises(PayloadError):
        rows_of({"inputs": [tensor]}, "input")


KEYS = (
    "data",
    "ndarray",
    "tensor",
    "shape",
    "values",
    "inputs",
    "dataframe_split",
    "columns",
    "name",
    "instances",
    "names",
    "x",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_body(body: Any) -> None:
    """Whatever a client sent is rows of scalars or a `PayloadError`, never another error."""
    try:
        rows = rows_of(json.loads(json.dumps(body)), "input")
    except PayloadError:
        return
    assert all(not isinstance(value, (list, dict)) for row in rows for value in row.values())
