"""One model as an application of Ray Serve.

    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME            metadata: inputs and outputs
    POST /v2/models/NAME/infer      {"inputs": [{"name", "shape", "datatype", "data"}, …]}

Requests share batches by `@serve.batch` (at most `max_batch` requests, waiting at most `max_wait_s`). A request is checked
before it may join a batch, so a bad one gets a 400 and spoils nobody's answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.serving.batch import run_together
from windtunnel.serving.protocol import metadata, read_request, served_name, write_answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.variant import Variant


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
