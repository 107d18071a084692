"""Leave-one-out: this machine in several configurations, each projected from another and then measured.

What changes between them is what changes between machines: how many threads, which precision, which instructions. None is
another machine, and the report says so.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.hardware import Hardware, allowed_cores

from .calibration import calibrate
from .instruction_sets import SETTINGS, TorchUnder
from .peaks import measure_peak
from .projection_error import HeldOut, ProjectionError
from .reference_models import ROWS, build, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calibration import Calibration

    Measure = Callable[[], Calibration]

FLOAT_MODELS = tuple(name for name in ROWS if not name.endswith("-int8"))
BATCHES = (1, 16)
ROUNDS = 2
"""Each configuration is measured so often, by turns with the other; the quieter time counts."""

TRIAL_S = 0.05


def leave_one_out(*, batches: tuple[int, ...] = BATCHES, instruction_sets: bool = True) -> ProjectionError:
    """Project between configurations of this machine, and compare with what was measured; about 15 seconds.

    Precision: float32 against int8. Threads: 1 against 2, where two may be used. Instructions: AVX2 against AVX-512, where
    the processor has both, in child processes (see `instruction_sets`).

    Args:
        batches: rows a call.
        instruction_sets: whether to compare these too; torch must start twice.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: build(name, Path(folder)) for name in ROWS}
        held_out = _precision(paths, batches)
        if allowed_cores() >= 2:
            held_out += _threads(paths, batches)
        if instruction_sets and set(SETTINGS) <= set(Hardware.detect().isa):
            held_out += _instructions(paths, batches)
    return ProjectionError(tuple(held_out))


def both_ways(change: str, case: str, first: Measure, second: Measure) -> list[HeldOut]:
    """Project the first configuration to the second and back; neither calibration knows anything of the other's times."""
    seen: list[list[Calibration]] = [[], []]
    for _ in range(ROUNDS):
        for measure, kept in zip((first, second), seen, strict=True):
            kept.append(measure())
    a, b = (min(kept, key=lambda each: each.measured_s) for kept in seen)
    return [HeldOut(change, case, projected_s(*pair), pair[1].measured_s) for pair in ((a, b), (b, a))]


def projected_s(here: Calibration, there: Calibration) -> float:
    """The time of the other configuration's graph on its peaks, from what was measured here alone."""
    factor = here.time_s(there.graph, there.peak) / here.time_s(here.graph, here.peak)
    return here.measured_s * factor


def _precision(paths: dict[str, Path], batches: tuple[int, ...]) -> list[HeldOut]:
    peak = measure_peak(1, seconds=TRIAL_S)
    return [
        each
        for name in FLOAT_MODELS if f"{name}-int8" in paths
        for batch in batches
        for each in both_ways(
            "float32 against int8", f"{name} × {batch}",
            partial(calibrate, paths[name], rows(name, batch), peak, TRIAL_S),
            partial(calibrate, paths[f"{name}-int8"], rows(name, batch), peak, TRIAL_S),
        )
    ]  # fmt: skip


def _threads(paths: dict[str, Path], batches: tuple[int, ...]) -> list[HeldOut]:
    one, two = (measure_peak(threads, seconds=TRIAL_S) for threads in (1, 2))
    return [
        each
        for name in FLOAT_MODELS
        for batch in batches
        for each in both_ways(
            "1 against 2 threads", f"{name} × {batch}",
            partial(calibrate, paths[name], rows(name, batch), one, TRIAL_S),
            partial(calibrate, paths[name], rows(name, batch), two, TRIAL_S),
        )
    ]  # fmt: skip


def _instructions(paths: dict[str, Path], batches: tuple[int, ...]) -> list[HeldOut]:
    with TorchUnder("AVX2") as narrow, TorchUnder("AVX-512") as wide:
        peaks = narrow.peak(), wide.peak()
        return [
            each
            for name in FLOAT_MODELS
            for batch in batches
            for each in both_ways(
                "AVX2 against AVX-512", f"{name} × {batch}",
                partial(narrow.calibrate, paths[name], batch, peaks[0], TRIAL_S),
                partial(wide.calibrate, paths[name], batch, peaks[1], TRIAL_S),
            )
        ]  # fmt: skip
