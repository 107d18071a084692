"""An Assault: conversations held with a server during a part of a run, bounded in number, connections and time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from windtunnel.errors import MeasurementError

from .content import Bodies, Datatypes, Documents, Shapes, Values
from .conversation import Pause, Turn
from .processes import Processes
from .replies import read_replies
from .wire import Bombs, HalfClosed, Idle, Lengths, Oversized, Pipelined, Places, Resets, Slow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.live.drive import Progress

    from .conversation import Conversation, Material, Step
    from .family import Family
    from .replies import Reply

FAMILIES: tuple[type[Family], ...] = (
    Bodies, Documents, Lengths, Shapes, Datatypes, Values, Places, Oversized, Bombs, HalfClosed, Resets, Pipelined, Slow, Idle,
)  # fmt: skip

BLOCK = 1 << 16
"""Bytes that are read at once."""

LONGEST_ANSWER = 1 << 24
"""More is not listened to."""

MOST_BYTES = 1 << 29
"""So much is made beforehand to be sent, and so much is kept of what was answered; where it is reached no more is begun."""

OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""What a connection fails with for want of something on this side, which is no server's fault."""

End = Literal["answered", "closed", "refused", "hung", "left", "held", "cut", "garbled"]
"""How a conversation ended: with an answer to everything; closed by the server; not even begun, for nobody answers; neither within the limit;
left by the adversary, or too long to be heard out; kept open to the end, as it may be; open when the assault was over; with what is no HTTP."""


@dataclass(frozen=True)
class Hostility:
    """How much is done.

    Args:
        rate_per_s: quick conversations begun in a second.
        most: conversations at all, slow and idle ones too.
        quick: at once.
        slow: connections that trickle, at once.
        idle: connections that do nothing.
        limit_s: within so long an answer or a closed connection must come, counted from the connection's start.
        families: which.
    """

    rate_per_s: float = 40.0
    most: int = 20_000
    quick: int = 8
    slow: int = 32
    idle: int = 32
    limit_s: float = 15.0
    families: tuple[type[Family], ...] = FAMILIES


@dataclass(frozen=True)
class Outcome:
    """What became of a conversation.

    Args:
        family: its name.
        number: which of the family's it is; with the seed it is the same again.
        conversation: itself.
        end: how it ended.
        replies: what was answered.
        seconds: how long it took.
    """

    family: str
    number: int
    conversation: Conversation
    end: End
    replies: tuple[Reply, ...]
    seconds: float


@dataclass
class _Line:
    """One connection while it is used; thrown away afterwards."""

    conversation: Conversation
    heard: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def replies(self) -> list[Reply] | None:
        return read_replies(bytes(self.heard), ended=self.ended)


async def converse(
    address: tuple[str, int], family: str, number: int, conversation: Conversation, limit_s: float
) -> Outcome:
    """Hold one conversation. Where the task is cancelled it ends as it is.

    Args:
        address: number and port.
        family: whose it is.
        number: which of them.
        conversation: what is done.
        limit_s: when it hangs.
    """
    began_s, line = time.monotonic(), _Line(conversation)
    end: End = "hung"
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.setblocking(False)
    sender: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None if conversation.held else limit_s):
            await asyncio.get_running_loop().sock_connect(sock, address)
            sender = asyncio.create_task(_send(sock, conversation.steps))
            end = await _listen(sock, line, sender)
    except TimeoutError:
        pass  # it hangs
    except OSError as error:  # of the connection's beginning: later ones are its end
        if error.errno in OUR_OWN:
            raise
        end = "refused"
    except asyncio.CancelledError:
        end = _stopped(line, late=time.monotonic() - began_s > limit_s)
    finally:
        if sender is not None:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sender
        sock.close()
    return Outcome(family, number, conversation, end, tuple(line.replies() or ()), time.monotonic() - began_s)


def _stopped(line: _Line, *, late: bool) -> End:
    """How a conversation ends that we end: one that may stay open had to be answered first, where it asked something."""
    if not line.conversation.held:
        return "cut"
    if len(line.replies() or ()) >= len(line.conversation.meant):
        return "held"
    return "hung" if late else "cut"


async def _send(sock: socket.socket, steps: Sequence[Step]) -> None:
    """Do what is to be done; a server that does not listen any more has said, or will, what it has to say."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for step in steps:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, bytes):
                await loop.sock_sendall(sock, step)
            elif step is Turn.HALF_CLOSE:
                sock.shutdown(socket.SHUT_WR)
            elif step is Turn.RESET:  # closed at once, and what is unsent is thrown away: socket(7)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _listen(sock: socket.socket, line: _Line, sender: asyncio.Task[None]) -> End:
    if line.conversation.leaves:
        await sender
        return "left"
    loop, wanted = asyncio.get_running_loop(), max(1, len(line.conversation.meant))
    while not line.ended:
        try:
            piece = await loop.sock_recv(sock, BLOCK)
        except OSError:  # reset
            piece = b""
        line.heard += piece
        if len(line.heard) > LONGEST_ANSWER:
            return "left"
        line.ended = not piece
        replies = line.replies()
        if replies is None:
            return "garbled"
        if len(replies) >= wanted and not line.conversation.held:
            await _linger(sock, line)
            return "garbled" if line.replies() is None else "answered"
    return "answered" if len(line.replies() or ()) >= wanted else "closed"


async def _linger(sock: socket.socket, line: _Line) -> None:
    """Listen for one answer too many."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(line.conversation.linger_s):
            while line.conversation.linger_s and len(line.heard) < LONGEST_ANSWER:
                piece = await asyncio.get_running_loop().sock_recv(sock, BLOCK)
                if not piece:
                    return
                line.heard += piece


