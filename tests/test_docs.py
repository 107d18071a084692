"""The documents are true: every verb and key is described, and what is described is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.main import get_command

from windtunnel import __version__
from windtunnel.backtest import LOSSES
from windtunnel.cli import app
from windtunnel.config import BacktestFile, Config, LossName
from windtunnel.doctor import EXTRAS
from windtunnel.optimize import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]  # Typer says Command, it is a Group


def _keys(model: type[BaseModel]) -> set[str]:
    """Every key of a section and of the sections in it."""
    keys = set(model.model_fields)
    for field in model.model_fields.values():
        inner = [field.annotation, *get_args(field.annotation)]
        for each in inner:
            if isinstance(each, type) and issubclass(each, BaseModel):
                keys |= _keys(each)
    return keys


def test_every_key_is_documented() -> None:
    """docs/configuration.md names every key that a configuration may hold."""
    words = set(re.findall(r"[a-z_]+", CONFIGURATION))

    assert set() == _keys(Config) - words
    assert set() == _keys(BacktestFile) - words


def test_configuration_names_are_the_stages_own() -> None:
    """The losses that the configuration admits are those that the stage knows; every metric is described."""
    words = set(re.findall(r"[a-z_]+", CONFIGURATION))

    assert tuple(LOSSES) == get_args(LossName)
    assert set() == {metric.partition("@")[0] for metric in METRICS} - words


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_verb_is_in_the_readme(verb: str) -> None:
    """The README shows one command a verb."""
    assert f"windtunnel {verb}" in README


def test_readme_commands_are_commands() -> None:
    """Every `windtunnel …` line of the README is a verb with options that it has."""
    lines = re.findall(r"^windtunnel (\w+)(.*)$", README, flags=re.MULTILINE)
    assert lines
    for verb, rest in lines:
        options = {name for parameter in COMMANDS[verb].params for name in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0])) <= options, (verb, rest)


def test_changelog_has_this_version() -> None:
    """CHANGELOG.md speaks of the version that is installed."""
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_extras_are_those_of_the_package() -> None:
    """The doctor knows the extras that pyproject.toml offers."""
    import tomllib

    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(offered)


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link of a document leads to a file."""
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
