"""Progress on stderr for people; silence for pipes."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Progress:
    """Says on stderr what is going on: a line a stage, and a bar with the time left while one is under way.

    Args:
        quiet: say nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._lines = not quiet
        self._bars = not quiet and sys.stderr.isatty()

    def say(self, line: str) -> None:
        """Print one line."""
        if self._lines:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how far a loop has come; the value is called with the number of finished items."""
        if not self._bars:
            yield lambda _done: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(title, total=total)
            yield lambda done: bars.update(task, completed=done)


SILENT = Progress(quiet=True)
"""Says nothing; the default of every function that can be called from Python."""
