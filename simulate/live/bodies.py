"""Bodies: the requests that are sent, written before the run, so that nothing but sending happens in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.quantity import format_bytes
from windtunnel.serving.protocol import write_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .target import Target

    Arrays = Mapping[str, NDArray[Any]]

MOST_BODIES = 4096
"""Different bodies of a size class at most; after the last comes the first again."""

MOST_BYTES = 1 << 27
"""What all bodies take at most, and what none may be larger than."""


@dataclass(frozen=True)
class Bodies:
    """Whole HTTP requests.

    Args:
        messages: head and body of each.
        first: where each size class begins in them, and at last their number.
    """

    messages: tuple[bytes, ...]
    first: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(map(len, self.messages))

    @staticmethod
    def of(target: Target, classes: Sequence[Arrays], *, most_bytes: int = MOST_BYTES) -> Bodies:
        """One request a row, of every size class, as many as there is room for.

        Args:
            target: who takes them; tensors go as raw bytes where it says that it takes those, else as JSON.
            classes: rows by input name, of each size class.
            most_bytes: what all may take, shared evenly by the classes.

        Raises:
            DataError: one row that is larger than that.
        """
        messages: list[bytes] = []
        first = [0]
        for feeds in classes:
            messages += _fitting(target, feeds, most_bytes // len(classes))
            first.append(len(messages))
        return Bodies(tuple(messages), tuple(first))

    def flat(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All of them in one piece, and where each ends in it."""
        ends = np.cumsum([len(each) for each in self.messages]).astype(np.int64)
        return np.frombuffer(b"".join(self.messages), dtype=np.uint8), ends


def _fitting(target: Target, feeds: Arrays, most_bytes: int) -> list[bytes]:
    """The requests of one size class, as many as fit."""
    found: list[bytes] = []
    held = 0
    for message in _messages(target, feeds):
        held += len(message)
        if held > most_bytes and not found:
            raise DataError(
                f"takes {format_bytes(len(message))} as a request", field="a row",
                fix=f"at most {format_bytes(most_bytes)} are sent at once: give shorter lengths",
            )  # fmt: skip
        if held > most_bytes or len(found) == MOST_BODIES:
            break
        found.append(message)
    return found


def _messages(target: Target, feeds: Arrays) -> Iterator[bytes]:
    for row in range(len(next(iter(feeds.values())))):
        body, headers = write_request(
            {name: array[row : row + 1] for name, array in feeds.items()}, binary=target.binary
        )
        yield target.head(len(body), headers) + body
