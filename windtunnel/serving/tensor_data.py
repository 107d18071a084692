"""A tensor's data as the Open Inference Protocol carries them: JSON values, or raw bytes.

Raw bytes are those of the *binary tensor data extension* (Triton's `docs/protocol/extension_binary_data.md`, which KServe and
MLServer share): row-major, little-endian, no padding; BOOL is a byte of 0 or 1, and an element of BYTES is its length in four
bytes, little-endian, and then itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.serving.strict_json import Brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DATATYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object",
}  # fmt: skip
"""The protocol's names for numpy's dtypes (Open Inference Protocol v2, tensor data types); text is BYTES, a JSON string each."""

NAMES = {dtype: name for name, dtype in DATATYPES.items()}

_BYTE_ORDERED = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATATYPES.items() if name != "BYTES"}

_NATIVE = {name: np.dtype(dtype) for name, dtype in DATATYPES.items()}

_BY_DTYPE = {dtype: name for name, dtype in _NATIVE.items()}

_KINDS = {"b": "biu", "i": "iu", "u": "iu", "f": "iuf"}
"""Of which kinds of number a dtype's JSON values may be: nothing is rounded that was not written as a whole number."""


def datatype_of(array: NDArray[Any]) -> str:
    """The protocol's name for an array's dtype; text of any kind is BYTES.

    Raises:
        DataError: it has none.
    """
    name = _BY_DTYPE.get(array.dtype)
    if name is not None:
        return name
    if array.dtype.kind in "US":
        return "BYTES"
    if array.dtype.newbyteorder("=") not in _BY_DTYPE:
        raise DataError("has no name in the Open Inference Protocol", field="the dtype", value=str(array.dtype))
    return _BY_DTYPE[array.dtype.newbyteorder("=")]


