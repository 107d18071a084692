"""What travels to a node that measures, and what comes back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, InputError, MissingError
from windtunnel.hardware import Hardware
from windtunnel.runtime import find_runtime

from .benchmark import EVERYTHING, Extent, benchmark
from .measure import Effort

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.seeds import Seeds

    from .benchmark import Benchmark
    from .task import Task


@dataclass(frozen=True)
class Answer:
    """What a node brings home.

    Args:
        benchmark: of the tasks that could run there.
        left_out: the runtimes and tasks that cannot run there, each with the reason.
    """

    benchmark: Benchmark
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Parcel:
    """A whole measurement: nothing else is read from the node that it is measured on.

    Args:
        tasks: what to measure, with the rows; paths are those at home.
        files: the bytes of every ONNX file, by its sha256.
        batch_sizes: rows a call.
        effort: precision and budget.
        extent: what is measured beside service times.
        seeds: for the order of the blocks; the same on every node.
        generated: whether the rows were made up.
    """

    tasks: tuple[Task, ...]
    files: Mapping[str, bytes]
    batch_sizes: tuple[int, ...]
    effort: Effort
    extent: Extent
    seeds: Seeds
    generated: bool = False

    @staticmethod
    def pack(
        tasks: Sequence[Task],
        batch_sizes: Sequence[int],
        *,
        effort: Effort | None = None,
        extent: Extent = EVERYTHING,
        seeds: Seeds,
        generated: bool = False,
    ) -> Parcel:
        """Read all files that a measurement needs.

        Raises:
            ConfigError: a task is a function in a file of the user's, which may need anything from beside it.
        """
        for task in tasks:
            if ".py:" in task.source:
                raise ConfigError(
                    "stands in a file, and a file without what lies beside it does not travel to a cluster",
                    field="source",
                    value=task.source,
                    fix="install it on the nodes and write package.module:function, or export it: windtunnel export",
                )
        files = {task.variant.sha256: task.variant.path.read_bytes() for task in tasks if not task.source}
        wanted = effort if effort is not None else Effort()
        return Parcel(tuple(tasks), files, tuple(batch_sizes), wanted, extent, seeds, generated)

    def measure(self) -> Answer:
        """Unpack and measure; runs on the node.

        Raises:
            MissingError: nothing of it can run here.
            ModelError: a runtime cannot load or run a variant.
            MeasurementError: a process of an instance died or fell silent.
        """
        left_out = self._left_out()
        able = [task for task in self.tasks if task.runtime not in left_out and task.name not in left_out]
        if not able:
            raise MissingError("; ".join(f"{what} cannot run: {why}" for what, why in left_out.items()))
        with tempfile.TemporaryDirectory() as folder:
            tasks = self._unpack(able, Path(folder))
            try:
                measured = benchmark(
                    tasks, self.batch_sizes, effort=self.effort, extent=self.extent, seeds=self.seeds,
                    generated=self.generated,
                )  # fmt: skip
            except InputError as error:
                raise self._as_at_home(error) from error
        return Answer(measured, left_out)

    def _left_out(self) -> dict[str, str]:
        """What cannot run here, a runtime or one task, and why."""
        lacks = {name: find_runtime(name).missing() for name in sorted({task.runtime for task in self.tasks})}
        cores = max(1, int(Hardware.detect().cores))
        for task in self.tasks:
            if max(task.threads, task.concurrency) > cores:
                lacks[task.name] = f"there are {cores} cores"
        return {what: reason for what, reason in lacks.items() if reason}

    def _unpack(self, tasks: Sequence[Task], folder: Path) -> list[Task]:
        """Tasks as they are to be run here: files written, runtimes described with the versions of this node."""
        for digest, data in self.files.items():
            (folder / digest).write_bytes(data)
        unpacked = []
        for task in tasks:
            described = find_runtime(task.runtime).describe()
            variant = task.variant if task.source else replace(task.variant, path=folder / task.variant.sha256)
            unpacked.append(replace(task, variant=variant, described=described, home=folder))
        return unpacked

    def _as_at_home(self, error: InputError) -> InputError:
        """A refusal that names the file by the path that the user gave."""
        given = {task.variant.sha256: task.variant.path for task in self.tasks}
        file = given.get(Path(error.file).name, error.file) if error.file is not None else None
        return type(error)(error.problem, file=file, field=error.field, value=error.value, fix=error.fix)
