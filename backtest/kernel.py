"""The one pass over the rows: what each of them adds to every look, every day and every model, compiled.

Sums are exact. A float64 is a whole number of 2⁻¹⁰⁷⁴, and a sum is kept as one very long whole number in limbs of 32 bits
(a small superaccumulator: Neal, *Fast exact summation using small and large superaccumulators*, arXiv 1505.05571), so
the order in which rows come, the pieces into which they are cut and who counts them cannot move a bit, and what a
corrected label takes back it takes back wholly. Everything compiled stands in this one file, because numba keeps compiled loops by
file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

NEVER_US = int(np.iinfo(np.int64).max)
"""The known time of a label that never came."""

DAY_US = 86_400_000_000

NO_TIME_US = -(2**62)
"""Before any time."""

LIMBS, LOWEST = 12, -192
"""A sum has so many limbs of 32 bits, the lowest bit worth 2⁻¹⁹²; what of a value lies below that is cut off. The highest limb
is left for what is carried."""

LOG_LOSS, SQUARED, ABSOLUTE, ZERO_ONE, ACCURACY, PINBALL, COST, GIVEN = range(8)
"""How the loss of a row is worked out; `GIVEN`: it is handed over in place of the prediction."""

STEPS = 7296
"""Delays are counted in steps of 1/128 of themselves: exact below 128 µs, and up to 2⁶² µs."""

_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


@njit(**_COMPILED)
def parts_of(value: float) -> tuple[int, int, int, int]:
    """A value as three limbs, with its sign, and the place of the lowest of them; exact down to 2⁻¹⁹².

    Raises:
        OverflowError: the value is no number, or beyond 10⁴⁴.
    """
    bits: Any = np.float64(value).view(np.int64)
    place = ((bits >> 52) & 0x7FF) - 1075 - LOWEST
    if place <= -53:  # zero, or too small to be seen
        return 0, 0, 0, 0
    if place > 32 * (LIMBS - 3):  # ∞ and NaN among them
        raise OverflowError
    mantissa = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000
    if place < 0:
        mantissa >>= -place
        place = 0
    shift, sign = place & 31, 1 | (bits >> 63)
    return (
        place >> 5, sign * ((mantissa << shift) & 0xFFFFFFFF), sign * ((mantissa >> (32 - shift)) & 0xFFFFFFFF),
        sign * ((mantissa >> 32) >> (32 - shift)),
    )  # fmt: skip


@njit(**_COMPILED)
def put(limbs: Ints, at: int, parts: tuple[int, int, int, int], sign: int) -> None:
    """Add `sign` times the parts of a value to the sum that starts at a place among the limbs of many."""
    # unsigned, so that no place is looked at for being counted from the end
    place = np.uint64(at * LIMBS + parts[0])
    limbs[place] += sign * parts[1]
    limbs[place + np.uint64(1)] += sign * parts[2]
    limbs[place + np.uint64(2)] += sign * parts[3]


@njit(**_COMPILED)
def add(limbs: Ints, value: float, sign: int) -> None:
    """Add `sign` times a value to a sum, int64 [LIMBS]."""
    put(limbs, 0, parts_of(value), sign)


@njit(**_COMPILED)
def loss_of(label: float, prediction: float, code: int, parameters: Floats) -> float:
    """The loss of one row, as `windtunnel.loss` defines it; one row at a time, so that no vector lane decides a bit."""
    if code == LOG_LOSS:
        chance = prediction if label == 1.0 else 1.0 - prediction
        clip: float = parameters[0]
        return -math.log(min(max(chance, clip), 1.0 - clip))
    if code == SQUARED:
        return (prediction - label) * (prediction - label)
    if code == ABSOLUTE:
        return abs(prediction - label)
    if code == ZERO_ONE:
        return 1.0 if (prediction >= 0.5) != (label == 1.0) else 0.0
    if code == ACCURACY:
        return 1.0 if (prediction >= 0.5) == (label == 1.0) else 0.0
    if code == PINBALL:
        quantile: float = parameters[0]
        return max(quantile * (label - prediction), (quantile - 1.0) * (label - prediction))
    if code == COST:
        price: float = parameters[1 + 2 * int(label) + int(prediction >= parameters[0])]
        return price
    return prediction


@njit(**_COMPILED)
def losses_of(label: Floats, prediction: Floats, code: int, parameters: Floats) -> Floats:
    """The loss of each row, float64 [n]."""
    losses = np.empty(len(label))
    for row in range(len(label)):
        losses[row] = loss_of(label[row], prediction[row], code, parameters)
    return losses


@njit(**_COMPILED)
def step_of(delay_us: int) -> int:
    """The step that a delay falls into."""
    if delay_us < 128:
        return max(delay_us, 0)
    # as a float64 it is rounded, which may lift it to the next power of two, and no further
    shift: Any = min(((np.float64(delay_us).view(np.int64) >> 52) & 0x7FF) - 1023 - 7, 55)
    if delay_us >> shift < 128:
        shift -= 1
    step: int = (shift << 7) + (delay_us >> shift)
    return step


@njit(**_COMPILED)
def look_of(seen_us: int, first_us: int, every_us: int) -> int:
    """The first look at or after a moment, from 0."""
    return 0 if seen_us <= first_us else (seen_us - first_us + every_us - 1) // every_us


@njit(**_COMPILED)
def nearby(seen_us: int, clock: tuple[int, int, float]) -> int:
    """The same by a multiplication, for a division takes ten times as long; the clock: first µs, every µs, one over it."""
    first_us, every_us, per_us = clock
    if seen_us <= first_us:
        return 0
    late = seen_us - first_us + every_us - 1
    look = int(late * per_us)
    if look * every_us > late:  # rounded up
        return look - 1
    return look + 1 if late - look * every_us >= every_us else look


@njit(**_COMPILED)
def moved(seen_us: int, look: int, end_us: int, clock: tuple[int, int, float]) -> tuple[int, int]:
    """The first look at or after a moment and when it is, from those of the moment before."""
    if end_us - clock[1] < seen_us <= end_us:
        return look, end_us
    look = nearby(seen_us, clock)
    return look, clock[0] + look * clock[1]


@njit(**_COMPILED)
def sum_into(limbs: Ints, cell: Ints, values: Floats, sign: int) -> None:
    """Add values, each to the sum of its cell; those of cell −1 are passed over.

    Args:
        limbs: the sums, one behind the other, int64 [cells · LIMBS].
        cell: int64 [n].
        values: float64 [n].
        sign: 1, or −1 to take them back.
    """
    for row in range(len(cell)):
        if cell[row] >= 0:
            put(limbs, cell[row], parts_of(values[row]), sign)


@njit(**_COMPILED)
def watch(clocks: tuple[Ints, Ints], first: Flags, as_of_us: int, horizon_us: int, steps: Ints, longest: Ints) -> None:
    """Count for how long each request had been waited for at a look: until its label came, or until the look or the horizon.

    Args:
        clocks: asked and known, int64 [n] each.
        first: whether the row counts its request, bool [n]; empty: all do.
        as_of_us: the look.
        horizon_us: how long a label may take.
        steps: those whose label came and those who still waited, by step of the wait, int64 [2, STEPS]; added to.
        longest: the longest wait of each, int64 [2, STEPS]; raised.
    """
    time_us, known_us = clocks
    counted = len(first) > 0
    for row in range(len(time_us)):
        asked, known = time_us[row], known_us[row]
        if asked >= as_of_us or (counted and not first[row]):
            continue
        came = known <= as_of_us and known - asked <= horizon_us
        wait = known - asked if came else min(as_of_us - asked, horizon_us)
        step, kind = step_of(wait), 0 if came else 1
        steps[kind, step] += 1
        longest[kind, step] = max(longest[kind, step], wait)


@njit(**_COMPILED)
def span_of(time_us: Ints, known_us: Ints) -> tuple[int, int, int]:
    """When the first and the last request were asked, and the last moment that the rows tell anything about, by either clock."""
    first, latest, last = time_us[0], time_us[0], time_us[0]
    for row in range(len(time_us)):
        first, latest = min(first, time_us[row]), max(latest, time_us[row])
        if known_us[row] != NEVER_US:
            last = max(last, known_us[row])
    return first, latest, max(latest, last)


@njit(**_COMPILED)
def come_and_go(
    sums: Ints,
    many_looks: int,
    begin: int,
    end: int,
    predictions: Floats,
    parameters: Floats,
    said: tuple[int, float, float, int],
) -> None:
    """Add the losses of a version of a label from the look that sees it on, and take them back from the one that sees the next."""
    row, label, scale, code = said
    if begin == end:
        return
    for model in range(len(predictions)):
        parts = parts_of(loss_of(label, predictions[model, row], code, parameters) * scale)
        put(sums, model * many_looks + begin, parts, 1)
        put(sums, model * many_looks + end, parts, -1)


@njit(**_COMPILED)
def bound(
    extremes: Ints, days: int, day: int, predictions: Floats, row: int, code: int, parameters: Floats, scale: float
) -> None:
    """Add the least and the greatest difference from the incumbent that a label which does not count could have made."""
    base_0 = loss_of(0.0, predictions[0, row], code, parameters)
    base_1 = loss_of(1.0, predictions[0, row], code, parameters)
    for model in range(1, len(predictions)):
        if_0 = (loss_of(0.0, predictions[model, row], code, parameters) - base_0) * scale
        if_1 = (loss_of(1.0, predictions[model, row], code, parameters) - base_1) * scale
        put(extremes[0], (model - 1) * days + day, parts_of(min(if_0, if_1)), 1)
        put(extremes[1], (model - 1) * days + day, parts_of(max(if_0, if_1)), 1)


@njit(**_COMPILED)
def pass_over(  # noqa: C901, PLR0915  # arrays handed to another function have their references counted, row by row
    clocks: tuple[Ints, Ints, Ints],
    flags: tuple[Flags, Flags],
    label: Floats,
    predictions: Floats,
    amount: Floats,
    rule: tuple[int, Floats, bool],
    grid: tuple[int, int, int, int, int],
    looks: Ints,
    sums: Ints,
    days: Ints,
    day_sums: Ints,
    half_sums: Ints,
    extremes: Ints,
    delays: Ints,
) -> None:
    """Count every row into the arrays, which all start at zero.

    Args:
        clocks: asked, known, and superseded by a newer version, int64 [n] each; the last empty where no label is corrected.
        flags: whether the row counts its request (empty: all do), and its half of the noise floor (empty: none).
        label: float64 [n].
        predictions: float64 [models, n], the incumbent's first.
        amount: what each row's loss is multiplied by, float64 [n]; empty: by nothing.
        rule: the loss: its code, its parameters, and whether labels are 0 or 1.
        grid: of the looks: first µs, every µs, the one that counts as 0 here; horizon µs; the day that counts as 0 here.
        looks: asked, matured, never and late (both when they expire), older than the horizon, int64 [5, looks].
        sums: losses matured less losses superseded at each look, int64 [models · looks · LIMBS].
        days: asked, on time, those of the first half, missing, int64 [4, days].
        day_sums: final losses of each day but the incumbent's, int64 [models · days · LIMBS].
        half_sums: the incumbent's, in the second half and in the first, int64 [2 · days · LIMBS].
        extremes: the least and greatest difference that missing labels could make, int64 [2, (models − 1) · days · LIMBS].
        delays: how many labels took so long, and the longest of them, int64 [2, STEPS].
    """
    time_us, known_us, until_us = clocks
    first, half = flags
    code, parameters, binary = rule
    first_us, every_us, look_0, horizon_us, day_0 = grid
    clock = first_us, every_us, 1.0 / every_us
    corrected, counted, halved, weighted = len(until_us) > 0, len(first) > 0, len(half) > 0, len(amount) > 0
    many_looks, many_days = looks.shape[1], days.shape[1]
    # taken here, once, for taking a row of an array counts a reference
    new, matured, never, late, old = looks[0], looks[1], looks[2], looks[3], looks[4]
    took, longest = delays[0], delays[1]
    day, asked_look, aged_look, day_end, asked_end, aged_end = 0, 0, 0, NO_TIME_US, NO_TIME_US, NO_TIME_US
    for row in range(len(time_us)):
        asked, known = time_us[row], known_us[row]
        due = asked + horizon_us
        # rows mostly stand in order of time, and then share their day and looks with the row before
        if asked >= day_end or asked < day_end - DAY_US:
            day = asked // DAY_US - day_0
            day_end = (day + day_0 + 1) * DAY_US
        begin = nearby(max(known, asked + 1), clock) - look_0 if known <= due else -1
        scale = amount[row] if weighted else 1.0
        if not counted or first[row]:
            asked_look, asked_end = moved(asked + 1, asked_look, asked_end, clock)
            aged_look, aged_end = moved(due + 1, aged_look, aged_end, clock)
            new[asked_look - look_0] += 1
            old[aged_look - look_0] += 1
            days[0, day] += 1
            if known != NEVER_US:
                step = step_of(known - asked)
                took[step] += 1
                longest[step] = max(longest[step], known - asked)
            if begin >= 0:
                matured[begin] += 1
            else:
                (never if known == NEVER_US else late)[aged_look - look_0] += 1
                days[3, day] += 1
                if binary:
                    bound(extremes, many_days, day, predictions, row, code, parameters, scale)
        if begin < 0:
            continue
        said = row, label[row], scale, code
        if corrected and until_us[row] <= due:
            end = nearby(max(until_us[row], asked + 1), clock) - look_0
            come_and_go(sums, many_looks, begin, end, predictions, parameters, said)
            continue
        in_half = int(half[row]) if halved else 0
        days[1, day] += 1
        days[2, day] += in_half
        for model in range(len(predictions)):
            parts = parts_of(loss_of(label[row], predictions[model, row], code, parameters) * scale)
            put(sums, model * many_looks + begin, parts, 1)
            if model == 0:
                put(half_sums, in_half * many_days + day, parts, 1)
            else:
                put(day_sums, model * many_days + day, parts, 1)
