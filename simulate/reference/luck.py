"""SplitMix64 once more, in Python's own whole numbers."""

from __future__ import annotations

_MASK = 2**64 - 1
_WEYL = 0x9E3779B97F4A7C15


def mix(state: int) -> int:
    """SplitMix64's finalizer, of 64 bits."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def uniform(seed: int, counter: int) -> float:
    """The `counter`-th number in [0, 1) of a seed's SplitMix64 stream.

    Example:
        >>> uniform(1, 7) == uniform(1, 7) != uniform(1, 8)
        True
    """
    return (mix((mix((seed + _WEYL) & _MASK) + (counter + 1) * _WEYL & _MASK) & _MASK) >> 11) * 2.0**-53
