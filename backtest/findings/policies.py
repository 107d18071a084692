"""Policies replayed on the recording: rollouts of the challenger, and schedules of retraining; each priced and compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.policy import (
    Choice,
    Labels,
    Ledger,
    Workshop,
    bench_of,
    choose,
    draw_choice,
    shares_of,
    split_of,
    sweep_rollouts,
    sweep_schedules,
)
from windtunnel.errors import ConfigError

from .sliced import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.backtest.policy import Prices, Rollout, Schedule, Trainer
    from windtunnel.fanout import Workers
    from windtunnel.recording import Recording
    from windtunnel.report.section import Section

    from .finding import Series
    from .held import Held

    Ints = NDArray[np.int64]
    World = Literal["recorded", "swapped"]


@dataclass(frozen=True)
class Policies:
    """What policies would have gained and lost.

    Args:
        rollout: of the challenger; None where none was asked for.
        retraining: of the user's `fit`; None likewise.
        looks_us: the looks at which policies decide, int64 [looks].
        challenger: whom the rollouts roll out.
    """

    rollout: Choice | None
    retraining: Choice | None
    looks_us: Ints
    challenger: str

    @property
    def doubts(self) -> tuple[str, ...]:
        """A policy is another question than whether the challenger is better."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """`policies`: a choice of each kind, null where none was asked for."""
        told = {"rollout": self.rollout, "retraining": self.retraining}
        return {"policies": {kind: None if choice is None else choice.to_dict() for kind, choice in told.items()}}

    def draw(self) -> Section:
        """What is recommended of each kind."""
        parts = []
        for kind, choice in (("Rollout", self.rollout), ("Retraining", self.retraining)):
            if choice is not None:
                part = draw_choice(choice, self.looks_us)
                tables = tuple(
                    replace(table, caption=f"{kind}: {table.caption}") for table in part.tables if table.rows
                )
                parts.append(
                    replace(part, sentences=tuple(f"{kind}: {each}" for each in part.sentences), tables=tables)
                )
        return joined(parts)

    def series(self) -> Series:
        """Nothing of all policies together: each decides by what it knew, and its worth is counted afterwards."""
        return np.empty(0, np.int64), {}


def roll_out(
    held: Held,
    challenger: str,
    rollouts: Sequence[Rollout],
    prices: Prices,
    rng: np.random.Generator,
    *,
    by_entity: bool,
    starts: int = 1,
    worlds: Sequence[World] = ("recorded",),
    workers: Workers | None = None,
) -> Choice:
    """Replay rollouts of the challenger beside staying and going all in at once.

    Args:
        held: the recording.
        challenger: whom they roll out.
        rollouts: the policies.
        prices: of everything.
        rng: the stream `bootstrap`.
        by_entity: whether an entity always meets the same model; else a request is split by its id.
        starts: from how many looks each is begun, evenly spaced over the first half of the recording.
        worlds: on the recording as it is, and (or) with the two models' places swapped: a policy must stand a bad candidate too.
        workers: who replays.

    Raises:
        ConfigError: a metric that rows have no share in.
    """
    held.check_additive("[[backtest.policy.rollout]]")
    split = split_of(held.columns["entity" if by_entity else "id"])[held.request]
    ledger = Ledger.of(
        held.rows, split, held.judge, held.looks_us, held.horizon_us / 1e6, shares_of(rollouts),
        candidate=held.models.index(challenger),
    )  # fmt: skip
    begun = (
        np.unique(np.linspace(0, max(0, (len(held.looks_us) - 2) // 2), starts).astype(np.int64)) if starts > 1 else [0]
    )
    ledgers = [ledger.reversed if world == "swapped" else ledger for world in dict.fromkeys(worlds)]
    accounts = sweep_rollouts(rollouts, ledgers, prices, starts=[int(each) for each in begun], workers=workers)
    return choose(accounts, rng)


def retrain(
    held: Held,
    recording: Recording,
    corrections: pl.DataFrame | None,
    schedules: Sequence[Schedule],
    trainer: Trainer,
    prices: Prices,
    rng: np.random.Generator,
    *,
    start_us: int,
    workers: Workers | None = None,
) -> Choice:
    """Replay schedules of retraining beside never training again.

    Args:
        held: the recording.
        recording: the same, as it was replayed.
        corrections: later versions of its labels.
        schedules: the policies.
        trainer: the user's `fit`.
        prices: of everything.
        rng: the stream `bootstrap`.
        start_us: how long after the first look the first model begins to serve.
        workers: who trains.

    Raises:
        ConfigError: a start beyond the recording, or a metric that rows have no share in.
    """
    held.check_additive("[[backtest.policy.retrain]]")
    start = int(np.searchsorted(held.looks_us, held.looks_us[0] + start_us))
    if start >= len(held.looks_us) - 1:
        raise ConfigError(
            "leaves no look to serve", field="policy.start", value=start_us / 1e6, fix="begin earlier, or record longer"
        )
    keep = any(schedule.warm for schedule in schedules)
    shop = Workshop(recording, Labels.of(recording, corrections), held.looks_us, trainer, held.judge, keep)
    accounts = sweep_schedules(schedules, bench_of(shop, held.horizon_us / 1e6, start), prices, workers=workers)
    return choose(accounts, rng)
