"""The same server as `kernel.py`, told event by event in plain Python: slow, and there to be checked against by eye.

A calendar of `(time, priority, sequence)` entries decides what happens next, as in simpy; the priorities are the order
within one instant. It shares no line with the kernel, not even the generator of random numbers.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FINISH, ARRIVE, LOOK = 0, 1, 2
"""What can happen, in the order in which it happens at one instant."""

_MASK = 2**64 - 1
_WEYL = 0x9E3779B97F4A7C15


def _mix(state: int) -> int:
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def uniform(seed: int, counter: int) -> float:
    """The `counter`-th number in [0, 1) of a seed's SplitMix64 stream.

    Example:
        >>> uniform(1, 7) == uniform(1, 7) != uniform(1, 8)
        True
    """
    state = (_mix((seed + _WEYL) & _MASK) + (counter + 1) * _WEYL) & _MASK
    return (_mix(state) >> 11) * 2.0**-53


def serve_slowly(
    arrivals_s: Sequence[float],
    service_s: Sequence[Sequence[float]],
    max_batch: int,
    max_wait_s: float,
    replicas: int,
    seed: int,
) -> list[tuple[float, float, int, int]]:
    """Serve every request; a row a request: started_s, finished_s, replica, batch_size.

    Args:
        arrivals_s: sorted.
        service_s: a row of equally likely service times per batch size, above zero from row 1.
        max_batch: the largest batch.
        max_wait_s: how long the oldest request waits for company.
        replicas: how many servers.
        seed: of the service times.

    Example:
        Two share a batch, which leaves when the first has waited half a second; the third is served alone.

        >>> serve_slowly([0.0, 0.25, 2.0], [[0.0], [1.0], [3.0]], 2, 0.5, 2, seed=1)
        [(0.25, 3.25, 0, 2), (0.25, 3.25, 0, 2), (2.5, 3.5, 1, 1)]
    """
    served: list[tuple[float, float, int, int]] = []
    waiting: deque[int] = deque()
    idle = set(range(replicas))
    calendar = [(time, ARRIVE, request) for request, time in enumerate(arrivals_s)]
    heapq.heapify(calendar)
    while calendar:
        now, event, subject = heapq.heappop(calendar)
        if event == FINISH:
            idle.add(subject)
            heapq.heappush(calendar, (now, LOOK, 0))
        elif event == ARRIVE:
            waiting.append(subject)
            heapq.heappush(calendar, (now, LOOK, 0))
            heapq.heappush(calendar, (now + max_wait_s, LOOK, 0))
        else:
            while idle and waiting and (len(waiting) >= max_batch or now >= arrivals_s[waiting[0]] + max_wait_s):
                batch = [waiting.popleft() for _ in range(min(max_batch, len(waiting)))]
                server = min(idle)
                idle.remove(server)
                row = service_s[len(batch)]
                done = now + row[int(uniform(seed, batch[0]) * len(row))]
                served += [(now, done, server, len(batch))] * len(batch)
                heapq.heappush(calendar, (done, FINISH, server))
    return served
