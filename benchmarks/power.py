"""What requests draw from the grid: joules, kilowatt-hours and CO₂, where power was measured, stated or rated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.energy import JOULES_PER_KWH, co2_g
from windtunnel.errors import ConfigError
from windtunnel.gpu_spec import find_gpu

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.energy import Energy
    from windtunnel.price import Price


@dataclass(frozen=True)
class Power:
    """What a machine draws while it serves.

    Args:
        watts: the whole machine's, or that of the part that `what` names.
        basis: `measured`; `specified` by the user; or `rated`: the maker's limit, which load seldom reaches.
        what: what draws it.

    Raises:
        ConfigError: watts that are not above zero.
    """

    watts: float
    basis: Literal["measured", "specified", "rated"]
    what: str

    def __post_init__(self) -> None:
        if not 0.0 < self.watts < math.inf:
            raise ConfigError("must be above zero", field="power_w", value=self.watts, fix="give watts")

    @staticmethod
    def drawn(energy: Energy) -> Power:
        """The mean power of a stretch in which the machine was kept busy."""
        return Power(energy.watts, energy.basis, energy.what)


@dataclass(frozen=True)
class EnergyUse:
    """What a request takes.

    Args:
        power: what was counted.
        joules_per_request: watts × busy seconds a request.
        band: the factor by which it may be more or less, where the busy seconds are projected; else 1.
        grid_g_per_kwh: grams of CO₂ a kilowatt-hour; None where nobody said.
    """

    power: Power
    joules_per_request: float
    band: float
    grid_g_per_kwh: float | None

    @property
    def kwh_per_million(self) -> float:
        """Kilowatt-hours per million requests."""
        return self.joules_per_request * 1e6 / JOULES_PER_KWH

    @property
    def co2_g_per_million(self) -> float | None:
        """Grams of CO₂ per million requests; None where no grid intensity was given."""
        return None if self.grid_g_per_kwh is None else co2_g(self.joules_per_request * 1e6, self.grid_g_per_kwh)

    def to_dict(self) -> dict[str, Any]:
        """The use as JSON values."""
        return {
            "watts": self.power.watts, "basis": self.power.basis, "what": self.power.what,
            "joules_per_request": self.joules_per_request, "joules_per_request_low": self.joules_per_request / self.band,
            "joules_per_request_high": self.joules_per_request * self.band, "kwh_per_million": self.kwh_per_million,
            "grid_g_per_kwh": self.grid_g_per_kwh, "co2_g_per_million": self.co2_g_per_million,
        }  # fmt: skip


def energy_use(power: Power, busy_s: float, *, band: float = 1.0, grid_g_per_kwh: float | None = None) -> EnergyUse:
    """What a request takes on a machine that it keeps busy for some seconds.

    What the machine draws while it waits is not in it.

    Args:
        power: what the machine draws while busy.
        busy_s: seconds of the whole machine a request: utilization ÷ throughput.
        band: the factor by which these seconds may be more or less.
        grid_g_per_kwh: grams of CO₂ a kilowatt-hour.

    Raises:
        ConfigError: a grid intensity that is negative or not a number.

    Example:
        >>> use = energy_use(Power(72.0, "specified", "the machine"), 0.01, grid_g_per_kwh=400.0)
        >>> use.joules_per_request, use.kwh_per_million, use.co2_g_per_million     # 72 W × 10 ms
        (0.72, 0.2, 80.0)
    """
    if grid_g_per_kwh is not None:
        co2_g(0.0, grid_g_per_kwh)  # refuses what is no intensity
    return EnergyUse(power, power.watts * busy_s, band, grid_g_per_kwh)


def rated_powers(prices: Iterable[Price]) -> dict[str, Power]:
    """The rated power of each machine's accelerators, by the price's name, where a data sheet states one.

    Their hosts come on top: nobody states what those draw.
    """
    powers = {}
    for price in prices:
        watts = _rated_w(price) if price.accelerators else None
        if watts is not None:
            what = f"{price.accelerators} × {price.accelerator} at the rated limit, without its host"
            powers[price.name] = Power(watts * price.accelerators, "rated", what)
    return powers


def _rated_w(price: Price) -> float | None:
    try:
        spec = find_gpu(price.accelerator, memory_gib=price.accelerator_memory_gib, count=price.accelerators)
    except ConfigError:  # an accelerator without a data sheet has no rated power
        return None
    return spec.tdp_w
