"""What a body means, read once more and by other means than the server's: what it answered must be that, or a refusal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.tensor_data import NAMES

from .conversation import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor

    from .conversation import Meaning


def sense(body: bytes, header_length: int | None, signature: Signature) -> Meaning:
    """The inputs in a body.

    Args:
        body: all of it.
        header_length: how much of it is JSON; None where all is.
        signature: what the model takes.

    Returns:
        The inputs; `MALFORMED` where there is no reading it; None where one server may take it and another not, such as a key
        that stands twice, no rows, or 1.0 where a whole number belongs.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> sense(b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1', None, Signature((Tensor("x", "float32", ("n",)),), ()))
        MALFORMED
    """
    head, raw = (body, b"") if header_length is None else (body[:header_length], body[header_length:])
    unsure: list[str] = []
    try:
        told = json.loads(head, object_pairs_hook=lambda pairs: _object(pairs, unsure))
    except (ValueError, RecursionError):
        return MALFORMED
    try:
        feeds, used = _feeds(told, raw, signature)
    except _UnsureError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):  # of another kind, or nest
        return MALFORMED
    rows = {len(array) if array.ndim else 0 for array in feeds.values()}
    if used != len(raw) or len(rows) != 1:
        return MALFORMED
    return None if unsure or 0 in rows else feeds


class _UnsureError(Exception):
    """What it means is a matter of taste."""


def _object(pairs: list[tuple[str, Any]], unsure: list[str]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        unsure.append("a key stands twice")
    return dict(pairs)


def _feeds(told: Any, raw: bytes, signature: Signature) -> tuple[dict[str, NDArray[Any]], int]:
    wanted = {tensor.name: tensor for tensor in signature.inputs}
    feeds: dict[str, NDArray[Any]] = {}
    at = 0
    for each in told["inputs"]:
        name = each["name"]
        if name in feeds:
            raise _UnsureError
        size = each.get("parameters", {}).get("binary_data_size")
        feeds[name] = _array(each, wanted[name], None if size is None else raw[at : at + _whole(size)])
        at += _whole(size or 0)
    if set(feeds) != set(wanted):
        raise ValueError(f"takes {sorted(wanted)}, not {sorted(feeds)}")
    return feeds, at


def _array(each: Mapping[str, Any], tensor: Tensor, part: bytes | None) -> NDArray[Any]:
    shape = [_whole(axis) for axis in each["shape"]]
    fits = len(shape) == len(tensor.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(tensor.shape, shape, strict=True)
    )
    if not fits or each["datatype"] != NAMES[tensor.dtype]:
        raise ValueError("of another shape or datatype")
    if part is not None and "data" in each:
        raise _UnsureError
    if part is not None:
        return _of_bytes(part, tensor).reshape(shape)
    return _of_json(each["data"], tensor, shape)


def _of_bytes(part: bytes, tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype != "object":
        return np.frombuffer(part, np.dtype(tensor.dtype).newbyteorder("<"))
    texts, at = [], 0
    while at < len(part):
        start = at + 4
        at = start + int.from_bytes(part[at:start], "little")
        if at > len(part):
            raise ValueError("text that ends early")
        texts.append(part[start:at].decode())
    return np.array(texts, object)


def _of_json(data: Any, tensor: Tensor, shape: list[int]) -> NDArray[Any]:
    flat = list(_flat(data))
    if not isinstance(data, list) or len(flat) != math.prod(shape):
        raise ValueError("too many or too few")
    if tensor.dtype == "object":
        if not all(isinstance(value, str) for value in flat):
            raise _UnsureError
        return np.array(flat, object).reshape(shape)
    kinds = {type(value) for value in flat}
    by_kind: dict[str, set[type]] = {"b": {bool}, "f": {int, float}}
    usual = by_kind.get(np.dtype(tensor.dtype).kind, {int})
    if not kinds <= usual or any(isinstance(value, list) for value in data):
        raise _UnsureError
    with np.errstate(over="ignore"):
        try:
            return np.array(flat, tensor.dtype).reshape(shape)
        except OverflowError:
            raise _UnsureError from None


def _flat(data: Any) -> Any:
    for each in data:
        yield from _flat(each) if isinstance(each, list) else (each,)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise _UnsureError
    if value < 0:
        raise ValueError("a length below nothing")
    return value
