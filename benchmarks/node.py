"""A node of a Ray cluster: what it shows of itself, who else is on it, and how it is asked."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import MeasurementError, MissingError, WindtunnelError
from windtunnel.hardware import Hardware
from windtunnel.run_folder import environment
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LABEL, RESOURCE = "ray.io/accelerator-type", "accelerator_type:"
"""How Ray says which accelerator a node has: by a label of the node, or by a resource with the name after the colon."""

AT_REST = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""What Ray calls those of its processes that do nobody's work."""

LOOK_S = 60.0
"""How long a node may take to say what it is: it may have to start a process and to unpack windtunnel."""

ARRIVED_S = 1.0
"""How long it may take to read an answer that has been waited for."""


@dataclass(frozen=True)
class Node:
    """A node as its cluster knows it.

    Args:
        id: Ray's own.
        host: its name.
        address: its IP address.
        cpus: how many it lends, whether they are taken or not.
        gpus: likewise.
        accelerator: the type that Ray says it has; empty where it says none.
    """

    id: str
    host: str
    address: str
    cpus: float
    gpus: float = 0.0
    accelerator: str = ""

    def __str__(self) -> str:
        return f"node {self.id[:12]} ({self.host}, {self.address})"

    def to_dict(self) -> dict[str, Any]:
        """The node as JSON values."""
        return {"id": self.id, "host": self.host, "address": self.address, "cpus": self.cpus, "gpus": self.gpus,
                "accelerator": self.accelerator}  # fmt: skip

    @staticmethod
    def from_ray(entry: Mapping[str, Any]) -> Node:
        """Read one entry of `ray.nodes()` (Ray 2.60).

        Example:
            >>> Node.from_ray({"NodeID": "4a", "NodeManagerHostname": "h", "NodeManagerAddress": "10.0.0.7",
            ...                "Resources": {"CPU": 4.0, "accelerator_type:T4": 1.0}, "Labels": {}}).accelerator
            'T4'
        """
        resources, labels = entry["Resources"], entry.get("Labels") or {}
        named = [name.removeprefix(RESOURCE) for name in sorted(resources) if name.startswith(RESOURCE)]
        return Node(
            entry["NodeID"],
            entry["NodeManagerHostname"],
            entry["NodeManagerAddress"],
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
            labels.get(LABEL) or next(iter(named), ""),
        )


@dataclass(frozen=True)
class Sight:
    """What a node shows to a look from inside.

    Args:
        hardware: what it is.
        machine: told from every other running machine by this; nodes that share a kernel share it.
        versions: of Python, windtunnel and the packages that matter there.
    """

    hardware: Hardware
    machine: str
    versions: Mapping[str, str]


def see() -> Sight:
    """Look around; runs on the node.

    Example:
        >>> see().machine == see().machine != ""
        True
    """
    return Sight(Hardware.detect(), machine_id(), environment())


def machine_id(root: Path = Path("/")) -> str:
    """What tells this running machine from others: containers share their host's boot id, virtual machines do not.

    Args:
        root: the root of the file system; another one in tests.
    """
    for name in ("proc/sys/kernel/random/boot_id", "etc/machine-id"):
        text = _text(root / name).strip()
        if text:
            return text
    return os.uname().nodename


def occupants(but: str = "", proc: Path = Path("/proc"), raylet: int | None = None) -> tuple[str, ...]:
    """What Ray runs on this node beside the caller, by the titles that Ray gives its processes; runs on the node.

    Args:
        but: the class of an actor that is not meant.
        proc: where the kernel shows processes.
        raylet: the process whose children count; the caller's parent where None, as Ray starts all workers of a node.
    """
    parent, found = os.getppid() if raylet is None else raylet, []
    for folder in proc.glob("[0-9]*"):
        title = _text(folder / "cmdline").replace("\0", " ").strip()
        if not title.startswith("ray::") or title in AT_REST or folder.name == str(os.getpid()):
            continue
        name = title.removeprefix("ray::")
        if _parent(folder) == parent and name.partition(".")[0] != but:
            found.append(f"{name} (process {folder.name})")
    return tuple(sorted(found))


def _parent(folder: Path) -> int:
    """The parent of a process (`proc(5)`: the second field after the command in brackets); 0 where it is gone."""
    fields = _text(folder / "stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not there, or a process that has just ended
        return ""


def ask(function: Callable[..., Any], node: Node, *arguments: object) -> Any:
    """Let a node call a function, even if it is busy."""
    import ray

    asked = ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=pinned(node))
    return asked.remote(*arguments)


def pinned(node: Node) -> Any:
    """How Ray is told to run something on this node or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def fetch(reference: Any, node: Node, doing: str, patience_s: float | None = None) -> Any:
    """What a node answered.

    Args:
        reference: to the answer.
        node: who was asked.
        doing: what, for the error.
        patience_s: how long it may still take; for ever where None.

    Raises:
        WindtunnelError: raised there.
        MissingError: a package is missing there.
        MeasurementError: it did not answer, died, or raised something else.
    """
    import ray

    try:
        # arrays in an answer lie in Ray's own memory, which is gone when the connection ends
        return copy.deepcopy(ray.get(reference, timeout=patience_s))
    except ray.exceptions.RayTaskError as error:
        raise _raised_there(error.cause, node, doing) from error
    except ray.exceptions.GetTimeoutError as error:
        raise MeasurementError(f"{node} did not {doing} in time; see what it is busy with (ray status)") from error
    except ray.exceptions.RayError as error:
        raise MeasurementError(
            f"{node} was lost before it could {doing} ({first_line(error).rstrip('.')}); "
            "see whether it ran out of memory or was taken away, and measure again"
        ) from error


def _raised_there(cause: BaseException, node: Node, doing: str) -> WindtunnelError:
    if isinstance(cause, WindtunnelError):
        return cause
    if isinstance(cause, ImportError) or "failed to import" in str(cause):
        lines = (
            str(cause).strip().splitlines()
        )  # Ray puts the worker's traceback into the text; its last line says what
        return MissingError(f"{node} lacks a package ({lines[-1].strip()}); install there what is installed here")
    return MeasurementError(f"{node} could not {doing} ({type(cause).__name__}: {first_line(cause)}); see its logs")
