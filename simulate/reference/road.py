"""The road, slowly: clients, a way in, event loops that stand still while the model runs, a way back."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.simulate.batching.ray_serve import BlockedRayServeTwin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.simulate.batching import RayServeBatching


class Step(NamedTuple):
    """What became of one request; seconds."""

    entered_s: float
    started_s: float
    ended_s: float
    finished_s: float
    batch_size: int
    replica: int


class Course(NamedTuple):
    """What the stations of a road do, each as a function.

    Args:
        way_s: seconds from client to replica and from replica to client, for a request by its number.
        service_s: what a batch takes, by its number, its size, its first request, and how long the loop was idle before it.
        late_s: by how much a timer is late, by the number of the batch (replicas come first).
        entry_s: of the loop, for a request.
        dispatch_s: from when a batch is closed to when the loop stands still for it.
        join_s: by how much later a timer fires for each that joins while it runs.
        ongoing: requests that a replica takes on at once.
        resume_s: from the end of a batch, by its size, to when the loop goes on, and
        knock_s: so much more for each that has come meanwhile.
        loop: by how much more the loop takes of these after a batch, by its number and its first request.
        company_s: of the way back, for each other request of the batch.
        rank_s: of the way back, for each answer before it.
    """

    way_s: Callable[[int], tuple[float, float]]
    service_s: Callable[[int, int, int, float], float]
    late_s: Callable[[int], float]
    entry_s: float = 0.0
    dispatch_s: float = 0.0
    join_s: float = 0.0
    ongoing: int = 1_000_000
    resume_s: Callable[[int], float] = lambda _: 0.0
    knock_s: float = 0.0
    loop: Callable[[int, int], float] = lambda _batch, _first: 1.0
    company_s: float = 0.0
    rank_s: float = 0.0


class Replica:
    """One event loop: it takes requests in one by one, gathers a batch, and stands still while that is served."""

    def __init__(self, number: int, batching: RayServeBatching, course: Course) -> None:
        self.number, self.batching, self.course = number, batching, course
        self.inbox: deque[int] = deque()
        self.queue: deque[int] = deque()
        self.closed: list[int] = []
        self.resumes = self.read = self.heard = 0
        self.slow = 1.0
        self.under_way: list[int] = []
        self.free_s, self.ended_s, self.wake_s, self.begins_s = 0.0, -math.inf, math.inf, math.inf
        self.twin = BlockedRayServeTwin(batching)
        self.wind(number)

    def wind(self, number: int) -> None:
        """The next timer is late by its own luck."""
        late_s = max(self.course.late_s(number) - self.course.dispatch_s, 0.0)
        self.time(self.batching.max_wait_s + late_s)

    def time(self, max_wait_s: float) -> None:
        """The timer takes so long."""
        self.twin.batching = self.twin.gathering.batching = replace(self.batching, max_wait_s=max_wait_s)

    @property
    def comes_in(self) -> int:
        """How many of those who knock may come in."""
        return min(len(self.inbox), self.course.ongoing - len(self.queue) - len(self.closed))

    @property
    def next_s(self) -> float:
        """When its loop has something to do."""
        if self.read if self.closed else self.comes_in:
            return self.free_s
        return max(self.free_s, self.begins_s if self.closed else self.wake_s)

    @property
    def is_due(self) -> bool:
        """Whether the batch that was closed begins now."""
        return bool(self.closed) and not self.read

    def turn(self, entered_s: dict[int, float]) -> None:
        """Go on after a batch, or take one in, and see whether a batch leaves."""
        now_s = self.next_s
        if self.resumes:
            course = self.course
            now_s += self.slow * (course.resume_s(self.resumes) + course.knock_s * (len(self.inbox) - self.heard))
            self.resumes, self.read, self.heard = 0, self.comes_in, len(self.inbox)
        elif self.comes_in:
            now_s += self.slow * (self.course.entry_s + (0.0 if self.heard else self.course.knock_s))
            self.read, self.heard = max(self.read - 1, 0), max(self.heard - 1, 0)
            entered_s[self.inbox[0]] = now_s
            if self.queue:
                self.time(self.twin.batching.max_wait_s + self.course.join_s)
            self.queue.append(self.inbox.popleft())
        self.free_s = now_s
        if self.closed:
            if len(self.closed) >= self.batching.max_batch:
                self.twin.leave_over(now_s, len(self.queue))
            return
        leaves, _, self.wake_s = self.twin.close(now_s, 1, len(self.queue), -math.inf, now_s)
        if leaves:
            self.closed = [self.queue.popleft() for _ in range(leaves)]
            self.begins_s, self.read = now_s + self.course.dispatch_s, self.comes_in


def drive_slowly(scheduled_s: Sequence[float], batching: RayServeBatching, replicas: int, course: Course) -> list[Step]:
    """Send requests down the road.

    Args:
        scheduled_s: sorted: when each should be sent.
        batching: of a handler that blocks.
        replicas: how many; the one with the fewest requests under way gets the next, in turn where several have.
        course: what the stations do.

    Returns:
        One `Step` a request.
    """
    calls = [(at_s + course.way_s(each)[0], each) for each, at_s in enumerate(scheduled_s)]
    heapq.heapify(calls)
    each_replica = [Replica(number, batching, course) for number in range(replicas)]
    entered_s: dict[int, float] = {}
    steps: dict[int, Step] = {}
    batches, last = 0, replicas - 1
    while len(steps) < len(scheduled_s):
        nearest = min(each_replica, key=lambda replica: replica.next_s)
        if calls and calls[0][0] <= nearest.next_s:
            came_s, request = heapq.heappop(calls)
            last = _route(each_replica, last, came_s, steps)
            chosen = each_replica[last]
            chosen.free_s = chosen.free_s if chosen.inbox else max(chosen.free_s, came_s)
            chosen.inbox.append(request)
            chosen.under_way.append(request)
        elif nearest.is_due:
            first = nearest.closed[0]
            _serve(nearest, batches, entered_s, steps)
            nearest.slow = course.loop(batches, first)
            batches += 1
            nearest.wind(replicas + batches)
        else:
            nearest.turn(entered_s)
    return [steps[each] for each in range(len(scheduled_s))]


def _route(each_replica: list[Replica], last: int, now_s: float, steps: dict[int, Step]) -> int:
    """Who has the fewest under way, in turn after the last."""
    for replica in each_replica:
        replica.under_way = [each for each in replica.under_way if each not in steps or steps[each].ended_s > now_s]
    turn = [(last + step) % len(each_replica) for step in range(1, len(each_replica) + 1)]
    return min(turn, key=lambda number: len(each_replica[number].under_way))


def _serve(replica: Replica, batch: int, entered_s: dict[int, float], steps: dict[int, Step]) -> None:
    """The loop stands still; then answers leave one after the other."""
    course, size = replica.course, len(replica.closed)
    begins_s = max(replica.begins_s, replica.free_s)
    ends_s = begins_s + course.service_s(batch, size, replica.closed[0], begins_s - replica.ended_s)
    for rank, request in enumerate(replica.closed):
        back_s = course.way_s(request)[1] + course.company_s * (size - 1) + course.rank_s * rank
        steps[request] = Step(entered_s[request], begins_s, ends_s, ends_s + back_s, size, replica.number)
    replica.twin.learn(ends_s, size, ends_s - begins_s, 0.0)
    replica.closed, replica.begins_s = [], math.inf
    replica.free_s, replica.ended_s, replica.wake_s, replica.resumes = ends_s, ends_s, ends_s, size
