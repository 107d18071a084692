from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.servers import Servers, servers_on
from windtunnel.footprint import Footprint
from windtunnel.price import Price

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile

    Make = Callable[..., LatencyProfile]

GIB = 2**30


def _price(*, vcpu: int = 8, cores: float | None = 4.0, memory_gib: float = 16.0, accelerators: int = 0) -> Price:
    return Price(
        "x:m", "here", "x86_64", vcpu, memory_gib, "T4" if accelerators else "", accelerators, 1.0, "2026-01-01", "a list",
        physical_cores=cores, accelerator_memory_gib=16.0 if accelerators else None,
    )  # fmt: skip


def _projected(profile: LatencyProfile, **changes: object) -> LatencyProfile:
    return replace(profile, basis="projected", band=1.2, **changes)  # type: ignore[arg-type]  # any field, as replace takes it


def test_hyperthreads_are_not_cores(make_profile: Make) -> None:
    """A projection counts physical cores where they are known, else half of the vCPUs, or all of an ARM's, and says so."""
    profile = _projected(make_profile())

    assert servers_on(profile, _price()) == Servers(4, "4 physical cores")
    assert servers_on(profile, _price(cores=None)) == Servers(4, "4 physical cores, taken as half of 8 vCPUs")
    assert servers_on(profile, replace(_price(cores=None), architecture="arm64")) == Servers(8, "8 vCPUs, a core each")
    assert servers_on(profile, _price(vcpu=1, cores=None)).of == "1 physical core, taken as half of 1 vCPUs"
    assert servers_on(profile, _price(vcpu=0, cores=None)).count == 0


def test_measured_cores_are_those_that_were_measured(make_profile: Make) -> None:
    """On the machine itself every core that was busy counts, with the parallel efficiency that was measured."""
    assert servers_on(make_profile(cores=2.0), _price()) == Servers(2, "2 cores as measured")


@pytest.mark.parametrize(("threads", "count"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_threads_share_the_cores(make_profile: Make, threads: int, count: int) -> None:
    """A server of several threads takes as many cores; one is always there."""
    assert servers_on(_projected(make_profile(), threads=threads), _price()).count == count


def test_memory_limits_the_servers(make_profile: Make) -> None:
    """By hand: 2 GiB of process and 3 GiB an instance fit twice into 8 GiB, not thrice, and not once into 4."""
    profile = _projected(make_profile(), footprint=Footprint(5 * GIB, 3 * GIB, 1.0, 0.1, 3))

    assert servers_on(profile, _price(memory_gib=14.0)).count == 4
    assert servers_on(profile, _price(memory_gib=8.0)).count == 2
    assert servers_on(profile, _price(memory_gib=4.0)) == Servers(
        0, "limited by memory: 3 GiB an instance beside 2 GiB of the process, x:m has 4 GiB"
    )
    assert servers_on(profile, _price(memory_gib=float("nan"))).count == 4


def test_one_server_an_accelerator(make_profile: Make) -> None:
    """A profile of an accelerator has one server on each, and none where there is no accelerator or it has no room."""
    profile = _projected(make_profile(), runtime="onnxruntime 1 CUDAExecutionProvider")
    large = replace(profile, footprint=Footprint(21 * GIB, 20 * GIB, 1.0, 0.1, 3))

    assert servers_on(profile, _price(accelerators=4)) == Servers(4, "4 × T4, one server each")
    assert servers_on(profile, _price()).count == 0
    assert servers_on(large, _price(accelerators=1, memory_gib=64.0)).count == 0
    assert servers_on(_projected(make_profile()), _price(accelerators=2)).count == 2


def test_a_cpu_measured_on_a_gpu_machine_is_a_cpu(make_profile: Make) -> None:
    """What ran on the host's cores is counted by them."""
    assert servers_on(make_profile(cores=4.0), _price(accelerators=1)).count == 4
