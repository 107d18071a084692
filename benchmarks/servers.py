"""How many servers a machine carries: by its cores or accelerators, and by its memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.latency_profile import ON_ACCELERATOR

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price


@dataclass(frozen=True)
class Servers:
    """How many serve at once.

    Args:
        count: sessions; 0 where none has room.
        of: what was counted, and what limited it.
    """

    count: int
    of: str


def on_accelerator(profile: LatencyProfile, price: Price) -> bool:
    """Whether a profile's times are an accelerator's: by its runtime, or projected to a machine that has one."""
    projected = profile.basis == "projected" and price.accelerators > 0
    return projected or any(word in profile.runtime.lower() for word in ON_ACCELERATOR)


def servers_on(profile: LatencyProfile, price: Price) -> Servers:
    """How many sessions of a profile a machine carries.

    One an accelerator where the profile is of one. Else as many as its cores carry with their threads each: the cores
    that were measured on where this is the machine that was measured, with whatever their parallel efficiency was; on
    another, its physical cores, because two hardware threads of one core are not two cores. Where nobody says how many
    these are, half of the vCPUs of anything but ARM: clouds sell hardware threads of x86. Then no more than its memory
    holds: the process once and an instance a server.
    """
    wanted = _by_accelerators(price) if on_accelerator(profile, price) else _by_cores(profile, price)
    return _within_memory(wanted, profile, price)


def _by_accelerators(price: Price) -> Servers:
    if not price.accelerators:
        return Servers(0, f"the profile is of an accelerator, and {price.name} has none")
    return Servers(price.accelerators, f"{price.accelerators} × {price.accelerator}, one server each")


def _by_cores(profile: LatencyProfile, price: Price) -> Servers:
    cores, of = _cores(profile, price)
    if cores == 0:
        return Servers(0, f"nobody says how many cores {price.name} has")
    each = f", {profile.threads} threads a server" if profile.threads > 1 else ""
    # fewer cores than threads still carry one session: its times, measured or projected, are those of these cores
    return Servers(max(1, cores // profile.threads), f"{cores} {of}{each}")


def _cores(profile: LatencyProfile, price: Price) -> tuple[int, str]:
    if profile.basis == "measured":
        return _counted(int(profile.hardware.cores), "core", " as measured")
    if price.physical_cores is not None and price.physical_cores > 0.0:
        return _counted(int(price.physical_cores), "physical core")
    if price.vcpu == 0 or price.architecture == "arm64":
        return price.vcpu, "vCPUs, a core each"
    return _counted(price.vcpu // 2, "physical core", f", taken as half of {price.vcpu} vCPUs")


def _counted(count: int, what: str, more: str = "") -> tuple[int, str]:
    """A number of cores, at least one, and the words for it."""
    return max(1, count), f"{what}{'s' if count > 1 else ''}{more}"


def _within_memory(wanted: Servers, profile: LatencyProfile, price: Price) -> Servers:
    footprint = profile.footprint
    if footprint is None or wanted.count == 0 or footprint.instance_bytes <= 0:
        return wanted
    process = max(0, footprint.rss_bytes - footprint.instance_bytes)
    fits = [_room(price.memory_gib, process, footprint.instance_bytes)]
    if on_accelerator(profile, price) and price.accelerator_memory_gib is not None:
        # each accelerator has its own memory, and one server
        one = _room(price.accelerator_memory_gib, 0, footprint.instance_bytes)
        fits.append(math.inf if one >= 1 else 0)
    room = min(fits)
    if room >= wanted.count:
        return wanted
    what = f"{footprint.instance_bytes / 2**30:.3g} GiB an instance beside {process / 2**30:.3g} GiB of the process"
    return Servers(int(room), f"limited by memory: {what}, {price.name} has {price.memory_gib:g} GiB")


def _room(memory_gib: float, process_bytes: int, instance_bytes: int) -> float:
    """How many instances a memory holds beside one process; no limit where it is not known."""
    if not math.isfinite(memory_gib):
        return math.inf
    return max(0.0, math.floor((memory_gib * 2**30 - process_bytes) / instance_bytes))
