"""The Company of a primary: the canary, the shadow and the log that a server keeps beside it, and how a replica meets them."""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.quantity import format_share
from windtunnel.serving.log_layout import Layout
from windtunnel.serving.prediction_log import LogSettings, PredictionLog
from windtunnel.serving.protocol import served_name
from windtunnel.serving.shadow import Shadow
from windtunnel.serving.switchboard import Line, Switchboard, socket_of
from windtunnel.serving.traffic import Asked, Plan, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy, Deployment
    from windtunnel.serving.desk import Served
    from windtunnel.serving.protocol import InferenceRequest
    from windtunnel.variant import Tensor, Variant

    Arrays = Mapping[str, NDArray[Any]]

QUIET = {"log_level": "ERROR", "enable_access_log": False}
"""What Ray Serve writes down of every application."""

LOWEST = 19
"""The niceness of a shadow: where cores are scarce, it waits."""


@dataclass(frozen=True)
class Company:
    """Who is beside the primary.

    Args:
        primary: the model that is served.
        canary: a model that answers some of its requests.
        share: of the keys that the canary answers.
        shadow: a model that sees all of them.
        log: where answered requests are written down.

    Raises:
        ModelError: a model that does not take what the primary takes, or does not answer as it does; predictions that
            cannot be logged.
    """

    primary: Variant
    canary: Variant | None = None
    share: float = 0.0
    shadow: Variant | None = None
    log: LogSettings | None = None

    def __post_init__(self) -> None:
        for option, other in (("--canary", self.canary), ("--shadow", self.shadow)):
            if other is not None:
                _check_alike(self.primary, other, option)
        if self.log is not None:
            self.layout(self.log)

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody."""
        return self.canary is None and self.shadow is None and self.log is None

    @property
    def plan(self) -> Plan:
        """Who takes part at first."""
        return Plan(self.share if self.canary else 0.0, self.shadow is not None)

    @property
    def names(self) -> dict[str, str]:
        """What `primary`, `canary` and `shadow` are called in answers and in the log: as they are served, and never two alike."""
        found: dict[str, str] = {}
        named: dict[str, str] = {}
        for part, each in (("primary", self.primary), ("canary", self.canary), ("shadow", self.shadow)):
            if each is None:
                continue
            name = served_name(each)
            # one model in two parts keeps its name; another of the same name does not
            found[part] = name if named.setdefault(name, each.sha256) == each.sha256 else f"{name}-{each.sha256[:6]}"
        return found

    def layout(self, log: LogSettings) -> Layout:
        """The columns of the log."""
        parts = {"primary": self.primary, "canary": self.canary, "shadow": self.shadow}
        models = {name: each for part, name in self.names.items() if (each := parts[part]) is not None}
        return Layout.of(models, log.share)


def _check_alike(primary: Variant, other: Variant, option: str) -> None:
    ours, theirs = primary.signature, other.signature
    for side in ("inputs", "outputs"):
        mine, given = _kinds(getattr(ours, side)), _kinds(getattr(theirs, side))
        if mine != given:
            raise ModelError(
                f"has other {side} than the model that is served: {given} where {mine} are expected", field=option,
                value=other.name, fix="give a model that takes and answers the same",
            )  # fmt: skip


def _kinds(tensors: tuple[Tensor, ...]) -> list[str]:
    """Name, dtype and shape of each; what an axis that is free is called does not matter."""
    return sorted(f"{t.name} {t.dtype} {[axis if isinstance(axis, int) else '·' for axis in t.shape]}" for t in tensors)


@dataclass(frozen=True)
class Seat:
    """What a replica is given to meet the company: it travels to where the replica runs.

    Args:
        company: who there is.
        socket: of the switchboard.
        canary: the handle of its application.
        shadow: likewise.
    """

    company: Company
    socket: Path
    canary: Any = None
    shadow: Any = None

    def take(self, count: Callable[[str, float], None]) -> Table:
        """Meet them, in the replica.

        Args:
            count: told how many requests became what.
        """
        return Table(self, count)


class Table:
    """A replica's end of it all: requests go through here on their way to the models."""

    def __init__(self, seat: Seat, count: Callable[[str, float], None]) -> None:
        names, log = seat.company.names, seat.company.log
        canary, mirror = seat.canary, seat.shadow

        async def by_canary(feeds: dict[str, NDArray[Any]]) -> Served:
            served: Served = await canary.infer.remote(feeds)
            return served

        async def by_shadow(requests: list[Arrays]) -> list[Arrays | None]:
            answers: list[Arrays | None] = await mirror.mirror.remote(requests)
            return answers

        self.traffic = Traffic(
            names["primary"],
            count=count,
            canary=(names["canary"], by_canary) if canary is not None else None,
            shadow=(names["shadow"], Shadow(by_shadow, count=count)) if mirror is not None else None,
        )
        self.line = Line(seat.socket, self.traffic.follow)
        if log is not None:
            self.traffic.log = PredictionLog(log, seat.company.layout(log), count=count, say=self.line.say).start()

    async def answer(self, request: InferenceRequest, headers: Mapping[bytes, bytes], ask: Any) -> Served:
        """Answer a request, by whomever the split says.

        Args:
            request: what is asked.
            headers: of the request, names in small letters.
            ask: the replica's own model.
        """
        if not self.line.is_ready:
            await self.line.ready()
        asked, told = asked_of(request.id, request.parameters, headers)
        served, model = await self.traffic.answer(asked, request.feeds, ask)
        return served._replace(headers=((b"x-model", model.encode()), *told))

    def close(self) -> None:
        """Write down what is still to be written."""
        self.traffic.close()


