"""Generators: processes of load, here or on a cluster, as one sees them who started them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import MeasurementError
from windtunnel.quantity import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Line = dict[str, Any]

PATIENCE_S = 60.0
"""How long a process may take to start, and to leave."""


class Program:
    """A process that hears and says lines of JSON, and ends with its orders.

    Args:
        module: of `windtunnel.driving`.
        words: its arguments.
    """

    def __init__(self, module: str, *words: str) -> None:
        self.name = module
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        # the modules that are found here are found there; a session of its own, so that Ctrl-C reaches us alone
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"windtunnel.driving.{module}", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._notes,
            env=os.environ | {"PYTHONPATH": paths}, start_new_session=True,
        )  # fmt: skip
        self._said: queue.Queue[Line | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """By which the system knows it."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def tell(self, **order: Any) -> None:
        """Give an order; one that has ended hears nothing, and is found out by what it does not say."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self, within_s: float = PATIENCE_S) -> Line:
        """What it says next.

        Raises:
            MeasurementError: it ended, or said nothing in time.
        """
        try:
            line = self._said.get(timeout=within_s)
        except queue.Empty:
            raise MeasurementError(
                f"the {self.name} said nothing for {format_duration(within_s)}{self._last_words()}"
            ) from None
        if line is None:
            self._said.put(None)
            code = self._process.wait()
            raise MeasurementError(f"the {self.name} ended with exit code {code}{self._last_words()}")
        return line

    def heard(self) -> list[Line]:
        """What it has said meanwhile.

        Raises:
            MeasurementError: it ended.
        """
        lines: list[Line] = []
        # after its last word it ends, and may
        while not self._said.empty() and not (lines and lines[-1].get("done")):
            lines.append(self.hear())
        return lines

    def close(self) -> None:
        """End its orders; if it does not follow, end it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._notes.close()

    def _last_words(self) -> str:
        self._notes.seek(0)
        lines = [line.strip() for line in self._notes.read().decode(errors="replace").splitlines() if line.strip()]
        return f" ({lines[-1][:200]})" if lines else ""


class Generator:
    """One generator, beside the process that holds this object.

    Args:
        orders: `address`, `manners`, `most_connections`.
        arrays: of its load, with `messages` and `ends`.
    """

    def __init__(self, orders: Mapping[str, Any], arrays: Arrays) -> None:
        # may hold a token: only its owner may look inside
        self._place = tempfile.TemporaryDirectory(prefix="windtunnel-live-")
        folder = Path(self._place.name)
        (folder / "orders.json").write_text(json.dumps(dict(orders)))
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        self._program = Program("generator", str(folder))

    def ready(self) -> None:
        """Wait until it can be told something."""
        self._program.hear()

    def burst(self, seconds: float) -> float:
        """What it can send at most, a second, to a server that does nothing and stands beside it."""
        nothing = Program("null_server")
        try:
            address = ["127.0.0.1", nothing.hear()["port"]]
            self._program.tell(do="burst", address=address, seconds=seconds)
            return float(self._program.hear(PATIENCE_S + seconds)["capacity_per_s"])
        finally:
            nothing.close()

    def go(self, in_s: float) -> None:
        """Let it begin so long from now."""
        self._program.tell(do="go", start_s=time.monotonic() + in_s)

    def heard(self) -> list[Line]:
        """How far it is."""
        return self._program.heard()

    def stop(self) -> None:
        """Let it send nothing more, and tell what there is."""
        self._program.tell(do="stop")

    def log(self) -> dict[str, NDArray[Any]]:
        """What became of its requests, once it is done."""
        with np.load(Path(self._place.name) / "log.npz") as kept:
            return {name: kept[name] for name in kept.files}

    def answers(self) -> dict[str, NDArray[Any]]:
        """The answers that it kept, once it is done; see `Heard`."""
        with np.load(Path(self._place.name) / "answers.npz") as kept:
            return {name: kept[name] for name in kept.files}

    def close(self) -> None:
        """End it, and leave nothing."""
        self._program.close()
        self._place.cleanup()


class FarGenerator:
    """A generator on a node of a Ray cluster: an actor there holds a `Generator`, and this object asks the actor.

    Args:
        orders: as for `Generator`; those for a server on loopback are for this node, for every node has a loopback of its own.
        arrays: as there; references of Ray's object store where several share them.
    """

    def __init__(self, orders: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        near = ipaddress.ip_address(orders["address"][0]).is_loopback
        # a generator takes a core; nodes are filled evenly; one that is lost is not begun again: the moment has passed
        actor: Any = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy=here if near else "SPREAD")(_OnNode)
        self._actor: Any = actor.remote(dict(orders), list(arrays), *arrays.values())

    def _ask(self, what: str, *words: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, what).remote(*words))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise MeasurementError(f"a generator was lost with its node ({type(error).__name__})") from error

    def ready(self) -> None:
        """Wait until it can be told something."""
        self._ask("ready")

    def burst(self, seconds: float) -> float:
        """What it can send at most, a second."""
        return float(self._ask("burst", seconds))

    def go(self, in_s: float) -> None:
        """Let it begin so long from now, by the clock of the wall, which machines agree on."""
        self._ask("go_at", time.time() + in_s)

    def heard(self) -> list[Line]:
        """How far it is."""
        return list(self._ask("heard"))

    def stop(self) -> None:
        """Let it send nothing more, and tell what there is."""
        self._ask("stop")

    def log(self) -> dict[str, NDArray[Any]]:
        """What became of its requests."""
        return dict(self._ask("log"))

    def answers(self) -> dict[str, NDArray[Any]]:
        """The answers that it kept."""
        return dict(self._ask("answers"))

    def close(self) -> None:
        """End it, and its actor."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.close.remote())
        ray.kill(self._actor)


class _OnNode(Generator):
    """What an actor of Ray's is: a generator that gets its arrays one by one, and its start by the clock of the wall."""

    def __init__(self, orders: Mapping[str, Any], names: Sequence[str], *arrays: NDArray[Any]) -> None:
        super().__init__(orders, dict(zip(names, arrays, strict=True)))

    def go_at(self, wall_s: float) -> None:
        """Begin then."""
        self.go(wall_s - time.time())
