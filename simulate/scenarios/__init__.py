"""The worst day: named scenarios, one file each, and what they do to a system.

A scenario is a pure function of a day (`Day`: traffic, system, and when trouble reigns) and the seeds; the kernel knows none
of them. `read_scenarios` reads them as they are spelled on the command line, `rehearse_worst_days` in `rehearsal.py` flies
them beside the calm day, under several lucks, and tries what would have helped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cold_start_stampede import ColdStartStampede
from .day import Day
from .flash_crowd import FlashCrowd
from .hot_key import HotKey
from .payload_bomb import PayloadBomb
from .poison_request import PoisonRequest
from .read import read_named, worsened
from .replica_loss import ReplicaLoss
from .retry_storm import RetryStorm
from .scenario import Named, Scenario
from .slow_clients import SlowClients
from .sponge_inputs import SpongeInputs
from .thundering_herd import ThunderingHerd
from .together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

SCENARIOS: Mapping[str, type[Named]] = {
    each.name: each
    for each in (
        FlashCrowd, RetryStorm, ThunderingHerd, HotKey, SlowClients, PayloadBomb, SpongeInputs, PoisonRequest, ReplicaLoss,
        ColdStartStampede,
    )
}  # fmt: skip
"""The scenarios, by the name they have on the command line."""


def read_scenarios(text: str, *, field: str = "--scenario") -> tuple[Scenario, ...]:
    """Read `flash-crowd(times=5), replica-loss`: days with commas between them, of which `a+b` is one with both.

    Args:
        text: phrases with commas or plus signs between them; none where empty.
        field: the option, for messages.

    Raises:
        ConfigError: a scenario that is not known, one that is named twice, or settings that are refused.

    Example:
        >>> [each.name for each in read_scenarios("flash-crowd(times=5, start_share=20%), replica-loss")]
        ['flash-crowd', 'replica-loss']
        >>> [each.name for each in read_scenarios("flash-crowd(after=30s) + replica-loss, hot-key")]
        ['flash-crowd+replica-loss', 'hot-key']
    """
    return read_named(text, SCENARIOS, field)


def worsen_trace(trace: Trace, text: str, seeds: Seeds) -> Trace:
    """The trace of a day that those scenarios make worse, for those who fly traces and nothing else.

    Raises:
        ConfigError: a scenario that changes more than who comes when.
    """
    return worsened(trace, read_scenarios(text), seeds)


__all__ = [
    "SCENARIOS", "ColdStartStampede", "Day", "FlashCrowd", "HotKey", "Named", "PayloadBomb", "PoisonRequest", "ReplicaLoss",
    "RetryStorm", "Scenario", "SlowClients", "SpongeInputs", "ThunderingHerd", "Together", "read_scenarios", "worsen_trace",
]  # fmt: skip
