"""Driving: a schedule sent from generators, which first show how fast they are, and what became of it."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.fanout import Workers, ray_running
from windtunnel.request_log import RequestLog
from windtunnel.seeds import Seeds

from .clients import manners_of, whims
from .generators import FarGenerator, Generator, Program
from .heard import Heard
from .live_run import LiveRun, judge, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from windtunnel.simulate.client import Client

    from .bodies import Bodies
    from .schedule import Schedule
    from .slow import Slow
    from .target import Target

    Line = dict[str, Any]

BURST_S = 1.0
"""How long the generators show how fast they are."""

AHEAD_S = 0.3
"""From the word to the first request: for it to reach everyone."""

LOOK_S = 0.1
"""Between two looks at how far they are."""

DRAIN_S = 30.0
"""How long answers are waited for after the last request; who has none by then is given up."""

MOST_CONNECTIONS = 4096
"""Of a generator at once."""

SILENCE_S = 60.0
"""How much longer than its schedule and its drain a run may take."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, over all generators.

    Args:
        at_s: since its start.
        requests: of the schedule.
        sent: of them.
        answered: of these.
        lost: that got no answer, or one that says no.
        under_way: that are waited for.
        p50_s: of the latency in the last half second; NaN where nothing was answered.
        p99_s: of the same; the worst of the generators'.
    """

    at_s: float
    requests: int
    sent: int
    answered: int
    lost: int
    under_way: int
    p50_s: float
    p99_s: float


def drive(
    target: Target,
    schedule: Schedule,
    bodies: Bodies,
    *,
    client: Client | None = None,
    slow: Slow | None = None,
    generators: int = 1,
    ray_address: str = "",
    seeds: Seeds | None = None,
    most_connections: int = MOST_CONNECTIONS,
    drain_s: float = DRAIN_S,
    capacity_per_s: float | None = None,
    web: bool = False,
    keep: bool = False,
    watch: Callable[[Progress], None] = lambda _progress: None,
    say: Callable[[str], None] = lambda _line: None,
) -> LiveRun:
    """Send a schedule to a server, open loop: requests leave when they are due, whatever the server does.

    Each generator is a Locust process with every so-many-th request of the schedule. Before the run all of them together show how
    many requests a second they can make of a server that does nothing. On one machine they share its monotonic clock; on a cluster
    they begin by the clocks of the wall, so that requests of different machines are as far apart as these are (milliseconds under
    NTP), while each latency is taken on one clock.

    Ctrl-C ends it early, and what there is is returned; again, at once.

    Args:
        target: the server.
        schedule: when, and which body.
        bodies: what.
        client: what clients do when an answer does not come; they wait for ever where None.
        slow: clients that send slowly; none where None.
        generators: processes.
        ray_address: the Ray cluster they are started on; on this machine, without Ray, where empty.
        seeds: stream `clients` (patience, back-off) with the same luck as in the tunnel, and `payload` (who is slow).
        most_connections: of a generator at once.
        drain_s: how long answers are waited for after the last request.
        capacity_per_s: what so many generators can send, where it was measured before; measured first where None.
        web: whether Locust's live page shows it, on a free port of loopback that is said; generators then report to a Locust master.
        keep: whether what was answered is kept, to be compared with what is right.
        watch: called now and then with how far it is.
        say: called with a line now and then.

    Raises:
        MeasurementError: a generator died or fell silent.
        MissingError: Ray cannot be reached.
    """
    orders = {
        "address": target.address, "most_connections": most_connections, "manners": manners_of(client, slow, drain_s),
        "keep": keep, "alone": generators == 1,  # several would all choose the same core
    }  # fmt: skip
    arrays = _arrays(schedule, bodies, client, slow, seeds or Seeds())
    parts = [np.arange(first, len(schedule), generators) for first in range(generators)]
    with (
        _page(len(parts), say, shown=web) as page,
        _started(orders | {"page": page}, arrays, parts, ray_address) as started_ones,
    ):
        capacity_per_s = _capacity(started_ones) if capacity_per_s is None else capacity_per_s
        say(f"  {generators} × generator: {capacity_per_s:,.0f} requests/s at most, {schedule.rate_per_s:,.0f} asked")
        for each in started_ones:
            each.go(AHEAD_S)
        lasts_s = AHEAD_S + schedule.duration_s + drain_s + SILENCE_S
        ends = _followed(started_ones, len(schedule), lasts_s, watch)
        logs = [each.log() for each in started_ones]
        answers = [each.answers() for each in started_ones] if keep else []
    return _joined(schedule, parts, logs, ends, capacity_per_s, answers)


def _arrays(
    schedule: Schedule, bodies: Bodies, client: Client | None, slow: Slow | None, seeds: Seeds
) -> dict[str, NDArray[Any]]:
    """The whole load; see `windtunnel.driving.course.Load`."""
    messages, ends = bodies.flat()
    return {
        "due_s": schedule.scheduled_s, "message": schedule.body, "messages": messages, "ends": ends,
        **whims(schedule, client, slow, seeds),
    }  # fmt: skip


@contextlib.contextmanager
def _page(generators: int, say: Callable[[str], None], *, shown: bool) -> Iterator[tuple[str, int] | None]:
    """The Locust master that generators report to, and its page; None where nobody wants to see it."""
    if not shown:
        yield None
        return
    port, web = free_port(), free_port()
    program = Program("page", json.dumps({"port": port, "web": web, "generators": generators}))
    try:
        program.hear()
        say(f"  Locust's page: http://127.0.0.1:{web}")
        yield "127.0.0.1", port
    finally:
        program.close()


def free_port() -> int:
    """One of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SHARED = ("messages", "ends")
