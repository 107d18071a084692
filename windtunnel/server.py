"""The chosen model behind Ray Serve on loopback, speaking the Open Inference Protocol v2 in JSON.

    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME            metadata: inputs and outputs
    POST /v2/models/NAME/infer      {"inputs": [{"name", "shape", "datatype", "data"}, …]}

Requests share batches by `@serve.batch` (at most `max_batch` requests, waiting at most `max_wait_s`). A request is checked
before it may join a batch, so a bad one gets a 400 and spoils nobody's answer.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
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


def run_together(
    run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]], requests: list[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """Run several requests as one batch and give each its own rows back; those of other lengths go in a batch of their own."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, request in enumerate(requests):
        alike.setdefault(tuple(request[name].shape[1:] for name in sorted(request)), []).append(index)
    answers: dict[int, dict[str, NDArray[Any]]] = {}
    for members in alike.values():
        answers |= dict(zip(members, _run_as_one(run, [requests[index] for index in members]), strict=True))
    return [answers[index] for index in range(len(requests))]


def _run_as_one(
    run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]], requests: list[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    if len(requests) == 1:
        return [run(requests[0])]  # whose outputs need not have rows
    together = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    outputs = run(together)
    ends = np.cumsum([len(next(iter(request.values()))) for request in requests])[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: split[index] for name, split in parts.items()} for index in range(len(requests))]


def build_app(variant: Variant, batch: BatchPolicy, replicas: int) -> Any:
    """The Ray Serve application of one model: `serve.run` takes it.

    Args:
        variant: the model; its file must be readable where replicas run.
        batch: when a batch leaves.
        replicas: how many sessions serve.
    """
    from ray import serve

    served, name = replace(variant, path=variant.path.resolve()), served_name(variant)

    @serve.deployment(name=name, num_replicas=replicas, max_ongoing_requests=max(16, 2 * batch.max_batch))
    class Model:
        def __init__(self) -> None:
            from windtunnel.runtime import open_session

            self.session = open_session(served)

        @serve.batch(max_batch_size=batch.max_batch, batch_wait_timeout_s=batch.max_wait_s)
        async def batched(self, requests: list[dict[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
            return run_together(self.session.run, requests)

        async def __call__(self, request: Any) -> Any:
            return await answer(request, served, self.batched)

    return Model.bind()  # type: ignore[attr-defined]  # the decorator made a deployment of the class


async def answer(request: Any, variant: Variant, batched: Any) -> Any:
    """Answer one HTTP request (a Starlette `Request`) by its path."""
    from starlette.responses import JSONResponse

    name = served_name(variant)
    place, model = request.url.path.rstrip("/"), f"/v2/models/{name}"
    if request.method == "GET" and place in {"/v2/health/live", "/v2/health/ready", f"{model}/ready"}:
        return JSONResponse({"live" if place.endswith("live") else "ready": True})
    if request.method == "GET" and place == model:
        return JSONResponse(metadata(variant))
    if request.method != "POST" or place != f"{model}/infer":
        return JSONResponse(
            {"error": f"there is nothing at {request.method} {place}; POST {model}/infer"}, status_code=404
        )
    try:
        body = await request.json()
        feeds = read_request(body, variant.signature)
    except (ValueError, ModelError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return JSONResponse(write_answer(name, body.get("id"), await batched(feeds)))


def serve_until_interrupted(
    variant: Variant, batch: BatchPolicy, *, replicas: int, port: int, ready: Callable[[str], None]
) -> None:
    """Serve a model on loopback until Ctrl-C; then leave nothing running.

    Args:
        variant: the model.
        batch: when a batch leaves.
        replicas: how many sessions serve.
        port: on 127.0.0.1.
        ready: called with the address once requests are answered.

    Raises:
        KeyboardInterrupt: when it was told to stop (SIGINT or SIGTERM).
        MissingError: Ray cannot be started.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray import serve

    # its news (started, connecting, ready) is ours to tell, or not
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=replicas + 2)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
        serve.run(
            build_app(variant, batch, replicas),
            name=served_name(variant),
            route_prefix="/",
            logging_config={"log_level": "ERROR"},
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to leave, as by Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ready(f"http://127.0.0.1:{port}/v2/models/{served_name(variant)}")
        threading.Event().wait()
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]  # ray
        ray.shutdown()
