"""Calibration: from a few short runs on the road to the stations that the tunnel lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from windtunnel.errors import DataError
from windtunnel.road import IDLE_S, Loaded, Road

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.hardware import Hardware

    from .observed import Observed

    Floats = NDArray[np.float64]

LEAST_REQUESTS = 100
"""Fewer answers at a load tell too little of it."""

LEAST_BATCHES = 5
"""Fewer batches of a size, at one load, tell nothing of it."""

EARLIEST = 0.01
"""The share of requests that the clock, or a loop that hiccups, lets into a batch although it was closed."""

GATED = 3
"""So many must have waited in front of a loop for the time between two of them to tell what it takes of each."""

LEAST_SIZES = 3
"""Through fewer sizes there is no line that says anything."""

FITS = 10
"""Times by size and load, and by idling, in turns: nothing changes any more after so many (backfitting)."""

DRAWN = 20
"""A time of a size counts as many batches as it was seen in, a line through all sizes as many as this."""

FRESH_S = 0.0015
"""Who has waited so much longer than a batch waits was there before the one before it ended."""


def calibrate(
    runs: Sequence[Observed],
    *,
    variant: str,
    sha256: str,
    hardware: Hardware,
    ray: str,
    ingress: str,
    batch: BatchPolicy,
    replicas: int,
    capacity_per_s: float,
) -> Road:
    """Read the stations off runs at several loads.

    Service is taken as it was in place: a time by size, a factor by load (weighted means in turn of the logarithms of medians, as
    in Tukey's median polish), and what is left over in the order in which it came. The way outside is that of requests which met nobody; what a shared batch adds to it
    is a regression. What the event loop takes of each request is the time between two that it let in one after the other; what it takes
    to begin a batch is how late a request may come and still be in it; what it takes after a batch is a mean by how many
    it answers, drawn towards a regression on that and on how many have come meanwhile, as each batch tells how long its first request was in. A model
    that is faster than its loop is seen where a line has formed, between two full batches; these tell of every model by how much its loop varies. Where batches are of one,
    no two requests tell of each other: there the loop takes what the model leaves of the time between two answers of a server that
    always has more to do, half of it before a request and half after it.

    Args:
        runs: one a load, in any order.
        variant: the variant's name.
        sha256: of its file.
        hardware: of this machine.
        ray: the version that served.
        ingress: what stood in front.
        batch: when a batch leaves.
        replicas: how many served.
        capacity_per_s: answers a second of a server that always had more to do.

    Raises:
        DataError: too few answers at a load, none that says how long it took, or no size of batch that was seen often enough.
    """
    for each in runs:
        if len(each) < LEAST_REQUESTS:
            raise DataError(
                f"has {len(each)} answers that say how long they took, and needs {LEAST_REQUESTS}", field="a calibrating run",
                fix="calibrate for longer (--calibrate), or see in the server's log why it does not answer",
            )  # fmt: skip
    ordered = sorted(runs, key=_rate_per_s)
    free = [each.was_free for each in ordered]
    company_s, rank_s = _shared(ordered, free)
    service_s, stretch, warmth = _fitted(ordered, batch.max_batch)
    join_s = _join_s(ordered, batch)
    entry_s, dispatch_s = _entry_s(ordered), float(np.quantile(ordered[-1].queue_s, EARLIEST))
    resume_s, knock_s, loops = _resume(ordered, company_s, batch, entry_s, dispatch_s)
    loads = tuple(
        Loaded(
            _rate_per_s(run), stretch[at], _residuals(run, service_s * stretch[at], warmth),
            _own_way(run, company_s, rank_s)[met_nobody], _late(run, met_nobody, batch, join_s), loops[at],
        )
        for at, (run, met_nobody) in enumerate(zip(ordered, free, strict=True))
    )  # fmt: skip
    if batch.max_batch == 1:
        alone_s = float(service_s[1] * warmth[0] * stretch[-1] * np.mean(loads[-1].residuals))
        left_s = max(replicas / capacity_per_s - alone_s, 0.0)
        # where the loop has more to do, who waits for a batch of one waits for others' entry and answers too
        dispatch_s = min(float(np.quantile(ordered[0].queue_s, EARLIEST)), left_s)
        entry_s = resume_s[1] = (left_s - dispatch_s) / 2.0
    loads = tuple(replace(each, outside_s=np.maximum(each.outside_s - entry_s - knock_s, 1e-6)) for each in loads)
    return Road(
        variant, sha256, hardware, ray, ingress, batch, replicas, capacity_per_s, service_s, warmth, loads, entry_s, dispatch_s,
        join_s, resume_s, knock_s, company_s, rank_s,
    )  # fmt: skip


def _rate_per_s(run: Observed) -> float:
    return (run.asked - 1) / float(run.scheduled_s[-1] - run.scheduled_s[0])


def ranks(run: Observed) -> Floats:
    """The place of each answer among those of its batch, from 0."""
    order = np.lexsort((run.finished_s, run.batches.of))
    first = np.searchsorted(run.batches.of[order], run.batches.of[order])
    rank = np.empty(len(run))
    rank[order] = np.arange(len(run)) - first
    return rank


def _shared(runs: Sequence[Observed], free: Sequence[NDArray[np.bool_]]) -> tuple[float, float]:
    """By how much an answer is later for each other in its batch, and for each before it."""
    rows, late_s = [], []
    for run, met_nobody in zip(runs, free, strict=True):
        each = np.stack([run.batch_size - 1.0, ranks(run)], axis=1)[met_nobody]
        outside_s = run.outside_s[met_nobody]
        outside_s = np.minimum(outside_s, np.quantile(outside_s, 0.95))
        rows.append(each - each.mean(axis=0))
        late_s.append(outside_s - outside_s.mean())
    slopes = np.linalg.lstsq(np.concatenate(rows), np.concatenate(late_s), rcond=None)[0]
    return max(0.0, float(slopes[0])), max(0.0, float(slopes[1]))


def _own_way(run: Observed, company_s: float, rank_s: float) -> Floats:
    """The time outside without what the batch added."""
    return np.maximum(run.outside_s - company_s * (run.batch_size - 1) - rank_s * ranks(run), 1e-6)


def _join_s(runs: Sequence[Observed], batch: BatchPolicy) -> float:
    """By how much later a timer fires for each that joins while it runs: a regression over batches that it closed."""
    sizes, late_s = [], []
    for run in runs:
        batches = run.batches
        waited_s = batches.queue_s - batch.max_wait_s
        timed = (batches.size < batch.max_batch) & (waited_s >= 0.0) & (waited_s < FRESH_S)
        sizes.append(batches.size[timed] - 1.0)
        late_s.append(waited_s[timed])
    others = np.concatenate(sizes)
    if len(np.unique(others)) < 2:  # through one size goes no line, be it that timers close no others, or none at all
        return 0.0
    return max(0.0, float(np.polyfit(others, np.concatenate(late_s), 1)[0]))


def _late(run: Observed, met_nobody: NDArray[np.bool_], batch: BatchPolicy, join_s: float) -> Floats:
    """By how much batches left later than their timer said: those that were not full, and whose first came to an idle loop."""
    batches = run.batches
    first_free = np.zeros(len(batches.size), dtype=bool)
    first_free[batches.of[met_nobody & (run.queue_s == batches.queue_s[batches.of])]] = True
    late_s = batches.queue_s - batch.max_wait_s - join_s * (batches.size - 1)
    timed = first_free & (batches.size < batch.max_batch) & (batches.queue_s >= batch.max_wait_s)
    return np.maximum(late_s[timed], 0.0) if timed.any() else np.zeros(1)


def _fitted(runs: Sequence[Observed], max_batch: int) -> tuple[Floats, list[float], Floats]:
    """A time for each size, a factor for each load and one for each step of idling whose product is what batches took, at the middle."""
    warmth = np.ones(len(IDLE_S))
    for _ in range(FITS):
        service_s, stretch = _polished(runs, max_batch, [warm(warmth, run.batches.idle_s) for run in runs])
        warmth = _warmth(runs, service_s, stretch)
    return service_s, stretch, warmth


def warm(warmth: Floats, idle_s: Floats) -> Floats:
    """By how much more batches take after so much idling.

    Args:
        warmth: see `Road`.
        idle_s: float64.

    Example:
        >>> warm(np.linspace(1.0, 1.7, 8), np.array([0.0, 0.001, 0.003, np.inf])).round(3).tolist()
        [1.0, 1.0, 1.158, 1.7]
    """
    return np.asarray(np.interp(np.log(np.maximum(idle_s, IDLE_S[0])), np.log(IDLE_S), warmth))


def _warmth(runs: Sequence[Observed], service_s: Floats, stretch: Sequence[float]) -> Floats:
    """What is left of batches by how long the loop was idle before: lines between steps, by least squares, level where few were seen."""
    idle_s = np.concatenate([run.batches.idle_s for run in runs])
    left = np.concatenate([
        np.log(run.batches.model_s / (service_s[run.batches.size] * each)) for run, each in zip(runs, stretch, strict=True)
    ])  # fmt: skip
    left = np.clip(left, *np.quantile(left, (0.02, 0.98)))
    near = np.stack([warm(each, idle_s) for each in np.eye(len(IDLE_S))], axis=1)
    bends = np.diff(np.eye(len(IDLE_S)), axis=0)
    middle = np.linalg.solve(near.T @ near + DRAWN * bends.T @ bends, near.T @ (left - left.mean()))
    return np.exp(middle)


def _polished(runs: Sequence[Observed], max_batch: int, warmths: Sequence[Floats]) -> tuple[Floats, list[float]]:
    """A time for each size and a factor for each load whose product is what batches took besides their warmth, at the middle."""
    middle = np.full((len(runs), max_batch + 1), np.nan)
    counts = np.zeros(middle.shape)
    for at, run in enumerate(runs):
        for size in range(1, max_batch + 1):
            each_s = (run.batches.model_s / warmths[at])[run.batches.size == size]
            counts[at, size] = len(each_s) if len(each_s) >= LEAST_BATCHES else 0
            if counts[at, size]:
                middle[at, size] = np.log(np.median(each_s))
        if not counts[at].any():
            raise DataError(
                f"at {_rate_per_s(run):.3g} requests/s has no size of batch that it saw {LEAST_BATCHES} times", field="a calibrating run",
                fix="calibrate for longer (--calibrate), or serve smaller batches (--max-batch)",
            )  # fmt: skip
    known = np.flatnonzero(counts.sum(axis=0) > 0)
    by_size, by_load = np.zeros(len(known)), np.zeros(len(runs))
    cells, weights = np.nan_to_num(middle[:, known]), counts[:, known]
    for _ in range(50):
        by_size = np.sum(weights * (cells - by_load[:, None]), axis=0) / weights.sum(axis=0)
        by_load = np.sum(weights * (cells - by_size), axis=1) / weights.sum(axis=1)
        by_load -= by_load[0]
    times_s = _filled(known, np.exp(by_size), weights.sum(axis=0), max_batch)
    return times_s, [float(each) for each in np.exp(by_load)]


def _filled(sizes: NDArray[np.int64], times_s: Floats, counts: Floats, max_batch: int) -> Floats:
    """Times for every size: those that were seen, drawn a little towards the line through all, and that line beyond them."""
    service_s, every = np.zeros(max_batch + 1), np.arange(1, max_batch + 1)
    if len(sizes) < LEAST_SIZES:
        service_s[1:] = np.interp(every, sizes, times_s)
        return service_s
    slope_s, base_s = np.polyfit(sizes, times_s, 1, w=np.sqrt(counts) / times_s)
    line_s = np.maximum(base_s + max(float(slope_s), 0.0) * every, times_s.min())
    seen = np.interp(every, sizes, times_s)
    share = np.zeros(max_batch)
    share[sizes - 1] = counts / (counts + DRAWN)
    service_s[1:] = np.maximum.accumulate(share * seen + (1.0 - share) * line_s)
    return service_s


def _residuals(run: Observed, expected_s: Floats, warmth: Floats) -> Floats:
    """What each batch took, as a share of what was to be expected, in order."""
    return np.asarray(run.batches.model_s / (expected_s[run.batches.size] * warm(warmth, run.batches.idle_s)))


def _entry_s(runs: Sequence[Observed]) -> float:
    """What the loop takes of each request: the time between those that it let in one after the other, as it went on.

    In the middle of all such times, not of all batches: the first few after a batch take longer than those that follow, and a full loop
    lets in many.
    """
    gaps = sorted(gap for run in runs for gap in _gaps_between_gated(run))
    if not gaps:
        return 0.0
    passed = np.cumsum([count for _, count in gaps])
    return gaps[int(np.searchsorted(passed, passed[-1] / 2.0))][0]


def _gaps_between_gated(run: Observed) -> list[tuple[float, int]]:
    """Between requests of one batch that all came while the batch before was being served, the mean time from one to the next, and how many.

    Who was let in before that one began, and was left over, has all of it behind.
    """
    order = np.flatnonzero(run.has_knocked & (run.queue_s < run.batches.idle_s[run.batches.of]))
    order = order[np.argsort(run.batches.of[order], kind="stable")]
    of, queue_s = run.batches.of[order], run.queue_s[order]
    edges = np.flatnonzero(np.diff(of)) + 1
    gated = [each for each in np.split(queue_s, edges) if len(each) >= GATED]
    return [(float(np.ptp(each)) / (len(each) - 1), len(each) - 1) for each in gated]


def _resume(
    runs: Sequence[Observed], company_s: float, batch: BatchPolicy, entry_s: float, dispatch_s: float
) -> tuple[Floats, float, list[Floats]]:
    """What the loop takes after a batch of each size before it lets somebody in, so much more for each that knocks, and by how much it varies at each load."""
    fresh = np.concatenate([_resumptions(run, company_s, batch) for run in runs])
    lenders, spread_s = _between_full(runs[-1], company_s, batch, dispatch_s)
    full = [_lent(run, lenders, spread_s, batch.max_batch) for run in runs]
    # a slow model has somebody at its door whenever it ends, a fast one a line now and then
    by_door = len(fresh) > len(lenders)
    rows = fresh if by_door else np.concatenate([fresh, full[-1]])
    if len(rows) < LEAST_REQUESTS or batch.max_batch == 1:
        return np.zeros(batch.max_batch + 1), 0.0, [np.ones(1)] * len(runs)
    left, span_s = rows[:, :2], rows[:, 3] - entry_s * rows[:, 2]
    low_s, high_s = np.quantile(span_s, (0.02, 0.98))
    span_s = np.clip(span_s, max(low_s, 0.0), high_s)
    base_s, answer_s, knock_s = nnls(np.column_stack([np.ones(len(left)), left]), span_s)[0]
    sizes = left[:, 0].astype(np.int64)
    # of all of a size: DRAWN more lie on the line
    counts = np.bincount(sizes, minlength=batch.max_batch + 1)
    seen_s = np.bincount(sizes, span_s - knock_s * left[:, 1], batch.max_batch + 1)
    line_s = base_s + answer_s * np.arange(batch.max_batch + 1)
    resume_s = np.maximum.accumulate(np.maximum((seen_s + DRAWN * line_s) / (counts + DRAWN), 0.0))
    resume_s[0] = 0.0
    loops = [_loop(each, resume_s[batch.max_batch], float(knock_s), entry_s) for each in full]
    mean = float(np.mean(loops[-1])) if by_door else 1.0
    return resume_s, float(knock_s), [each / max(mean, 1e-6) for each in loops]


def _loop(full: Floats, resume_s: float, knock_s: float, entry_s: float) -> Floats:
    """What the loop took after full batches, as a share of what was to be expected; of a few, nothing but that."""
    if len(full) < DRAWN:
        return np.ones(1)
    expected_s = resume_s + knock_s * full[:, 1] + entry_s * full[:, 2]
    return np.asarray(np.maximum(full[:, 3], 0.0) / np.maximum(expected_s, 1e-6))


def _resumptions(run: Observed, company_s: float, batch: BatchPolicy) -> Floats:
    """Batches that were gathered from those who knocked when the batch before ended; float64 `[batches, 4]`.

    In columns: the size of the batch before; how many knocked; how many were let in meanwhile, which is none; the time from its end to
    the first that was let in. Answers tell when a batch began but for the way back, which is as long for the batch before, but for what
    company adds.
    """
    batches = run.batches
    knocks = np.bincount(batches.of, weights=run.has_knocked, minlength=len(batches.size))
    end_s = batches.ended_s - company_s * (batches.size - 1)
    began_s = end_s - batches.model_s - batches.queue_s
    # who was left over did not knock: its wait began before the batch ended
    fresh = (
        (batches.before >= 0)
        & (knocks > 0)
        & (batches.queue_s < batch.max_wait_s + FRESH_S)
        & (batches.size < batch.max_batch)
    )
    before = batches.before[fresh]
    return np.column_stack([batches.size[before], knocks[fresh], np.zeros(len(before)), began_s[fresh] - end_s[before]])


def _lent(run: Observed, lenders: Floats, lender_spread_s: Floats, max_batch: int) -> Floats:
    """What the loop took after each full batch of a run, in order; as `_between_full`, and as that where a run has hardly any.

    A line forms where the loop is slow, so those after which it is seen are no fair draw. Of every batch it is known how long its
    answers took to leave one after the other: each is lent the row of that whose answers took most nearly as long (nearest-neighbour
    imputation), whatever the load.
    """
    spread_s = run.batches.spread_s[run.batches.size == max_batch]
    if len(lenders) < DRAWN or len(spread_s) < DRAWN:
        return lenders
    return np.asarray(lenders[np.searchsorted((lender_spread_s[1:] + lender_spread_s[:-1]) / 2.0, spread_s)])


def _between_full(run: Observed, company_s: float, batch: BatchPolicy, dispatch_s: float) -> tuple[Floats, Floats]:
    """What the loop takes between two full batches, and how long the answers of the first took to leave, by which it is sorted.

    It is seen where all requests of the second had come when the first ended, so that there was something to do all the time: a model
    that takes a tenth of a millisecond has hardly anyone at its door when it ends, and a line there. In columns as `_resumptions`,
    knocking those who were let in between the two, as each is read once; the time is that between the two without the dispatch.
    """
    batches = run.batches
    knocks = np.bincount(batches.of, weights=run.has_knocked, minlength=len(batches.size))
    is_full = batches.size == batch.max_batch
    seen = np.flatnonzero(is_full & (knocks == batch.max_batch) & (batches.before >= 0) & is_full[batches.before])
    seen = seen[np.argsort(batches.spread_s[batches.before[seen]], kind="stable")]
    end_s = batches.ended_s - company_s * (batches.size - 1)
    began_s, before, entered = end_s - batches.model_s, batches.before[seen], np.zeros(len(seen))
    for replica in np.unique(run.replica):
        came_in_s = np.sort((began_s[batches.of] - run.queue_s)[run.replica == replica])
        here = batches.replica[seen] == replica
        until, since = began_s[seen[here]], end_s[before[here]]
        entered[here] = np.maximum(np.searchsorted(came_in_s, until) - np.searchsorted(came_in_s, since), 0)
    took_s = began_s[seen] - end_s[before] - dispatch_s
    return np.column_stack([batches.size[before], entered, entered, took_s]), batches.spread_s[before]
