"""The Open Inference Protocol v2, in JSON: what models say of themselves, how requests are read and answers written.

GET  /v2/health/live, /v2/health/ready
GET  /v2/models/NAME            metadata: inputs and outputs
POST /v2/models/NAME/infer      {"inputs": [{"name", "shape", "datatype", "data"}, …]}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor, Variant

DATATYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object",
}  # fmt: skip
"""The protocol's names for numpy's dtypes (Open Inference Protocol v2, tensor data types); text is BYTES, a JSON string each."""

NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def served_name(variant: Variant) -> str:
    """What a variant is called in addresses and folder names.

    Example:
        >>> from types import SimpleNamespace
        >>> served_name(SimpleNamespace(name="fp32-on-ort-2t-allow_spinning=1"))
        'fp32-on-ort-2t-allow_spinning-1'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", variant.name)


def datatype(tensor: Tensor) -> str:
    """The protocol's name for a tensor's dtype.

    Raises:
        ModelError: it has none.
    """
    if tensor.dtype not in NAMES:
        raise ModelError(
            "has no name in the Open Inference Protocol",
            field=tensor.name,
            value=tensor.dtype,
            fix="cast it in the model",
        )
    return NAMES[tensor.dtype]


def metadata(variant: Variant) -> dict[str, Any]:
    """A model's metadata as the protocol has it; a dynamic axis is −1."""

    def describe(tensor: Tensor) -> dict[str, Any]:
        shape = [axis if isinstance(axis, int) else -1 for axis in tensor.shape]
        return {"name": tensor.name, "datatype": datatype(tensor), "shape": shape}

    platform, signature = variant.execution.runtime.partition("-")[0], variant.signature
    form = variant.path.suffix[1:] if variant.execution.own_file else "onnx"
    return {
        "name": served_name(variant), "versions": ["1"], "platform": f"{platform}_{form}",
        "inputs": [describe(t) for t in signature.inputs], "outputs": [describe(t) for t in signature.outputs],
    }  # fmt: skip


def read_request(body: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    """Turn an inference request into arrays, or say what is wrong with it.

    Raises:
        ModelError: a missing or unknown input, a wrong datatype or shape, data that do not fill it, or no rows.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        >>> read_request({"inputs": [x]}, Signature((Tensor("x", "float32", ("n", 2)),), ()))
        {'x': array([[1., 2.]], dtype=float32)}
    """
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise ModelError(
            "must be a list of tensors", field="inputs", fix='send {"inputs": [{"name", "shape", "datatype", "data"}]}'
        )
    given = {each.get("name"): each for each in inputs}
    wanted = [tensor.name for tensor in signature.inputs]
    if sorted(map(str, given)) != sorted(wanted) or len(given) != len(inputs):
        raise ModelError(
            "must each be given once",
            field="inputs",
            value=[each.get("name") for each in inputs],
            fix=f"the model takes {wanted}",
        )
    feeds = {tensor.name: _array(given[tensor.name], tensor) for tensor in signature.inputs}
    rows = {len(array) for array in feeds.values()}
    if len(rows) != 1 or 0 in rows:
        raise ModelError("must have the same number of rows, at least one", field="inputs", value=sorted(rows))
    return feeds


def _array(given: Mapping[str, Any], tensor: Tensor) -> NDArray[Any]:
    if given.get("datatype") != datatype(tensor):
        raise ModelError(f"must be {datatype(tensor)}", field=tensor.name, value=given.get("datatype"))
    shape = given.get("shape")
    fits = (
        isinstance(shape, list)
        and len(shape) == len(tensor.shape)
        and all(
            isinstance(have, int) and have >= 0 and (isinstance(want, str) or want == have)
            for want, have in zip(tensor.shape, shape, strict=True)
        )
    )
    if not fits:
        raise ModelError(f"must have the shape {list(tensor.shape)}", field=tensor.name, value=shape)
    try:
        array = np.array(given.get("data"), dtype=tensor.dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(
            f"has data that do not fill {shape} as {given['datatype']} ({error})", field=tensor.name
        ) from error
    if tensor.dtype == "object" and not all(isinstance(each, str) for each in array.flat):
        raise ModelError("must be text", field=tensor.name, value=given.get("data"), fix="send JSON strings")
    return array


def write_answer(name: str, request_id: Any, outputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """An inference response as the protocol has it."""
    tensors = [
        {
            "name": key,
            "datatype": "BYTES" if array.dtype.kind in "OU" else NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data": _plain(array),
        }
        for key, array in outputs.items()
    ]
    return {"model_name": name, "model_version": "1", "outputs": tensors, **({"id": request_id} if request_id else {})}


def _plain(array: NDArray[Any]) -> list[Any]:
    """Flat JSON values; what JSON has no number for is null."""
    values: list[Any] = array.reshape(-1).tolist()
    floating = np.issubdtype(array.dtype, np.floating)
    return [value if np.isfinite(value) else None for value in values] if floating else values
