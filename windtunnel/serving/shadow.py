"""The Shadow: a model that gets the same requests and whose answers nobody waits for.

A request is handed over after its own answer was made, into a queue with an end; what does not fit is dropped and counted. One
task passes them on in batches. Whatever the shadow does (hang, raise, die) stays in that task.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Ask = Callable[[list[Arrays]], Awaitable[list[Arrays | None]]]
    Done = Callable[[Arrays | None], None]


ANSWERED, DROPPED, FAILED = COUNTED = tuple(
    f'shadow_requests_total{{outcome="{outcome}"}}' for outcome in ("answered", "dropped", "failed")
)
"""What becomes of a mirrored request: the shadow answered; too many waited; it raised, or took too long."""


class Shadow:
    """The way to a shadow from one replica; for one event loop.

    Args:
        ask: the shadow: a list of requests → a list of answers, None where there is none.
        count: told how many requests became what, a name of `COUNTED`.
        waiting: requests that may wait.
        waiting_bytes: what these may hold in memory.
        batch: requests passed on together.
        patience_s: after so long a batch is given up.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        count: Callable[[str, float], None],
        waiting: int = 256,
        waiting_bytes: float = 64 * 2.0**20,
        batch: int = 32,
        patience_s: float = 10.0,
    ) -> None:
        self._ask, self._count, self._batch, self._patience_s = ask, count, batch, patience_s
        self._most, self._most_bytes = waiting, waiting_bytes
        self._queue: deque[tuple[Arrays, int, Done]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""

    def offer(self, feeds: Arrays, done: Done) -> None:
        """Mirror a request; returns at once.

        Args:
            feeds: its inputs.
            done: called with the shadow's answer, or with None where there is none; exactly once.
        """
        size = sum(array.nbytes for array in feeds.values())
        if len(self._queue) >= self._most or self._bytes + size > self._most_bytes:
            self._count(DROPPED, 1)
            done(None)
            return
        self._queue.append((feeds, size, done))
        self._bytes += size
        if self._task is None or self._task.done():
            # in a context of its own: in the request's, the server would end the shadow's work with the request
            self._task = asyncio.get_running_loop().create_task(self._pass_on(), context=contextvars.Context())

    async def settled(self) -> None:
        """Wait until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Give up what waits; those who asked are told None."""
        if self._task is not None:
            self._task.cancel()
        while self._queue:
            self._take()[1](None)
            self._count(DROPPED, 1)

    def _take(self) -> tuple[Arrays, Done]:
        feeds, size, done = self._queue.popleft()
        self._bytes -= size
        return feeds, done

    async def _pass_on(self) -> None:
        while self._queue:
            taken = [self._take() for _ in range(min(self._batch, len(self._queue)))]
            answers: list[Arrays | None] = [None] * len(taken)
            try:
                answers = await self._answers([feeds for feeds, _ in taken])
            finally:
                for (_, done), answer in zip(taken, answers, strict=True):
                    done(answer)

    async def _answers(self, feeds: list[Arrays]) -> list[Arrays | None]:
        """What the shadow says; nothing where it fails, whatever it fails by."""
        try:
            answers = await asyncio.wait_for(self._ask(feeds), self._patience_s)
            if len(answers) != len(feeds):
                raise ValueError(f"{len(answers)} answers to {len(feeds)} requests")  # noqa: TRY301  # a failure as any other
        except Exception as error:  # noqa: BLE001  # a user's model may raise anything; it is counted and shown
            self._count(FAILED, len(feeds))
            self.trouble = f"{type(error).__name__}: {error}"
            return [None] * len(feeds)
        lacking = sum(answer is None for answer in answers)
        self._count(FAILED, lacking)
        self._count(ANSWERED, len(answers) - lacking)
        return answers
