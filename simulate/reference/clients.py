"""Clients: they send attempts, give up on them, hedge, ask again, and go away."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from windtunnel.request_log import COMPLETED, LEFT, TIMED_OUT

from .calendar import Kind
from .luck import uniform
from .request import Attempt, Request

if TYPE_CHECKING:
    from windtunnel.simulate.population import Population

    from .flight import SlowFlight


def first_asks_s(population: Population, seed: int) -> list[float]:
    """When each user asks for the first time: all are in the midst of thinking."""
    draws = [uniform(seed, 2 * (user + (2 << 44))) for user in range(population.users)]
    if population.law == "exponential":
        draws = [-math.log(1.0 - draw) for draw in draws]
    return [population.think_s * draw for draw in draws]


class Clients:
    """All clients; they share the budget of retries."""

    def __init__(self, flight: SlowFlight, seed: int) -> None:
        self.flight, self.calendar, self.habits, self.seed = flight, flight.calendar, flight.system.client, seed
        self.tokens = self.habits.budget_burst

    def think(self, request: Request) -> None:
        """The user whose request is over thinks."""
        population = self.flight.population
        if population is None:
            return
        span_s = population.think_s
        if population.law == "exponential":
            span_s *= -math.log(1.0 - uniform(self.seed, 2 * (request.index + (1 << 44))))
        self.expect(request.key, self.calendar.now_s + span_s)

    def expect(self, user: int, time_s: float) -> None:
        """A user will ask then, if that is not too late, and not enough have asked."""
        flight = self.flight
        if flight.may_ask and time_s < flight.closes_s:
            flight.thinking += 1
            self.calendar.at(time_s, Kind.ASK, partial(self.ask, user))

    def ask(self, user: int) -> None:
        """A user has thought, and asks, if not enough have asked meanwhile."""
        flight = self.flight
        flight.thinking -= 1
        if flight.may_ask:
            request = Request(len(flight.requests), self.calendar.now_s, 0, 0, math.inf, user)
            flight.requests.append(request)
            self.arrive(request)

    def end(self, attempt: Attempt, status: int) -> None:
        """A request is over."""
        attempt.request.end(attempt, self.calendar.now_s, status)
        self.think(attempt.request)

    def arrive(self, request: Request) -> None:
        """A request is due: its client sends the first attempt, and may go away at some time."""
        self.flight.arrived += 1
        self.tokens = min(self.tokens + self.habits.budget_ratio, self.habits.budget_burst)
        if self.habits.patience_s:
            patience_s = -math.log(1.0 - uniform(self.seed, 2 * request.index)) * self.habits.patience_s
            self.calendar.at(self.calendar.now_s + patience_s, Kind.LEAVE, partial(self.leave, request))
        self.send(request)

    def send(self, request: Request) -> None:
        """One more attempt leaves the client."""
        if request.row is not None:
            return
        now_s, attempt = self.calendar.now_s, Attempt(request, request.sent, self.calendar.now_s)
        request.sent += 1
        request.awaited.append(attempt)
        self.flight.attempts += 1
        if self.habits.timeout_s:
            self.calendar.at(now_s + self.habits.timeout_s, Kind.TIMEOUT, partial(self.time_out, attempt))
        if self.habits.hedge_s and attempt.number == 0:
            self.calendar.at(now_s + self.habits.hedge_s, Kind.HEDGE, partial(self.hedge, attempt))
        self.flight.proxy.take_in(attempt)

    def hedge(self, attempt: Attempt) -> None:
        """A second attempt is sent while the first is still awaited."""
        if not attempt.is_abandoned:
            self.send(attempt.request)

    def answer(self, attempt: Attempt) -> None:
        """An attempt was served; the first answer counts."""
        if attempt.is_abandoned:
            self.flight.wasted += 1
        else:
            self.end(attempt, COMPLETED)

    def time_out(self, attempt: Attempt) -> None:
        """The client no longer waits for an attempt, which does not know."""
        self.refuse(attempt, TIMED_OUT)

    def refuse(self, attempt: Attempt, status: int) -> None:
        """Nothing will come of an attempt: wait for its twin, ask again, or end."""
        request = attempt.request
        if attempt.is_abandoned:
            return
        request.awaited.remove(attempt)
        # as it was then: what becomes of it later its client does not learn
        request.latest = replace(attempt)
        if not request.awaited and not self.ask_again(request):
            self.end(attempt, status)

    def ask_again(self, request: Request) -> bool:
        """Send another attempt after a while, if retries are left and the budget has a token."""
        habits = self.habits
        if request.sent > habits.retries or self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        wait_s = min(habits.backoff_s * 2.0 ** (request.sent - 1), habits.backoff_max_s)
        wait_s *= 1.0 - habits.jitter * uniform(self.seed, 2 * (request.index + (request.sent << 44)) + 1)
        self.calendar.at(self.calendar.now_s + wait_s, Kind.RESEND, partial(self.send, request))
        return True

    def leave(self, request: Request) -> None:
        """The client goes away for good."""
        if request.row is None:
            attempt = request.awaited[0] if request.awaited else request.latest
            assert attempt is not None, "what was never sent cannot be waited for"
            self.end(attempt, LEFT)
