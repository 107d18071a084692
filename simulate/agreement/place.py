"""A Place: what a road is measured on, or must be the same as it was measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.deployment import BatchPolicy
    from windtunnel.hardware import Hardware


@dataclass(frozen=True)
class Place:
    """A model where it is served.

    Args:
        variant: the variant's name.
        sha256: of its file.
        hardware: this machine.
        ray: the version that serves.
        ingress: what stands in front.
        batch: when a batch leaves.
        replicas: how many serve.
    """

    variant: str
    sha256: str
    hardware: Hardware
    ray: str
    ingress: str
    batch: BatchPolicy
    replicas: int
