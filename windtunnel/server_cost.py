"""A ServerCost: what a server costs a request beside the model: parsing, queueing, answering, in CPU seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.quantity import format_duration
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ServerCost:
    """What a server costs a request beside the model.

    Args:
        server: what it calls itself.
        cpu_s: CPU seconds a request of all its processes, less the model's; of a server on another machine, whose CPU
            nobody here sees, seconds of the clock.
        of: which of the two.
        model_s: CPU seconds of the model that were taken off a request; 0 where nobody told them, and the model is within.
        connections: so many asked at once.
        requests_per_s: so many were answered.
        processes: of how many the CPU was counted.
        inside: whether the service times of the profile that carries it hold it already: they were taken over the wire.

    Example:
        >>> ServerCost("triton 2.51.0", Interval(0.00055, 0.0005, 0.0006, 9, 0.95), "cpu", 0.00035).sentence
        'triton 2.51.0 takes 550 µs of CPU a request (500 µs to 600 µs) beside the model: 61% of 900 µs.'
    """

    server: str
    cpu_s: Interval
    of: Literal["cpu", "wall"] = "cpu"
    model_s: float = 0.0
    connections: int = 1
    requests_per_s: float = 0.0
    processes: int = 0
    inside: bool = False

    @property
    def share(self) -> float | None:
        """Of a request's CPU that is the server's; None where the model's is not known apart."""
        whole = self.cpu_s.value + self.model_s
        return self.cpu_s.value / whole if self.model_s > 0.0 and whole > 0.0 else None

    @property
    def sentence(self) -> str:
        """As it is told."""
        value, low, high = (format_duration(each) for each in (self.cpu_s.value, self.cpu_s.low, self.cpu_s.high))
        what = "of CPU" if self.of == "cpu" else "of the clock"
        said = f"{self.server} takes {value} {what} a request ({low} to {high})"
        if self.share is None:
            return f"{said}, the model's share in it not known apart."
        return f"{said} beside the model: {self.share:.0%} of {format_duration(self.cpu_s.value + self.model_s)}."

    @property
    def counted(self) -> bool:
        """Whether it is core time that a plan has to find beside the model's."""
        return self.of == "cpu" and not self.inside and self.model_s > 0.0

    def held(self) -> ServerCost:
        """The same, where service times hold it."""
        return replace(self, inside=True)

    def to_dict(self) -> dict[str, Any]:
        """The cost as JSON values."""
        return {
            "server": self.server, "of": self.of, **self.cpu_s.to_dict("cpu_s"), "samples": self.cpu_s.samples,
            "confidence": self.cpu_s.confidence, "model_s": self.model_s, "connections": self.connections,
            "requests_per_s": self.requests_per_s, "processes": self.processes, "inside": self.inside, "share": self.share,
        }  # fmt: skip

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ServerCost:
        """Read what `to_dict` wrote."""
        cpu_s = Interval(*(value[key] for key in ("cpu_s", "cpu_s_low", "cpu_s_high", "samples", "confidence")))
        return ServerCost(
            value["server"], cpu_s, value["of"], value["model_s"], value["connections"], value["requests_per_s"],
            value["processes"], value["inside"],
        )  # fmt: skip
