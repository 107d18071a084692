"""An assault on servers with a planted fault: each is found, and a sound one is found sound."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import MeasurementError
from windtunnel.seeds import Seeds
from windtunnel.serving.remote import Address, RemoteModel
from windtunnel.simulate.live import Target
from windtunnel.simulate.live.adversary import assault as assaults
from windtunnel.simulate.live.adversary.assault import FAMILIES, Assault, Hostility, converse
from windtunnel.simulate.live.adversary.conversation import Conversation, Material, Pause
from windtunnel.simulate.live.adversary.judgement import findings_of, tally
from windtunnel.simulate.live.adversary.oracle import Oracle
from windtunnel.simulate.live.drive import Progress
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.simulate.live.adversary.conversation import Arrays
    from windtunnel.simulate.live.adversary.judgement import Finding

ROWS = [{"x": np.random.default_rng(at).normal(size=(1, 4)).astype(np.float32)} for at in range(16)]

LASTS_S, LIMIT_S, RATE_PER_S = 2.5, 1.0, 60.0


@contextmanager
def vulnerable(fault: str) -> Iterator[str]:
    """The address of a server with that fault."""
    command = [sys.executable, str(Path(__file__).with_name("vulnerable.py")), fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def summed(feeds: Arrays) -> Arrays:
    """The model alone."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {"y": feeds["x"].sum(axis=1)}


def assail(fault: str, *names: str) -> tuple[Assault, list[Finding]]:
    """Assail a server with that fault with the families of these names, all where none is named."""
    families = tuple(each for each in FAMILIES if not names or each.name in names)
    hostility = Hostility(
        rate_per_s=RATE_PER_S, most=60 if names else 1000, slow=4, idle=4, limit_s=LIMIT_S, families=families
    )
    with vulnerable(fault) as url:
        target = Target.find(url, "sum")
        assault = Assault(Material(target, ROWS), hostility, 0.0, LASTS_S, Seeds(1))
        with assault:
            assault.heed(Progress(0.0, 1, 0, 0, 0, 0, math.nan, math.nan))
            assault.wait()
    return assault, findings_of(assault.outcomes, Oracle.of(summed, ROWS, stack=True))