class Assault:
    """Conversations with a server between two moments of a run; a thread of its own holds them, and ends with the block.

    Args:
        material: of which conversations are made; its target was found to be one's own to load.
        hostility: how much is done.
        begin_s: when it begins, from the run's first request.
        until_s: when it is over.
        seeds: stream `adversary`.
    """

    def __init__(self, material: Material, hostility: Hostility, begin_s: float, until_s: float, seeds: Seeds) -> None:
        self.address, self.hostility = material.target.address, hostility
        self.begin_s, self.until_s = begin_s, until_s
        self.outcomes: list[Outcome] = []
        self.crashes: int | None = None
        self._begun = self._kept_bytes = 0
        self._error: Exception | None = None
        self._start_s: float | None = None
        self._told, self._over = threading.Event(), threading.Event()
        self._made = {family: enumerate(family().conversations(material, seeds)) for family in hostility.families}
        # all of them beforehand, so that making them takes no core from the server
        self._quick = list(self._plan())
        self._thread = threading.Thread(target=self._run, name="adversary", daemon=True)

    def _plan(self) -> Iterator[tuple[str, int, Conversation]]:
        """The quick ones, a family at a time in turn."""
        families = [each for each in self.hostility.families if each.pace == "quick"]
        lasts_s, held_bytes = self.until_s - self.begin_s, 0
        for at in range(min(self.hostility.most, int(self.hostility.rate_per_s * lasts_s)) if families else 0):
            family = families[at % len(families)]
            number, conversation = next(self._made[family])
            held_bytes += conversation.size_bytes
            if held_bytes > MOST_BYTES:
                return
            yield family.name, number, conversation

    def heed(self, progress: Progress) -> None:
        """Learn from a run how far it is; the first word of it is the start."""
        if self._start_s is None:
            self._start_s = time.monotonic() - progress.at_s
            self._told.set()

    def wait(self) -> None:
        """Return when it is over by itself, once it was told of the run's start."""
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._told.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise MeasurementError(f"the adversary did not come to its end: {self._error}") from self._error

    def _run(self) -> None:
        try:
            self._come()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised where the block ends
            self._error = error

    def _come(self) -> None:
        """Come when it is time, and see who is gone afterwards."""
        self._told.wait()
        if self._start_s is None or self._over.wait(max(0.0, self._start_s + self.begin_s - time.monotonic())):
            return
        processes = Processes.serving(self.address)
        asyncio.run(self._assail(self._start_s + self.until_s))
        self.crashes = processes.gone()

    async def _assail(self, until_s: float) -> None:
        """Hold them all until then, or until the block ends."""
        hostility = self.hostility
        quick = iter(list(enumerate(self._quick)))
        began_s = time.monotonic()
        workers = [self._quickly(quick, began_s) for _ in range(hostility.quick)]
        for family in hostility.families:
            if family.pace != "quick":
                count = hostility.slow if family.pace == "slow" else hostility.idle
                workers += [self._slowly(family, until_s) for _ in range(count)]
        tasks = [asyncio.create_task(each) for each in workers]
        watch = asyncio.create_task(asyncio.to_thread(self._over.wait, max(0.0, until_s - time.monotonic())))
        held: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait([watch, held], return_when=asyncio.FIRST_COMPLETED)
        self._over.set()  # first: who is closing a connection does not hear that he is cancelled, and must begin no other
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _goes_on(self) -> bool:
        """Whether another conversation may be begun."""
        return not self._over.is_set() and self._begun < self.hostility.most and self._kept_bytes < MOST_BYTES

    async def _hold(self, family: str, number: int, conversation: Conversation) -> End:
        self._begun += 1
        outcome = await converse(self.address, family, number, conversation, self.hostility.limit_s)
        self.outcomes.append(outcome)
        self._kept_bytes += sum(len(reply.body) for reply in outcome.replies)
        return outcome.end

    async def _quickly(self, quick: Iterator[tuple[int, tuple[str, int, Conversation]]], began_s: float) -> None:
        """One after the other, none before it is due."""
        for at, each in quick:
            await asyncio.sleep(began_s + at / self.hostility.rate_per_s - time.monotonic())
            if not self._goes_on() or await self._hold(*each) == "cut":
                return

    async def _slowly(self, family: type[Family], until_s: float) -> None:
        """One after the other, as long as there is time to see how it ends."""
        while self._goes_on():
            number, conversation = next(self._made[family])
            ended = await self._hold(family.name, number, conversation)
            if ended in ("cut", "held") or time.monotonic() > until_s - self.hostility.limit_s:
                return
            await asyncio.sleep(0.1)  # a server that is gone refuses at once
