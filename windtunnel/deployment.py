"""A Deployment: which variant on which machines, how many, batching how; and the Slo it must keep."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration, parse_duration


@dataclass(frozen=True)
class BatchPolicy:
    """When a batch leaves: when `max_batch` requests wait, or the oldest has waited `max_wait_s`, and a replica is idle.

    Example:
        >>> BatchPolicy(8, 0.002)
        BatchPolicy(max_batch=8, max_wait_s=0.002)
    """

    max_batch: int = 1
    max_wait_s: float = 0.0

    @property
    def ongoing(self) -> int:
        """Requests that a replica takes on at once where nothing else is said: a batch and the next one, and at least 16."""
        return max(16, 2 * self.max_batch)

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ConfigError("must be at least 1", field="max_batch", value=self.max_batch)
        if not 0.0 <= self.max_wait_s < float("inf"):
            raise ConfigError("must be zero or more", field="max_wait", value=self.max_wait_s)


@dataclass(frozen=True)
class Deployment:
    """Replicas of one variant, batching alike, on machines of one kind.

    Args:
        variant: the variant's name.
        replicas: sessions that serve at once.
        batch: the batching policy.
        machines: how many machines carry the replicas.
        usd_per_hour: what these machines cost an hour.
        hardware: the instance type; empty where it does not matter.
        batcher: the server whose way of batching it is, as a phrase; `ideal` for one queue in front of all replicas.
        router: which replica gets a request, as a phrase, where each has a queue of its own.
        pattern: the way of running it: `always-on`, `autoscaled`, `spot`, `serverless` or `edge`.
        most: replicas that a fleet which scales may grow to, from `replicas`; 0 where their number stays.
    """

    variant: str
    replicas: int
    batch: BatchPolicy
    machines: int
    usd_per_hour: float
    hardware: str = ""
    batcher: str = "ideal"
    router: str = ""
    pattern: str = "always-on"
    most: int = 0

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ConfigError("must be at least 1", field="replicas", value=self.replicas)

    def __str__(self) -> str:
        wait = f"waiting up to {format_duration(self.batch.max_wait_s)}" if self.batch.max_wait_s else "never waiting"
        count = f"{self.replicas} to {self.most}" if self.most else f"{self.replicas}"
        told = (
            [f"{count} × {self.variant}"]
            if self.pattern != "serverless"
            else [f"an instance of {self.variant} a request"]
        )
        told += [] if self.pattern in {"always-on", "serverless"} else [self.pattern]
        told += [f"batches of up to {self.batch.max_batch}", wait]
        told += [f"batched by {self.batcher}"] if self.batcher != "ideal" else []
        return ", ".join([*told, *([f"routed by {self.router}"] if self.router else [])])


@dataclass(frozen=True)
class Slo:
    """The promise: a quantile of the latency stays at or below a bound.

    Example:
        >>> Slo.parse("p99<=50ms")
        Slo(quantile=0.99, latency_s=0.05)
    """

    quantile: float
    latency_s: float

    @staticmethod
    def parse(text: str) -> Slo:
        """Read `p99<=50ms`.

        Raises:
            ConfigError: another form, a quantile outside 0 to 100, or a bound of zero.
        """
        match = re.fullmatch(r"p([0-9]+(?:\.[0-9]+)?)\s*<=\s*(\S+)", text.strip())
        if match is None:
            raise ConfigError("is not an SLO", field="slo", value=text, fix="write p99<=50ms")
        quantile, latency_s = float(match[1]) / 100.0, parse_duration(match[2])
        if not 0.0 < quantile < 1.0:
            raise ConfigError("asks for a quantile outside 0 to 100", field="slo", value=text, fix="write p99<=50ms")
        if latency_s <= 0.0:
            raise ConfigError(
                "cannot be kept by anything: its bound is zero", field="slo", value=text, fix="write p99<=50ms"
            )
        return Slo(quantile, latency_s)

    def __str__(self) -> str:
        return f"p{self.quantile * 100:g} ≤ {format_duration(self.latency_s)}"
