"""A course: requests leave when they are due, whatever the server does, and what becomes of each is written down."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import gevent
import numpy as np
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from windtunnel.driving.alarm import Alarm
from windtunnel.driving.connections import Connections, begin, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gevent import socket as green
    from numpy.typing import NDArray

    from windtunnel.driving.connections import Answer

COMPLETED, TIMED_OUT, SHED, FAILED, LEFT = range(5)
"""As in `windtunnel.request_log`, which is not imported for the table library that comes with it."""

TURNED_AWAY = (429, 503)
"""The statuses by which a server says that it has too much to do."""

AT_A_TIME = 32
"""Requests that are sent before others are let in who read answers."""

GONE_S, GONE_REFUSALS = 5.0, 20
"""Nobody but refusals for so long, and so many of them: the server is gone, and the run is over."""

KEPT_BYTES = 1 << 26
"""What answers that are kept may take; later ones are not kept."""

PIECES = 20
"""Into how many pieces a slow client cuts its body."""

NOTHING = memoryview(b"")


@dataclass(frozen=True)
class Manners:
    """What clients do when an answer does not come; as in `windtunnel.simulate.client`, chance drawn beforehand.

    Args:
        timeout_s: an attempt is waited for; for ever where zero.
        retries: attempts after the first, at most.
        backoff_s: before the first retry; doubles.
        backoff_max_s: the longest.
        budget_ratio: retries earned by a request.
        budget_burst: retries that may be saved up.
        hedge_s: after which a second attempt is sent; never where zero.
        slow_s: how long a slow client takes to send its body.
        drain_s: how long answers are waited for after the last request was sent.
    """

    timeout_s: float = 0.0
    retries: int = 0
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0
    budget_ratio: float = 0.0
    budget_burst: float = math.inf
    hedge_s: float = 0.0
    slow_s: float = 0.0
    drain_s: float = 30.0


@dataclass(frozen=True)
class Load:
    """What is sent and when, one entry a request.

    Args:
        due_s: float64, sorted, from the start.
        messages: whole HTTP requests, each used any number of times.
        message: which of them a request sends.
        leaves_s: float64, when its client goes away, from the start; inf stays.
        back_off: float64 `[n, retries]`, the share of a back-off that chance leaves.
        slow: bool, whether its client sends slowly.
    """

    due_s: NDArray[np.float64]
    messages: Sequence[memoryview]
    message: NDArray[np.int32]
    leaves_s: NDArray[np.float64]
    back_off: NDArray[np.float64]
    slow: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.due_s)


class End(NamedTuple):
    """How an attempt ended."""

    status: int
    sent_s: float
    finished_s: float
    answer: Answer | None
    attempt: int


FIGURES = ("first_sent_s", "sent_s", "finished_s", "handler_s", "queue_s", "model_s")
COUNTS = ("batch_size", "replica", "attempt", "attempts", "status", "http_status", "heard")


class Course:
    """One run over a load; the mutable part, thrown away after it.

    Args:
        load: what is sent.
        manners: of the clients.
        connections: to the server.
        at_once: requests that may be under way; unbounded in an open loop.
        told: called with how long each attempt took and the status of its answer, 0 where there was none.
        keep: whether answers are kept, each different one of each message once.
    """

    def __init__(
        self,
        load: Load,
        manners: Manners,
        connections: Connections,
        *,
        at_once: float = math.inf,
        told: Callable[[float, int], None] | None = None,
        keep: bool = False,
    ) -> None:
        self.load, self.manners, self.connections, self.at_once, self.told = load, manners, connections, at_once, told
        # a list gives its floats away faster than an array makes them
        self.due_s, self.start_s = load.due_s.tolist(), 0.0
        self.next, self.under_way, self.not_sent, self.tokens = 0, 0, 0, manners.budget_burst
        self.refused, self.refused_from_s, self.gone_s, self.over = 0, math.nan, math.nan, False
        self.stopped_s = math.nan
        self.alarm, self.following = Alarm(), set[gevent.Greenlet]()
        self.figures = {name: np.full(len(load), np.nan) for name in FIGURES}
        self.counts = {name: np.zeros(len(load), dtype=np.int32) for name in COUNTS}
        self.counts["replica"] -= 1
        self.counts["status"] += FAILED
        self.counts["heard"] -= 1
        self.kept: dict[tuple[int, int, bytes], int] | None = {} if keep else None
        self.kept_bytes = 0
        self.latencies_s: list[float] = []
        self.answered = self.lost = 0

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start_s

    def run(self, start_s: float) -> None:
        """Send everything, beginning at an instant of `time.monotonic`, and wait for the answers."""
        self.start_s = start_s
        while not self.over and self.next < len(self.due_s):
            self.dispatch()
            if self.next >= len(self.due_s):
                break
            if self.due_s[self.next] <= self.now_s() or self.under_way >= self.at_once:
                gevent.sleep(0.0 if self.under_way < self.at_once else 0.001)
            else:
                # a stop is heeded within so long
                self.alarm.wait(min(self.due_s[self.next] + start_s, time.monotonic() + 0.25))
        self.drain()

    def dispatch(self) -> None:
        """Send what is due. Whoever comes by calls it: the alarm, and everyone who has read an answer."""
        for _ in range(AT_A_TIME):
            at = self.next
            if self.over or at >= len(self.due_s) or self.under_way >= self.at_once or self.due_s[at] > self.now_s():
                return
            self.next += 1
            self.send(at)

    def send(self, request: int) -> None:
        """Send a request's first attempt, at once if there is a connection for it, and have it followed."""
        self.tokens = min(self.tokens + self.manners.budget_ratio, self.manners.budget_burst)
        self.under_way += 1
        sent_s = self.figures["first_sent_s"][request] = self.now_s()
        sock, rest = None, NOTHING
        if not self.load.slow[request]:
            sock = self.connections.idle()
        if sock is not None:
            try:
                rest = begin(sock, self.load.messages[self.load.message[request]])
            except OSError:
                self.connections.drop(sock)
                sock = None
        greenlet = gevent.spawn(self.follow, request, sent_s, sock, rest)
        self.following.add(greenlet)
        greenlet.rawlink(self.following.discard)

    def follow(self, request: int, sent_s: float, sock: green.socket | None, rest: memoryview) -> None:
        """All that a client does for a request, to its end."""
        made = 1
        if self.manners.hedge_s:
            end, made = self.race(request, sent_s, sock, rest)
        else:
            end = self.attempt(request, 0, sent_s, sock, rest)
        while not final(end):
            if made > self.manners.retries or self.tokens < 1.0:
                break
            self.tokens -= 1.0
            gone = self.rest(request, made)
            if gone:
                end = End(LEFT, end.sent_s, self.now_s(), None, end.attempt)
                break
            end, made = self.attempt(request, made, self.now_s(), None, NOTHING), made + 1
        self.settle(request, end, made)

    def rest(self, request: int, made: int) -> bool:
        """Back off before another attempt; whether the client went away meanwhile."""
        wait_s = min(self.manners.backoff_s * 2.0 ** (made - 1), self.manners.backoff_max_s)
        wait_s *= self.load.back_off[request, made - 1]
        left_s = self.load.leaves_s[request] - self.now_s()
        gevent.sleep(max(0.0, min(wait_s, left_s)))
        return bool(left_s <= wait_s)

    def race(self, request: int, sent_s: float, sock: green.socket | None, rest: memoryview) -> tuple[End, int]:
        """A first attempt and, when it takes long, a second beside it: the first answer counts; how many were made too."""
        first = gevent.spawn(self.attempt, request, 0, sent_s, sock, rest)
        runners = [first]
        try:
            first.join(max(0.0, sent_s + self.manners.hedge_s - self.now_s()))
            if not first.ready():
                runners.append(gevent.spawn(self.attempt, request, 1, self.now_s(), None, NOTHING))
            end = first.value
            for runner in gevent.iwait(list(runners)):
                end = runner.value
                if end.status in (COMPLETED, LEFT):
                    break
        finally:
            gevent.killall(runners, block=False)
        return end, len(runners)

    def attempt(self, request: int, attempt: int, sent_s: float, sock: green.socket | None, rest: memoryview) -> End:
        """One attempt, for as long as its client waits."""
        late_s = sent_s + self.manners.timeout_s if self.manners.timeout_s else math.inf
        leaves_s = self.load.leaves_s[request]
        until_s, answer = min(late_s, leaves_s), None
        timer = gevent.Timeout.start_new(max(0.0, until_s - self.now_s())) if until_s < math.inf else None
        try:
            answer = self.exchange(request, sock, rest)
            status = status_of(answer.status)
        except gevent.Timeout as over:
            if over is not timer:
                raise
            status = LEFT if leaves_s <= late_s else TIMED_OUT
        except (OSError, HTTPParseError) as error:
            status = FAILED
            self.not_sent += isinstance(error, NoConnectionError)
            self.heed(refused=isinstance(error, ConnectionRefusedError))
        else:
            self.heed(refused=False)
        finally:
            if timer is not None:
                timer.close()
        finished_s = self.now_s()
        if self.told is not None:
            self.told(finished_s - sent_s, answer.status if answer is not None else 0)
        return End(status, sent_s, finished_s, answer, attempt)

    def exchange(self, request: int, sock: green.socket | None, rest: memoryview) -> Answer:
        """Send what is not sent yet and read the answer, on a new connection if the old one was closed while nobody used it."""
        used = sock is not None
        if sock is None:
            sock, rest = self.connected(), self.load.messages[self.load.message[request]]
        try:
            if self.load.slow[request] and len(rest):
                trickle(sock, rest, self.manners.slow_s)
            elif len(rest):
                sock.sendall(rest)
            answer, reusable = receive(sock)
        except HTTPConnectionClosed:
            self.connections.drop(sock)
            if not used:
                raise
            return self.exchange(request, None, NOTHING)
        except BaseException:  # also when its client gives it up
            self.connections.drop(sock)
            raise
        (self.connections.keep if reusable else self.connections.drop)(sock)
        return answer

    def connected(self) -> green.socket:
        """A connection.

        Raises:
            NoConnectionError: all that there may be are in use.
            OSError: nobody answers there.
        """
        sock = self.connections.idle()
        if sock is not None:
            return sock
        if self.connections.exhausted:
            raise NoConnectionError
        return self.connections.fresh()

    def heed(self, *, refused: bool) -> None:
        """Count refusals in a row; after enough of them for long enough the server is gone."""
        if not refused:
            self.refused = 0
            return
        self.refused += 1
        now_s = self.now_s()
        if self.refused == 1:
            self.refused_from_s = now_s
        if self.refused >= GONE_REFUSALS and now_s - self.refused_from_s >= GONE_S and not self.over:
            self.gone_s, self.over = self.refused_from_s, True

    def settle(self, request: int, end: End, made: int) -> None:
        """Write down what became of a request, and send what is due."""
        figures, counts, answer = self.figures, self.counts, end.answer
        figures["sent_s"][request], figures["finished_s"][request] = end.sent_s, end.finished_s
        counts["attempt"][request], counts["attempts"][request] = end.attempt, made
        counts["status"][request] = end.status
        if answer is not None:
            counts["http_status"][request] = answer.status
            counts["batch_size"][request], counts["replica"][request] = answer.batch_size, answer.replica
            if answer.timing:
                for name, span_s in spans(answer.timing).items():
                    figures[name][request] = span_s
        if end.status == COMPLETED:
            if self.kept is not None and answer is not None:
                self.counts["heard"][request] = self.remember(request, answer, self.kept)
            self.answered += 1
            self.latencies_s.append(end.finished_s - self.due_s[request])
        else:
            self.lost += 1
        self.under_way -= 1
        self.dispatch()

    def remember(self, request: int, answer: Answer, kept: dict[tuple[int, int, bytes], int]) -> int:
        """Which of the kept answers this one is; −1 where there is no room for it."""
        said = (int(self.load.message[request]), answer.json_bytes, bytes(answer.body))
        if said not in kept:
            if self.kept_bytes + len(answer.body) > KEPT_BYTES:
                return -1
            kept[said] = len(kept)
            self.kept_bytes += len(answer.body)
        return kept[said]

    def drain(self) -> None:
        """Wait for those under way; who has no answer by then is given up."""
        until_s = time.monotonic() + (0.0 if self.over else self.manners.drain_s)
        while self.following and time.monotonic() < until_s and not self.over:
            gevent.wait(list(self.following), timeout=0.25)
        self.over = True
        open_now = list(self.following)
        gevent.killall(open_now)
        given_up = np.flatnonzero(np.isnan(self.figures["finished_s"][: self.next]))
        self.figures["sent_s"][given_up] = self.figures["first_sent_s"][given_up]
        self.figures["finished_s"][given_up] = self.now_s()
        self.counts["attempts"][given_up] = 1
        self.counts["status"][given_up] = TIMED_OUT
        self.alarm.close()

    def stop(self) -> None:
        """Send nothing more, and wait for nobody."""
        if not self.over:
            self.over, self.stopped_s = True, self.now_s()


