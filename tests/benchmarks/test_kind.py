from __future__ import annotations

from dataclasses import replace

from windtunnel.benchmarks.kind import kinds_of, turns_of
from windtunnel.benchmarks.node import Node, Sight
from windtunnel.errors import MeasurementError
from windtunnel.hardware import Hardware

SMALL = Hardware("a processor", "x86_64", ("AVX2",), 2.0, 2**33)
LARGE = replace(SMALL, cores=8.0)


def node(name: str, accelerator: str = "") -> Node:
    return Node(name, f"host-{name}", "10.0.0.1", 2.0, 0.0, accelerator)


def sight(hardware: Hardware, machine: str = "m") -> Sight:
    return Sight(hardware, machine, {"windtunnel": "d"})


def test_alike_nodes_are_one_kind() -> None:
    """Same accelerator, same fingerprint and sold as the same: one kind, for which the first node measures."""
    nodes = [node("a"), node("b"), node("c"), node("d", "T4")]
    sights = {"a": sight(SMALL), "b": sight(LARGE), "c": sight(SMALL), "d": sight(SMALL)}
    kinds = kinds_of(nodes, sights)

    assert [[each.id for each in kind.nodes] for kind in kinds] == [["a", "c"], ["b"], ["d"]]
    assert [kind.label for kind in kinds] == ["a processor, 2 cores", "a processor, 8 cores", "T4"]
    assert [kind.hardware for kind in kinds] == [SMALL, LARGE, SMALL]


def test_sold_as_something_else() -> None:
    """What is sold under another name is another kind: a price is of one name. The name is the label."""
    sights = {"a": sight(replace(SMALL, instance="aws:m7i.large")), "b": sight(SMALL)}

    assert [kind.label for kind in kinds_of([node("a"), node("b")], sights)] == [
        "aws:m7i.large",
        "a processor, 2 cores",
    ]


def test_labels_are_told_apart() -> None:
    """One accelerator in different machines makes two kinds, and no two kinds have the same label."""
    kinds = kinds_of([node("a", "T4"), node("b", "T4")], {"a": sight(SMALL), "b": sight(LARGE)})

    assert [kind.label for kind in kinds] == [f"T4 ({each.fingerprint[:6]})" for each in (SMALL, LARGE)]


def test_a_node_that_says_nothing() -> None:
    """A node that did not say what it is stands alone with its problem, and makes the verdict inconclusive."""
    nodes = [node("a"), node("b"), node("c")]
    silent = MeasurementError("node b was lost")
    kinds = kinds_of(nodes, {"a": sight(SMALL), "b": silent, "c": sight(SMALL)})

    assert [(kind.label, kind.problem) for kind in kinds] == [
        ("a processor, 2 cores", ""),
        ("host-b", "node b was lost"),
    ]
    assert kinds[1].hardware is None
    assert (kinds[1].verdict.outcome, kinds[1].verdict.reasons) == ("inconclusive", ("node b was lost",))


def test_who_measures_with_whom() -> None:
    """Kinds whose first nodes share a machine take turns; the others have a turn of their own."""
    nodes = [node("a"), node("b", "T4"), node("c", "A10G"), node("d")]
    sights = {"a": sight(SMALL, "1"), "b": sight(SMALL, "2"), "c": sight(SMALL, "1"), "d": sight(SMALL, "2")}

    turns = turns_of(kinds_of(nodes, sights))

    assert [[kind.nodes[0].id for kind in turn] for turn in turns] == [["a", "c"], ["b"]]
