"""The Open Inference Protocol v2, in JSON and with binary tensors: what models say of themselves; requests and answers, both ways.

GET  /v2/models/NAME            metadata: inputs and outputs
POST /v2/models/NAME/infer      {"inputs": [{"name", "shape", "datatype", "data"}, …]}

The server's half is `read_request` and `write_answer`, the client's `write_request` and `read_answer`. With the binary tensor
data extension (Triton's `docs/protocol/extension_binary_data.md`, KServe's "Binary Tensor Data Extension") a tensor's bytes stand
behind the JSON, whose length the header `Inference-Header-Content-Length` tells; each such tensor has the parameter
`binary_data_size`. An answer is binary where the request asks for it: the parameter `binary_data_output` for all, `binary_data`
for one output.
"""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError, ModelError, naming, nearest
from windtunnel.serving.strict_json import Brief, read_json
from windtunnel.serving.tensor_data import DATATYPES, NAMES, datatype_of, from_bytes, from_json, to_bytes, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor, Variant

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that tells where the JSON of a body ends and its tensors begin."""

_BINARY = "application/octet-stream"

_ALIGNED = 8
"""Tensors begin at a multiple of so many bytes behind our JSON, so that whoever reads them need not move them."""


@dataclass(slots=True)
class InferenceRequest:
    """What a request asks.

    Args:
        feeds: arrays by the model's input.
        id: its own name, to be repeated in the answer; empty where it has none.
        outputs: which outputs are wanted, in this order, and whether as binary; None where all are.
        binary: whether outputs that say nothing of it are answered as binary.
        parameters: what else it says of itself.
    """

    feeds: dict[str, NDArray[Any]]
    id: str = ""
    outputs: Mapping[str, bool] | None = None
    binary: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


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


def read_metadata(told: Any) -> Signature:
    """A model's signature, as a server tells it at `/v2/models/NAME`; an axis of −1 is dynamic.

    Raises:
        DataError: not the protocol's metadata.

    Example:
        >>> x = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
        >>> read_metadata({"name": "m", "inputs": [x], "outputs": []}).inputs
        (Tensor(name='x', dtype='float32', shape=('axis_0', 4)),)
    """
    from windtunnel.variant import Signature

    sides = [told.get(side) if isinstance(told, dict) else None for side in ("inputs", "outputs")]
    if not all(isinstance(side, list) for side in sides):
        raise DataError(
            "tells no inputs and outputs", field="the metadata", value=Brief(told), fix="is it a model's address?"
        )
    inputs, outputs = (tuple(_read_tensor(each) for each in side) for side in sides if side is not None)
    return Signature(inputs, outputs)


def _read_tensor(told: Any) -> Tensor:
    from windtunnel.variant import Tensor

    try:
        name, dtype, shape = str(told["name"]), DATATYPES[told["datatype"]], [int(axis) for axis in told["shape"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "has a tensor without name, known datatype and shape", field="the metadata", value=Brief(told)
        ) from error
    return Tensor(name, dtype, tuple(f"axis_{at}" if axis < 0 else axis for at, axis in enumerate(shape)))


# The server's half.


class RequestReader:
    """Reads requests to one model; the JSON of a binary request that was read before is not read again.

    Clients that send tensors of the same shapes send the same JSON before them, and what it says was checked once.

    Args:
        signature: what the model takes and gives.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> read = RequestReader(Signature((Tensor("x", "float32", ("n", 2)),), ()))
        >>> read(b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}', None).feeds
        {'x': array([[1., 2.]], dtype=float32)}
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._known: dict[bytes, _Known] = {}

    def __call__(self, body: bytes, header_length: str | None) -> InferenceRequest:
        """Read a body; see `read_request`."""
        if header_length is None:
            return read_request(body, None, self.signature)
        length = _length(body, header_length)
        head = body[:length]
        known = self._known.get(head)
        if known is not None and known[1] == len(body) - length:
            return _again(known, body, length)
        request = read_request(body, header_length, self.signature)
        if length <= _LONGEST_KNOWN:
            self._learn(head, request)
        return request

    def _learn(self, head: bytes, request: InferenceRequest) -> None:
        """Keep what a head says, where all of its tensors are numbers behind it, as this machine has them; text is not cut by its head alone."""
        inputs = read_json(head)["inputs"]
        if any("data" in each or each["datatype"] in {"BYTES", "BOOL"} or 0 in each["shape"] for each in inputs):
            return
        if sys.byteorder != "little":
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        places, at = {}, 0
        for each in inputs:
            dtype, shape = np.dtype(DATATYPES[each["datatype"]]), tuple(each["shape"])
            places[each["name"]] = (each["name"], dtype, math.prod(shape), at, shape)
            at += each["parameters"]["binary_data_size"]
        # in the model's order, as read_request has them
        self._known[head] = (replace(request, feeds={}), at, [places[tensor.name] for tensor in self.signature.inputs])


