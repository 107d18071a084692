"""Clients on the road: those of the tunnel, told to generators, with the same luck."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.client import Client
from windtunnel.simulate.kernel import ANEW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .schedule import Schedule
    from .slow import Slow

TOLD = ("timeout_s", "retries", "backoff_s", "backoff_max_s", "budget_ratio", "budget_burst", "hedge_s")
"""Settings of a `Client` that a generator needs; what chance does with the others is drawn here."""


def manners_of(client: Client | None, slow: Slow | None, drain_s: float) -> dict[str, Any]:
    """What a generator is told of its clients, as JSON values: infinity is null."""
    settings = asdict(client or Client())
    told = {name: None if settings[name] == math.inf else settings[name] for name in TOLD}
    return {**told, "slow_s": slow.over_s if slow else 0.0, "drain_s": drain_s}


def whims(schedule: Schedule, client: Client | None, slow: Slow | None, seeds: Seeds) -> dict[str, NDArray[Any]]:
    """What chance does with each request's client: when it leaves, how it backs off, whether it is slow.

    The draws are those that the tunnel makes for the same request and seed (`kernel._begin`, `kernel._try_again`).
    """
    client, count = client or Client(), len(schedule)
    luck = np.uint64(origin(np.uint64(seeds.number("clients"))))
    leaves_s = np.full(count, np.inf)
    if client.patience_s:
        stays = np.array([uniform_from(luck, 2 * at) for at in range(count)])
        leaves_s = schedule.scheduled_s - np.log(1.0 - stays) * client.patience_s
    back_off = np.ones((count, max(client.retries, 1)))
    if client.jitter:
        for made in range(1, client.retries + 1):
            drawn = [uniform_from(luck, 2 * (at + (made << ANEW)) + 1) for at in range(count)]
            back_off[:, made - 1] = 1.0 - client.jitter * np.array(drawn)
    chance = seeds.stream("payload", 1).random(count) if slow else None
    return {
        "leaves_s": leaves_s, "back_off": back_off,
        "slow": chance < slow.share if slow and chance is not None else np.zeros(count, dtype=bool),
    }  # fmt: skip
