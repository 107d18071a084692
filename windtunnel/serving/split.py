"""Which model answers a request: a stable hash of its key, the same on every replica and after every start.

The hash is that of the backtest's rollouts (`windtunnel.backtest.policy.split_of` of a text), so whoever is served by a
canary today is whom a replayed rollout gives to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from windtunnel.errors import ConfigError
from windtunnel.quantity import parse_share

PRIMARY, CANARY = "primary", "canary"
"""The two arms of a split, as the prediction log calls them."""

ROLLOUT, LOGGED = "rollout", "log"
"""What the hash is salted with. The log has a salt of its own: with one for both, a log of 5% would see the canary alone."""


@lru_cache
def _key_of(salt: str) -> bytes:
    return hashlib.blake2b(salt.encode(), digest_size=8).digest()


def place_of(key: str, salt: str = ROLLOUT) -> float:
    """Where a key falls on [0, 1): the upper 53 bits of BLAKE2b (RFC 7693), keyed by the salt.

    Example:
        >>> round(place_of("user-7"), 3), round(place_of("user-7", "log"), 3)
        (0.016, 0.785)
    """
    # what clients send may hold lone surrogates, which UTF-8 has not
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8, key=_key_of(salt)).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


@dataclass(frozen=True)
class Split:
    """What share of the keys the canary answers.

    Args:
        canary: its share, from 0 (none) to 1.
    """

    canary: float = 0.0

    def arm_of(self, key: str) -> tuple[str, float]:
        """The arm that a key belongs to, and the probability (propensity) of that arm.

        Whoever is in the canary at a share stays in it at any greater one.

        Example:
            >>> Split(0.02).arm_of("user-7"), Split(0.01).arm_of("user-7")
            (('canary', 0.02), ('primary', 0.99))
        """
        if self.canary > 0.0 and place_of(key) < self.canary:
            return CANARY, self.canary
        return PRIMARY, 1.0 - self.canary


def read_canary(text: str) -> tuple[str, float]:
    """Read `RUN=5%`: whose share it is, and the share.

    Raises:
        ConfigError: no share, one that cannot be read, or one that is not between 0 and 1.

    Example:
        >>> read_canary("runs/new=5%")
        ('runs/new', 0.05)
    """
    run, equals, said = text.rpartition("=")
    if not equals or not run:
        raise ConfigError("says no share", field="--canary", value=text, fix="write --canary RUN=5%")
    try:
        share = parse_share(said)
    except ConfigError as error:
        raise ConfigError(error.problem, field="--canary", value=said, fix="write --canary RUN=5%") from error
    if not 0.0 < share < 1.0:
        raise ConfigError("is no split", field="--canary", value=said, fix="give a share above 0 and below 100%")
    return run, share
