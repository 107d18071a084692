"""One process that takes orders and gives answers over pipes, seen from who gives the orders; it never keeps one waiting for ever."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from windtunnel import errors
from windtunnel.errors import MeasurementError, WindtunnelError
from windtunnel.instance import pack, unpack
from windtunnel.quantity import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    Arrays = Mapping[str, NDArray[Any]]
    Head = dict[str, Any]
    Answer = tuple[Head, Arrays]

PATIENCE_S = 60.0
"""How long an answer may take beyond what the calls asked for take; after that the process is ended."""


class Process:
    """One process that holds sessions; orders go in, answers come out, and no wait is without an end.

    Args:
        command: what to start.
        patience_s: how long an answer may take.
    """

    def __init__(
        self, command: Sequence[str] = ("-P", "-m", "windtunnel.instance"), patience_s: float = PATIENCE_S
    ) -> None:
        self._patience_s, self._doing = patience_s, "start"
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        # the modules that are found here are found there, in the same order
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109  # as a string, as in sys.path
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._notes, bufsize=0,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        self._orders, answers = _open_ends(self._process)
        os.set_blocking(self._orders.fileno(), False)
        self._raw = _Patient(answers)
        self._answers = io.BufferedReader(self._raw)

    @property
    def pid(self) -> int:
        """By which the system knows it."""
        return self._process.pid

    def tell(self, head: Head, arrays: Arrays | None = None) -> None:
        """Give an order.

        Raises:
            MeasurementError: the process has ended, or takes nothing in.
        """
        self._doing, deadline = head["order"], time.monotonic() + self._patience_s
        try:
            for buffer in pack(head, arrays if arrays is not None else {}):
                _write(self._orders, buffer, deadline)
        except BrokenPipeError as error:
            raise self._ended() from error
        except TimeoutError as error:
            raise self._silent(self._patience_s) from error

    def hear(self, extra_s: float = 0.0) -> Answer:
        """Wait for the answer to an order; a failure there is an answer too (see `checked`).

        Args:
            extra_s: how much longer than usual it may take.

        Raises:
            MeasurementError: the process has ended, or says nothing.
        """
        patience_s = self._patience_s + extra_s
        self._raw.deadline = time.monotonic() + patience_s
        try:
            answer = unpack(self._answers)
        except TimeoutError as error:
            raise self._silent(patience_s) from error
        except (EOFError, ValueError) as error:
            raise self._ended() from error
        if answer is None:
            raise self._ended()
        return answer

    def ask(self, head: Head, arrays: Arrays | None = None, extra_s: float = 0.0) -> Head:
        """Give an order and wait for its answer.

        Raises:
            MeasurementError: the process has ended, or says nothing.
            WindtunnelError: what went wrong there.
        """
        self.tell(head, arrays)
        return checked([self.hear(extra_s)])[0][0]

    def dismiss(self) -> None:
        """End its orders, upon which it ends by itself."""
        self._orders.close()

    def close(self, grace_s: float = 2.0) -> None:
        """End the process: its orders end, and if it does not follow it is killed."""
        self.dismiss()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._notes.close()

    def _ended(self) -> MeasurementError:
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return self._silent(5.0)
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        fix = (
            "the machine has most likely run out of memory: measure fewer instances or smaller batches"
            if -code == signal.SIGKILL
            else "try the model alone in this runtime, with a smaller batch"
        )
        return MeasurementError(f"the process of an instance {how} at `{self._doing}`{self._last_words()}; {fix}")

    def _silent(self, waited_s: float) -> MeasurementError:
        self._process.kill()
        return MeasurementError(
            f"the process of an instance did not finish `{self._doing}` within {format_duration(waited_s)} and was ended"
            f"{self._last_words()}; measure smaller batches, or fewer instances"
        )

    def _last_words(self) -> str:
        self._notes.seek(0)
        lines = self._notes.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f" ({said[-1][:200]})" if said else ""


def _open_ends(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("a process without pipes takes no orders")
    return process.stdin, process.stdout


class _Patient(io.RawIOBase):
    """The reading end of a pipe that waits for bytes until a deadline and no longer."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self.deadline = pipe, time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not select.select([self._pipe], [], [], max(0.0, self.deadline - time.monotonic()))[0]:
            raise TimeoutError
        return os.readv(self._pipe.fileno(), [buffer])

    def close(self) -> None:
        self._pipe.close()
        super().close()


def _write(pipe: IO[bytes], buffer: bytes | memoryview, deadline: float) -> None:
    left = memoryview(buffer)
    while left:
        if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
            raise TimeoutError
        left = left[os.write(pipe.fileno(), left) :]


def _failure(kind: str, reason: str) -> WindtunnelError:
    """The refusal of the other process, as it would have been raised in this one."""
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, WindtunnelError):
        return ours(reason)
    if kind == "MemoryError":
        return MeasurementError("an instance has run out of memory; measure fewer instances or smaller batches")
    return MeasurementError(f"an instance could not do what it was told ({kind}: {reason}); try the model alone")


def checked(answers: list[Answer]) -> list[Answer]:
    """The answers, where none is a failure: all were heard before, so that none is left for the next order to hear.

    Raises:
        WindtunnelError: what went wrong there.
    """
    for answer, _ in answers:
        if "failed" in answer:
            raise _failure(answer["failed"], answer["reason"])
    return answers
