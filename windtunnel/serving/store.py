"""A Store: the long bodies that a replica holds, in all no more than it has room for."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.serving.limits import Refused


@dataclass(slots=True)
class Store:
    """What long bodies take in a replica.

    Args:
        most: bytes, in all.
        bytes: taken now.
    """

    most: int
    bytes: int = 0

    def part(self) -> Part:
        """Room for one body, nothing at first."""
        return Part(self)


@dataclass(slots=True)
class Part:
    """What one body takes of a store.

    Args:
        store: whose part it is.
        bytes: of it.

    Example:
        >>> store = Store(10)
        >>> part = store.part()
        >>> part.add(7)
        >>> store.part().add(4)
        Traceback (most recent call last):
        windtunnel.serving.limits.Refused: has no room for so long a body now; try again
        >>> part.free()
        >>> store.bytes
        0
    """

    store: Store
    bytes: int = 0

    def add(self, count: int) -> None:
        """Take more.

        Raises:
            Refused: there is no room.
        """
        if self.store.bytes + count > self.store.most:
            raise Refused(503, "has no room for so long a body now; try again", ((b"retry-after", b"1"),))
        self.bytes += count
        self.store.bytes += count

    def free(self) -> None:
        """Give it back."""
        self.store.bytes -= self.bytes
        self.bytes = 0
