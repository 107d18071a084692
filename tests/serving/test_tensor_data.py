"""Tensors as JSON and as bytes: what goes in comes out, both ways say the same, and nothing else is taken."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from windtunnel.errors import DataError
from windtunnel.serving.tensor_data import DATATYPES, datatype_of, from_bytes, from_json, to_bytes, to_json

SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def _values(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if dtype.kind == "O":
        return st.text(st.characters(codec="utf-8"), max_size=6)
    if dtype.kind == "f":
        return npst.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return npst.from_dtype(dtype)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array of any datatype of the protocol and any small shape."""
    dtype = np.dtype(DATATYPES[draw(st.sampled_from(sorted(DATATYPES)))])
    shape = draw(SHAPES)
    values = draw(st.lists(_values(dtype), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    made = np.empty(len(values), dtype)
    made[:] = values
    return made.reshape(shape)


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_both_ways_bring_back_what_was_sent(array: np.ndarray[Any, Any]) -> None:
    """For every datatype and shape: JSON and bytes each give the same array, dtype and shape, bit by bit."""
    name, shape = datatype_of(array), list(array.shape)
    by_json, by_bytes = from_json(to_json(array), name, shape), from_bytes(memoryview(to_bytes(array)), name, shape)

    for back in (by_json, by_bytes):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tolist() == array.tolist()
    if array.dtype.kind != "O":
        assert by_json.tobytes() == array.tobytes() == by_bytes.tobytes()


@pytest.mark.parametrize("name", ["FP16", "FP32", "FP64"])
def test_what_json_has_no_number_for(name: str) -> None:
    """NaN and infinities cross as they are in bytes; in JSON all are null, which comes back as NaN."""
    array = np.array([np.nan, np.inf, -np.inf, 1.0], DATATYPES[name])

    assert to_json(array) == [None, None, None, 1.0]
    assert from_bytes(memoryview(to_bytes(array)), name, [4]).tobytes() == array.tobytes()
    assert np.isnan(from_json(to_json(array), name, [4])).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("data", "name", "shape"),
    [
        ([1.5], "INT64", [1]),
        (["1"], "FP32", [1]),
        (["1"], "INT8", [1]),
        ([True], "FP32", [1]),
        ([2], "BOOL", [1]),
        ([256], "UINT8", [1]),
        ([-1], "UINT64", [1]),
        ([2**63], "INT64", [1]),
        ([2**64], "UINT64", [1]),
        ([None], "INT32", [1]),
        ([{}], "FP32", [1]),
        ([10**400], "FP64", [1]),
        ([1], "BYTES", [1]),
        ([["a"], ["b", "c"]], "BYTES", [3]),
        ([[1], [2, 3]], "FP32", [3]),
        ([[1, 2], [3, 4]], "FP32", [4, 1]),
        ([1, 2], "FP32", [3]),
        ([1], "FP32", [10**12, 10**12]),
        ([], "FP32", [0, 10**30]),
        ("nonsense", "FP32", [8]),
        (None, "FP32", [1]),
    ],
)
def test_json_that_does_not_fill(data: Any, name: str, shape: list[int]) -> None:
    """Values that a datatype cannot hold as they are, and data of another size or nest, are refused; nothing huge is made."""
    with pytest.raises(DataError):
        from_json(data, name, shape)


@pytest.mark.parametrize(
    ("data", "name", "shape", "needle"),
    [
        (b"\0" * 7, "FP32", [2], "has 7 bytes where"),
        (b"\0" * 8, "FP32", [10**10, 10**10], "has 8 bytes where"),
        (b"\2", "BOOL", [1], "neither 0 nor 1"),
        (b"\1\0\0\0", "BYTES", [1], "end before element 0"),
        (b"\xff\xff\xff\xff", "BYTES", [1], "end before element 0"),
        (b"\0\0\0\0\0", "BYTES", [1], "after its last"),
        (b"\0\0\0\0\0\0", "BYTES", [1 + 10**15], "fewer than the lengths"),
        (b"\1\0\0\0\xff", "BYTES", [1], "not UTF-8 in element 0"),
        (b"", "BYTES", [1], "fewer than the lengths"),
        (b"", "FP32", [0, 10**30], "which no array has"),
        (b"", "BYTES", [10**30, 0], "which no array has"),
    ],
)
def test_bytes_that_do_not_fill(data: bytes, name: str, shape: list[int], needle: str) -> None:
    """Bytes that are too few, too many or no text are refused, and huge shapes allocate nothing."""
    with pytest.raises(DataError, match=needle):
        from_bytes(memoryview(data), name, shape)


def test_the_wire_is_little_endian_and_lengths_are_four_bytes() -> None:
    """The bytes are those that the extension writes down, whatever this machine's order."""
    assert to_bytes(np.array([1], ">i4")) == struct.pack("<i", 1)
    assert to_bytes(np.array(["é", ""], object)) == b"\2\0\0\0\xc3\xa9\0\0\0\0"


def test_numbers_that_lie_askew_are_moved() -> None:
    """A tensor that does not begin at a multiple of its item's size is copied to where runtimes can read it."""
    raw = memoryview(b"\0" + np.array([1.5, 2.5], np.float32).tobytes())[1:]

    assert from_bytes(raw, "FP32", [2]).flags.aligned
    assert from_bytes(raw, "FP32", [2]).tolist() == [1.5, 2.5]


def test_a_dtype_without_a_name() -> None:
    """What the protocol has no name for cannot be sent, and is named."""
    with pytest.raises(DataError, match="complex64"):
        datatype_of(np.zeros(1, np.complex64))