_MOST_KNOWN, _LONGEST_KNOWN = 512, 4096
"""How many heads are kept, and how long one may be."""


_Known = tuple[InferenceRequest, int, list[tuple[str, np.dtype[Any], int, int, tuple[int, ...]]]]
"""What a head said, how many bytes follow it, and of each tensor its name, dtype, length, place and shape."""


def _again(known: _Known, body: bytes, begin: int) -> InferenceRequest:
    """What a known head says of the bytes that begin somewhere in a body."""
    said, _, places = known
    feeds = {}
    for name, dtype, count, at, shape in places:
        array = np.frombuffer(body, dtype, count, begin + at).reshape(shape)
        feeds[name] = array if array.flags.aligned else array.copy()  # runtimes read a number at a time
    return InferenceRequest(feeds, said.id, said.outputs, said.binary, said.parameters)


def read_request(body: bytes, header_length: str | None, signature: Signature) -> InferenceRequest:
    """Turn the body of an inference request into arrays, or say what is wrong with it.

    Nothing is made larger than the body by what the body says of itself: shapes are compared with what is there first.

    Args:
        body: all of it.
        header_length: what `Inference-Header-Content-Length` said; None where the body is JSON alone.
        signature: what the model takes and gives.

    Raises:
        DataError: not the protocol: JSON that cannot be read, lengths that do not add up, an output that the model does not have.
        ModelError: a missing or unknown input, a wrong datatype or shape, data that do not fill it, or no rows.
    """
    head, raw = _cut(body, header_length)
    told = read_json(head)
    inputs = told.get("inputs") if isinstance(told, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise ModelError(
            "must be a list of tensors", field="inputs", fix='send {"inputs": [{"name", "shape", "datatype", "data"}]}'
        )
    given, wanted = _by_name(inputs, signature), {tensor.name: tensor for tensor in signature.inputs}
    parts = _parts(inputs, raw)
    feeds = {name: _array(given[name], wanted[name], parts.get(name)) for name in wanted}
    rows = {len(array) for array in feeds.values()}
    if len(rows) != 1 or 0 in rows:
        raise ModelError("must have the same number of rows, at least one", field="inputs", value=Brief(sorted(rows)))
    parameters = _parameters(told)
    return InferenceRequest(
        feeds,
        _id(told),
        _outputs(told, signature, parameters),
        parameters.get("binary_data_output") is True,
        parameters,
    )


def _cut(body: bytes, header_length: str | None) -> tuple[bytes | memoryview, memoryview]:
    """The JSON of a body, and what stands behind it."""
    if header_length is None:
        return body, memoryview(b"")
    whole, length = memoryview(body), _length(body, header_length)
    return whole[:length], whole[length:]


def _length(body: bytes, told: str) -> int:
    if not (told.isascii() and told.isdigit() and len(told) < 19 and int(told) <= len(body)):
        raise DataError(f"is not a length within the body's {len(body)} bytes", field=HEADER_LENGTH, value=Brief(told))
    return int(told)


def _by_name(inputs: Sequence[Mapping[str, Any]], signature: Signature) -> dict[str, Mapping[str, Any]]:
    names, wanted = [each.get("name") for each in inputs], [tensor.name for tensor in signature.inputs]
    if len(names) != len(wanted) or any(name not in names for name in wanted):
        raise ModelError("must each be given once", field="inputs", value=Brief(names), fix=f"the model takes {wanted}")
    return dict(zip(wanted, (inputs[names.index(name)] for name in wanted), strict=True))


def _parameters(told: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = told.get("parameters", {})
    if not isinstance(parameters, dict):
        raise DataError("must be an object", field="parameters", value=Brief(parameters))
    return parameters


def _parts(inputs: Sequence[Mapping[str, Any]], raw: memoryview) -> dict[str, memoryview]:
    """Which bytes are whose: tensors follow one another in the order of the JSON, and fill what is there."""
    parts, at = {}, 0
    for each in inputs:
        parameters = _parameters(each)
        if "shared_memory_region" in parameters:
            raise DataError("is not spoken here", field="shared_memory_region", fix="send the tensor with the request")
        if "binary_data_size" not in parameters:
            continue
        size = parameters["binary_data_size"]
        if type(size) is not int or not 0 <= size <= len(raw) - at:
            raise DataError(
                f"is not a length within the {len(raw) - at} bytes that are left",
                field="binary_data_size",
                value=Brief(size),
            )
        parts[each["name"]] = raw[at : at + size]
        at += size
    if at != len(raw):
        raise DataError(f"has {len(raw) - at} bytes that belong to no tensor", field="the body")
    return parts


def _array(given: Mapping[str, Any], tensor: Tensor, part: memoryview | None) -> NDArray[Any]:
    name = datatype(tensor)
    if given.get("datatype") != name:
        raise ModelError(f"must be {name}", field=tensor.name, value=Brief(given.get("datatype")))
    shape: Any = given.get("shape")
    if not _fits(shape, tensor):
        raise ModelError(f"must have the shape {list(tensor.shape)}", field=tensor.name, value=Brief(shape))
    if part is not None and "data" in given:
        raise ModelError("has both `data` and `binary_data_size`", field=tensor.name, fix="send one of them")
    try:
        return from_json(given.get("data"), name, shape) if part is None else from_bytes(part, name, shape)
    except DataError as error:
        raise ModelError(error.problem, field=tensor.name, value=error.value, fix=error.fix) from error


def _fits(shape: Any, tensor: Tensor) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) == len(tensor.shape)
        and all(
            type(have) is int and have >= 0 and (isinstance(want, str) or want == have)
            for want, have in zip(tensor.shape, shape, strict=True)
        )
    )


