"""How models are measured, as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Settings:
    """How models are measured.

    Args:
        batch: rows a call.
        precision: of the quantile, ± this share.
        quantile: which is to be precise: p50, p90, p99 or p999.
        budget_s: seconds of timing.
        threads: intra-op threads of an instance, one or more.
        concurrency: instances that are busy at once, one or more.
        runtimes: by name.
        sizes: size classes: for a free axis of the inputs, by name, the lengths to measure.
        footprint: whether memory and start are measured.
        scaling: whether the machine is filled with threads and with instances.
        instance: what this machine is sold as, such as `aws:m7i.large`, where it does not say so itself.
    """

    batch: tuple[int, ...] = (1, 8, 64)
    precision: float = 0.05
    quantile: str = "p50"
    budget_s: float = 60.0
    threads: tuple[int, ...] = (1,)
    concurrency: tuple[int, ...] = (1,)
    runtimes: tuple[str, ...] = ("onnxruntime-cpu",)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    footprint: bool = True
    scaling: bool = True
    instance: str = ""

    def check(self, *, here: bool = True) -> None:
        """Refuse what can never be measured.

        Args:
            here: whether on this machine; what a cluster's nodes can do, only they know.

        Raises:
            ConfigError: a precision of nothing, a quantile that is not offered, more instances and threads than cores, or
                a runtime or instance type that is not known.
            MissingError: a runtime cannot run here.
        """
        from windtunnel.price import find_price
        from windtunnel.runtime import find_runtime

        if not self.precision > 0.0:
            raise ConfigError("can never be reached", field="--precision", value=self.precision, fix="write 5%")
        if self.quantile not in QUANTILES:
            raise ConfigError(
                "is not offered", field="--quantile", value=self.quantile, fix=f"one of {', '.join(QUANTILES)}"
            )
        if self.instance:
            find_price(self.instance)
        for runtime in self.runtimes:
            find_runtime(runtime)
        if not here:
            return
        cores = max(1, int(Hardware.detect().cores))
        for name, most in (("--threads", max(self.threads)), ("--concurrency", max(self.concurrency))):
            if most > cores:
                raise ConfigError(
                    f"is more than the {cores} cores there are", field=name, value=most, fix=f"give at most {cores}"
                )
        for runtime in self.runtimes:
            find_runtime(runtime).check()


USUAL = Settings()