"""What every generator needs all of."""


@contextlib.contextmanager
def _started(
    orders: Line, arrays: dict[str, NDArray[Any]], parts: Sequence[NDArray[Any]], ray_address: str
) -> Iterator[list[Generator | FarGenerator]]:
    """The generators, each with its part, ready to be told something; none of them is left afterwards."""
    with contextlib.ExitStack() as stack:
        kind: Callable[..., Generator | FarGenerator] = Generator
        shared: dict[str, Any] = {name: arrays[name] for name in SHARED}
        if ray_address:
            stack.enter_context(ray_running(Workers(ray_address=ray_address)))
            import ray

            kind, shared = FarGenerator, {name: ray.put(array) for name, array in shared.items()}
        begun = []
        for part in parts:
            own = {name: array[part] for name, array in arrays.items() if name not in SHARED}
            begun.append(kind(orders, own | shared))
            stack.callback(begun[-1].close)
        for each in begun:
            each.ready()
        yield begun


def _capacity(generators: Sequence[Generator | FarGenerator]) -> float:
    """What they can send at most, a second, all at once."""
    with ThreadPoolExecutor(len(generators)) as pool:
        return float(sum(pool.map(lambda each: each.burst(BURST_S), generators)))


def _followed(
    generators: Sequence[Generator | FarGenerator], requests: int, lasts_s: float, watch: Callable[[Progress], None]
) -> list[Line]:
    """Watch until all are done; what each said at last. Ctrl-C stops them.

    Raises:
        MeasurementError: one died, or is not done in time.
    """
    latest: list[Line] = [{} for _ in generators]
    until_s, stopped = time.monotonic() + lasts_s, False
    while not all(line.get("done") for line in latest):
        if time.monotonic() > until_s:
            raise MeasurementError("a generator did not come to an end; drive at a lower rate, or for a shorter time")
        try:
            time.sleep(LOOK_S)  # the generators work meanwhile, and this process leaves them the cores
            for at, each in enumerate(generators):
                if not latest[at].get("done"):
                    latest[at] = [latest[at], *each.heard()][-1]
            if any("sent" in line for line in latest):
                watch(_progress([line for line in latest if "sent" in line], requests))
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped, until_s = True, time.monotonic() + SILENCE_S
            for each in generators:
                each.stop()
    return latest


def _progress(lines: Sequence[Line], requests: int) -> Progress:
    """The sum over all generators."""
    sent, answered, lost, under_way = (
        sum(line[name] for line in lines) for name in ("sent", "answered", "lost", "under_way")
    )
    known = [line for line in lines if line["p50_s"] is not None]
    weights = [line["recent"] for line in known]
    p50_s = float(np.average([line["p50_s"] for line in known], weights=weights)) if known else math.nan
    p99_s = max((line["p99_s"] for line in known), default=math.nan)
    return Progress(max(line["at_s"] for line in lines), requests, sent, answered, lost, under_way, p50_s, p99_s)


def _joined(
    schedule: Schedule,
    parts: Sequence[NDArray[Any]],
    logs: Sequence[dict[str, NDArray[Any]]],
    ends: Sequence[Line],
    capacity_per_s: float,
    answers: Sequence[dict[str, NDArray[Any]]],
) -> LiveRun:
    """One run from those of all generators, in order of schedule."""
    request = np.concatenate([part[: len(log["status"])] for part, log in zip(parts, logs, strict=True)])
    order = np.argsort(request, kind="stable")
    columns = {name: np.concatenate([log[name] for log in logs])[order] for name in logs[0]}
    scheduled_s = schedule.scheduled_s[request[order]]
    answered = columns["http_status"] > 0
    spans = {name: np.where(answered, columns[name], np.nan) for name in ("queue_s", "model_s", "handler_s")}
    started_s = started(columns["sent_s"], columns["finished_s"], spans["queue_s"], spans["model_s"])
    log = RequestLog(
        scheduled_s, columns["sent_s"], started_s, columns["finished_s"], columns["replica"], columns["batch_size"],
        columns["attempt"], columns["status"],
    )  # fmt: skip
    lag_s = columns["first_sent_s"] - scheduled_s
    reasons = judge(
        schedule, lag_s, capacity_per_s, sum(end["not_sent"] for end in ends), sum(end["most_connections"] for end in ends)
    )  # fmt: skip
    gone_s, stopped_s = (
        min((end[name] for end in ends if end[name] is not None), default=math.nan) for name in ("gone_s", "stopped_s")
    )
    return LiveRun(
        log, request[order].astype(np.int64), spans["model_s"], spans["queue_s"], spans["handler_s"], lag_s, columns["http_status"],
        columns["attempts"], capacity_per_s, not reasons, reasons, gone_s, stopped_s, len(parts),
        sum(end["opened"] for end in ends), sum(end["cpu_s"] for end in ends),
        float(np.max(columns["finished_s"]) - scheduled_s[0]) if len(order) else 0.0,
        all(end["realtime"] for end in ends), Heard.of([log["heard"] for log in logs], answers, order) if answers else None,
    )  # fmt: skip
