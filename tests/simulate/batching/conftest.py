"""An event loop whose clock is simulated, and Ray Serve's own batch queue on it."""

from __future__ import annotations

import asyncio
import heapq
import importlib
import math
import types
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from windtunnel.simulate.batching import RayServeBatching

    Batches = list[tuple[float, float, tuple[int, ...]]]

Ts = TypeVarTuple("Ts")


class _NoSockets:
    """A selector of nothing."""

    def select(self, _timeout: float | None) -> list[object]:
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Jumps to the next thing that is scheduled instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _NoSockets()
        self._clock_resolution = 1e-12  # what is due at this instant and what rounding puts just behind it

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now_s

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule, at least so far ahead that the clock moves."""
        # rounding may leave a wait too short to move the clock: a real one would move meanwhile
        when_s = max(self.now_s + delay, math.nextafter(self.now_s, math.inf))
        return self.call_at(when_s, callback, *args, context=context)

    def _process_events(self, _events: list[object]) -> None: ...

    def _run_once(self) -> None:
        loop: Any = self  # asyncio's own attributes are not in its stubs
        while loop._scheduled and loop._scheduled[0]._cancelled:
            heapq.heappop(loop._scheduled)._scheduled = False
            loop._timer_cancelled_count -= 1
        due = bool(loop._scheduled) and loop._scheduled[0]._when <= self.now_s + self._clock_resolution
        if loop._scheduled and (due or not loop._ready):
            self.now_s = max(self.now_s, loop._scheduled[0]._when)
        elif not loop._ready and not loop._stopping:
            raise AssertionError("everybody waits, and nothing will ever happen")
        super()._run_once()  # type: ignore[misc]  # as above


class _Quiet:
    """A metric that nobody reads."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def _ignore(self, *_: object, **__: object) -> None: ...

    set = observe = inc = _ignore


class _RealQueue:
    """One `_BatchQueue` of Ray Serve, and a handler that takes as long as it is told."""

    def __init__(self, module: Any, loop: VirtualLoop, service_s: list[float], settings: RayServeBatching) -> None:
        self.module, self.loop, self.service_s, self.settings = module, loop, service_s, settings
        self.ran: Batches = []

    async def handle(self, requests: list[int]) -> list[int]:
        """Take what the first of the batch says, awaiting or blocking."""
        started_s, taken_s = self.loop.now_s, self.service_s[requests[0]]
        if self.settings.blocking:
            self.loop.now_s += taken_s
        else:
            await asyncio.sleep(taken_s)
        self.ran.append((started_s, started_s + taken_s, tuple(requests)))
        return requests

    async def serve(self, arrivals_s: list[float]) -> None:
        """Put every request at its time, and wait for all answers."""
        from ray._common.signature import DUMMY_TYPE

        async def handler(requests: list[int]) -> list[int]:
            return await self.handle(requests)

        settings = self.settings
        queue = self.module._BatchQueue(
            settings.max_batch, settings.max_wait_s, settings.max_concurrent_batches, handler
        )
        context = self.module.serve.context._RequestContext()
        futures = [self.loop.create_future() for _ in arrivals_s]

        def arrive(at_s: float) -> None:
            for request, arrival_s in enumerate(arrivals_s):
                if arrival_s == at_s:
                    flat = [DUMMY_TYPE, request]
                    queue.put(self.module._SingleRequest(None, flat, futures[request], context, None))

        # one call an instant: asyncio keeps no order among timers of the same time
        for at_s in sorted(set(arrivals_s)):
            self.loop.call_at(at_s, arrive, at_s)
        try:
            await asyncio.gather(*futures)
        finally:
            # forgotten, so that the queue's destructor asks for no event loop
            gathering, queue._handle_batch_task = queue._handle_batch_task, None
            gathering.cancel()
        await asyncio.gather(gathering, *queue.tasks, return_exceptions=True)


@pytest.fixture
def ray_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Batches]:
    """Serve arrivals with Ray's own queue, in virtual time: (started_s, finished_s, requests) of each batch.

    Its metrics, its replica and the clock are stood in for; with `wait_for` also asyncio's function of that name.
    """
    module: Any = importlib.import_module("ray.serve.batching")
    replica = types.SimpleNamespace(_deployment_config=types.SimpleNamespace(max_ongoing_requests=10**9))
    for metric in ("Histogram", "Gauge", "Counter"):
        monkeypatch.setattr(module, metric, _Quiet)
    monkeypatch.setattr(module.serve, "get_replica_context", lambda: replica)

    def serve(
        arrivals_s: list[float], service_s: list[float], settings: RayServeBatching, *, wait_for: Any = None
    ) -> Batches:
        loop = VirtualLoop()
        monkeypatch.setattr(module, "time", types.SimpleNamespace(time=loop.time))
        if wait_for is not None:
            names = {name: getattr(asyncio, name) for name in asyncio.__all__}
            monkeypatch.setattr(module, "asyncio", types.SimpleNamespace(**names | {"wait_for": wait_for}))
        real = _RealQueue(module, loop, service_s, settings)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(real.serve(arrivals_s))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        return sorted(real.ran)

    return serve
