"""Compiling is said when it happens: the first flight on a machine waits for it, and nobody should wonder why."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba.core import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Once(event.Listener):
    """Says one sentence when the first loop is compiled; loops that are kept from another process are not."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say: Callable[[str], None] | None = say

    def on_start(self, event: Any) -> None:  # noqa: ARG002  # numba's interface
        """A loop is about to be compiled."""
        if self.say is not None:
            self.say("compiling the simulator's loops for this machine, once: up to a minute")
            self.say = None

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


@cache
def digest_of_sources() -> int:
    """A number that changes with any file of this stage.

    Example:
        >>> 0 <= digest_of_sources() < 2**32
        True
    """
    digest = 0
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest = zlib.crc32(path.read_bytes(), digest)
    return digest


@contextmanager
def said(say: Callable[[str], None]) -> Iterator[None]:
    """Say once, at the moment at which it begins, that loops are compiled.

    Args:
        say: takes a sentence.

    Example:
        >>> from numba import njit
        >>> with said(print):
        ...     two = njit(lambda: 2)()
        compiling the simulator's loops for this machine, once: up to a minute
    """
    with event.install_listener("numba:compile", _Once(say)):
        yield
