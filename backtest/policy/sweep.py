"""A sweep: many policies on one recording, on Ray where that pays, each beside the policy of doing nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from windtunnel.errors import ConfigError
from windtunnel.fanout import Workers, fan_out

from .course import Account
from .ramp import price_rollout, replay_rollout
from .retraining import price_schedule, replay_schedules
from .rollout import Rollout
from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .ledger import Ledger
    from .prices import Prices
    from .retraining import Bench

Policy = TypeVar("Policy", Rollout, Schedule)


def shares_of(rollouts: Iterable[Rollout]) -> tuple[float, ...]:
    """All shares that any of some rollouts gives the candidate: where `Ledger.of` must cut the split.

    Example:
        >>> shares_of([Rollout.at_once(), Rollout.careful(tolerance=0.0)])
        (0.0, 0.01, 0.05, 0.25, 1.0)
    """
    return tuple(sorted({step.share for rollout in rollouts for step in rollout.steps}))


def sweep_rollouts(
    rollouts: Sequence[Rollout],
    ledgers: Sequence[Ledger],
    prices: Prices,
    *,
    starts: Sequence[int] = (0,),
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> tuple[Account, ...]:
    """Replay and price rollouts, each from every start, behind `stay` and `at once`.

    Args:
        rollouts: the policies.
        ledgers: of the same looks, each one incumbent and one candidate, cut at `shares_of` the policies. With a good candidate alone the
            boldest policy is the best; give its `reversed` too, and a policy must stand both.
        prices: of everything.
        starts: the looks at which each is begun: one replay a ledger and start. One replay tells one story; where a policy is as
            good as its luck, many starts show it.
        workers: who replays; the same accounts whoever does.
        report: called with the number of policies that are done.

    Raises:
        ConfigError: two policies of one name, ledgers of other looks, or a start that leaves no look.
    """
    if len({ledger.periods for ledger in ledgers}) != 1:
        raise ConfigError("are not of the same looks", field="ledgers", fix="make them with one grid and one horizon")
    for start in starts:
        if not 0 <= start < ledgers[0].looks - 1:
            fix = f"begin before look {ledgers[0].looks - 1}"
            raise ConfigError("leaves no look", field="start", value=start, fix=fix)
    named = _named([Rollout.stay(), Rollout.at_once(), *rollouts])
    shared = tuple(ledgers), prices, tuple(starts)
    return tuple(fan_out(_account, named, shared=shared, workers=workers, report=report).results)


def _account(shared: tuple[tuple[Ledger, ...], Prices, tuple[int, ...]], rollout: Rollout) -> Account:
    ledgers, prices, starts = shared
    outcomes = [
        price_rollout(rollout, ledger, replay_rollout(rollout, ledger, start), prices)
        for ledger in ledgers
        for start in starts
    ]
    return Account(rollout.name, tuple(outcomes))


def sweep_schedules(
    schedules: Sequence[Schedule],
    bench: Bench,
    prices: Prices,
    *,
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> tuple[Account, ...]:
    """Replay and price retraining schedules, behind `never`.

    Args:
        schedules: the policies.
        bench: the recording, the user's `fit`, the start.
        prices: of everything.
        workers: who trains; the same accounts whoever does, if the time of a training is stated.
        report: called with the number of models trained.

    Raises:
        ConfigError: two policies of one name.
    """
    named = _named([Schedule.never(), *schedules])
    tours = replay_schedules(named, bench, workers=workers, report=report)
    return tuple(
        Account(schedule.name, (price_schedule(tour, bench, prices),))
        for schedule, tour in zip(named, tours, strict=True)
    )


def _named(policies: Sequence[Policy]) -> list[Policy]:
    """The policies, once it is known that no two share a name; what was given as its own is not added again."""
    kept: dict[str, Policy] = {}
    for policy in policies:
        if kept.setdefault(policy.name, policy) != policy:
            raise ConfigError(
                "is the name of two policies", field="policy", value=policy.name, fix="rename one of them"
            )
    return list(kept.values())
