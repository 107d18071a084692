"""How latency rises with the load on this machine: the measuring stage's profiles, flown by the simulating stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.load_curve import LoadCurve
    from windtunnel.seeds import Seeds


def load_curves(profiles: Sequence[LatencyProfile], seeds: Seeds, *, scaled: bool = True) -> tuple[LoadCurve, ...]:
    """A curve for every profile of one instance alone from batch 1 on, at the largest batch measured.

    Args:
        profiles: measured here.
        seeds: of the simulated traffic.
        scaled: whether it was measured what instances cost each other: then as many as fill the machine, else one.
    """
    from windtunnel.simulate import load_curve

    return tuple(
        load_curve(
            profile, max_batch=profile.batch_sizes[-1], max_wait_s=0.0,
            servers=max(1, int(profile.hardware.cores) // profile.threads) if scaled else 1, seeds=seeds,
        )
        for profile in profiles
        if profile.batch_sizes[0] == 1 and profile.concurrency == 1
    )  # fmt: skip
