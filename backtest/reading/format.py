"""What a format of recordings is: a name, how it is recognised, what it calls the parts, and how its rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    import polars as pl

    from .intake import Tally
    from .roles import Wanted


@dataclass(frozen=True)
class Format:
    """One format. Adding one is one file, and one line in `FORMATS`.

    Args:
        name: what a user calls it.
        looks: what it looks like, for the list that a refusal shows.
        matches: whether a table with such columns, or a log whose first object has such keys, is of it.
        given: the parts (of `Roles`) that it knows, and what it calls them; the user need not name those.
        read: the file, what is wanted of it, rows a piece, and the tally → pieces.
    """

    name: str
    looks: str
    matches: Callable[[AbstractSet[str]], bool]
    given: Mapping[str, str]
    read: Callable[[str, Wanted, int, Tally], Iterator[pl.DataFrame]]
