"""A Family: one way to harm a server, as a generator of conversations."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import numpy as np

    from windtunnel.seeds import Seeds

    from .conversation import Conversation, Material

Pace = Literal["quick", "slow", "idle"]
"""How long its conversations last: as long as an answer, until the server gives them up, or to the end."""


class Family:
    """One way to harm a server.

    A subclass has a `name` and `kinds`: functions of the material and of chance, that each make one conversation.
    """

    name: ClassVar[str]
    pace: ClassVar[Pace] = "quick"
    kinds: ClassVar[tuple[Callable[[Material, np.random.Generator], Conversation], ...]]

    def conversations(self, material: Material, seeds: Seeds) -> Iterator[Conversation]:
        """Conversations without end, each kind in turn; the same for the same seed, whatever other families do."""
        chance: np.random.Generator = seeds.stream("adversary", zlib.crc32(self.name.encode()))
        while True:
            for kind in self.kinds:
                yield kind(material, chance)


def choose(chance: np.random.Generator, among: tuple[Any, ...] | list[Any]) -> Any:
    """One of several, as it is.

    Example:
        >>> import numpy as np
        >>> choose(np.random.default_rng(0), ("a",))
        'a'
    """
    return among[int(chance.integers(len(among)))]
