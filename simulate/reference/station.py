"""A station: a queue, a batcher, and executors that serve a batch at a time."""

from __future__ import annotations

import math
from collections import deque
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from windtunnel.request_log import FAILED, SHED, TIMED_OUT

from .calendar import Kind
from .luck import uniform
from .shelf import Shelf

if TYPE_CHECKING:
    from .flight import SlowFlight
    from .request import Attempt


class State(Enum):
    """What a station may be: away; being started; serving; serving what it has, and nothing new."""

    DOWN = auto()
    STARTING = auto()
    UP = auto()
    DRAINING = auto()


class Station:
    """One queue by priority, the batches closed from it, and what is being served.

    Args:
        flight: all the others.
        index: which one it is.
        seed: of service times.
    """

    def __init__(self, flight: SlowFlight, index: int, seed: int) -> None:
        system = flight.system
        self.flight, self.calendar, self.index, self.seed = flight, flight.calendar, index, seed
        self.table = system.by_group[system.groups[index] if system.groups else 0]
        self.padded = system.batcher.padded(system.batcher.max_batch)
        self.own_slowness = system.slowness[index] if system.slowness else 1.0
        self.slowed: list[float] = []
        caps = [cap for cap in (system.admission.max_waiting, system.batcher.max_waiting) if cap >= 0]
        self.max_waiting = min(caps, default=math.inf)
        self.state, self.is_broken, self.life = State.DOWN, False, 0
        self.queue: list[Attempt] = []
        self.closed: deque[list[Attempt]] = deque()
        self.executing: list[list[Attempt] | None] = [None] * system.executors
        self.twin, self.wake_s = system.batcher.twin(), math.inf
        self.shelf = Shelf(self, system.multiplex) if system.multiplex else None

    @property
    def models(self) -> set[int]:
        """The models that it holds, or that somebody there wants."""
        inside = [*self.queue, *(attempt for batch in (*self.closed, *self.executing) for attempt in batch or [])]
        return {attempt.request.key for attempt in inside}.union(self.shelf.at_hand if self.shelf else ())

    @property
    def queued(self) -> int:
        """Attempts that are not being served yet."""
        return len(self.queue) + sum(len(batch) for batch in self.closed)

    @property
    def ongoing(self) -> int:
        """Attempts that wait or are served."""
        return self.queued + sum(len(batch) for batch in self.executing if batch)

    @property
    def accepts(self) -> bool:
        """Whether the router may send another one."""
        max_ongoing = self.flight.system.admission.max_ongoing
        return self.state is State.UP and self.ongoing < max_ongoing and self.queued < self.max_waiting

    def take_in(self, attempt: Attempt) -> None:
        """An attempt comes from the router."""
        attempt.queued_s = self.calendar.now_s
        self.queue.append(attempt)
        self.queue.sort(key=lambda each: each.request.priority)
        self.change()

    def change(self) -> None:
        """Look at the end of the instant."""
        self.flight.changed.add(self.index)

    def lose(self, attempts: int) -> None:
        """So many are no longer here."""
        self.flight.count_inside(-attempts)
        self.change()

    # Batches.

    def look(self) -> None:
        """Start what is closed and ask the batcher, until it has nothing more to say."""
        if self.state in (State.DOWN, State.STARTING):
            return
        decided = True
        while decided:
            self.start_closed()
            count, drop, wake_s = self.ask()
            if drop:
                dropped = self.queue.pop(0)
                self.lose(1)
                self.flight.clients.refuse(dropped, SHED)
            if count:
                self.closed.append(self.queue[:count])
                del self.queue[:count]
            decided = bool(count or drop)
        self.look_again_at(wake_s)
        if self.state is State.DRAINING and self.ongoing == 0:
            self.go_down()

    def ask(self) -> tuple[int, int, float]:
        """What the batcher says."""
        came_s = [attempt.queued_s for attempt in self.queue]
        idle = self.executing.count(None)
        return self.twin.close(
            self.calendar.now_s, idle, len(self.queue), min(came_s, default=math.inf), max(came_s, default=-math.inf)
        )

    def look_again_at(self, time_s: float) -> None:
        """Look once more then, unless another time is named before."""
        if time_s < math.inf and time_s != self.wake_s:
            self.calendar.at(time_s, Kind.LOOK, partial(self.wake, time_s, self.life))
        self.wake_s = time_s

    def wake(self, time_s: float, life: int) -> None:
        """The time that was named, if it still holds."""
        if self.wake_s == time_s and self.life == life:
            self.wake_s = math.inf
            self.change()

    def start_closed(self) -> None:
        """Closed batches begin in order, as long as an executor is idle."""
        while self.closed and None in self.executing:
            self.start(self.closed.popleft())

    def start(self, batch: list[Attempt]) -> None:
        """A batch begins, without those whom nobody waits for or who are too late."""
        staying = [attempt for attempt in batch if not self.is_dropped(attempt)]
        if len(staying) < len(batch):
            self.lose(len(batch) - len(staying))
        for attempt in batch:
            if attempt not in staying:
                self.flight.clients.refuse(attempt, TIMED_OUT)
        if staying and self.shelf:
            self.shelf.take(staying)
        elif staying:
            self.serve(staying)
        else:
            self.twin.learn(self.calendar.now_s, 0, 0.0, 0.0)

    def is_dropped(self, attempt: Attempt) -> bool:
        """Whether it is not worth serving."""
        admission = self.flight.system.admission
        late = self.calendar.now_s > attempt.request.deadline_s
        return (admission.drops_abandoned and attempt.is_abandoned) or (admission.drops_late and late)

    def serve(self, batch: list[Attempt]) -> None:
        """The idle executor with the lowest index serves it."""
        executor = self.executing.index(None)
        self.executing[executor] = batch
        service_s = self.begin(batch, executor)
        self.calendar.at(
            self.calendar.now_s + service_s, Kind.FINISH, partial(self.finish, executor, service_s, self.life)
        )

    def begin(self, batch: list[Attempt], executor: int) -> float:
        """What of a batch is served together begins; the largest of it decides how long it takes."""
        now_s, first = self.calendar.now_s, batch[0]
        times = self.table[max(attempt.request.size for attempt in batch), self.padded[len(batch)]]
        luck = uniform(self.seed, first.request.index + (first.number << 44))
        service_s = float(times[int(luck * len(times))]) * self.slowness
        for attempt in batch:
            attempt.started_s, attempt.batch_size = now_s, len(batch)
            attempt.replica = self.index * len(self.executing) + executor
        self.flight.batches += 1
        self.flight.served += len(batch)
        return service_s

    def finish(self, executor: int, service_s: float, life: int) -> None:
        """A batch ends, if the station has not crashed under it."""
        if life != self.life:
            return
        batch = self.executing[executor]
        assert batch is not None, "what ends was begun"
        self.executing[executor] = None
        self.lose(len(batch))
        waited_s = max(attempt.started_s - attempt.queued_s for attempt in batch)
        self.twin.learn(self.calendar.now_s, len(batch), service_s, waited_s)
        for attempt in batch:
            self.flight.clients.answer(attempt)

    # What befalls it.

    @property
    def slowness(self) -> float:
        """How many times as long a batch takes that begins now."""
        return math.prod(self.slowed, start=self.own_slowness)

    def start_up(self, cold_start_s: float) -> None:
        """It is wanted, and will be up in a while."""
        self.state = State.STARTING
        self.flight.count_replicas(len(self.executing))
        self.calendar.at(self.calendar.now_s + cold_start_s, Kind.STATE, partial(self.started, self.life))

    def started(self, life: int) -> None:
        """It is up, if it is still wanted."""
        if self.state is State.STARTING and self.life == life:
            self.come_up()

    def come_up(self) -> None:
        """It serves from now on."""
        self.state = State.UP
        self.change()

    def drain(self) -> None:
        """Take nothing new on; go down when the rest is served."""
        if self.state is State.STARTING:
            self.go_down()
        elif self.state is State.UP:
            self.state = State.DRAINING
            self.change()

    def give_notice(self) -> None:
        """Its machine will be taken away: it drains, and is not started again before it has another."""
        self.is_broken = True
        self.drain()

    def crash(self) -> None:
        """It is gone; everything that is in it fails: what is served, what is closed, what waits."""
        self.is_broken = True
        if self.state is State.DOWN:
            return
        lost = [batch for batch in (*self.executing, *self.closed, self.queue) if batch]
        self.queue, self.closed, self.executing = [], deque(), [None] * len(self.executing)
        self.go_down()
        for attempt in (attempt for batch in lost for attempt in batch):
            self.lose(1)
            self.flight.clients.refuse(attempt, FAILED)

    def mend(self) -> None:
        """What was broken comes up again."""
        if self.is_broken and self.state is State.DOWN:
            self.is_broken = False
            self.flight.count_replicas(len(self.executing))
            self.come_up()

    def go_down(self) -> None:
        """It is away; whoever comes up in its place knows nothing of it."""
        self.state = State.DOWN
        self.life += 1
        self.twin, self.wake_s = self.flight.system.batcher.twin(), math.inf
        if self.flight.system.multiplex:
            self.shelf = Shelf(self, self.flight.system.multiplex)
        self.flight.count_replicas(-len(self.executing))
