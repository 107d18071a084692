"""Kinds of nodes: which are alike, which stand on one machine, and what one of each measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from windtunnel.verdict import Verdict

from .node import Sight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.errors import WindtunnelError
    from windtunnel.hardware import Hardware

    from .benchmark import Benchmark
    from .node import Node


@dataclass(frozen=True)
class Kind:
    """Nodes that are alike, and what the first of them measured.

    Args:
        label: told from other kinds by this: the accelerator, what it is sold as, or the processor.
        nodes: all of the kind; the first measured.
        hardware: what they are; None where the node did not say.
        machine: which running machine the first is on.
        versions: of the packages that matter on the first.
        benchmark: what it measured; None where it could not.
        problem: why it could not, and the way out; empty where it could.
        left_out: runtimes and tasks that cannot run there, each with the reason.
    """

    label: str
    nodes: tuple[Node, ...]
    hardware: Hardware | None = None
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    benchmark: Benchmark | None = None
    problem: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The measurement's own; inconclusive where there is none."""
        if self.benchmark is not None:
            return self.benchmark.verdict
        return Verdict("inconclusive", (self.problem,), ("measure this kind of node again",))

    def to_dict(self) -> dict[str, Any]:
        """The kind as JSON values; its profiles stand apart, beside those of the other kinds."""
        measured = self.benchmark.to_dict() if self.benchmark is not None else {}
        return {
            "label": self.label, "nodes": [node.to_dict() for node in self.nodes], "measured_on": self.nodes[0].id,
            "hardware": self.hardware.to_dict() if self.hardware is not None else None, "versions": dict(self.versions),
            "problem": self.problem, "left_out": dict(self.left_out), "verdict": self.verdict.to_dict(),
            **{name: value for name, value in measured.items() if name != "profiles"},
        }  # fmt: skip


def kinds_of(nodes: Sequence[Node], sights: Mapping[str, Sight | WindtunnelError]) -> tuple[Kind, ...]:
    """Put nodes that are alike together; a node that did not say what it is stands alone.

    Args:
        nodes: by id.
        sights: what each shows of itself, or why it does not, by id.
    """
    alike: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        sight = sights[node.id]
        hardware = sight.hardware if isinstance(sight, Sight) else None
        key = (node.accelerator, hardware.instance, hardware.fingerprint) if hardware is not None else (node.id,)
        alike.setdefault(key, []).append(node)
    kinds = [_kind(tuple(members), sights[members[0].id]) for members in alike.values()]
    labels = [kind.label for kind in kinds]
    return tuple(_told_apart(kind) if labels.count(kind.label) > 1 else kind for kind in kinds)


def _kind(nodes: tuple[Node, ...], sight: Sight | WindtunnelError) -> Kind:
    if not isinstance(sight, Sight):
        return Kind(nodes[0].accelerator or nodes[0].host, nodes, problem=str(sight))
    hardware = sight.hardware
    label = nodes[0].accelerator or hardware.instance or f"{hardware.cpu}, {hardware.cores:g} cores"
    return Kind(label, nodes, hardware, sight.machine, sight.versions)


def _told_apart(kind: Kind) -> Kind:
    """A kind whose label another has too."""
    mark = kind.hardware.fingerprint[:6] if kind.hardware is not None else kind.nodes[0].id[:6]
    return replace(kind, label=f"{kind.label} ({mark})")


def turns_of(kinds: Sequence[Kind]) -> tuple[tuple[Kind, ...], ...]:
    """Kinds whose first nodes share a machine, together: they would disturb each other.

    Example:
        >>> a, b, c = (Kind(name, (), machine=machine) for name, machine in (("a", "1"), ("b", "2"), ("c", "1")))
        >>> [[kind.label for kind in turn] for turn in turns_of((a, b, c))]
        [['a', 'c'], ['b']]
    """
    together: dict[str, list[Kind]] = {}
    for kind in kinds:
        together.setdefault(kind.machine or f"unknown {kind.label}", []).append(kind)
    return tuple(tuple(turn) for turn in together.values())
