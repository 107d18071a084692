"""Slow clients: some send their bodies so slowly that a server has to wait for the rest of them."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class Slow:
    """A share of the clients sends a request in pieces, evenly over a time.

    In the tunnel slow clients hold a batch (`slow-clients`), which happens to servers that read and write from the thread that works;
    what they do on the road is for the server to show.

    Args:
        share: of the clients, drawn request by request.
        over_s: how long one takes to send.

    Raises:
        ConfigError: no share, or no time.

    Example:
        >>> Slow(0.05, 2.0).share
        0.05
    """

    share: float = 0.05
    over_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError("is no share of the clients", field="share", value=self.share, fix="write 5%")
        if not 0.0 < self.over_s <= 600.0:
            raise ConfigError("must be above zero and at most 10 min", field="over", value=self.over_s, fix="write 1s")
