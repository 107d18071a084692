from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks import instances as module
from windtunnel.benchmarks.instances import TRIES, Instances, Processes, ask_all
from windtunnel.benchmarks.measure import MIN_BLOCKS, Effort, measure_subjects
from windtunnel.errors import MeasurementError, ModelError
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FEEDS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Two processes that all tests share."""
    with Processes(2) as made:
        yield made


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    """A model that adds four numbers up."""
    return Variant.from_file(tiny_model)


def _gone(pid: int) -> bool:
    """Whether a process that is no child of ours has ended, or does so within a minute."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], 60.0)[0])
    finally:
        os.close(watch)


@pytest.mark.parametrize("count", [1, 2])
def test_a_block(processes: Processes, variant: Variant, count: int) -> None:
    """Each instance makes every call; times, CPU seconds and rows a second are of all of them."""
    instances = Instances(processes, variant, FEEDS, (1, 3), count=count)
    instances.open()
    block = instances.block(3, 7)

    assert block.times_s.shape == (7 * count,)
    assert block.times_s.dtype == np.float64
    assert block.times_s.min() > 0.0
    assert block.cpu_s > 0.0
    # an instance can do no more than its calls took
    assert 0.0 < block.rows_per_s <= 3 * 7 * count / block.times_s.reshape(7, count).sum(axis=0).min()
    instances.close()


def test_all_are_busy_while_any_counts(processes: Processes, variant: Variant) -> None:
    """No instance begins to count before the last has become busy."""
    instances = Instances(processes, variant, FEEDS, (1,), count=2)
    instances.open()
    head = {"model": instances._model, "batch": 1, "calls": 20}
    answers = [answer for answer, _ in processes.run_together(instances._busy, head, 10.0)]
    instances.close()

    assert max(answer["busy_from_s"] for answer in answers) <= min(answer["started_s"] for answer in answers)


def test_a_subject_among_others(processes: Processes, variant: Variant) -> None:
    """Instances are measured in rounds beside others, loaded anew for each, like a session in this process."""
    subjects = {f"{count} at once": Instances(processes, variant, FEEDS, (1, 2), count=count) for count in (1, 2)}
    timings = measure_subjects(subjects, (1, 2), effort=Effort(0.5, 0.0), rng=np.random.default_rng(1))
    for each in subjects.values():
        each.close()

    assert set(timings.blocks_s) == {(name, batch) for name in subjects for batch in (1, 2)}
    assert all(len(blocks) == MIN_BLOCKS for blocks in timings.blocks_s.values())
    assert len(timings.samples_s("2 at once", 1)) % 2 == 0


def test_the_instances_in_turns(monkeypatch: pytest.MonkeyPatch, processes: Processes, variant: Variant) -> None:
    """Times stand in the order in which they came about: the first call of each, then the second of each."""
    answers = [
        ({"started_s": 1.0, "ended_s": 3.0, "cpu_s": 0.5}, {"times_s": np.array([0.1, 0.3])}),
        ({"started_s": 1.0, "ended_s": 2.0, "cpu_s": 0.25}, {"times_s": np.array([0.2, 0.4])}),
    ]
    instances = Instances(processes, variant, FEEDS, (4,), count=2)
    instances.open()
    monkeypatch.setattr(processes, "run_together", lambda *_: answers)
    block = instances.block(4, 2)

    assert block.times_s.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert block.cpu_s == 0.75
    assert block.rows_per_s == pytest.approx(4 * 2 / 2.0 + 4 * 2 / 1.0)
    monkeypatch.undo()
    instances.close()


def test_a_model_that_cannot_be_loaded(processes: Processes, variant: Variant) -> None:
    """The refusal of the process is raised here, of the same kind and in the same words; it can still be used."""
    instances = Instances(processes, variant, FEEDS, (1,), count=1)
    variant.path.write_bytes(b"no model")
    with pytest.raises(ModelError) as here:
        OnnxSession(variant.path, variant.signature)

    with pytest.raises(ModelError) as there:
        instances.open()
    assert str(there.value) == str(here.value)
    instances.close()
    assert ask_all(processes._all, {"order": "rest"})


