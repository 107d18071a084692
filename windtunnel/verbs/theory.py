"""The closed form that stands beside a flight, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from windtunnel.simulate.system import System
    from windtunnel.simulate.theory import NoTheory, Theory

    from .service import Service
    from .traffic import Traffic


def theory_of(traffic: Traffic, service: Service, system: System, scenario: str = "") -> Theory | NoTheory:
    """Find what is known of the settled queue.

    Args:
        traffic: what comes.
        service: how long batches take.
        system: what serves.
        scenario: what makes the day worse; empty on a calm one.
    """
    from windtunnel.simulate.batching import IdealBatching
    from windtunnel.simulate.theory import NoTheory, closed_form, of_population

    if scenario:
        return NoTheory("a worst day is in no steady state")
    if service.profiles:
        return NoTheory("measured service times follow no law")
    if not isinstance(system.batcher, IdealBatching):
        return NoTheory("the closed forms are for batches that close when a server is idle")
    besides = _besides(system)
    if besides:
        return NoTheory(f"no closed form is known with {' and '.join(besides)}")
    law, users = service.law, traffic.population
    if law is None or "priority" in traffic.columns:
        return _by_class(traffic, service, system)
    if users is not None and system.max_batch > 1:
        return NoTheory("closed loops are known in closed form without batches only")
    if users is not None:
        return of_population(users.users, users.think_s, law.kind, law.mean_s(1), system.executors)
    means = [law.mean_s(batch) for batch in range(1, system.max_batch + 1)]
    return closed_form(
        _rate_per_s(traffic), law.kind, means, law.cv, servers=system.executors, max_wait_s=system.batcher.max_wait_s
    )


def _besides(system: System) -> list[str]:
    """What the system has that no closed form knows."""
    from windtunnel.simulate.admission import Admission
    from windtunnel.simulate.client import Client

    there = {
        "retries or timeouts": system.client != Client(), "a proxy": system.proxy, "faults": system.faults,
        "scaling": system.scaling, "several queues": system.stations > 1, "caps": system.admission != Admission(),
        "models that are loaded": system.multiplex,
    }  # fmt: skip
    return [name for name, is_there in there.items() if is_there]


def _rate_per_s(traffic: Traffic) -> float | None:
    """Of Poisson arrivals; None where they are of another kind."""
    from windtunnel.simulate import arrivals
    from windtunnel.simulate.arrivals import Poisson

    generator = arrivals.parse(traffic.arrivals) if traffic.arrivals else None
    return generator.rate_per_s if isinstance(generator, Poisson) else None


def _by_class(traffic: Traffic, service: Service, system: System) -> Theory | NoTheory:
    """Where requests are of several sizes or priorities, in the shares in which they came."""
    from windtunnel.simulate.theory import NoTheory, of_classes

    rate = _rate_per_s(traffic)
    if rate is None:
        return NoTheory("the closed forms are for Poisson arrivals")
    if system.max_batch > 1 or system.executors > 1:
        return NoTheory("several sizes or priorities are known in closed form with one server and without batches only")
    counts = _counts(traffic, len(service.names))
    laws: list[Any] = list(service.each)
    moments = np.array([law.moments(1) for law in laws])
    requests = counts.sum(axis=1)
    means = counts @ moments / requests[:, None]
    return of_classes(
        (rate * requests / requests.sum()).tolist(),
        [(float(mean), float(second)) for mean, second in means],
        _names(traffic),
    )


def _names(traffic: Traffic) -> tuple[str, ...]:
    """Of the priorities of which any request came, the first to be served first."""
    came = np.unique(traffic.columns["priority"]).tolist() if "priority" in traffic.columns else [0]
    return tuple(traffic.priorities[each] if traffic.priorities else str(each) for each in came)


def _counts(traffic: Traffic, sizes: int) -> Any:
    """Requests by priority and size class; float64 `[priorities that came, sizes]`."""
    columns = traffic.columns
    requests = len(next(iter(columns.values())))
    priority, size = (columns.get(name, np.zeros(requests, dtype=np.int64)) for name in ("priority", "size"))
    found = np.zeros((int(priority.max()) + 1, sizes))
    np.add.at(found, (priority, size), 1.0)
    return found[found.sum(axis=1) > 0.0]
