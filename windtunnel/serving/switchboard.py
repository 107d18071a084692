"""The Switchboard: tells every replica of a server who takes part, and waits until each has heeded it.

It listens on a Unix socket that only its user may open, in a folder that only its user may enter; nothing of it can be reached
through a network. Each line is a JSON object. A replica says `{"hello": "replica"}`, gets `{"turn": 1, "plan": {…}}` now and at each
change, answers `{"heeded": 1}` once it goes by it, and may say `{"say": "…"}`. Whoever says `{"ask": "rollback"}` is answered when all
replicas that are there have heeded it. A replica that dies hangs up, and is not waited for.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from windtunnel.errors import ConfigError
from windtunnel.serving.traffic import Plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

LATEST_S = 30.0
"""A replica that has not heeded a change for so long is named in the answer."""

LONGEST = 100
"""The address of a Unix socket has 104 bytes on some systems and 108 on others."""


def socket_of(port: int) -> Path:
    """Where the server on a port is told what to do: `windtunnel-UID/serve-PORT.sock` in the system's temporary folder.

    Raises:
        ConfigError: the folder is not the user's own, or open to others, or its name is too long.
    """
    folder = Path(tempfile.gettempdir()) / f"windtunnel-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError("is not yours alone, so no server can be told anything there", file=folder, fix="remove it")
    path = folder / f"serve-{port}.sock"
    if len(os.fsencode(path)) > LONGEST:
        raise ConfigError("is too long for a socket's address", file=path, fix="set TMPDIR to a shorter folder")
    return path


class Switchboard:
    """The server's side, in a thread of its own while it is open.

    Args:
        path: of its socket.
        plan: who takes part at first.
        say: told what replicas have to say.
        rolled_back: called, in a thread, once all replicas have heeded a rollback.
    """

    def __init__(
        self, path: Path, plan: Plan, *, say: Callable[[str], None], rolled_back: Callable[[], None] = lambda: None
    ) -> None:
        self.path, self.plan, self._say, self._rolled_back = path, plan, say, rolled_back
        self._turn = 1
        self._replicas: dict[asyncio.StreamWriter, int] = {}
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._heeded = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="switchboard", daemon=True)
        self._listening = threading.Event()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self._lock = _locked(self.path)
        self.path.unlink(missing_ok=True)  # left by one that was killed
        self._thread.start()
        self._listening.wait()
        if self._error is not None:
            self._lock.close()
            raise ConfigError(f"cannot be listened to ({self._error})", file=self.path) from self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None, "it listens"
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".lock").unlink(missing_ok=True)  # while it is held: whoever waits for it looks again
        self._lock.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._met, str(self.path))
        self.path.chmod(0o600)
        self._listening.set()
        await self._stop.wait()
        server.close()
        for writer in self._open.values():
            writer.close()
        if self._open:
            await asyncio.wait(self._open)

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._meet(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it is closed."""
        try:
            while line := await reader.readline():
                await self._hear(json.loads(line), writer)
        except (OSError, ValueError):
            pass  # who hangs up, or talks nonsense, is gone
        finally:
            writer.close()
            async with self._heeded:
                self._replicas.pop(writer, None)
                self._heeded.notify_all()

    async def _hear(self, said: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if said.get("hello") == "replica":
            self._replicas[writer] = 0
            _write(writer, self._told())
        elif "heeded" in said and writer in self._replicas:
            async with self._heeded:
                self._replicas[writer] = int(said["heeded"])
                self._heeded.notify_all()
        elif "say" in said:
            self._say(str(said["say"]))
        elif said.get("ask") == "rollback":
            answer = await self._roll_back()
            _write(writer, answer)
            await writer.drain()
            if not answer["behind"]:
                await asyncio.to_thread(self._rolled_back)

    def _told(self) -> dict[str, Any]:
        return {"turn": self._turn, "plan": self.plan.to_dict()}

    async def _roll_back(self) -> dict[str, Any]:
        """Tell every replica that the primary is alone, and wait until each has heeded it."""
        was, self.plan = self.plan, Plan()
        self._turn += 1
        turn = self._turn
        for writer in list(self._replicas):
            _write(writer, self._told())
        async with self._heeded:
            try:
                await asyncio.wait_for(self._heeded.wait_for(lambda: not self._behind(turn)), LATEST_S)
            except TimeoutError:
                return {"was": was.to_dict(), "replicas": len(self._replicas), "behind": self._behind(turn)}
        return {"was": was.to_dict(), "replicas": len(self._replicas), "behind": 0}

    def _behind(self, turn: int) -> int:
        return sum(heeded < turn for heeded in self._replicas.values())


class Line:
    """A replica's line to the switchboard; for one event loop, but anyone may `say`.

    Args:
        path: of the socket.
        heed: goes by a plan; awaited before it is said to be heeded.
    """

    def __init__(self, path: Path, heed: Callable[[Plan], Awaitable[None]]) -> None:
        self._path, self._heed = path, heed
        self._writer: asyncio.StreamWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._unsaid: list[str] = []

    async def ready(self) -> None:
        """Return once the first plan is heeded; where no switchboard answers, the primary stays alone."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._follow())
        await self._first.wait()

    @property
    def is_ready(self) -> bool:
        """Whether the first plan is heeded."""
        return self._first.is_set()

    def say(self, text: str) -> None:
        """Let the server say something to its user; from any thread."""
        if self._loop is None or self._loop.is_closed():
            self._unsaid.append(text)
        else:
            self._loop.call_soon_threadsafe(self._say, text)

    def _say(self, text: str) -> None:
        if self._writer is not None and not self._writer.is_closing():
            _write(self._writer, {"say": text})

    async def _follow(self) -> None:
        """Heed plan after plan; when the switchboard is gone nobody could roll back any more, so the primary is alone."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(str(self._path))
            _write(self._writer, {"hello": "replica"})
            while self._unsaid:
                self._say(self._unsaid.pop(0))
            while line := await reader.readline():
                told = json.loads(line)
                await self._heed(Plan(**told["plan"]))
                self._first.set()
                _write(self._writer, {"heeded": told["turn"]})
        except OSError:
            pass  # as if it had hung up
        finally:
            if self._writer is not None:
                self._writer.close()
            await self._heed(Plan())
            self._first.set()


def _write(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    writer.write(json.dumps(value).encode() + b"\n")


def _locked(path: Path) -> IO[bytes]:
    """A lock on a socket's address, which ends with the process that holds it."""
    lock = path.with_suffix(".lock")
    while True:
        held = lock.open("wb")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held.close()
            raise ConfigError("is in use by another server", file=path, fix="give another --port") from error
        if _is_there(held, lock):
            return held
        held.close()  # whoever held it before took it away in the meantime


def _is_there(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one that a path leads to."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
