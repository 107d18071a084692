"""What a format of recorded traffic is: a name, how it is recognised, and how its rows are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .rows import Rows
    from .source import Source


class Format(Protocol):
    """One format. Adding one is one file, and one line in `FORMATS`.

    Attributes:
        hears: the fields of `Ask` that mean something to it, beside those that mean something to all.
    """

    hears: ClassVar[frozenset[str]]

    @property
    def name(self) -> str:
        """What `--format` calls it."""

    @property
    def looks(self) -> str:
        """What it looks like, for the list that a refusal shows."""

    def matches(self, source: Source) -> bool:
        """Whether the beginning of the file is of this format and no other."""

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the rows; what is unusable in them is counted in the tally or left missing for `settle` to count."""
