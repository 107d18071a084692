"""Formats whose requests lie deep in JSON documents: each is flattened, and read as a flat table then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.errors import DataError

from .source import frames_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from windtunnel.seeds import Seeds

    from .flat import Flat
    from .reading import Ask, Tally
    from .rows import Rows
    from .source import Source


@dataclass(frozen=True)
class Nested:
    """A format of JSON documents.

    Args:
        flat: how the flattened table is read.
        flatten: the requests of one document, as flat dictionaries with the columns of `flat`; what is no request it counts
            in the tally.
        told_by: keys of the first document by which it is recognised; one is enough.
        looks: what it looks like.
    """

    hears: ClassVar[frozenset[str]] = frozenset({"time_unit", "duration_unit", "stamped"})

    flat: Flat
    flatten: Callable[[dict[str, Any], Tally], Iterator[dict[str, Any]]]
    told_by: frozenset[str]
    looks: str

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        return self.flat.name

    def matches(self, source: Source) -> bool:
        """Whether the first document has one of the keys."""
        return source.kind == "json" and bool(self.told_by & set(source.header))

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Flatten, and read.

        Raises:
            DataError: it is no JSON, or holds no request.
        """
        del seeds  # nothing here is left to chance
        if source.kind != "json":
            raise DataError("is no JSON", file=source.path, value=source.first[:40], fix=f"{self.name} is {self.looks}")
        found = (row for document in source.documents(tally) for row in self.flatten(document, tally))
        return self.flat.asked(ask).rows_of(source, frames_of(found, self.flat.wanted), tally)


def text(document: dict[str, Any], *path: str) -> str | None:
    """What lies at a path of keys, as text; None where it leads nowhere.

    Example:
        >>> text({"a": {"b": 5}}, "a", "b"), text({"a": 1}, "a", "b")
        ('5', None)
    """
    found: Any = document
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return None if found is None else str(found)
