"""The same measurement once per kind of node of a Ray cluster, each node held alone while it measures.

Nodes are of one kind where Ray's accelerator type, what the hardware is sold as and its fingerprint are the same. The first
of a kind, in the order of Ray's ids, measures for it. It is held by asking for every CPU and GPU that it lends: what asks
Ray for no CPU, and what is not Ray's, is not kept away, and shows as disturbance. Different machines measure at the same
time; nodes that share a machine measure one after the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import MissingError, WindtunnelError
from windtunnel.progress import SILENT, Progress
from windtunnel.run_folder import source_digest
from windtunnel.seeds import Seeds
from windtunnel.verdict import Verdict, combine

from .benchmark import EVERYTHING, Extent
from .connection import connected
from .kind import Kind, kinds_of, turns_of
from .node import ARRIVED_S, LOOK_S, Node, Sight, ask, fetch, see
from .parcel import Parcel
from .turns import Measuring

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from windtunnel.latency_profile import LatencyProfile

    from .measure import Effort
    from .task import Task

PATIENCE_S = 120.0
"""How long a node may be busy with something else before it is given up."""


@dataclass(frozen=True)
class ClusterBenchmark:
    """What the nodes of a cluster measured.

    Args:
        kinds: of nodes, in the order of the ids of the nodes that measured.
        passed_over: nodes that lend no CPU, and so can be held by nobody.
    """

    kinds: tuple[Kind, ...]
    passed_over: tuple[Node, ...] = ()

    @property
    def profiles(self) -> tuple[LatencyProfile, ...]:
        """The profiles of all kinds, in their order."""
        return tuple(profile for kind in self.kinds if kind.benchmark for profile in kind.benchmark.profiles)

    @property
    def in_turns(self) -> tuple[tuple[str, ...], ...]:
        """The labels of kinds that share a machine, and so were measured one after the other."""
        return tuple(tuple(kind.label for kind in turn) for turn in turns_of(self.kinds) if len(turn) > 1)

    @property
    def nowhere(self) -> dict[str, str]:
        """The runtimes and tasks that could run on no kind that measured, each with the reason of the first."""
        measured = [kind for kind in self.kinds if kind.benchmark is not None]
        left = [set(kind.left_out) for kind in measured]
        return {name: measured[0].left_out[name] for name in sorted(set.intersection(*left))} if left else {}

    @property
    def verdict(self) -> Verdict:
        """Go where every kind measured, every profile is valid, and everything ran somewhere."""
        verdicts = {kind.label: kind.verdict for kind in self.kinds}
        verdicts |= {
            name: Verdict("inconclusive", (f"can run on no node ({why})",), ("add a node that can run it",))
            for name, why in self.nowhere.items()
        }
        return combine(verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Kinds and, in one list, the profiles of all of them, each with the label of its kind."""
        profiles = [
            {"kind": kind.label, **entry}
            for kind in self.kinds
            if kind.benchmark
            for entry in kind.benchmark.to_dict()["profiles"]
        ]
        return {
            "kinds": [kind.to_dict() for kind in self.kinds], "profiles": profiles,
            "in_turns": [list(labels) for labels in self.in_turns],
            "passed_over": [node.to_dict() for node in self.passed_over],
        }  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write every profile: a folder a kind, called after it, a file a profile."""
        for number, kind in enumerate(self.kinds, 1):
            if kind.benchmark is None:
                continue
            place = folder / f"{number}-{_file_name(kind.label)}"
            place.mkdir(parents=True, exist_ok=True)
            for profile in kind.benchmark.profiles:
                profile.save(place / f"{_file_name(profile.name)}.npz")


def _file_name(text: str) -> str:
    """A name without what a shell or a file system would trip over.

    Example:
        >>> _file_name("AMD EPYC 7B13, 2 cores")
        'AMD-EPYC-7B13-2-cores'
    """
    return re.sub(r"[^\w.=+]+", "-", text).strip("-.")


def benchmark_on_cluster(
    tasks: Sequence[Task],
    batch_sizes: Sequence[int],
    *,
    address: str = "",
    effort: Effort | None = None,
    extent: Extent = EVERYTHING,
    seeds: Seeds | None = None,
    generated: bool = False,
    patience_s: float = PATIENCE_S,
    progress: Progress = SILENT,
) -> ClusterBenchmark:
    """Measure on the first node of each kind.

    Models, rows and windtunnel itself travel; the runtimes must be installed on the nodes. What one kind of node
    cannot run, for want of a runtime or of cores, is left out there. A Ray connection that this process already has is used, and then nothing but the tasks travels.

    Args:
        tasks: what to measure; how their runtimes are described is asked of each node anew.
        batch_sizes: rows a call, ascending.
        address: `host:6379`, `ray://host:10001`, or `auto` for the cluster that this machine is a node of; what
            RAY_ADDRESS says, or else `auto`, where empty.
        effort: precision and budget of the service times, on each node.
        extent: what is measured beside them.
        seeds: for the order of the blocks.
        generated: whether the rows were made up.
        patience_s: how long a node may be busy with something else.
        progress: a line a node.

    Returns:
        What was measured, and for each kind that could not be measured the reason.

    Raises:
        ConfigError: the address is none, or a task cannot travel.
        MissingError: no cluster there, no node that lends CPUs, other source of windtunnel on a node, or no runtime anywhere.
        MeasurementError: no kind of node could be measured.
    """
    chosen = seeds if seeds is not None else Seeds()
    parcel = Parcel.pack(tasks, batch_sizes, effort=effort, extent=extent, seeds=chosen, generated=generated)
    with connected(address):
        here = source_digest()  # of what has just been sent
        lending, passed_over = _nodes()
        kinds = kinds_of(lending, _look(lending, here))
        progress.say(f"  {len(lending)} nodes of {len(kinds)} kinds")
        measured = Measuring(parcel, patience_s, progress).run(kinds)
    return ClusterBenchmark(measured, passed_over)


def _nodes() -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The nodes that are alive and lend CPUs, and those that lend none, by id."""
    import ray

    entries = ray.nodes()  # type: ignore[no-untyped-call]  # Ray left this one untyped
    alive = sorted((Node.from_ray(entry) for entry in entries if entry["Alive"]), key=lambda node: node.id)
    lending = tuple(node for node in alive if node.cpus > 0.0)
    if not lending:
        raise MissingError("no node of the cluster lends CPUs; add one: ray start --address=HOST:6379 --num-cpus=N")
    return lending, tuple(node for node in alive if node.cpus <= 0.0)