def test_rows_that_do_not_fit(processes: Processes, variant: Variant) -> None:
    """What the runtime says of a batch it does not take is passed on, with the way out."""
    instances = Instances(processes, variant, {"x": np.ones((2, 5), np.float32)}, (2,), count=2)

    for _ in range(2):
        with pytest.raises(ModelError, match="x"):
            instances.open()
    # both had failed and both were heard: neither's failure is taken for the answer to what is asked next
    assert ask_all(processes._all, {"order": "rest"})
    instances.close()


def test_more_instances_than_processes(processes: Processes, variant: Variant) -> None:
    """There are no more instances than processes, and no fewer than one."""
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"{count} instances in 2 processes"):
            Instances(processes, variant, FEEDS, (1,), count=count)


def test_a_block_that_fails(processes: Processes, variant: Variant) -> None:
    """What fails in a block ends it for all, the failure is raised, and the processes can still be used."""
    instances = Instances(processes, variant, FEEDS, (1,), count=2)
    instances.open()
    with pytest.raises(MeasurementError, match="KeyError"):
        processes.run_together(instances._busy, {"model": instances._model, "batch": 5, "calls": 3}, 1.0)

    assert len(instances.block(1, 3).times_s) == 6
    instances.close()


def test_they_end_together() -> None:
    """On leaving, also by an error, none of the processes is left."""
    processes = Processes(2)
    pids = processes.pids
    with pytest.raises(KeyboardInterrupt), processes:
        raise KeyboardInterrupt

    assert len(set(pids)) == 2
    assert len(processes) == 0
    assert all(map(_gone, pids))


def test_they_end_with_who_started_them(tmp_path: Path) -> None:
    """A script without a guard around its main part can start processes, and if it is killed they end too."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from windtunnel.benchmarks.instances import Processes\n"
        "print(Processes(1).pids[0], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=60)

    assert done.returncode == -signal.SIGKILL
    assert _gone(int(done.stdout))


class _Late:
    """Becomes busy so long after an order that it is late until it is told early enough."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s, self.heads, self.leads = delay_s, list[dict[str, Any]](), list[float]()

    def tell(self, head: dict[str, Any], _: Any = None) -> None:
        self.heads.append(head)

    def hear(self, _extra_s: float = 0.0) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        head = self.heads[-1]
        return ({"busy_from_s": self.delay_s, "at_s": head["at_s"]} if head["order"] == "block" else {}), {}


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still at zero."""
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: 0.0))


@pytest.mark.usefixtures("still")
def test_who_was_late_begins_earlier() -> None:
    """A block in which one was not yet busy is not counted; it is run again with twice the lead, which is then kept."""
    late, processes = _Late(0.0105), Processes(0)
    answers = processes.run_together([late], {"calls": 5}, 0.0)  # type: ignore[list-item]  # a stand-in

    assert [head["order"] for head in late.heads] == ["block", "rest"] * 4
    assert [head["at_s"] for head in late.heads[::2]] == [0.002, 0.004, 0.008, 0.016]
    assert answers[0][0]["at_s"] == 0.016
    processes.run_together([late], {"calls": 5}, 0.0)  # type: ignore[list-item]  # a stand-in
    assert late.heads[-2]["at_s"] == 0.016


@pytest.mark.usefixtures("still")
def test_who_is_always_late() -> None:
    """After some tries it is said that the machine is too busy to start them together."""
    late = _Late(1e9)

    with pytest.raises(MeasurementError, match=f"1 instances could not be started together in {TRIES} tries"):
        Processes(0).run_together([late], {"calls": 5}, 0.0)  # type: ignore[list-item]  # a stand-in
