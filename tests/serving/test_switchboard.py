from __future__ import annotations

import asyncio
import json
import os
import queue
import socket
import stat
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ConfigError, InputError
from windtunnel.serving import switchboard
from windtunnel.serving.rollback import RolledBack, roll_back
from windtunnel.serving.switchboard import Line, Switchboard, socket_of
from windtunnel.serving.traffic import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 8000


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets in a folder of the test's own, with a name short enough for them."""
    with tempfile.TemporaryDirectory(prefix="wt") as home:
        monkeypatch.setattr(switchboard, "tempfile", SimpleNamespace(gettempdir=lambda: home))
        yield


class Replica:
    """Heeds plans as a replica does, and remembers them."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Condition()
        self.line = Line(socket_of(PORT), self.heed)

    async def heed(self, plan: Plan) -> None:
        """Take note, and heed it once the gate is open."""
        async with self.changed:
            self.plans.append(plan)
            self.changed.notify_all()
        await self.gate.wait()

    async def told(self, times: int) -> None:
        """Return when it was told so often."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.plans) >= times)


def test_replicas_are_told_and_waited_for() -> None:
    """A rollback returns when every replica has heeded it; one that comes later starts with the plan as it is now."""
    gone: list[str] = []

    async def main() -> list[Replica]:
        first, second = Replica(), Replica()
        for each in (first, second):
            await each.line.ready()
        second.gate.clear()
        back = asyncio.create_task(asyncio.to_thread(roll_back, PORT))
        await second.told(2)
        assert not back.done()
        second.gate.set()
        assert await back == RolledBack(Plan(0.05, shadow=True), 2)
        third = Replica()
        await third.line.ready()
        return [first, second, third]

    with Switchboard(socket_of(PORT), Plan(0.05, shadow=True), say=print, rolled_back=lambda: gone.append("canary")):
        replicas = asyncio.run(main())
        assert str(roll_back(PORT)) == "nothing to roll back: the primary was alone"
    assert [each.plans[:2] for each in replicas] == [[Plan(0.05, shadow=True), Plan()]] * 2 + [[Plan(), Plan()]]
    assert gone
    assert not socket_of(PORT).exists()


def test_a_replica_that_died_is_not_waited_for() -> None:
    """It hangs up, and the rollback returns with those that are left."""

    async def main() -> RolledBack:
        kept, dead = Replica(), Replica()
        await kept.line.ready()
        await dead.line.ready()
        dead.gate.clear()
        back = asyncio.create_task(asyncio.to_thread(roll_back, PORT))
        await dead.told(2)
        assert dead.line._task is not None
        dead.gate.set()
        dead.line._task.cancel()
        return await back

    with Switchboard(socket_of(PORT), Plan(0.5), say=print):
        assert asyncio.run(main()).replicas in {1, 2}


def test_a_replica_that_does_not_heed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the rollback says that it did not reach all."""
    monkeypatch.setattr(switchboard, "LATEST_S", 0.05)

    async def main() -> None:
        replica = Replica()
        await replica.line.ready()
        replica.gate.clear()
        with pytest.raises(Exception, match="1 of 1 replicas did not heed"):
            await asyncio.to_thread(roll_back, PORT)
        replica.gate.set()

    with Switchboard(socket_of(PORT), Plan(0.5), say=print):
        asyncio.run(main())


def test_without_a_switchboard_the_primary_is_alone() -> None:
    """A replica that finds no switchboard, or loses it, goes by the plan in which nobody needs to be rolled back."""

    async def main() -> tuple[Replica, Replica]:
        lonely, left = Replica(), Replica()
        await lonely.line.ready()
        with Switchboard(socket_of(PORT), Plan(0.5), say=print):
            await left.line.ready()
        await left.told(2)
        return lonely, left

    lonely, left = asyncio.run(main())
    assert (lonely.plans, left.plans) == ([Plan()], [Plan(0.5), Plan()])


def test_what_replicas_say_is_heard() -> None:
    """Also what they said before they had a line, and from another thread."""
    heard: queue.Queue[str] = queue.Queue()

    async def main() -> None:
        replica = Replica()
        replica.line.say("early")
        await replica.line.ready()
        await asyncio.to_thread(replica.line.say, "late")
        assert [await asyncio.to_thread(heard.get, timeout=30) for _ in range(2)] == ["early", "late"]

    with Switchboard(socket_of(PORT), Plan(), say=heard.put):
        asyncio.run(main())


def test_only_its_user_may_open_it() -> None:
    """The socket has mode 600 in a folder of mode 700."""
    with Switchboard(socket_of(PORT), Plan(), say=print):
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (socket_of(PORT), socket_of(PORT).parent)]

    assert modes == [0o600, 0o700]


def test_a_folder_that_others_may_enter_is_refused() -> None:
    """Somebody may have made it before us."""
    socket_of(PORT).parent.chmod(0o755)
    with pytest.raises(ConfigError, match="not yours alone"):
        socket_of(PORT)


def test_one_port_one_switchboard() -> None:
    """A second server is refused; one that ends leaves nothing, and the socket that a killed one left is taken over."""
    with Switchboard(socket_of(PORT), Plan(), say=print), pytest.raises(ConfigError, match="another server"):
        Switchboard(socket_of(PORT), Plan(), say=print).__enter__()
    assert list(socket_of(PORT).parent.iterdir()) == [], "nothing is left"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_of(PORT)))
    with Switchboard(socket_of(PORT), Plan(0.1), say=print):
        assert roll_back(PORT) == RolledBack(Plan(0.1), 0)


def test_nonsense_hurts_nobody() -> None:
    """Who says what is no JSON, or what is unknown, is hung up on or ignored; the next is served."""
    with Switchboard(socket_of(PORT), Plan(0.1), say=print):
        for line in (
            b"\xff\n",
            b"[]\n",
            b"5\n",
            b'{"heeded": "x"}\n',
            b'{"heeded": 7}\n',
            b'{"ask": "more"}\n',
            b"{" * 100_000,
        ):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(socket_of(PORT)))
                stranger.sendall(line)
        assert roll_back(PORT).was == Plan(0.1)


def test_no_server_no_rollback() -> None:
    """Where none listens the way out is told."""
    with pytest.raises(InputError, match="windtunnel serve"):
        roll_back(PORT)


def test_a_server_that_ends_in_the_middle_is_told() -> None:
    """It hung up before it answered."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_of(PORT)))
        server.listen()

        async def main() -> None:
            asking = asyncio.create_task(asyncio.to_thread(roll_back, PORT))
            connection, _ = await asyncio.to_thread(server.accept)
            with connection:
                assert json.loads(connection.recv(100)) == {"ask": "rollback"}
            with pytest.raises(InputError, match="hung up"):
                await asking

        asyncio.run(main())


def test_a_long_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unix sockets have short addresses: the way out is a shorter temporary folder."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(switchboard, "tempfile", SimpleNamespace(gettempdir=lambda: str(deep)))
    with pytest.raises(ConfigError, match="TMPDIR"):
        socket_of(PORT)
    assert (deep / f"windtunnel-{os.getuid()}").is_dir()
