from __future__ import annotations

import io
import sys

import pytest

from windtunnel.progress import SILENT, Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool
) -> None:
    """Quiet progress writes no byte, on a terminal or off it."""
    stderr = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    for progress in (SILENT, Progress(quiet=True)):
        progress.say("measuring")
        with progress.bar("blocks", 2) as report:
            report(2)

    assert stderr.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_a_pipe_gets_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal there are lines on stderr, no bars, and nothing on stdout."""
    progress = Progress()
    progress.say("measuring")
    with progress.bar("blocks", 2) as report:
        report(1)

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "measuring\n")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a bar says what is under way and how far it is."""
    stderr = _Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with Progress().bar("blocks", 7) as report:
        report(3)

    assert "blocks" in stderr.getvalue()
    assert "3/7" in stderr.getvalue()
