"""Memory and start of an instance: processes started for it alone, one after the other, and ended.

A start is timed from before the process is made to the arrival of its first answer. The page cache is warm, since the
file and the runtime have been read before: a machine or a container that is itself new waits longer, for both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from windtunnel.footprint import Footprint
from windtunnel.session import cut

from .instances import FIRST_S, RUNTIME, name_of, opening
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .instances import Source

    Arrays = Mapping[str, NDArray[Any]]

STARTS = 3
BUDGET_S = 1.5
"""What the starts of one variant may take, seconds; the first is made in any case."""


@dataclass(frozen=True)
class Start:
    """One process from its start to its largest batch.

    Args:
        imported_bytes: resident once the runtime was imported, before the model.
        loaded_bytes: resident once the model was loaded.
        answered_bytes: resident after the first answer.
        peak_bytes: the most that was resident until after the largest batch, the rows of the batches among it.
        process_start_s: from before the process was made to the arrival of the first answer.
        load_s: from the start of loading to the first answer.
    """

    imported_bytes: int
    loaded_bytes: int
    answered_bytes: int
    peak_bytes: int
    process_start_s: float
    load_s: float


@dataclass(frozen=True)
class Starts:
    """Several starts of one variant.

    Args:
        variant: its name.
        starts: at least one.
    """

    variant: str
    starts: tuple[Start, ...]

    @property
    def footprint(self) -> Footprint:
        """The medians."""
        return Footprint(
            int(self._median(lambda start: start.peak_bytes)),
            int(self._median(lambda start: start.peak_bytes - start.imported_bytes)),
            self._median(lambda start: start.process_start_s),
            self._median(lambda start: start.load_s),
            len(self.starts),
        )

    def _median(self, figure: Callable[[Start], float]) -> float:
        return median(figure(start) for start in self.starts)

    def to_dict(self) -> dict[str, Any]:
        """The medians as JSON values, each of the times with the least and the most that was seen.

        Example:
            >>> starts = Starts("m", (Start(50, 60, 61, 70, 0.5, 0.1), Start(50, 60, 61, 72, 0.7, 0.1)))
            >>> told = starts.to_dict()
            >>> told["instance_bytes"], told["process_start_s"], told["process_start_s_most"]
            (21, 0.6, 0.7)
        """
        stages = ("imported_bytes", "loaded_bytes", "answered_bytes")
        return {
            "variant": self.variant,
            **self.footprint.to_dict(),
            **{stage: int(median(getattr(start, stage) for start in self.starts)) for stage in stages},
            **self._range("process_start_s"),
            **self._range("load_s"),
            "page_cache": "warm",
        }

    def _range(self, name: str) -> dict[str, float]:
        seen = [getattr(start, name) for start in self.starts]
        return {f"{name}_least": min(seen), f"{name}_most": max(seen)}


def start_once(
    source: Source, small: Arrays, large: Arrays, *, runtime: str = RUNTIME, threads: int = 1, home: Path = Path()
) -> Start:
    """Start one process, let it answer a small batch and a large one, and end it.

    Raises:
        ModelError: the runtime cannot load or run the model.
        MeasurementError: the process died or fell silent.
    """
    began = time.perf_counter()
    process = Process()
    try:
        imported = process.ask(
            {
                "order": "import",
                "modules": [module_of(runtime), "windtunnel.runtime", "windtunnel.session", "windtunnel.variant"],
            }
        )
        loaded = process.ask(opening(source, "", threads, runtime, home), extra_s=FIRST_S)
        first = _answer(process, small)
        process_start_s = time.perf_counter() - began
        last = _answer(process, large)
    finally:
        process.close()
    return Start(
        imported["resident_bytes"], loaded["resident_bytes"], first["resident_bytes"], last["peak_bytes"],
        process_start_s, loaded["load_s"] + first["service_s"],
    )  # fmt: skip


def _answer(process: Process, rows: Arrays) -> dict[str, Any]:
    batch = len(next(iter(rows.values())))
    process.ask({"order": "rows", "model": "", "batch": batch}, rows)
    return process.ask({"order": "answer", "model": "", "batch": batch}, extra_s=FIRST_S)


def module_of(runtime: str) -> str:
    """The package that a runtime is of, by its name.

    Example:
        >>> module_of("onnxruntime-cpu"), module_of("openvino"), module_of("torch-eager")
        ('onnxruntime', 'openvino', 'torch')
    """
    return runtime.partition("-")[0]


def measure_footprints(
    sources: Sequence[Source],
    feeds: Arrays,
    batch_sizes: Sequence[int],
    *,
    runtime: str = RUNTIME,
    threads: int = 1,
    home: Path = Path(),
    starts: int = STARTS,
    budget_s: float = BUDGET_S,
    rng: np.random.Generator,
    start: Callable[..., Start] = start_once,
) -> dict[str, Starts]:
    """Start a process for each model several times, in rounds of random order, and see what each takes.

    Args:
        sources: the models: variants, or `file.py:function` for torch's runtimes.
        feeds: rows, by input name.
        batch_sizes: the first answer is to the smallest, the peak is after the largest.
        runtime: by name.
        threads: intra-op threads.
        home: the folder that a function's file is relative to.
        starts: of each variant, as far as the budget goes.
        budget_s: for each variant; another start is made only if one like the slowest so far still fits.
        rng: the order within a round.
        start: makes one start.

    Returns:
        The starts, by the model's name.

    Raises:
        ModelError: the runtime cannot load or run a model.
        MeasurementError: a process died or fell silent.
    """
    small, large = cut(feeds, min(batch_sizes)), cut(feeds, max(batch_sizes))
    seen: dict[str, list[Start]] = {name_of(source): [] for source in sources}
    spent: dict[str, list[float]] = {name: [] for name in seen}
    for _ in range(starts):
        for index in rng.permutation(len(sources)):
            source, name = sources[index], name_of(sources[index])
            took = spent[name]
            if took and sum(took) + max(took) > budget_s:
                continue
            began = time.monotonic()
            seen[name].append(start(source, small, large, runtime=runtime, threads=threads, home=home))
            took.append(time.monotonic() - began)
    return {name: Starts(name, tuple(each)) for name, each in seen.items()}
