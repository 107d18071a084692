"""A Screen: how a live run goes, while it goes."""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING

from windtunnel.quantity import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .drive import Progress

EVERY_S = 5.0
"""Between two lines, where there is no terminal to draw on."""


@contextlib.contextmanager
def screen(say: Callable[[str], None], *, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """What `drive` is given to watch it: a picture on a terminal, else a line now and then.

    Args:
        say: prints a line.
        shown: nothing is shown where not.
    """
    if not shown:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        with _picture() as draw:
            yield draw
    else:
        yield _Lines(say)


class _Lines:
    """A line now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._next_s = say, EVERY_S

    def __call__(self, progress: Progress) -> None:
        if progress.at_s >= self._next_s:
            self._next_s = progress.at_s + EVERY_S
            self._say(
                f"  {format_duration(progress.at_s)}: "
                + ", ".join(f"{name} {value}" for name, value in told(progress).items())
            )


def told(progress: Progress) -> dict[str, str]:
    """How far a run is, for people.

    Example:
        >>> from .drive import Progress
        >>> told(Progress(1.0, 200, 100, 98, 1, 1, 0.002, 0.015))["latency"]
        'p50 2 ms, p99 15 ms'
    """
    latency = "–"
    if not math.isnan(progress.p50_s):
        latency = f"p50 {format_duration(progress.p50_s)}, p99 {format_duration(progress.p99_s)}"
    return {
        "sent": f"{progress.sent:,} of {progress.requests:,}", "answered": f"{progress.answered:,}", "lost": f"{progress.lost:,}",
        "under way": f"{progress.under_way:,}", "latency": latency,
    }  # fmt: skip


@contextlib.contextmanager
def _picture() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:

        def draw(progress: Progress) -> None:
            table = Table.grid(padding=(0, 2))
            for name, value in told(progress).items():
                table.add_row(name, value)
            bar = ProgressBar(total=progress.requests, completed=progress.sent, width=40)
            live.update(
                Group(
                    f"  {format_duration(progress.at_s)} on the road; Ctrl-C stops it and tells what there is",
                    bar,
                    table,
                )
            )

        yield draw
