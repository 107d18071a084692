"""What can be written down: queues whose waits are known exactly, or within a bound, to hold a simulation against.

Every figure is of the settled queue: after the beginning is forgotten, with Poisson arrivals that are independent of the
service times. Times are seconds, rates are requests a second; a load is the rate times the mean service time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_STATES = 2048
"""Queue lengths that are told apart at most when the chain of a batch queue is solved."""

FORGOTTEN = 1e-10
"""The chance that a chain may have of being at its last state, where it is cut off."""


def saturation_per_s(servers: int, mean_s: Sequence[float]) -> float:
    """The rate above which a queue grows for ever: that of full batches on all servers, always busy.

    Exact for a server that takes as many as wait, up to the largest batch, where full batches are the quickest a request.

    Args:
        servers: how many.
        mean_s: mean service times of batches of 1, 2, …

    Example:
        >>> saturation_per_s(2, [0.5, 0.8])
        5.0
    """
    return servers * len(mean_s) / mean_s[-1]


def little(rate_per_s: float, time_s: float) -> float:
    """The mean number present: the rate times the mean time that each is present (Little, Operations Research 9, 1961).

    Holds for any queue that empties itself now and then, of any arrivals, order and service.

    Example:
        >>> little(900.0, 0.004)
        3.6
    """
    return rate_per_s * time_s


def erlang_b(servers: int, load: float) -> float:
    """The share of requests that M/G/c/c turns away, having no queue: all servers are busy.

    Source: Erlang, 1917; by its recursion, which cannot overflow. Holds for any distribution of service times.

    Args:
        servers: how many.
        load: rate times mean service time; may be above `servers`.

    Example:
        >>> erlang_b(2, 1.0)
        0.2
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that have to wait in M/M/c: Poisson arrivals, exponential service, one queue.

    Source: Erlang, 1917, from `erlang_b`. Holds below saturation, `load` < `servers`; NaN from there on.

    Example:
        >>> round(erlang_c(2, 1.0), 6), erlang_c(1, 0.7)
        (0.333333, 0.7)
    """
    if not 0.0 <= load < servers:
        return math.nan
    blocked = erlang_b(servers, load)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def mmc_wait_s(rate_per_s: float, mean_s: float, servers: int) -> float:
    """The mean wait in M/M/c: the share that waits, over the rate to spare; NaN from saturation on.

    Example:
        >>> round(mmc_wait_s(0.8, 1.0, 1), 9)
        4.0
    """
    waiting = erlang_c(servers, rate_per_s * mean_s)
    return waiting if math.isnan(waiting) else waiting / (servers / mean_s - rate_per_s)


def mmc_wait_quantile_s(share: float, rate_per_s: float, mean_s: float, servers: int) -> float:
    """The wait in M/M/c that a share of the requests does not exceed, first come first served.

    A request waits with the chance of `erlang_c`, and then exponentially with the rate to spare (Gross, Shortle, Thompson &
    Harris, *Fundamentals of Queueing Theory*, section 3.3).

    Example:
        >>> mmc_wait_quantile_s(0.2, 0.8, 1.0, 1), round(mmc_wait_quantile_s(0.99, 0.8, 1.0, 1), 3)
        (0.0, 21.91)
    """
    waiting = erlang_c(servers, rate_per_s * mean_s)
    if math.isnan(waiting) or waiting <= 1.0 - share:
        return 0.0 * waiting
    return math.log(waiting / (1.0 - share)) / (servers / mean_s - rate_per_s)


def mm1_latency_quantile_s(share: float, rate_per_s: float, mean_s: float) -> float:
    """The latency in M/M/1 that a share of the requests does not exceed: exponential with the rate to spare.

    Source: Gross et al., section 3.2; first come first served.

    Example:
        >>> round(mm1_latency_quantile_s(0.5, 0.8, 1.0), 3)
        3.466
    """
    spare_per_s = 1.0 / mean_s - rate_per_s
    return -math.log1p(-share) / spare_per_s if spare_per_s > 0.0 else math.nan


def mmck_blocking(servers: int, room: int, load: float) -> float:
    """The share of requests that M/M/c/K turns away: exponential service, room for K in service and in the queue together.

    Source: Gross et al., section 3.5. K = c is `erlang_b`; without end it goes to nothing below saturation.

    Args:
        servers: how many.
        room: K, at least `servers`.
        load: rate times mean service time; may be above `servers`.

    Example:
        >>> mmck_blocking(2, 2, 1.0), round(mmck_blocking(1, 3, 1.0), 9)
        (0.2, 0.25)
    """
    blocked = erlang_b(servers, load)
    for _ in range(room - servers):
        blocked = load * blocked / (servers + load * blocked)
    return blocked


def finite_source(users: int, think_s: float, mean_s: float, servers: int = 1) -> tuple[float, float]:
    """Answers a second and the mean wait in M/M/c//N: users who wait for their answer, and think before they ask again.

    The chances of n users being with the servers, from rates (N − n)/Z up and min(n, c)/S down; the wait by Little's law. The
    wait holds for exponential service; thinking may follow any law.
    Source: Palm 1947 (*machine interference*); Kleinrock, *Queueing Systems* I, 1975, sections 3.8 and 3.10.

    Args:
        users: N.
        think_s: Z, the mean between an answer and the next request; above zero.
        mean_s: S, the mean service time.
        servers: c.

    Example:
        Two users who think as long as one server takes are both with it in 2 of 5 moments, and both think in one.

        >>> throughput_per_s, wait_s = finite_source(2, 1.0, 1.0)
        >>> round(throughput_per_s, 9), round(wait_s, 9)
        (0.8, 0.5)
    """
    log_chance, found = 0.0, [0.0]
    for inside in range(users):
        log_chance += math.log((users - inside) * mean_s / (think_s * min(inside + 1, servers)))
        found.append(log_chance)
    weights = np.exp(np.array(found) - max(found))
    chances, inside_by = weights / weights.sum(), np.arange(users + 1)
    throughput_per_s = float(chances @ np.minimum(inside_by, servers)) / mean_s
    return throughput_per_s, float(chances @ inside_by) / throughput_per_s - mean_s


def mg1_wait_s(rate_per_s: float, mean_s: float, second_moment_s2: float) -> float:
    """The mean wait in M/G/1: Poisson arrivals, one server, service times of any distribution, in any order that ignores them.

    Source: Pollaczek, 1930, and Khinchine, 1932: λE[S²] / 2(1 − ρ). Holds below saturation; NaN from there on.

    Args:
        rate_per_s: λ.
        mean_s: E[S].
        second_moment_s2: E[S²], the variance plus the mean's square.

    Example:
        >>> round(mg1_wait_s(0.8, 1.0, 2.0), 9), round(mg1_wait_s(0.8, 1.0, 1.0), 9)
        (4.0, 2.0)
    """
    load = rate_per_s * mean_s
    return rate_per_s * second_moment_s2 / (2.0 * (1.0 - load)) if load < 1.0 else math.nan


def md1_wait_s(rate_per_s: float, service_s: float) -> float:
    """The mean wait in M/D/1, service always the same: half of what it is in M/M/1.

    Example:
        >>> md1_wait_s(0.5, 1.0)
        0.5
    """
    return mg1_wait_s(rate_per_s, service_s, service_s**2)


def priority_waits_s(
    rates_per_s: Sequence[float], means_s: Sequence[float], second_moments_s2: Sequence[float]
) -> list[float]:
    """The mean wait of each class in M/G/1 where the lower class goes first, and what is being served is finished.

    W₀ / ((1 − σ of the classes before)(1 − σ with this one)), where W₀ = ½ Σ λE[S²] over all classes and σ adds up loads.
    Source: Cobham, *Priority assignment in waiting line problems*, Operations Research 2 (1954).

    Args:
        rates_per_s: of each class, the first to be served first.
        means_s: mean service time of each class.
        second_moments_s2: second moment of each.

    Returns:
        In seconds; NaN for a class that the classes before it leave no time.

    Example:
        >>> [round(wait, 3) for wait in priority_waits_s([0.3, 0.5], [1.0, 1.0], [2.0, 2.0])]
        [1.143, 5.714]
    """
    residual_s = 0.5 * sum(rate * moment for rate, moment in zip(rates_per_s, second_moments_s2, strict=True))
    waits, before = [], 0.0
    for rate, mean in zip(rates_per_s, means_s, strict=True):
        until = before + rate * mean
        waits.append(residual_s / ((1.0 - before) * (1.0 - until)) if until < 1.0 else math.nan)
        before = until
    return waits


def bulk_root(rate_per_s: float, mean_s: float, max_batch: int) -> float:
    """The root in (0, 1) of μr^(K+1) − (λ + μ)r + λ: the ratio of the chances of n + 1 and n waiting while M/M^[1,K]/1 serves.

    Source: Medhi, *Stochastic Models in Queueing Theory*, on Neuts' general bulk service rule; found by bisection.

    Example:
        >>> round(bulk_root(0.7, 1.0, 1), 9)
        0.7
    """

    def beyond(root: float) -> bool:
        # the polynomial over (1 − r), which has this root alone
        return rate_per_s * mean_s < root * sum(root**power for power in range(max_batch))

    low, high = 0.0, 1.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return low


def mm1k_bulk_wait_s(rate_per_s: float, mean_s: float, max_batch: int) -> float:
    """The mean wait in M/M^[1,K]/1: an idle server takes all that wait, up to K; a batch takes as long whatever its size.

    While it serves, n wait with chance C·rⁿ (`bulk_root`), and it is idle with chance Cμ/λ; Little's law makes the number a
    time. Holds below saturation, λ < Kμ; NaN from there on.

    Example:
        >>> round(mm1k_bulk_wait_s(0.7, 1.0, 1), 9) == round(mmc_wait_s(0.7, 1.0, 1), 9)
        True
    """
    if rate_per_s * mean_s >= max_batch:
        return math.nan
    root = bulk_root(rate_per_s, mean_s, max_batch)
    scale = 1.0 / (1.0 / (1.0 - root) + 1.0 / (rate_per_s * mean_s))
    return scale * root / (1.0 - root) ** 2 / rate_per_s


def batch_chain(rate_per_s: float, means_s: Sequence[float], cv: float) -> tuple[float, float] | None:
    """Mean wait and latency where one server takes all that wait, up to K, and a batch's time depends on its size.

    The number waiting when a batch ends is a Markov chain (Bailey, *On queueing processes with bulk service*, JRSS B 16,
    1954); it is solved as linear equations, cut off where it hardly ever is. From q waiting, a batch of b = min(max(q, 1), K)
    is served in a time H: the q − b left wait through it and those who come in wait for half of it, so that requests wait
    (q − b)E[H] + λE[H²]/2 together. A numerical solution, exact to 1e-8, not a formula.

    Args:
        rate_per_s: of Poisson arrivals.
        means_s: mean service times of batches of 1, 2, …, K.
        cv: standard deviation over mean, of Gamma times; 0 is deterministic, 1 exponential.

    Returns:
        Seconds; None so near saturation (or beyond) that the queue is longer than `MOST_STATES`.

    Example:
        >>> wait_s, latency_s = batch_chain(0.8, [1.0], 0.0)
        >>> round(wait_s, 6), round(latency_s, 6)
        (2.0, 3.0)
    """
    if rate_per_s >= saturation_per_s(1, means_s):
        return None
    states = 4 * len(means_s) + 32
    while True:
        served = np.minimum(np.maximum(np.arange(states), 1), len(means_s))
        chances = _stationary(_chain(rate_per_s, np.asarray(means_s), cv, served))
        if chances[-1] < FORGOTTEN:
            break
        states *= 2
        if states > MOST_STATES:
            return None
    mean_s = np.asarray(means_s)[served - 1]
    left = np.maximum(np.arange(states) - served, 0)
    waiting_s = chances @ (left * mean_s + 0.5 * rate_per_s * mean_s**2 * (1.0 + cv**2))
    requests = float(chances @ served)
    wait_s = float(waiting_s) / requests
    return wait_s, wait_s + float(chances @ (served * mean_s)) / requests


def _chain(rate_per_s: float, means_s: Floats, cv: float, served: NDArray[np.int64]) -> Floats:
    """The chance to go from each number waiting to each, as a batch is served; what is beyond the last goes to the last."""
    states = len(served)
    arrived = np.stack([_arrivals(rate_per_s * mean_s, cv, states) for mean_s in means_s])
    chain = np.zeros((states, states))
    for state in range(states):
        left = max(state - served[state], 0)
        chain[state, left:] = arrived[served[state] - 1, : states - left]
    chain[:, -1] += 1.0 - chain.sum(axis=1)
    return chain


def _arrivals(mean: float, cv: float, states: int) -> Floats:
    """The chances of 0, 1, … arrivals in a Gamma time: Poisson of a random mean is negative binomial."""
    counts = np.arange(states)
    if cv == 0.0:
        return np.asarray(distributions.poisson.pmf(counts, mean))
    shape = cv**-2.0
    return np.asarray(distributions.nbinom.pmf(counts, shape, shape / (shape + mean)))


def _stationary(chain: Floats) -> Floats:
    """The chances that a chain settles at: one of its equations is replaced by their sum."""
    equations = chain.T - np.eye(len(chain))
    equations[-1] = 1.0
    right = np.zeros(len(chain))
    right[-1] = 1.0
    return np.asarray(np.linalg.solve(equations, right))


def take_all_bound_s(rate_per_s: float, base_s: float, per_item_s: float) -> float:
    """An upper bound of the mean latency where one server takes all that wait and a batch of b takes exactly τ + a·b.

    The lesser of two, near enough to the truth to stand for it. Source: Inoue, *Queueing analysis of GPU-based inference
    servers with dynamic batching: a closed-form characterization* (arXiv 1912.06322), with α = `per_item_s` and τ₀ =
    `base_s`. Holds below saturation, λa < 1; NaN from there on.

    Example:
        >>> round(take_all_bound_s(50.0, 0.1, 0.01), 4)
        0.3167
    """
    load, offered = rate_per_s * per_item_s, rate_per_s * base_s
    if load >= 1.0:
        return math.nan
    light = (per_item_s + base_s) / (2.0 * (1.0 - load)) * (1.0 + 2.0 * offered + (1.0 - offered) / (1.0 + load))
    heavy = 1.5 * base_s / (1.0 - load) + per_item_s / 2.0 * (load + 2.0) / (1.0 - load**2)
    return min(light, heavy)


def choices_tail(load: float, length: int, choices: int = 2) -> float:
    """The share of servers with at least `length` requests, where each goes to the shortest of some queues drawn at random.

    λ^((dⁱ − 1) / (d − 1)), in the limit of many servers with exponential service and true lengths. Source: Vvedenskaya,
    Dobrushin & Karpelevich, Problems of Information Transmission 32 (1996); Mitzenmacher, IEEE TPDS 12 (2001).

    Args:
        load: of each server, below 1.
        length: i.
        choices: d; 1 is a queue for each at random.

    Example:
        >>> choices_tail(0.5, 3), choices_tail(0.5, 3, choices=1)
        (0.0078125, 0.125)
    """
    exponent = length if choices == 1 else (choices**length - 1) // (choices - 1)
    return float(load**exponent)


def choices_latency_s(load: float, mean_s: float, choices: int = 2) -> float:
    """The mean latency with so many choices: the mean number at a server, by `choices_tail`, made a time by Little's law.

    The same limit; NaN from saturation on.

    Example:
        >>> round(choices_latency_s(0.99, 1.0), 2), round(choices_latency_s(0.99, 1.0, choices=1), 2)
        (5.43, 100.0)
    """
    if load >= 1.0:
        return math.nan
    if choices == 1:
        return mean_s / (1.0 - load)
    number, length = 0.0, 1
    while (tail := choices_tail(load, length, choices)) > 1e-15:
        number, length = number + tail, length + 1
    return number * mean_s / load


@dataclass(frozen=True)
class ClassTheory:
    """What the requests of one class wait in the long run.

    Args:
        name: of the class.
        wait_mean_s: mean time from arrival to the start of service.
        latency_mean_s: mean time from arrival to the answer.
    """

    name: str
    wait_mean_s: float
    latency_mean_s: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {"name": self.name, "wait_mean_s": self.wait_mean_s, "latency_mean_s": self.latency_mean_s}


@dataclass(frozen=True)
class Theory:
    """What a queue's requests wait in the long run.

    Args:
        name: of the queue, in Kendall's notation.
        source: who found it.
        wait_mean_s: mean time from arrival to the start of service.
        latency_mean_s: mean time from arrival to the answer.
        utilization: the share of time in which a server is busy; None where it depends on the batches.
        wait_quantile_s: quantiles of the wait, by share; empty where they are not known.
        by_priority: the classes, the first to be served first; empty where there are none.
    """

    name: str
    source: str
    wait_mean_s: float
    latency_mean_s: float
    utilization: float | None
    wait_quantile_s: tuple[tuple[float, float], ...] = ()
    by_priority: tuple[ClassTheory, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; quantiles as `wait_p99_s`, `by_priority` where there are classes."""
        quantiles = {f"wait_p{share * 100:g}_s".replace(".", ""): each for share, each in self.wait_quantile_s}
        return {
            "name": self.name, "source": self.source, "wait_mean_s": self.wait_mean_s,
            "latency_mean_s": self.latency_mean_s, "utilization": self.utilization, **quantiles,
            **({"by_priority": [each.to_dict() for each in self.by_priority]} if self.by_priority else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class NoTheory:
    """Why nothing is known in closed form.

    Args:
        reason: a clause.
    """

    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The reason, as JSON values."""
        return {"name": None, "reason": self.reason}


QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""Of the wait, where they are known."""

SHAPES = ("deterministic", "exponential", "gamma")
"""Laws of service whose arrivals within a batch can be counted."""


def closed_form(
    rate_per_s: float | None,
    shape: str,
    means_s: Sequence[float],
    cv: float,
    *,
    servers: int = 1,
    max_wait_s: float = 0.0,
    besides: Sequence[str] = (),
) -> Theory | NoTheory:
    """Find the theory of servers behind one queue, first come first served, that take all that wait up to the largest batch.

    Args:
        rate_per_s: of Poisson arrivals; None where arrivals are of another kind.
        shape: of the service times: `deterministic`, `exponential`, `gamma`, or anything else, of which the first two
            moments are enough without batches.
        means_s: mean service times of batches of 1, 2, … up to the largest.
        cv: their standard deviation over their mean.
        servers: how many.
        max_wait_s: how long the oldest request waits for company.
        besides: what else there is (retries, caps, faults, …), in words; no theory here has any of it.

    Example:
        >>> closed_form(800.0, "exponential", [0.001], 1.0).wait_mean_s
        0.004
        >>> closed_form(800.0, "exponential", [0.001], 1.0, besides=["retries"]).reason
        'no closed form is known with retries'
    """
    if besides:
        return NoTheory(f"no closed form is known with {' and '.join(besides)}")
    if rate_per_s is None:
        return NoTheory("the closed forms are for Poisson arrivals")
    most_per_s = saturation_per_s(servers, means_s)
    if rate_per_s >= most_per_s:
        return NoTheory(
            f"{rate_per_s:g} requests a second are more than the {most_per_s:g} that can be served: the queue grows for ever"
        )
    if len(means_s) > 1:
        return _with_batches(rate_per_s, shape, means_s, cv, servers, max_wait_s)
    mean_s = means_s[0]
    load = rate_per_s * mean_s
    if shape == "exponential":
        wait_s = mmc_wait_s(rate_per_s, mean_s, servers)
        quantiles = tuple((each, mmc_wait_quantile_s(each, rate_per_s, mean_s, servers)) for each in QUANTILES)
        return Theory(f"M/M/{servers}", "Erlang, 1917", wait_s, wait_s + mean_s, load / servers, quantiles)
    if servers > 1:
        return NoTheory("several servers are known in closed form with exponential service only")
    wait_s = mg1_wait_s(rate_per_s, mean_s, mean_s**2 * (1.0 + cv**2))
    name = "M/D/1" if shape == "deterministic" else "M/G/1"
    return Theory(name, "Pollaczek, 1930; Khinchine, 1932", wait_s, wait_s + mean_s, load)


def of_classes(
    rates_per_s: Sequence[float], moments: Sequence[tuple[float, float]], names: Sequence[str] = ("all",)
) -> Theory | NoTheory:
    """Find the theory of one server without batches whose requests are of several kinds: M/G/1, by priority where there is any.

    Args:
        rates_per_s: of the Poisson arrivals of each class of priority, the first to be served first.
        moments: mean in seconds and second moment in seconds² of each class's service times.
        names: of the classes; one where all have the same priority.

    Example:
        >>> found = of_classes([300.0, 500.0], [(0.001, 2e-6)] * 2, ["urgent", "usual"])
        >>> [(each.name, round(each.wait_mean_s, 6)) for each in found.by_priority]
        [('urgent', 0.001143), ('usual', 0.005714)]
        >>> round(found.wait_mean_s, 6) == round(closed_form(800.0, "exponential", [0.001], 1.0).wait_mean_s, 6)
        True
    """
    rate, means_s = sum(rates_per_s), [mean_s for mean_s, _ in moments]
    load = sum(each * mean_s for each, mean_s in zip(rates_per_s, means_s, strict=True))
    if load >= 1.0:
        return NoTheory(f"the server would be busy {load:.4g} times the time there is: the queue grows for ever")
    waits_s = priority_waits_s(rates_per_s, means_s, [second for _, second in moments])
    classes = tuple(
        ClassTheory(name, wait_s, wait_s + mean_s) for name, wait_s, mean_s in zip(names, waits_s, means_s, strict=True)
    )
    wait_s = sum(each * one.wait_mean_s for each, one in zip(rates_per_s, classes, strict=True)) / rate
    figures = wait_s, wait_s + load / rate, load
    if len(classes) == 1:
        return Theory("M/G/1", "Pollaczek, 1930; Khinchine, 1932", *figures)
    return Theory("M/G/1 with priorities", "Cobham, 1954", *figures, by_priority=classes)


def of_population(users: int, think_s: float, shape: str, mean_s: float, servers: int) -> Theory | NoTheory:
    """Find the theory of a closed loop: users who wait for their answers, before servers behind one queue, without batches.

    Args:
        users: how many.
        think_s: from the end of a request to the next, on average.
        shape: of the service times.
        mean_s: of them.
        servers: how many.

    Example:
        >>> found = of_population(2, 1.0, "exponential", 1.0, 1)
        >>> found.name, round(found.wait_mean_s, 9), round(found.utilization, 9)
        ('M/M/1//2', 0.5, 0.8)
    """
    if shape != "exponential":
        return NoTheory("closed loops are known in closed form with exponential service only")
    if not think_s:
        return NoTheory("closed loops are known in closed form with a think time above zero only")
    throughput_per_s, wait_s = finite_source(users, think_s, mean_s, servers)
    name = f"M/M/{servers}//{users}"
    return Theory(name, "Palm, 1947", max(0.0, wait_s), max(0.0, wait_s) + mean_s, throughput_per_s * mean_s / servers)


def _with_batches(
    rate_per_s: float, shape: str, means_s: Sequence[float], cv: float, servers: int, max_wait_s: float
) -> Theory | NoTheory:
    if servers > 1:
        return NoTheory("batches are known in closed form with one server only")
    if max_wait_s > 0.0:
        return NoTheory("batches are known in closed form where none waits for company, `max_wait` of zero")
    largest = len(means_s)
    if shape == "exponential" and min(means_s) == max(means_s):
        wait_s = mm1k_bulk_wait_s(rate_per_s, means_s[0], largest)
        return Theory(f"M/M^[1,{largest}]/1", "Medhi, after Neuts, 1967", wait_s, wait_s + means_s[0], None)
    if shape not in SHAPES:
        return NoTheory(f"batches are known for {', '.join(SHAPES)} service only")
    found = batch_chain(rate_per_s, means_s, cv)
    if found is None:
        return NoTheory("the queue is too near saturation for its chain to be solved")
    return Theory(f"M/G^[1,{largest}]/1", "Bailey, 1954, solved numerically", *found, None)
