"""The front proxy: a server too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class Proxy:
    """A first-come first-served station that every attempt passes on its way in.

    Args:
        workers: attempts it takes on at once.
        service_s: what each takes, always the same.

    Raises:
        ConfigError: no worker, or a negative time.
    """

    workers: int
    service_s: float

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError("must be at least 1", field="workers", value=self.workers)
        if not 0.0 <= self.service_s < math.inf:
            raise ConfigError("must be zero or more", field="service", value=self.service_s)