def _id(told: Mapping[str, Any]) -> str:
    name = told.get("id", "")
    if not isinstance(name, str):
        raise DataError("must be text", field="id", value=Brief(name))
    return name


def _outputs(told: Mapping[str, Any], signature: Signature, parameters: Mapping[str, Any]) -> dict[str, bool] | None:
    """Which outputs are wanted, and which of them as binary."""
    asked = told.get("outputs")
    if not asked:
        return None
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise DataError("must be a list", field="outputs", value=Brief(asked), fix='send [{"name": …}]')
    known = [tensor.name for tensor in signature.outputs]
    wanted: dict[str, bool] = {}
    for each in asked:
        name, own = each.get("name"), _parameters(each)
        if name not in known or name in wanted:
            problem = "is asked for twice" if name in known else "is not an output of the model"
            raise DataError(problem, field="outputs", value=Brief(name), fix=nearest(str(name)[:80], known))
        if "classification" in own or "shared_memory_region" in own:
            raise DataError(
                "asks for what is not spoken here", field=name, value=Brief(dict(own)), fix="ask for the tensor"
            )
        wanted[name] = own.get("binary_data", parameters.get("binary_data_output")) is True
    return wanted


def refuse_not_finite(feeds: Mapping[str, NDArray[Any]]) -> None:
    """Refuse inputs with NaN or an infinity in them.

    Raises:
        ModelError: one has.

    Example:
        >>> refuse_not_finite({"x": np.array([1.0, np.nan])})
        Traceback (most recent call last):
        windtunnel.errors.ModelError: `x` has a value that is not finite; fill it, or serve with --nan allow
    """
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not _is_finite(array):
            raise ModelError("has a value that is not finite", field=name, fix="fill it, or serve with --nan allow")


def _is_finite(array: NDArray[Any]) -> bool:
    # a sum of squares is one call, and finite where all are; where it is not, they may just be large
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def write_answer(
    name: str, request: InferenceRequest, outputs: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, str]]:
    """An inference response as the protocol has it, and as the request asked for it.

    Args:
        name: of the model.
        request: what is answered.
        outputs: what the model gave.

    Returns:
        The body, and the headers that tell how to read it.

    Example:
        >>> body, headers = write_answer("m", InferenceRequest({}, "7"), {"y": np.array([1.5], np.float32)})
        >>> headers["Content-Type"], json.loads(body)["outputs"]
        ('application/json', [{'name': 'y', 'datatype': 'FP32', 'shape': [1], 'data': [1.5]}])
    """
    if request.outputs is None and request.binary and not request.id:
        raw = {key: to_bytes(array) for key, array in outputs.items()}
        text = _head(
            name, tuple((key, datatype_of(array), array.shape, len(raw[key])) for key, array in outputs.items())
        )
        return b"".join([text, *raw.values()]), {"Content-Type": _BINARY, HEADER_LENGTH: str(len(text))}
    wanted = request.outputs if request.outputs is not None else dict.fromkeys(outputs, request.binary)
    head: dict[str, Any] = {"model_name": name, "model_version": "1"}
    if request.id:
        head["id"] = request.id
    return _write(head, "outputs", {key: outputs[key] for key in wanted}, wanted)


