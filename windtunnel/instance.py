"""One process that holds sessions and does what it is told: load, answer, be timed, say how much memory it takes.

    python -P -m windtunnel.instance        orders on stdin, answers on stdout

An order or an answer is a *message*: one line of JSON, and after it the raw bytes of the arrays that the line names, in
that order. Nothing is unpickled on either side, and arrays are read into their own memory, so that a large batch leaves
no second copy in the peak. The process ends when its orders do, hence with whoever gives them.

Only what serving needs is imported here: the memory of this process before a model is loaded is that of the runtime.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Variant

    Arrays = Mapping[str, NDArray[Any]]
    Answer = tuple[dict[str, Any], Arrays]


def pack(head: Mapping[str, Any], arrays: Arrays) -> Iterator[bytes | memoryview]:
    r"""A message as the buffers to write; arrays are not copied where they lie in one piece.

    Args:
        head: JSON values; the key `arrays` is ours.
        arrays: numbers, truth values or text.

    Example:
        >>> b"".join(pack({"order": "rows"}, {"x": np.zeros(2, np.uint8)}))
        b'{"order": "rows", "arrays": [["x", "|u1", [2]]]}\n\x00\x00'
    """
    plain = {name: np.asarray(_without_objects(array), order="C") for name, array in arrays.items()}
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in plain.items()]
    yield json.dumps({**head, "arrays": layout}).encode() + b"\n"
    for array in plain.values():
        yield _bytes_of(array).data


def unpack(stream: BinaryIO) -> Answer | None:
    """Read one message, or None where the stream has ended.

    Raises:
        EOFError: it ended within a message.

    Example:
        >>> import io
        >>> message = b"".join(pack({"order": "rows"}, {"x": np.arange(3)}))
        >>> unpack(io.BytesIO(message))
        ({'order': 'rows'}, {'x': array([0, 1, 2])})
    """
    line = stream.readline()
    if not line:
        return None
    head: dict[str, Any] = json.loads(line)
    arrays = {}
    for name, dtype, shape in head.pop("arrays"):
        arrays[name] = np.empty(shape, dtype)
        wanted = _bytes_of(arrays[name])
        if stream.readinto(wanted) != len(wanted):  # type: ignore[attr-defined]  # every binary stream has it
            raise EOFError(name)
    return head, arrays


def _without_objects(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.str_) if array.dtype == object else array


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def resident_bytes(proc: Path = Path("/proc/self")) -> tuple[int, int]:
    """How much memory a process has resident now, and had at most.

    From `proc_pid_status(5)`: `VmRSS` and `VmHWM`. Where the kernel shows none the peak of `getrusage(2)` stands for both;
    it is second choice because it remembers the parent's memory from before this program was started.

    Example:
        >>> now, peak = resident_bytes()
        >>> 0 < now <= peak
        True
    """
    status = proc / "status"
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    if {"VmRSS", "VmHWM"} <= fields.keys():
        now, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return now, max(now, peak)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, peak


@dataclass
class _Model:
    """One model as this process holds it: its batches stay while it is loaded again and again."""

    rows: dict[int, Arrays] = field(default_factory=dict)
    session: Session | None = None
    calls: dict[int, Callable[[], object]] = field(default_factory=dict)

    def loaded(self) -> Session:
        if self.session is None:
            raise RuntimeError("a model must be opened before it is called")
        return self.session

    def call(self, batch: int) -> Callable[[], object]:
        """What is timed; its inputs are copied once a loading, so that they too lie elsewhere each time."""
        if batch not in self.calls:
            self.calls[batch] = self.loaded().ready({name: array.copy() for name, array in self.rows[batch].items()})
        return self.calls[batch]


class Worker:
    """What the process knows and does: one method an order.

    Args:
        idle: whether no further order has come yet; asked while it keeps others company.
    """

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._models: dict[str, _Model] = {}
        self._timer: Callable[[Callable[[], object], int], NDArray[np.float64]]  # given by `do_timer`

    def obey(self, head: Mapping[str, Any], arrays: Arrays) -> Answer:
        """Carry one order out; the answer to each holds the memory that is resident now and was at most."""
        answer, results = getattr(self, f"do_{head['order']}")(head, arrays)
        now, peak = resident_bytes()
        return {**answer, "resident_bytes": now, "peak_bytes": peak}, results

    def do_import(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Import the modules that are named."""
        for name in head["modules"]:
            importlib.import_module(name)
        return {}, {}

    def do_timer(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Take the function that times calls, given as `module:name`: it belongs to who measures, not to this file."""
        module, name = head["timer"].split(":")
        self._timer = getattr(importlib.import_module(module), name)
        return {}, {}

    def do_rows(self, head: Mapping[str, Any], arrays: Arrays) -> Answer:
        """Keep one batch for a model."""
        self._models.setdefault(head["model"], _Model()).rows[head["batch"]] = arrays
        return {}, {}

    def do_open(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Load a model, in the place of the one that was loaded under its name."""
        model = self._models.setdefault(head["model"], _Model())
        model.calls.clear()
        model.session = None  # before the next is loaded: only one is held
        started = time.perf_counter()
        model.session = _open(head)
        return {"load_s": time.perf_counter() - started}, {}

    def do_answer(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Run one batch once."""
        model = self._models[head["model"]]
        started = time.perf_counter()
        model.loaded().run(model.rows[head["batch"]])
        return {"service_s": time.perf_counter() - started}, {}

    def do_block(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Time some calls from a moment on, being busy before it, so that the others never run alone."""
        call = self._models[head["model"]].call(head["batch"])
        busy_from_s = time.perf_counter()
        while time.perf_counter() < head["at_s"]:
            call()
        cpu_s, started_s = time.process_time(), time.perf_counter()
        times = self._timer(call, head["calls"])
        ended_s, cpu_s = time.perf_counter(), time.process_time() - cpu_s
        answer = {"busy_from_s": busy_from_s, "started_s": started_s, "ended_s": ended_s, "cpu_s": cpu_s}
        return answer, {"times_s": times}

    def keep_company(self, head: Mapping[str, Any]) -> None:
        """Go on calling after a block until the next order comes, while others still count."""
        call = self._models[head["model"]].call(head["batch"])
        while self._idle():
            call()

    def do_rest(self, _head: Mapping[str, Any], _: Arrays) -> Answer:
        """Do nothing: the order after a block, which ends its company."""
        return {}, {}

    def do_close(self, head: Mapping[str, Any], _: Arrays) -> Answer:
        """Let a model and its batches go."""
        self._models.pop(head["model"], None)
        return {}, {}


def _open(head: Mapping[str, Any]) -> Session:
    from windtunnel.runtime import open_session

    return open_session(_source(head["source"]), head["runtime"], threads=head["threads"], home=Path(head["home"]))


def _source(told: Any) -> Variant | str:
    """A variant, its signature given so that no time goes into reading the file twice; or a function by its name."""
    from windtunnel.execution import Execution
    from windtunnel.variant import Origin, Signature, Variant

    if isinstance(told, str):
        return told
    name, path, sha256, precision, size, signature, execution = told
    return Variant(
        name, Path(path), sha256, precision, size, Signature.from_dict(signature), Origin("file"),
        Execution.from_dict(execution),
    )  # fmt: skip


def serve(orders: BinaryIO, answers: BinaryIO, idle: Callable[[], bool]) -> None:
    """Carry orders out until there are none left.

    Args:
        orders: where they come from.
        answers: where the answers go.
        idle: whether no further order has come yet.
    """
    worker = Worker(idle)
    while (message := unpack(orders)) is not None:
        head, arrays = message
        try:
            answer, results = worker.obey(head, arrays)
        except Exception as error:  # noqa: BLE001  # told to who gave the order, and raised there
            answer, results = {"failed": type(error).__name__, "reason": str(error)}, {}
        answers.writelines(pack(answer, results))
        answers.flush()
        if head["order"] == "block" and "failed" not in answer:
            worker.keep_company(head)


def main() -> None:
    """Serve on stdin and stdout; whatever a library prints goes to stderr."""
    # Ctrl-C reaches the whole group; who gives the orders decides when this ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = sys.stdin.buffer
    serve(orders, answers, lambda: not select.select([orders], [], [], 0)[0])


if __name__ == "__main__":
    main()
