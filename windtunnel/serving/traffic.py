"""The Traffic of one replica: who answers a request, who else sees it, and what is written down of it.

The primary is the replica's own session. A canary answers its share of the keys; a shadow sees every request after it was answered.
Both are other processes, behind `Ask`s, so neither can slow or break the primary.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from windtunnel.serving.log_layout import Entry
from windtunnel.serving.split import CANARY, Split

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import NDArray

    from windtunnel.serving.desk import Served
    from windtunnel.serving.prediction_log import PredictionLog
    from windtunnel.serving.shadow import Shadow

    Arrays = Mapping[str, NDArray[Any]]
    Ask = Callable[[dict[str, NDArray[Any]]], Awaitable[Served]]

CANARY_PATIENCE_S, LEAST_PATIENCE_S = 10.0, 1.0
"""A canary is given up, and the primary answers instead, after twenty times what the primary usually takes: within these."""

REST_S = 10.0
"""So long it is not asked again then, so that a hung canary costs few requests their time."""

GRACE_S = 2.0
"""When a canary is taken out it may still answer for so long; what then waits for it is answered by the primary."""


@dataclass(frozen=True)
class Plan:
    """Who takes part: what the switchboard tells, and a rollback changes.

    Args:
        canary: the share of keys that it answers.
        shadow: whether requests are mirrored.
    """

    canary: float = 0.0
    shadow: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)


ANSWERED, FELL_BACK = COUNTED = tuple(
    f'canary_requests_total{{outcome="{outcome}"}}' for outcome in ("answered", "fell_back")
)
"""What becomes of a request that the split gives to the canary: it answers; it fails or is taken out, and the primary answers."""


@dataclass(frozen=True)
class Asked:
    """What a request says of itself, beside its inputs.

    Args:
        id: its own, or one that the server made.
        key: what the split goes by; the id where empty.
        received_s: when it came, in seconds since 1970.
        started_s: the same on the clock `time.perf_counter`.
    """

    id: str
    key: str = ""
    received_s: float = field(default_factory=time.time)
    started_s: float = field(default_factory=time.perf_counter)


class Traffic:
    """What stands between a request and the models; for one event loop.

    Args:
        primary: what the replica's own model is called.
        count: told how many requests became what, a name of `COUNTED`.
        clock: seconds, for the rest of a canary.
        canary: its name, and how it is asked.
        shadow: its name, and the way to it.
        log: where answered requests are written down.
    """

    def __init__(
        self,
        primary: str,
        *,
        count: Callable[[str, float], None],
        clock: Callable[[], float] = time.monotonic,
        canary: tuple[str, Ask] | None = None,
        shadow: tuple[str, Shadow] | None = None,
        log: PredictionLog | None = None,
    ) -> None:
        self.primary, self.canary, self.shadow, self.log = primary, canary, shadow, log
        self.plan, self.trouble, self._count = Plan(), "", count
        self._split, self._clock, self._rests_until_s = Split(), clock, -math.inf
        self._usual_s = 0.0
        self._in_flight: set[asyncio.Future[Served]] = set()

    async def follow(self, plan: Plan) -> None:
        """Go by another plan; when this returns no request is, or will be, answered by a canary that was taken out."""
        self.plan, self._split = plan, Split(plan.canary if self.canary else 0.0)
        if not self._split.canary and self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=GRACE_S)
            for each in late:
                each.cancel()

    async def answer(self, asked: Asked, feeds: dict[str, NDArray[Any]], ask: Ask) -> tuple[Served, str]:
        """Answer a request: what became of it, and the name of the model that answered.

        Args:
            asked: what it says of itself.
            feeds: its inputs, checked.
            ask: the primary.

        Raises:
            Exception: whatever the primary raises. What a canary or a shadow raises is counted, and hurts nobody.
        """
        arm, propensity = self._split.arm_of(asked.key or asked.id)
        served = await self._by_canary(feeds) if arm == CANARY else None
        model = self.canary[0] if served is not None and self.canary else self.primary
        if served is None:
            served = await ask(feeds)
        latency_s = time.perf_counter() - asked.started_s
        if arm != CANARY:
            self._usual_s += 0.05 * (latency_s - self._usual_s)
        if not isinstance(served.outputs, Exception) and (self.log is not None or self.plan.shadow):
            about = Entry(
                asked.id, asked.received_s, latency_s, model, feeds, served.outputs, arm, propensity, asked.key
            )
            self._tell(about)
        return served, model

    @property
    def patience_s(self) -> float:
        """How long the canary is waited for now."""
        return min(CANARY_PATIENCE_S, max(LEAST_PATIENCE_S, 20.0 * self._usual_s))

    def close(self) -> None:
        """Stop mirroring, and write down what is still to be written."""
        if self.shadow is not None:
            self.shadow[1].close()
        if self.log is not None:
            self.log.close()

    def _tell(self, entry: Entry) -> None:
        """Mirror an answered request, and write it down once the shadow has spoken, or will not."""
        log = self.log if self.log is not None and self.log.takes(entry.id) else None
        if not self.plan.shadow or self.shadow is None:
            if log is not None:
                log.offer(entry)
            return
        name, shadow = self.shadow
        kept = log.lean(entry) if log is not None else None

        def done(outputs: Arrays | None) -> None:
            if log is not None and kept is not None:
                log.offer(kept if outputs is None else replace(kept, shadows={name: outputs}))

        shadow.offer(entry.feeds, done)

    async def _by_canary(self, feeds: dict[str, NDArray[Any]]) -> Served | None:
        """The canary's answer; None where it failed, took too long, was taken out meanwhile, or rests."""
        assert self.canary is not None, "the split knows"
        if self._clock() < self._rests_until_s:
            self._count(FELL_BACK, 1)
            return None
        # what is waited for is not the canary's work itself, which may refuse to end
        call: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(self.canary[1](feeds))
        task.add_done_callback(lambda done: _hand_on(done, call))
        self._in_flight.add(call)
        try:
            await asyncio.wait([call], timeout=self.patience_s)
            if not call.done():
                self._rests_until_s = self._clock() + REST_S
            served = self._heard(call)
            self._count(FELL_BACK if served is None else ANSWERED, 1)
            return served
        finally:
            task.cancel()
            self._in_flight.discard(call)

    def _heard(self, call: asyncio.Future[Served]) -> Served | None:
        """What a call brought; where that is nothing, why is kept."""
        if not call.done() or call.cancelled():
            self.trouble = "it took too long, or was taken out before it answered"
            return None
        error = call.exception() or call.result().outputs
        if isinstance(error, BaseException):
            self.trouble = f"{type(error).__name__}: {error}"
            return None
        return call.result()


def _hand_on(done: asyncio.Future[Served], call: asyncio.Future[Served]) -> None:
    """Let a call end as the work that it waits for, unless it was given up."""
    if done.cancelled():
        call.cancel()
        return
    error = done.exception()  # looked at in any case: one that nobody looks at is shouted
    if call.done():
        return
    if error is not None:
        call.set_exception(error)
    else:
        call.set_result(done.result())
