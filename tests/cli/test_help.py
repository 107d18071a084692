"""Every command is documented: a line of help, an example whose options exist, help for each option, the shared ones alike."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from windtunnel.cli import app

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(GROUP.commands)

NO_JSON: set[str] = {"serve"}
"""Commands that end in no result."""


def _examples(command: Any) -> list[list[str]]:
    lines = [line.strip().partition(": windtunnel ") for line in command.help.splitlines()]
    return [shlex.split(f"windtunnel {words}") for _, found, words in lines if found]


def test_verbs() -> None:
    """The verbs that were promised are there."""
    assert {
        "demo", "init", "run", "optimize", "benchmark", "trace", "simulate", "plan", "backtest", "gate", "report", "verify",
        "doctor", "export",
    } <= set(COMMANDS)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_line(name: str) -> None:
    """The first line is a sentence; every option and argument says what it is for."""
    command = COMMANDS[name]

    assert command.help.splitlines()[0].endswith((".", ". \x0c"))
    assert [each.name for each in command.params if not getattr(each, "help", "")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_example_parses(name: str) -> None:
    """There is an example, and each calls this command, with options that exist and values that they take."""
    examples = _examples(COMMANDS[name])

    assert examples
    for program, verb, *arguments in examples:
        assert (program, verb) == ("windtunnel", name)
        COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_shared_options(name: str) -> None:
    """--quiet and --debug are everywhere, --json wherever there is a result, and each means the same everywhere."""
    options = {each.opts[0]: each for each in COMMANDS[name].params}

    assert {"--quiet", "--debug"} <= set(options)
    assert ("--json" in options) == (name not in NO_JSON)
    for option in ("--quiet", "--debug", "--json"):
        if option in options:
            assert options[option].help == {each.opts[0]: each for each in COMMANDS["plan"].params}[option].help


def test_exit_codes_are_told() -> None:
    """The help of the whole says what each exit code means."""
    for told in ("0 go", "1 no-go", "2 bad input", "3 inconclusive", "4 something", "130 interrupted"):
        assert told in GROUP.epilog
