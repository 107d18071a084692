"""One queue, replicas, and batches that leave when they are full or their oldest has waited: the whole of it in one loop.

The older and shorter of the two references: `shared_queue` is held against it.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from .luck import uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

FINISH, ARRIVE, LOOK = 0, 1, 2
"""What can happen, in the order in which it happens at one instant."""


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
