"""One model as an application of Ray Serve: `@serve.batch` behind a desk that speaks the Open Inference Protocol.

Requests share batches by `@serve.batch` (at most `max_batch` requests, waiting at most `max_wait_s`). The handler calls the model
where it stands, and so blocks the loop that gathers batches: Serve closes batches while an awaiting handler is busy and never
tops them up, so that under load they stay small, while a blocked loop gathers what came meanwhile into the next
(`simulate/batching/ray_serve.py` is a model of both, and `blocking=true` is this one).
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.serving.batch import run_together
from windtunnel.serving.desk import Desk, Served
from windtunnel.serving.garbage import look_seldom
from windtunnel.serving.gone import gone, is_gone
from windtunnel.serving.limits import Limits
from windtunnel.serving.meter import Meter
from windtunnel.serving.protocol import served_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.serving.company import Seat
    from windtunnel.serving.protocol import InferenceRequest
    from windtunnel.session import Session
    from windtunnel.variant import Variant


def build_app(
    variant: Variant,
    batch: BatchPolicy,
    replicas: int,
    *,
    most: int = 0,
    max_ongoing: int = 0,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    token: str = "",
    meters: Path | None = None,
    seat: Seat | None = None,
) -> Any:
    """The Ray Serve application of one model: `serve.run` takes it.

    Args:
        variant: the model; its file must be readable where replicas run.
        batch: when a batch leaves.
        replicas: how many sessions serve; where they scale, never fewer.
        most: never more; 0 where their number stays.
        max_ongoing: requests that a replica takes on at once; 0 for two batches, and at least 16.
        limits: what is taken of strangers.
        token: what requests must carry; nothing where empty.
        meters: a folder where replicas count, so that each can tell of all; None where each tells of itself.
        seat: who is beside the model: a canary, a shadow, a log; None where it is alone.
    """
    from ray import serve

    ongoing = max_ongoing or batch.ongoing
    # a replica that has a batch to run and the next to gather is busy
    scaling = {"min_replicas": replicas, "max_replicas": most, "target_ongoing_requests": 2.0 * batch.max_batch}
    number: dict[str, Any] = {"autoscaling_config": scaling} if most > replicas else {"num_replicas": replicas}
    # who is taken on is decided when a body has come, by the desk: one that trickles would else hold a place
    deployed = serve.deployment(
        name=served_name(variant), max_ongoing_requests=ongoing + limits.awaited, **number
    )(replica_class(batch))  # fmt: skip
    place = replace(variant, path=variant.path.resolve())
    return deployed.bind(place, meters, seat, {"limits": limits, "token": token, "meters": meters, "ongoing": ongoing})


def replica_class(batch: BatchPolicy) -> Any:
    """What runs in each replica; made here, as Serve's decorator wants to know the batch, and Ray must not be imported before."""
    from ray import serve

    from windtunnel.serving.ready import Ready

    class Model:
        def __init__(self, served: Variant, meters: Path | None, seat: Seat | None, rules: dict[str, Any]) -> None:
            from windtunnel.runtime import open_session

            context = serve.get_replica_context()
            self.session = open_session(served)
            warm_up(self.session)
            self.meter = Meter(meters / f"{context.replica_tag}.meter" if meters else None)
            rank = context.rank.rank if context.rank is not None else 0
            self.desk = Desk(served, self.infer, meter=self.meter, replica=rank, **rules)
            self.table = seat.take(self.meter.add) if seat is not None else None
            # Ray's types know methods only
            batching: Any = serve.batch(max_batch_size=batch.max_batch, batch_wait_timeout_s=batch.max_wait_s)
            self.batched = batching(signed(partial(serve_batch, self.session, self.meter)))
            look_seldom()

        def __del__(self) -> None:
            if self.table is not None:
                self.table.close()

        async def infer(self, request: InferenceRequest, headers: Any, receive: Any) -> Served:
            if self.table is not None:
                return await self.table.answer(request, headers, partial(self.join, receive=receive))
            return await self.join(request.feeds, receive)

        async def join(self, feeds: Any, receive: Any) -> Served:
            made: Served = await self.batched(Waiting(perf_counter(), feeds, receive))
            return made

        async def __call__(self, request: Any) -> Any:
            scope = request.scope
            made = await self.desk.answer(scope["method"], scope["path"], scope["headers"], request.receive)
            return Ready(made)

    return Model


def signed(serve_all: Callable[[list[Waiting]], list[Served]]) -> Callable[[list[Waiting]], Awaitable[list[Served]]]:
    """A function for Serve's `batch` that knows its own signature.

    Serve asks for that at every call, and working it out takes 20 µs; checking a call against a method's takes longer than this.

    Args:
        serve_all: serves a batch.
    """

    async def batched(waiting: list[Waiting]) -> list[Served]:
        return serve_all(waiting)

    batched.__signature__ = inspect.signature(batched)  # type: ignore[attr-defined]  # PEP 362
    return batched


class Waiting(NamedTuple):
    """A request that waits for its batch.

    Args:
        joined_s: since when, by `perf_counter`.
        feeds: its inputs.
        receive: gives its body's messages, as ASGI has them; None where it came by no network.
    """

    joined_s: float
    feeds: dict[str, NDArray[Any]]
    receive: Any = None


def serve_batch(session: Session, meter: Meter, waiting: Sequence[Waiting]) -> list[Served]:
    """Run the requests of one batch, and say of each how long it waited; those that nobody waits for any more are left out.

    Args:
        session: the model.
        meter: what is counted.
        waiting: its requests.
    """
    started_s = perf_counter()
    left = [is_gone(each.receive) for each in waiting]
    if any(left):
        there = [each for each, has_left in zip(waiting, left, strict=True) if not has_left]
        served = iter(serve_batch(session, meter, there) if there else ())
        return [Served(gone(), 0.0, 0.0, 0) if has_left else next(served) for has_left in left]
    outputs = run_together(session.run, [each.feeds for each in waiting], stack=session.signature.dynamic_batch)
    model_s, size = perf_counter() - started_s, len(waiting)
    meter.add("batches_total")
    meter.add("rows_total", sum(len(next(iter(each.feeds.values()))) for each in waiting))
    if size > 1 and any(isinstance(each, Exception) for each in outputs):
        meter.add("batches_rerun_total")
    meter.observe("batch_requests", size)
    meter.observe("model_seconds", model_s)
    return [
        Served(each, started_s - asked.joined_s, model_s, size) for asked, each in zip(waiting, outputs, strict=True)
    ]


def warm_up(session: Session) -> None:
    """Run a row of zeros, so that the first request does not wait for what is made on a first run."""
    feeds = {
        tensor.name: np.full(
            [n if isinstance(n, int) else 1 for n in tensor.shape], "" if tensor.dtype == "object" else 0, tensor.dtype
        )
        for tensor in session.signature.inputs
    }
    with contextlib.suppress(ModelError):  # a model need not take zeros
        session.run(feeds)
