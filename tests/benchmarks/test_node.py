from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.benchmarks import node as node_module
from windtunnel.benchmarks.node import Node, machine_id, occupants
from windtunnel.errors import MeasurementError, ModelError

if TYPE_CHECKING:
    from pathlib import Path


def test_label_before_resource() -> None:
    """The label of a node says which accelerator it has; where there is none, the resource does; where neither, nobody."""
    entry = {"NodeID": "a", "NodeManagerHostname": "h", "NodeManagerAddress": "10.0.0.7", "Resources": {"CPU": 4.0}}
    both = {
        **entry,
        "Labels": {"ray.io/accelerator-type": "A10G"},
        "Resources": {"GPU": 1.0, "accelerator_type:T4": 1.0},
    }

    assert Node.from_ray(both) == Node("a", "h", "10.0.0.7", 0.0, 1.0, "A10G")
    assert Node.from_ray({**both, "Labels": {}}).accelerator == "T4"
    assert Node.from_ray(entry) == Node("a", "h", "10.0.0.7", 4.0, 0.0, "")


def test_machine_by_boot_id(tmp_path: Path) -> None:
    """A machine is told by its boot id, which containers share; by its own id where the kernel shows none."""
    boot, own = tmp_path / "proc/sys/kernel/random/boot_id", tmp_path / "etc/machine-id"
    for file, text in ((boot, "boot\n"), (own, "own\n")):
        file.parent.mkdir(parents=True)
        file.write_text(text)

    assert machine_id(tmp_path) == "boot"
    boot.unlink()
    assert machine_id(tmp_path) == "own"
    own.unlink()
    assert machine_id(tmp_path) != ""


def test_occupants_are_the_workers_of_this_node(tmp_path: Path) -> None:
    """What occupies a node are its raylet's children that do work: no idle worker, no agent, nothing of another node."""
    titles = {
        "11": ("ray::train", 7), "12": ("ray::IDLE", 7), "13": ("ray::RuntimeEnvAgent", 7), "14": ("ray::Trainer.fit", 7),
        "15": ("ray::elsewhere", 8), "16": ("python\0serve.py", 7),
    }  # fmt: skip
    for number, (title, parent) in titles.items():
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text(title)
        (tmp_path / number / "stat").write_text(f"{number} (a (b) c) S {parent} 1 1")

    assert occupants("", tmp_path, 7) == ("Trainer.fit (process 14)", "train (process 11)")
    assert occupants("Trainer", tmp_path, 7) == ("train (process 11)",)
    assert occupants("", tmp_path, 9) == ()


def test_what_is_raised_there() -> None:
    """A refusal comes home as it is; a package that is missing there is named; anything else is a failed measurement."""
    node, refused = Node("abc", "h", "10.0.0.7", 2.0), ModelError("is empty", file="a.onnx")
    ray_says = RuntimeError("The remote function failed to import on the worker.\n\nNo module named 'polars'\n")
    lacks = "node abc (h, 10.0.0.7) lacks a package (No module named 'polars'); install there what is installed here"

    assert node_module._raised_there(refused, node, "measure") is refused
    assert str(node_module._raised_there(ray_says, node, "measure")) == lacks
    assert str(node_module._raised_there(ImportError("No module named 'polars'"), node, "measure")) == lacks
    failed = node_module._raised_there(ValueError("seven\neight"), node, "measure")
    assert type(failed) is MeasurementError
    assert str(failed) == "node abc (h, 10.0.0.7) could not measure (ValueError: seven); see its logs"
