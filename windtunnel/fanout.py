"""One map over many items: in this process, or on Ray where the work is worth starting it; the same results either way."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from windtunnel.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 8
"""So many times an item is begun again that was lost with its worker or its machine, before that is an error."""

WORTH_RAY_S = 30.0
"""Work left, in seconds on one core, from which starting Ray (5 to 10 seconds) pays on two cores."""


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Args:
        count: processes; 0 decides by the size of the work, 1 stays in this process, more starts Ray with so many.
        ray_address: an existing Ray cluster to use instead.
    """

    count: int = 0
    ray_address: str = ""


@dataclass(frozen=True)
class FanOut(Generic[Result]):
    """The results, in the order of the items, and who computed them (`in-process` or `ray`)."""

    results: list[Result]
    where: str


def fan_out(
    function: Callable[[Any, Item], Result],
    items: Sequence[Item],
    *,
    shared: Any = None,
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
    keep: Callable[[int, Result], None] = lambda _position, _result: None,
) -> FanOut[Result]:
    """Call `function(shared, item)` for each item.

    On Ray an item that is lost with its worker or its node is worked on again elsewhere, up to `RETRIES` times, and what it
    comes to is the same, since nothing depends on who does it. `shared` is held by this process's own node.

    Args:
        function: pure, importable; what it draws at random depends on the item, never on the worker.
        items: one call each.
        shared: what every call needs; sent to each worker once.
        workers: who does it.
        report: called with the number of finished items.
        keep: called with the position and the result of each item as soon as it is finished, in any order, before `report`.

    Returns:
        The results in the order of the items.

    Raises:
        MissingError: Ray cannot be started or reached, or lost an item too often.

    Example:
        >>> fan_out(lambda base, item: base + item, [1, 2, 3], shared=10, workers=Workers(1)).results
        [11, 12, 13]
    """
    chosen = workers if workers is not None else Workers()
    if chosen.ray_address or chosen.count > 1:
        return FanOut(_on_ray(function, items, shared, chosen, report, keep, 0), "ray")
    results: list[Result] = []
    slowest_s = 0.0
    for position, item in enumerate(items):
        started = time.perf_counter()
        results.append(function(shared, item))
        keep(position, results[-1])
        # the first call may compile; it says nothing about the rest
        slowest_s = max(slowest_s, time.perf_counter() - started) if position else 0.0
        report(len(results))
        left_s = slowest_s * (len(items) - len(results))
        if chosen.count == 0 and position in (2, 8) and left_s > WORTH_RAY_S and _cores() > 1:
            rest = _on_ray(function, items[len(results) :], shared, chosen, report, keep, len(results))
            return FanOut(results + rest, "ray")
    return FanOut(results, "in-process")


def _cores() -> int:
    from windtunnel.hardware import allowed_cores

    return int(allowed_cores())


def _on_ray(
    function: Callable[[Any, Item], Result],
    items: Sequence[Item],
    shared: Any,
    workers: Workers,
    report: Callable[[int], None],
    keep: Callable[[int, Result], None],
    done: int,
) -> list[Result]:
    import ray

    with ray_running(workers):
        reference = ray.put(shared)
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        pending = {remote.remote(reference, item): position for position, item in enumerate(items)}
        first = done
        results: list[Any] = [None] * len(items)
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            for each in ready:
                position = pending.pop(each)
                results[position] = result = _unwrapped(each)
                done += 1
                keep(first + position, result)
                report(done)
        return results


@contextlib.contextmanager
def ray_running(workers: Workers) -> Iterator[None]:
    """Be connected to Ray while a block runs; a Ray that was started for it is stopped after it.

    Raises:
        MissingError: Ray cannot be started or reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _start_ray(workers)
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()


def _unwrapped(reference: Any) -> Any:
    """The result, or the very error that the function raised, as it would be in this process."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        # a worker that died too often, a node that took what it held with it, memory that ran out
        raise MissingError(
            f"Ray lost a piece of work and all {RETRIES} retries of it ({type(error).__name__}); look at the cluster's memory and nodes and run "
            "the same command again, or use --workers 1"
        ) from error


def _start_ray(workers: Workers) -> None:
    import ray

    try:
        if workers.ray_address:
            ray.init(address=workers.ray_address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",  # a cluster that happens to run here is not ours to fill
                num_cpus=workers.count or _cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {workers.ray_address}" if workers.ray_address else "here"
        raise MissingError(
            f"Ray cannot be reached {where} ({error}); check --ray-address, or use --workers 1"
        ) from error