@functools.lru_cache(512)
def _head(name: str, tensors: tuple[tuple[str, str, tuple[int, ...], int], ...]) -> bytes:
    """The JSON before tensors that are all binary: the same for all answers of the same shapes."""
    told = [
        {"name": key, "datatype": kind, "shape": list(shape), "parameters": {"binary_data_size": size}}
        for key, kind, shape, size in tensors
    ]
    return _padded(_encode({"model_name": name, "model_version": "1", "outputs": told}).encode())


def _padded(text: bytes) -> bytes:
    """JSON, ended with spaces where tensors may begin."""
    return text + b" " * (-len(text) % _ALIGNED)


def _write(
    head: dict[str, Any], side: str, tensors: Mapping[str, NDArray[Any]], binary: Mapping[str, bool]
) -> tuple[bytes, dict[str, str]]:
    """A body of one JSON and, behind it, the tensors that are binary."""
    told: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, array in tensors.items():
        each: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if binary[name]:
            raw.append(to_bytes(array))
            each["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            each["data"] = to_json(array)
        told.append(each)
    text = _encode(head | {side: told}).encode()
    if not raw:
        return text, {"Content-Type": "application/json"}
    text = _padded(text)
    return b"".join([text, *raw]), {"Content-Type": _BINARY, HEADER_LENGTH: str(len(text))}


_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes one for every call


# The client's half.


def write_request(
    feeds: Mapping[str, NDArray[Any]],
    *,
    binary: bool = True,
    outputs: Iterable[str] = (),
    request_id: str = "",
) -> tuple[bytes, dict[str, str]]:
    r"""An inference request as the protocol has it.

    Args:
        feeds: arrays by the model's input.
        binary: whether tensors go, and are asked to come, as raw bytes.
        outputs: which outputs are wanted; all where none is named.
        request_id: to be repeated in the answer.

    Returns:
        The body, and the headers that tell how to read it.

    Raises:
        DataError: a dtype that the protocol has no name for.

    Example:
        >>> body, headers = write_request({"x": np.array([[1.5]], np.float32)}, binary=False)
        >>> body
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1.5]}]}'
        >>> body, headers = write_request({"x": np.array([[1.5]], np.float32)})
        >>> body[int(headers["Inference-Header-Content-Length"]) :]
        b'\x00\x00\xc0?'
    """
    head: dict[str, Any] = {"id": request_id} if request_id else {}
    if binary:
        head["parameters"] = {"binary_data_output": True}
    names = list(outputs)
    if names:
        head["outputs"] = [
            {"name": name, **({"parameters": {"binary_data": True}} if binary else {})} for name in names
        ]
    return _write(head, "inputs", feeds, dict.fromkeys(feeds, binary))


def read_answer(body: bytes, headers: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Read what a server answered, whichever way it wrote it.

    Args:
        body: all of it.
        headers: of the answer, in any case of letters.

    Returns:
        Arrays by output; text as strings.

    Raises:
        DataError: an error that the server tells, or not the protocol.

    Example:
        >>> body, headers = write_answer("m", InferenceRequest({}, binary=True), {"y": np.array([1.5], np.float32)})
        >>> read_answer(body, headers)
        {'y': array([1.5], dtype=float32)}
    """
    length = next((value for key, value in headers.items() if key.lower() == HEADER_LENGTH.lower()), None)
    head, raw = _cut(body, length)
    told = read_json(head)
    if isinstance(told, dict) and "error" in told:
        raise DataError(f"was refused by the server: {str(told['error'])[:400]}", field="the request")
    outputs = told.get("outputs") if isinstance(told, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(each, dict) and "name" in each for each in outputs):
        raise DataError("has no outputs", field="the answer", value=Brief(told))
    parts = _parts(outputs, raw)
    return {each["name"]: _read_output(each, parts.get(each["name"])) for each in outputs}


def _read_output(told: Mapping[str, Any], part: memoryview | None) -> NDArray[Any]:
    name, shape = told.get("datatype"), told.get("shape")
    if name not in DATATYPES or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise DataError("has no known datatype and shape", field=str(told["name"]), value=Brief(dict(told)))
    with naming(field=str(told["name"])):
        return from_json(told.get("data"), name, shape) if part is None else from_bytes(part, name, shape)