class NoConnectionError(OSError):
    """All connections that there may be are in use."""


def final(end: End) -> bool:
    """Whether a client would not ask again, retries or not: answered, gone, or told that its request is wrong."""
    wrong = end.answer is not None and 400 <= end.answer.status < 500 and end.answer.status not in (408, 429)
    return end.status in (COMPLETED, LEFT) or wrong


def status_of(http_status: int) -> int:
    """What a client makes of an answer.

    Example:
        >>> [status_of(each) for each in (200, 429, 503, 500, 400)] == [COMPLETED, SHED, SHED, FAILED, FAILED]
        True
    """
    if http_status in TURNED_AWAY:
        return SHED
    return COMPLETED if 200 <= http_status < 300 else FAILED


def spans(timing: str) -> dict[str, float]:
    """What a server says of where the time went, in seconds, by the names of our columns.

    Args:
        timing: a header `Server-Timing` (W3C Server Timing, section 2), durations in milliseconds.

    Example:
        >>> spans("handler;dur=12.5, queue;dur=4, cache;desc=miss, model;dur=x")
        {'handler_s': 0.0125, 'queue_s': 0.004}
    """
    found = {}
    for metric in timing.split(","):
        name, _, rest = metric.strip().partition(";")
        if name in ("handler", "queue", "model"):
            for parameter in rest.split(";"):
                key, _, value = parameter.partition("=")
                if key.strip() == "dur":
                    try:
                        found[f"{name}_s"] = float(value.strip().strip('"')) / 1e3
                    except ValueError:
                        continue
    return found


def trickle(sock: green.socket, message: memoryview, over_s: float) -> None:
    """Send a message piece by piece, evenly over a time."""
    step = max(1, math.ceil(len(message) / PIECES))
    for at in range(0, len(message), step):
        sock.sendall(message[at : at + step])
        gevent.sleep(over_s / PIECES)