@pytest.mark.parametrize(
    ("fault", "family", "found"),
    [
        ("wrong", "pipelined", "wrong"), ("take", "shapes", "taken"), ("hang", "json", "hung"), ("patient", "slowloris", "hung"),
        ("crash", "shapes", "gone"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(fault: str, family: str, found: str) -> None:
    """Whoever answers wrongly, takes what is malformed, hangs, waits for ever or dies is found out, with the family that did it."""
    _, findings = assail(fault, family)

    assert found in {each.fault for each in findings}
    assert {each.family for each in findings} == {family}


def test_a_process_that_was_started_anew_is_a_crash() -> None:
    """A server that ends and comes back at once under the same address is seen to have ended."""
    assault, _ = assail("restart", "shapes")

    assert assault.crashes is not None
    assert assault.crashes >= 1


def test_a_sound_server_stands() -> None:
    """No finding, no process ended, every family tried, and its connections bounded; the slow ones were given up."""
    assault, findings = assail("none")
    told: dict[str, Any] = {each.name: tally(each.name, assault.outcomes, findings) for each in FAMILIES}

    assert findings == []
    assert assault.crashes == 0
    assert all(each.tried for each in told.values())
    assert (
        sum(each.tried for each in told.values() if each.family not in ("slowloris", "idle connections"))
        <= RATE_PER_S * LASTS_S
    )
    assert told["slowloris"].dropped >= 4
    assert told["pipelined"].codes["200"] > 10
    assert not any(thread.name == "adversary" for thread in threading.enumerate())


STARTED = Progress(0.0, 1, 0, 0, 0, 0, math.nan, math.nan)


def nobody() -> Target:
    """A server that is not there."""
    signature = Signature((Tensor("x", "float32", ("n", 4)),), (Tensor("y", "float32", ("n",)),))
    return Target(RemoteModel(Address("127.0.0.1", 1), "sum", "s", signature, True), ("127.0.0.1", 1))


def test_the_same_seed_sends_the_same() -> None:
    """What is sent depends on the seed and the family alone, not on the time of day."""

    def sent(seed: int) -> list[Any]:
        made = [each().conversations(Material(nobody(), ROWS), Seeds(seed)) for each in FAMILIES]
        return [next(each).steps for each in made for _ in range(4)]

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)


def test_there_are_no_more_than_was_said() -> None:
    """Where everything is refused at once, slow and idle ones too are begun no more often than was allowed."""
    assault = Assault(Material(nobody(), ROWS), Hostility(most=20, limit_s=0.5), 0.0, 1.5, Seeds(1))
    with assault:
        assault.heed(STARTED)
        assault.wait()

    assert len(assault.outcomes) == 20
    assert {each.end for each in assault.outcomes} == {"refused"}


def test_an_end_before_its_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not hear that he is cancelled, as he closes a connection, begins no other."""

    async def deaf(*_: Any) -> Any:
        ended.set()
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            late.append(1)
        return assaults.Outcome("f", 0, Conversation("c", (b"x",)), "answered", (), 0.0)

    ended, late = threading.Event(), list[int]()
    monkeypatch.setattr(assaults, "converse", deaf)
    hostility = Hostility(rate_per_s=1e4, most=500, quick=1, families=FAMILIES[:1])
    assault = Assault(Material(nobody(), ROWS), hostility, 0.0, 1.0, Seeds(1))
    with assault:
        assault.heed(STARTED)
        ended.wait()

    assert len(late) <= 1
    assert len(assault.outcomes) < 250


def test_what_fails_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adversary that fails has not found a server sound: the failure is raised where the block ends."""

    async def too_many(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    def besieged() -> None:
        with Assault(Material(nobody(), ROWS), Hostility(most=20, limit_s=0.5), 0.0, 1.0, Seeds(1)) as assault:
            assault.heed(STARTED)
            assault.wait()

    monkeypatch.setattr(assaults, "converse", too_many)
    with pytest.raises(MeasurementError, match="Too many open files"):
        besieged()


def test_what_is_made_beforehand_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes are made and no more, however long the run."""
    monkeypatch.setattr(assaults, "MOST_BYTES", 100_000)
    assault = Assault(Material(nobody(), ROWS), Hostility(families=FAMILIES[:1]), 0.0, 100.0, Seeds(1))

    assert 100 < len(assault._quick) < 4000
    assert sum(each.size_bytes for _, _, each in assault._quick) <= 100_000


def held_with(said: list[bytes], conversation: Conversation, *, stop_s: float = 0.0) -> Any:
    """What a conversation comes to with a server that says one piece to each that it hears, and nothing at last."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in said:
            await reader.read(65536)
            writer.write(piece)
        await reader.read()
        writer.close()

    async def meet() -> Any:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        task = asyncio.create_task(converse(address, "f", 0, conversation, 0.2))
        if stop_s:
            await asyncio.sleep(stop_s)
            task.cancel()
        outcome = await task
        server.close()
        return outcome

    return asyncio.run(meet())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_an_honest_request_that_is_never_answered_hangs() -> None:
    """A connection may be kept open and silent after its answer, not before it."""
    kept = Conversation("c", (b"x", Pause(60.0)), (None,), held=True)
    nothing = Conversation("c", (b"x", Pause(60.0)), (), held=True)

    assert held_with([b""], kept, stop_s=0.4).end == "hung"
    assert held_with([OK], kept, stop_s=0.4).end == "held"
    assert held_with([b""], nothing, stop_s=0.4).end == "held"


def test_what_is_said_after_the_answer_counts() -> None:
    """What is no HTTP behind a whole answer is heard while we linger."""
    talk = Conversation("c", (b"x", Pause(0.02), b"y"), linger_s=0.1)

    assert held_with([OK, b"and more"], talk).end == "garbled"
    assert [each.status for each in held_with([OK, OK], talk).replies] == [200, 200]


def test_an_answer_that_is_too_long_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not heard out has not hung up."""
    monkeypatch.setattr(assaults, "LONGEST_ANSWER", 100)
    outcome = held_with([OK + OK[:-2] + b" " * 200], Conversation("c", (b"x",), (None,) * 9, must=True))

    assert outcome.end == "left"
    assert findings_of([outcome], None) == []
