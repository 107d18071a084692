from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.hardware import Hardware
from windtunnel.report.section import Section
from windtunnel.run_folder import RunFolder, environment
from windtunnel.stage import SECTION, Stage, run_stage
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HARDWARE = Hardware("a processor", "x86_64", ("AVX2",), 2, 2**30)


class _Work:
    """A stage's work that counts how often it is done, and can be made to fail half-way."""

    def __init__(self) -> None:
        self.done = 0
        self.found: list[str] = []
        self.fails = False

    def __call__(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        self.done += 1
        self.found = sorted(each.name for each in work.iterdir())
        (work / "half.txt").write_text("half")
        if self.fails:
            raise RuntimeError("interrupted")
        (work / "out.txt").write_text("whole")
        return {"rows": 3}, Section("First", "go", ("done",)), Verdict("go", ("done",), (), {"rows": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", "rides") as opened:
        yield opened


def _run(folder: RunFolder, work: _Work, **changes: Any) -> Stage:
    given: dict[str, Any] = {"parameters": {"batch": [1, 8]}, "inputs": {"data": "abc"}, "seed": 1} | changes
    return run_stage(folder, "first", given["parameters"], given["inputs"], work, seed=given["seed"], hardware=HARDWARE)


def test_a_stage_is_done_once(folder: RunFolder) -> None:
    """The same stage asked for twice is done once, and says the same both times."""
    work = _Work()
    first, second = _run(folder, work), _run(folder, work)

    assert work.done == 1
    assert (first.cached, second.cached) == (False, True)
    assert replace(first, cached=True) == second
    assert second.result == {"rows": 3}
    assert second.section == Section("First", "go", ("done",))
    assert second.verdict == Verdict("go", ("done",), (), {"rows": 3})
    assert second.to_dict() == {
        "rows": 3, "verdict": "go", "reasons": ("done",), "seconds": first.manifest.seconds, "cached": True,
    }  # fmt: skip


def test_the_manifest_says_what_ran(folder: RunFolder) -> None:
    """Parameters, inputs, seed, versions and hardware stand in the manifest; every file in its outputs."""
    manifest = _run(folder, _Work()).manifest

    assert (manifest.stage, manifest.name, manifest.seed) == ("first", "rides", 1)
    assert (manifest.parameters, manifest.inputs) == ({"batch": [1, 8]}, {"data": "abc"})
    assert manifest.environment == environment()
    assert Hardware.from_dict(manifest.hardware) == HARDWARE
    assert sorted(manifest.outputs) == ["half.txt", "out.txt", "result.json", "section.json"]


@pytest.mark.parametrize(
    "changes", [{"parameters": {"batch": [1]}}, {"inputs": {"data": "abd"}}, {"inputs": {}}, {"seed": 2}], ids=str
)
def test_what_changes_a_result_runs_the_stage_again(folder: RunFolder, changes: dict[str, Any]) -> None:
    """Another parameter, input or seed is another stage."""
    work = _Work()
    _run(folder, work)

    assert not _run(folder, work, **changes).cached
    assert work.done == 2


def test_another_environment_runs_the_stage_again(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a package, or of windtunnel, is another stage."""
    work = _Work()
    _run(folder, work)
    monkeypatch.setattr("windtunnel.stage.environment", lambda: environment() | {"numpy": "0.1"})

    assert not _run(folder, work).cached
    assert work.done == 2


@pytest.mark.parametrize("name", ["out.txt", "result.json", SECTION, "manifest.json"])
def test_a_changed_output_runs_the_stage_again(folder: RunFolder, name: str) -> None:
    """One changed byte of any output, and the stage does not count as done."""
    work = _Work()
    path = _run(folder, work).folder / name
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])

    assert not _run(folder, work).cached
    assert path.read_bytes() != bytes([good[0] ^ 1]) + good[1:]


def test_a_missing_or_added_output_runs_the_stage_again(folder: RunFolder) -> None:
    """A file too few or too many, and the stage does not count as done."""
    work = _Work()
    (_run(folder, work).folder / "out.txt").unlink()
    (_run(folder, work).folder / "more.txt").touch()

    assert not _run(folder, work).cached
    assert work.done == 3
    assert not (folder.path / "first" / "more.txt").exists()


def test_an_interrupted_stage_goes_on(folder: RunFolder) -> None:
    """What a stage had written when it was interrupted is there when it is asked for again; nothing of it counts before."""
    work = _Work()
    work.fails = True
    with pytest.raises(RuntimeError, match="interrupted"):
        _run(folder, work)

    assert not (folder.path / "first").exists()

    work.fails = False
    assert not _run(folder, work).cached
    assert work.found == ["half.txt"]


def test_a_failing_stage_leaves_the_old_result(folder: RunFolder) -> None:
    """A stage that fails with other parameters leaves what the earlier ones gave."""
    work = _Work()
    before = _run(folder, work)
    work.fails = True
    with pytest.raises(RuntimeError, match="interrupted"):
        _run(folder, work, seed=2)

    assert folder.finished("first", before.manifest.key) == before.manifest
