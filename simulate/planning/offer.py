"""An Offer: a machine that can be rented, and how long a variant takes on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError
from windtunnel.price import unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.tariff import Edge, Serverless


def slowdown(parallel_efficiency: float, sharing: int, cores: int) -> float:
    """How many times as long a service takes where replicas share a machine.

    Measured were one replica alone and one on every core *of the measured machine*; what lies between is taken as linear
    in the replicas. More replicas on one machine than were ever measured together are taken as slow as those.

    Args:
        parallel_efficiency: throughput of all cores running a replica each ÷ (cores × that of one alone).
        sharing: replicas on the machine.
        cores: of the machine that was measured.

    Example:
        >>> slowdown(0.8, 1, 4), slowdown(0.8, 4, 4)
        (1.0, 1.25)
    """
    together = min(max(sharing, 1), cores)
    return 1.0 + (1.0 / parallel_efficiency - 1.0) * (together - 1) / (cores - 1) if cores > 1 else 1.0


def slowdown_of(profile: LatencyProfile, sharing: int) -> float:
    """How many times as long a service of a profile takes where so many replicas share a machine like the measured one."""
    cores = max(1, int(profile.hardware.cores) // profile.threads)
    return slowdown(profile.parallel_efficiency, sharing, cores)


def cautious_table(profile: LatencyProfile, max_batch: int) -> NDArray[np.float64]:
    """Service times of a replica that is alone, as `LatencyProfile.service_table`.

    Those of a projection are at the slow end of its band, so that a promise that is kept is kept by the slower machine too.
    """
    return profile.service_table(max_batch, scale=profile.band)


@dataclass(frozen=True)
class Offer:
    """A variant on one kind of machine.

    Args:
        profile: the service times.
        price: of one machine.

    Raises:
        ConfigError: a machine that nothing measured speaks of, or of which nobody knows how many replicas it holds.
    """

    profile: LatencyProfile
    price: Price

    def __post_init__(self) -> None:
        reason = self.unfit(self.profile, self.price)
        if reason:
            raise ConfigError(
                f"cannot be planned for with this profile: {reason}", field="hardware", value=self.price.name
            )
        if self.price.vcpu < 1:
            raise ConfigError("has no number of processors in the price table", field="hardware", value=self.price.name)

    @staticmethod
    def unfit(profile: LatencyProfile, price: Price) -> str:
        """Why a profile says nothing of a machine; empty where it does."""
        if profile.hardware.instance == price.name:
            return ""
        if profile.basis == "projected":
            return f"it is a projection to {profile.hardware.instance or 'another machine'}"
        return unmeasured(price, profile.hardware.architecture)

    @property
    def key(self) -> tuple[str, str]:
        """The variant and the machine."""
        return self.profile.name, self.price.name

    @property
    def per_machine(self) -> int:
        """Replicas that fill a machine: one on each accelerator, else one on every so many cores as a session has threads."""
        return self.price.accelerators or max(1, self.price.vcpu // self.profile.threads)

    @property
    def basis(self) -> str:
        """`measured` on this very kind of machine, `projected` to it, or `taken` as it is from another."""
        if self.profile.basis == "projected":
            return "projected"
        return "measured" if self.profile.hardware.instance == self.price.name else "taken"

    def slowdown(self, sharing: int) -> float:
        """How many times as long a service takes where so many sessions share a machine; beyond one a core they take turns."""
        return slowdown_of(self.profile, sharing) * max(1.0, sharing / self.per_machine)

    def table(self, max_batch: int) -> NDArray[np.float64]:
        """Service times of a replica that is alone."""
        return cautious_table(self.profile, max_batch)


@dataclass(frozen=True)
class FunctionOffer:
    """A variant in a function that is paid by the request and the second in which it works.

    Args:
        profile: the service times, taken as they are, of a session that is alone.
        function: how it is paid for.
    """

    profile: LatencyProfile
    function: Serverless

    @property
    def key(self) -> tuple[str, str]:
        """The variant and the function."""
        return self.profile.name, self.function.name

    @property
    def basis(self) -> str:
        """Nobody measured inside the function."""
        return "taken"

    def slowdown(self, _sharing: int) -> float:
        """An instance is alone."""
        return 1.0

    def table(self, max_batch: int) -> NDArray[np.float64]:
        """Service times."""
        return cautious_table(self.profile, max_batch)


@dataclass(frozen=True)
class DeviceOffer:
    """A variant on a device that is bought once and stands where the requests are.

    Args:
        profile: the service times of a session that is alone: measured on the device where its instance is the device's name,
            else taken as they are.
        device: how it is paid for.
        slowness: how many times as long the device takes as what was measured.
    """

    profile: LatencyProfile
    device: Edge
    slowness: float = 1.0

    @property
    def key(self) -> tuple[str, str]:
        """The variant and the device."""
        return self.profile.name, self.device.name

    @property
    def basis(self) -> str:
        """`measured` on the device, or `taken` from another machine."""
        return "measured" if self.profile.hardware.instance == self.device.name else "taken"

    def slowdown(self, _sharing: int) -> float:
        """One replica a device, which is slower than what was measured as far as that was said."""
        return self.slowness

    def table(self, max_batch: int) -> NDArray[np.float64]:
        """Service times, before the slowness."""
        return cautious_table(self.profile, max_batch)


AnyOffer = Offer | FunctionOffer | DeviceOffer
"""What a variant may run on."""


@dataclass(frozen=True)
class LeftOut:
    """A machine that was asked about and is not in the plan.

    Args:
        hardware: its name.
        reason: why.
    """

    hardware: str
    reason: str


def match_offers(
    profiles: Sequence[LatencyProfile], prices: Sequence[Price]
) -> tuple[tuple[Offer, ...], tuple[LeftOut, ...]]:
    """Give each machine the profiles that speak of it.

    Of several profiles of the same variant a machine gets the one that was measured on it; without one that was, the first
    that says anything of it, and its basis says so.

    Args:
        profiles: one or more a variant.
        prices: of the machines that are asked about.

    Raises:
        ConfigError: no profile says anything of any machine.
    """
    offers, left_out = [], []
    for price in prices:
        found: dict[str, LatencyProfile] = {}
        for profile in profiles:
            better = profile.name not in found or profile.hardware.instance == price.name
            if better and not Offer.unfit(profile, price):
                found[profile.name] = profile
        offers += [Offer(profile, price) for profile in found.values()]
        if not found:
            left_out.append(LeftOut(price.name, _way_out(profiles[0], price)))
    if not offers:
        reason = _way_out(profiles[0], prices[0])
        raise ConfigError(f"cannot be planned for with this profile: {reason}", field="hardware", value=prices[0].name)
    return tuple(offers), tuple(left_out)


def _way_out(profile: LatencyProfile, price: Price) -> str:
    """Why a machine is not in the plan, and what would bring it there, or tell its cost meanwhile."""
    reason = Offer.unfit(profile, price)
    if profile.basis == "projected":
        return f"{reason}; give the measured profile as well"
    return (
        f"{reason} and give that profile too; until then windtunnel benchmark --hardware {price.name} projects the cost"
    )


def first_of_each(profiles: Sequence[LatencyProfile], name: str = "") -> tuple[LatencyProfile, ...]:
    """One profile of each variant: the one that was measured on `name`, else the first that was measured at all.

    Args:
        profiles: one or more a variant.
        name: of a machine or device.
    """
    found: dict[str, LatencyProfile] = {}
    for profile in profiles:
        if profile.name not in found or profile.hardware.instance == name:
            found[profile.name] = profile
    return tuple(found.values())
