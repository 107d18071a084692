from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.benchmark import Extent
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.parcel import Parcel
from windtunnel.benchmarks.task import Task
from windtunnel.errors import ConfigError, MissingError, ModelError
from windtunnel.runtime import RUNTIMES
from windtunnel.seeds import Seeds
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

SHORT, NOTHING_MORE = Effort(0.5, 0.0), Extent(footprint=False, scaling=False)


@pytest.fixture
def task(tiny_model: Path) -> Task:
    """The tiny model; its runtime is not described yet."""
    return Task(Variant.from_file(tiny_model), {"x": np.ones((4, 4), np.float32)}, "onnxruntime-cpu",
                "onnxruntime 1 CPUExecutionProvider")  # fmt: skip


@pytest.fixture
def cuda_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without CUDA, on any machine."""
    lacking = replace(RUNTIMES["onnxruntime-cuda"], lacks=lambda: "no driver; install one")
    monkeypatch.setitem(RUNTIMES, "onnxruntime-cuda", lacking)


def pack(*tasks: Task) -> Parcel:
    return Parcel.pack(tasks, (1, 4), effort=SHORT, extent=NOTHING_MORE, seeds=Seeds(1))


def test_nothing_is_read_on_the_node(task: Task) -> None:
    """Once packed, the file at home is not needed; each model is packed once, whatever the number of its settings."""
    parcel = pack(task, replace(task, threads=2))
    task.variant.path.unlink()
    profiles = parcel.measure().benchmark.profiles

    assert list(parcel.files) == [task.variant.sha256]
    assert [(each.variant, each.threads, each.batch_sizes) for each in profiles] == [
        ("tiny", 1, (1, 4)),
        ("tiny", 2, (1, 4)),
    ]


def test_described_where_it_runs(task: Task) -> None:
    """A profile says which runtime ran on the node, not which one is installed at home."""
    profile = pack(task).measure().benchmark.profiles[0]

    assert profile.runtime == RUNTIMES["onnxruntime-cpu"].describe()


@pytest.mark.usefixtures("cuda_is_missing")
def test_missing_runtime_is_left_out(task: Task) -> None:
    """A runtime that cannot run on the node is left out there with the reason; the others are measured."""
    answer = pack(task, replace(task, runtime="onnxruntime-cuda")).measure()

    assert answer.left_out == {"onnxruntime-cuda": "no driver; install one"}
    assert [profile.name for profile in answer.benchmark.profiles] == ["tiny"]


@pytest.mark.usefixtures("cuda_is_missing")
def test_no_runtime(task: Task) -> None:
    """Where no runtime can run, the node says what each lacks."""
    with pytest.raises(MissingError, match=r"^onnxruntime-cuda cannot run: no driver; install one$"):
        pack(replace(task, runtime="onnxruntime-cuda")).measure()


def test_more_cores_than_there_are(task: Task) -> None:
    """What asks for more threads or instances than the node has cores is left out there, by its name."""
    answer = pack(task, replace(task, threads=10_000), replace(task, concurrency=10_000)).measure()

    assert list(answer.left_out) == ["tiny, 10000 threads", "tiny, 10000 at once"]
    assert [profile.name for profile in answer.benchmark.profiles] == ["tiny"]


def test_refusal_names_the_file_at_home(task: Task) -> None:
    """A model that cannot be loaded on the node is named by the path that the user gave."""
    task.variant.path.write_bytes(b"not a model")
    with pytest.raises(ModelError) as caught:
        pack(task).measure()

    assert caught.value.file == task.variant.path


def test_a_function_in_a_file_stays(task: Task) -> None:
    """A function in the user's file may need what lies beside it: refused before work, with two ways out."""
    with pytest.raises(ConfigError, match=r"package\.module:function, or export it"):
        pack(replace(task, runtime="torch-eager", source="net.py:make"))

    assert pack(replace(task, runtime="torch-eager", source="package.net:make")).files == {}
