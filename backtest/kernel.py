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

LIMBS, LOWEST = 12, -192
"""A sum has so many limbs of 32 bits, the lowest bit worth 2⁻¹⁹²; what of a value lies below that is cut off. The highest limb
is left for what is carried."""

LOG_LOSS, SQUARED, ABSOLUTE, ZERO_ONE, PINBALL, COST, GIVEN = range(7)
"""How the loss of a row is worked out; `GIVEN`: it is handed over in place of the prediction."""

STEPS = 7296
"""Delays are counted in steps of 1/128 of themselves: exact below 128 µs, and up to 2⁶² µs."""

_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


@njit(**_COMPILED)
def add(limbs: Ints, value: float, sign: int) -> None:
    """Add `sign` times a value to a sum, int64 [LIMBS], exactly down to 2⁻¹⁹².

    Raises:
        OverflowError: the value is no number, or beyond 10⁴⁴.
    """
    bits: Any = np.float64(value).view(np.int64)
    place = ((bits >> 52) & 0x7FF) - 1075 - LOWEST
    if place <= -53:  # zero, or too small to be seen
        return
    if place > 32 * (LIMBS - 3):  # ∞ and NaN among them
        raise OverflowError
    mantissa = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000
    if place < 0:
        mantissa >>= -place
        place = 0
    if bits < 0:
        sign = -sign
    first, shift = place >> 5, place & 31
    limbs[first] += sign * ((mantissa << shift) & 0xFFFFFFFF)
    limbs[first + 1] += sign * ((mantissa >> (32 - shift)) & 0xFFFFFFFF)
    limbs[first + 2] += sign * ((mantissa >> 32) >> (32 - shift))


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
def ask(looks: Ints, days: Ints, delays: Ints, known: int, asked: int, begin: int, aged: int, day: int) -> None:
    """Count a request: when its label comes to be known (`begin`, −1 for too late or never), and when it is too old (`aged`)."""
    looks[4, aged] += 1
    days[0, day] += 1
    if known != NEVER_US:
        step = step_of(known - asked)
        delays[0, step] += 1
        delays[1, step] = max(delays[1, step], known - asked)
    if begin >= 0:
        looks[1, begin] += 1
        return
    looks[2 if known == NEVER_US else 3, aged] += 1
    days[3, day] += 1


@njit(**_COMPILED)
def bound(extremes: Ints, predictions: Floats, code: int, parameters: Floats, scale: float) -> None:
    """Add the least and the greatest difference from the incumbent that a label which does not count could have made."""
    base_0 = loss_of(0.0, predictions[0], code, parameters)
    base_1 = loss_of(1.0, predictions[0], code, parameters)
    for model in range(1, len(predictions)):
        if_0 = (loss_of(0.0, predictions[model], code, parameters) - base_0) * scale
        if_1 = (loss_of(1.0, predictions[model], code, parameters) - base_1) * scale
        add(extremes[0, model - 1], min(if_0, if_1), 1)
        add(extremes[1, model - 1], max(if_0, if_1), 1)


@njit(**_COMPILED)
def pass_over(
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
        sums: losses matured less losses superseded at each look, int64 [models, looks, LIMBS].
        days: asked, on time, those of the first half, missing, int64 [4, days].
        day_sums: final losses of each day, int64 [models, days, LIMBS].
        half_sums: of them, the incumbent's in the first half, int64 [days, LIMBS].
        extremes: the least and greatest difference that missing labels could make, int64 [2, models − 1, days, LIMBS].
        delays: how many labels took so long, and the longest of them, int64 [2, STEPS].
    """
    time_us, known_us, until_us = clocks
    first, half = flags
    code, parameters, binary = rule
    first_us, every_us, look_0, horizon_us, day_0 = grid
    corrected, counted, halved, weighted = len(until_us) > 0, len(first) > 0, len(half) > 0, len(amount) > 0
    for row in range(len(time_us)):
        asked, known = time_us[row], known_us[row]
        due, day = asked + horizon_us, asked // DAY_US - day_0
        scale = amount[row] if weighted else 1.0
        begin = look_of(max(known, asked + 1), first_us, every_us) - look_0 if known <= due else -1
        if not counted or first[row]:
            looks[0, look_of(asked + 1, first_us, every_us) - look_0] += 1
            ask(looks, days, delays, known, asked, begin, look_of(due + 1, first_us, every_us) - look_0, day)
            if known > due and binary:
                bound(extremes[:, :, day], predictions[:, row], code, parameters, scale)
        if known > due:
            continue
        if corrected and until_us[row] <= due:
            end = look_of(max(until_us[row], asked + 1), first_us, every_us) - look_0
            if begin < end:
                for model in range(len(predictions)):
                    loss = loss_of(label[row], predictions[model, row], code, parameters) * scale
                    add(sums[model, begin], loss, 1)
                    add(sums[model, end], loss, -1)
            continue
        days[1, day] += 1
        in_half = halved and half[row]
        days[2, day] += in_half
        for model in range(len(predictions)):
            loss = loss_of(label[row], predictions[model, row], code, parameters) * scale
            add(sums[model, begin], loss, 1)
            add(day_sums[model, day], loss, 1)
            if model == 0 and in_half:
                add(half_sums[day], loss, 1)