def asked_of(
    request_id: str, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes]
) -> tuple[Asked, tuple[tuple[bytes, bytes], ...]]:
    """What a request says of itself, and the headers that tell its sender what it left out.

    Its id is that of its body, else its header `X-Request-Id`, else a new one, which the answer has in that header. Its key is the
    parameter `key` of its body, else its header `X-Key`; else the id is the key.

    Example:
        >>> asked, told = asked_of("7", {"key": 12}, {})
        >>> asked.id, asked.key, told
        ('7', '12', ())
    """
    given = request_id or headers.get(b"x-request-id", b"").decode("latin-1")
    known = given or uuid.uuid4().hex
    key = parameters.get("key")
    said = headers.get(b"x-key", b"").decode("latin-1") if key is None else str(key)
    return Asked(known, said), () if given else ((b"x-request-id", known.encode()),)


@contextmanager
def seated(company: Company, deployment: Deployment, port: int, say: Callable[[str], None]) -> Iterator[Seat]:
    """Start who is beside the primary, and hold the line to them while the server runs.

    Args:
        company: who there is.
        deployment: of the primary.
        port: of the server; a rollback asks for it.
        say: told what the user should know.

    Yields:
        What each replica of the primary is given.
    """
    from ray import serve

    def named(part: str) -> str:
        return f"{served_name(company.primary)}.{part}"

    few = replicas_of(company.share, deployment.replicas)
    wanted = (("canary", company.canary, few), ("shadow", company.shadow, deployment.replicas))
    there = {
        part: build_other(variant, deployment.batch, replicas=replicas, background=part == "shadow")
        for part, variant, replicas in wanted
        if variant is not None
    }
    targets = [
        serve.RunTarget(app, name=named(part), route_prefix=None, logging_config=QUIET) for part, app in there.items()
    ]
    # started together; without an address they can be reached by their handles alone
    handles = dict(zip(there, serve.run_many(targets) if targets else (), strict=True))

    def rolled_back() -> None:
        if there:
            say(f"rolled back: the primary is alone, without {' and '.join(there)}")
        while there:
            serve.delete(named(there.popitem()[0]))

    path = socket_of(port)
    if there:
        say(f"beside it: {_told(company)}; to be alone: windtunnel rollback --port {port}")
    with Switchboard(path, company.plan, say=say, rolled_back=rolled_back):
        yield Seat(company, path, handles.get("canary"), handles.get("shadow"))


def _told(company: Company) -> str:
    names = company.names
    told = [f"{names['canary']} answers {format_share(company.share)}"] if company.canary else []
    return " and ".join([*told, *([f"{names['shadow']} sees all"] if company.shadow else [])])


def build_other(variant: Variant, batch: BatchPolicy, *, replicas: int, background: bool) -> Any:
    """A model without an address of its own, as an application of Ray Serve: a canary, or a shadow.

    Args:
        variant: the model.
        batch: when a batch leaves.
        replicas: sessions.
        background: whether it gives way to every other process.
    """
    from ray import serve

    served = replace(variant, path=variant.path.resolve())
    name = served_name(variant)

    @serve.deployment(
        name=name,
        num_replicas=replicas,
        max_ongoing_requests=batch.ongoing,
        ray_actor_options={"num_cpus": 0},
    )
    class Other:
        def __init__(self) -> None:
            from windtunnel.runtime import open_session
            from windtunnel.serving.app import warm_up
            from windtunnel.serving.garbage import look_seldom
            from windtunnel.serving.meter import Meter

            if background:
                os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
            self.session = open_session(served)
            warm_up(self.session)
            self.meter = Meter()
            look_seldom()

        async def infer(self, feeds: Any) -> Served:
            from time import perf_counter

            from windtunnel.serving.app import Waiting

            made: Served = await self.batched(Waiting(perf_counter(), feeds))
            return made

        async def mirror(self, requests: list[Any]) -> list[Any]:
            made = await asyncio.gather(*(self.infer(feeds) for feeds in requests))
            return [None if isinstance(each.outputs, Exception) else each.outputs for each in made]

        @serve.batch(max_batch_size=batch.max_batch, batch_wait_timeout_s=batch.max_wait_s)
        async def batched(self, waiting: list[Any]) -> list[Any]:
            from windtunnel.serving.app import serve_batch

            return serve_batch(self.session, self.meter, waiting)

    return Other.bind()  # type: ignore[attr-defined]  # the decorator made a deployment of the class


def replicas_of(share: float, replicas: int) -> int:
    """How many sessions answer a share of what `replicas` would.

    Example:
        >>> replicas_of(0.05, 2), replicas_of(0.5, 4)
        (1, 2)
    """
    return max(1, math.ceil(share * replicas))