def from_json(data: Any, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Make an array of JSON values, nested as the shape or flat; null is NaN.

    Args:
        data: lists of numbers, booleans or strings.
        datatype: the protocol's name.
        shape: what the data must fill; nothing is allocated by it.

    Raises:
        DataError: too many or too few, another nest, or values that the datatype cannot hold as they are.

    Example:
        >>> from_json([1, 2, None, 4], "FP32", [2, 2])
        array([[ 1.,  2.],
               [nan,  4.]], dtype=float32)
        >>> from_json([1.5], "INT64", [1])
        Traceback (most recent call last):
        windtunnel.errors.DataError: has values that INT64 cannot hold
    """
    if not isinstance(data, list):
        raise DataError("must be a list", field="data", value=Brief(data))
    dtype = _NATIVE[datatype]
    # before anything is made of a long list
    if len(data) != math.prod(shape) and data and not isinstance(data[0], list):
        raise DataError(f"has data of the shape [{len(data)}] that do not fill {Brief(list(shape))}")
    try:
        raw = np.array(data, dtype=object if datatype == "BYTES" else None)
    except (ValueError, OverflowError) as error:
        raise DataError(f"has data that do not fill {list(shape)} ({error})") from error
    if raw.size != math.prod(shape) or (raw.ndim != 1 and list(raw.shape) != list(shape)):
        raise DataError(f"has data of the shape {list(raw.shape)} that do not fill {Brief(list(shape))}")
    if raw.size == 0:
        return _shaped(np.empty(0, dtype), shape)
    if datatype == "BYTES":
        return _texts(raw).reshape(shape)
    if datatype == "UINT64" and raw.dtype.kind == "f":  # numpy's way with whole numbers on both sides of 2⁶³
        raw = _whole(np.array(data, dtype=object))
    return _numbers(raw, datatype).reshape(shape)


def _shaped(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """An array that fills a shape; no array has an axis beyond 64 bits, though none of it be there."""
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise DataError(f"has the shape {Brief(list(shape))}, which no array has") from error


def _texts(raw: NDArray[Any]) -> NDArray[Any]:
    if not all(isinstance(each, str) for each in raw.flat):
        raise DataError("must be text", fix="send JSON strings")
    return raw


def _numbers(raw: NDArray[Any], datatype: str) -> NDArray[Any]:
    """Cast values to a dtype that holds them: whole numbers exactly, fractions rounded to what it has."""
    dtype = _NATIVE[datatype]
    if raw.dtype.kind == "O" and dtype.kind == "f":
        raw = _with_nulls(raw)
    if raw.dtype.kind not in _KINDS[dtype.kind]:
        raise DataError(f"has values that {datatype} cannot hold")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is judged as that
        made = raw.astype(dtype, copy=False)
    if dtype.kind != "f" and made.dtype != raw.dtype and not np.array_equal(made, raw):
        raise DataError(f"has values that {datatype} cannot hold")
    return made


def _whole(raw: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as they were written; what is none, or beyond 64 bits, stays as it is, to be refused."""
    if all(type(each) is int and 0 <= each < 2**64 for each in raw.flat):
        return raw.astype(np.uint64)
    return raw


def _with_nulls(raw: NDArray[Any]) -> NDArray[Any]:
    """Numbers and nulls as floats; what is neither stays as it is, to be refused."""
    if all(each is None or type(each) in {int, float} for each in raw.flat):
        try:
            return raw.astype(np.float64)
        except OverflowError:  # a whole number beyond every float
            return raw
    return raw


def from_bytes(data: memoryview, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    r"""Make an array of raw bytes; numbers lie where they came, read-only, unless they lie askew.

    Args:
        data: exactly the tensor's bytes.
        datatype: the protocol's name.
        shape: what the bytes must fill; nothing is allocated by it.

    Raises:
        DataError: too many or too few bytes, a BOOL that is neither 0 nor 1, or text that is cut or not UTF-8.

    Example:
        >>> from_bytes(memoryview(b"\1\0\2\0"), "INT16", [2, 1])
        array([[1],
               [2]], dtype=int16)
        >>> from_bytes(memoryview(b"\2\0\0\0\xc3\xa9"), "BYTES", [1])
        array(['é'], dtype=object)
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _shaped(_read_texts(data, count), shape)
    dtype = _BYTE_ORDERED[datatype]
    if count * dtype.itemsize != len(data):
        raise DataError(
            f"has {len(data)} bytes where {Brief(list(shape))} of {datatype} take {Brief(count * dtype.itemsize)}"
        )
    if datatype == "BOOL" and len(data) and np.frombuffer(data, np.uint8).max() > 1:
        raise DataError("has a BOOL that is neither 0 nor 1")
    array = _shaped(np.frombuffer(data, dtype).astype(_NATIVE[datatype], copy=False), shape)
    return array if array.flags.aligned else array.copy()  # runtimes read a number at a time


def _read_texts(data: memoryview, count: int) -> NDArray[Any]:
    if count * 4 > len(data):  # before anything of that length is made
        raise DataError(f"has {len(data)} bytes, fewer than the lengths of {Brief(count)} BYTES take")
    texts, at = np.empty(count, object), 0
    for index in range(count):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            raise DataError(f"has BYTES that end before element {index} does")
        texts[index] = _text(data[start:at], index)
    if at != len(data):
        raise DataError(f"has {len(data) - at} bytes after its last element")
    return texts


def _text(data: memoryview, index: int) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"has text that is not UTF-8 in element {index}") from error


def to_json(array: NDArray[Any]) -> list[Any]:
    """Flat JSON values; what JSON has no number for is null.

    Example:
        >>> to_json(np.array([[1.5, np.nan]], np.float32)), to_json(np.array(["é", b"f"], object))
        ([1.5, None], ['é', 'f'])
    """
    values: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind in "OS":
        return [str(each, "utf-8") if isinstance(each, bytes) else each for each in values]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if math.isfinite(value) else None for value in values]
    return values


def to_bytes(array: NDArray[Any]) -> bytes:
    r"""Raw bytes, as the protocol has them.

    Example:
        >>> to_bytes(np.array([1, 2], np.int16)), to_bytes(np.array(["é"], object))
        (b'\x01\x00\x02\x00', b'\x02\x00\x00\x00\xc3\xa9')
    """
    datatype = datatype_of(array)
    if datatype != "BYTES":
        return array.astype(_BYTE_ORDERED[datatype], copy=False).tobytes()
    raw = [each if isinstance(each, bytes) else str(each).encode() for each in array.reshape(-1).tolist()]
    return b"".join(part for each in raw for part in (len(each).to_bytes(4, "little"), each))