def _look(nodes: Sequence[Node], here: str) -> dict[str, Sight | WindtunnelError]:
    """What each node shows of itself, or why it does not, by its id.

    Raises:
        MissingError: a node has other source of windtunnel than this process.
    """
    import ray

    asked = {node.id: ask(see, node) for node in nodes}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=LOOK_S)
    sights: dict[str, Sight | WindtunnelError] = {}
    for node in nodes:
        try:
            sights[node.id] = fetch(asked[node.id], node, "say what it is", ARRIVED_S)
        except WindtunnelError as error:
            sights[node.id] = error
    for node in nodes:
        check_source(sights[node.id], node, here)
    return sights


def check_source(sight: Sight | WindtunnelError, node: Node, here: str) -> None:
    """Refuse a node with other source of windtunnel than this process: what it measured would not be comparable.

    Args:
        sight: of the node; one that could not be looked at has a problem of its own.
        node: named in the refusal.
        here: the digest of this process's source.

    Raises:
        MissingError: naming both.
    """
    there = sight.versions["windtunnel"] if isinstance(sight, Sight) else here
    if here != there:
        raise MissingError(
            f"{node} has windtunnel {there[:12]} and here it is {here[:12]}; install the same on both, "
            "or do not call ray.init before: windtunnel then travels by itself"
        )
