"""The lock: what CI and a newcomer install is what was tested, and all of it was asked for."""

from __future__ import annotations

import importlib.metadata
import re
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
LOCK = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}

REPLACED = {"onnxruntime-gpu", "xgboost"}
"""onnxruntime-gpu takes the place of onnxruntime: both are the module `onnxruntime` and cannot stand beside each other.
xgboost-cpu stands in the lock in xgboost's place: the same module without half a gigabyte of CUDA."""

TOOLS = {"pip", "setuptools", "wheel", "windtunnel"}
"""What is there before the lock is installed, and this project itself."""


def _asked_for() -> list[Requirement]:
    """Every requirement of the project: dependencies, extras, dependency groups and the build."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    texts = list(project["dependencies"])
    for group in (*project["optional-dependencies"].values(), *document["dependency-groups"].values()):
        texts += [each for each in group if isinstance(each, str)]
    return [Requirement(text) for text in dict.fromkeys(texts)]


ASKED_FOR = [each for each in _asked_for() if each.name not in REPLACED]


@pytest.mark.parametrize("line", LINES)
def test_lines_are_pins(line: str) -> None:
    """Each line is a name and one exact public version: no range, host, path, option or local build."""
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9a-z.]*", line)
    assert Version(line.partition("==")[2]).local is None


def test_no_name_twice() -> None:
    """Each package is pinned once, and the lines are in order."""
    assert len(LOCK) == len(LINES)
    assert sorted(LINES, key=lambda line: line.partition("==")[0].lower()) == LINES


@pytest.mark.parametrize("requirement", ASKED_FOR, ids=str)
def test_every_requirement_is_pinned(requirement: Requirement) -> None:
    """What pyproject.toml asks for is pinned, at a version that its range admits."""
    assert canonicalize_name(requirement.name) in LOCK
    assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)])


def test_what_is_left_out() -> None:
    """The one requirement that is not pinned is asked for by an extra, and what it replaces is pinned."""
    assert {each.name for each in _asked_for()} >= REPLACED
    assert not REPLACED & set(LOCK)
    assert "onnxruntime" in LOCK


def test_torch() -> None:
    """The pin of torch is the version that this project was told to stand on."""
    assert LOCK[canonicalize_name("torch")] == "2.13.0"


def test_installed_is_locked() -> None:
    """What is installed here is the lock, no package more, none less, none at another version."""
    # by folder: once imported, ray puts copies that it brings along on the path
    installed = {
        canonicalize_name(each.metadata["Name"]): Version(each.version).public
        for each in importlib.metadata.distributions(
            path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        )
    }

    assert {name: Version(version).public for name, version in LOCK.items()} == {
        name: version for name, version in installed.items() if name not in TOOLS
    }
