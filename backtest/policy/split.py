"""The split of traffic: which share of [0, 1) a request or an entity falls on, today, tomorrow and on any machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]


def split_of(keys: pl.Series, salt: str = "rollout") -> NDArray[np.float64]:
    """Where each key falls on [0, 1): a model with a share of 5% serves the keys below 0.05.

    A key always falls on the same place, so whoever was served by the candidate at 1% still is at 5%. Give the entity
    (a user, say) rather than the request where one must not meet both models in turn. Whole numbers are mixed by
    splitmix64 (Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014); everything else
    by BLAKE2b of its text. Neither changes with a library's version, as the hashes of dataframes do.

    Args:
        keys: ids or entities, of any dtype.
        salt: another one gives another split.

    Returns:
        float64 [n].

    Example:
        >>> split_of(pl.Series([1, 2, 3])).round(3).tolist()
        [0.614, 0.181, 0.569]
        >>> bool((split_of(pl.Series(range(10_000))) < 0.05).mean().round(2) == 0.05)
        True
    """
    key = hashlib.blake2b(salt.encode(), digest_size=8).digest()
    if keys.dtype.is_integer():
        words = keys.fill_null(0).cast(pl.UInt64 if keys.dtype.is_unsigned_integer() else pl.Int64).to_numpy()
        return _place(_mix(words.astype(np.uint64) ^ np.frombuffer(key, dtype=np.uint64)))
    texts = keys.cast(pl.String).fill_null("")
    distinct = texts.unique()
    hashed = [hashlib.blake2b(each.encode(), digest_size=8, key=key).digest() for each in distinct.to_list()]
    words = np.frombuffer(b"".join(hashed), dtype=np.uint64)
    places = pl.DataFrame({"key": distinct, "place": _place(words)})
    return pl.DataFrame({"key": texts}).join(places, on="key", how="left", maintain_order="left")["place"].to_numpy()


def _mix(words: Words) -> Words:
    """The finaliser of splitmix64, in which every bit of a word moves every bit of the result."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _place(words: Words) -> NDArray[np.float64]:
    """The upper 53 bits, which a float64 holds exactly."""
    places: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return places
