from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from windtunnel.digest import digest_file
from windtunnel.errors import RunFolderError
from windtunnel.run_folder import (
    MANIFEST,
    RunFolder,
    RunManifest,
    check_out,
    digest_tree,
    environment,
    source_digest,
    verify,
)

RUN = RunManifest(
    "run", "rides", "k", {"slo": "p99<=5ms"}, 1, {}, {}, {"python": "3"}, {"cpu": "c"}, "2013-01-01T00:00:00+00:00", 0.5
)


def _stage(folder: RunFolder, name: str, key: str, text: str) -> RunManifest:
    work = folder.workplace(name, key)
    (work / "deep").mkdir(exist_ok=True)
    (work / "out.txt").write_text(text)
    (work / "deep" / "more.txt").write_text("more")
    return folder.finish(replace(RUN, stage=name, key=key))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two stages, with a report beside them."""
    path = tmp_path / "run"
    with RunFolder.open(path, "rides") as folder:
        for name in ("first", "second"):
            _stage(folder, name, f"{name}-key", f"the result of {name}")
        (path / "report.html").write_text("<p>fine</p>")
        folder.seal(RUN)
    return path


def test_manifest_round_trip(tmp_path: Path) -> None:
    """A manifest is read as it was written, and its bytes are its own."""
    path = tmp_path / MANIFEST
    path.write_bytes(RUN.to_bytes())

    assert RunManifest.from_file(path) == RUN
    assert RunManifest.from_file(path).to_bytes() == path.read_bytes()


def test_every_byte_of_a_manifest_counts(tmp_path: Path) -> None:
    """Whichever byte of a manifest is changed, the seal is broken."""
    path, good = tmp_path / MANIFEST, RUN.to_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])

        with pytest.raises(RunFolderError):
            RunManifest.from_file(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"seal": 1}', "nonsense", '{"seal": "x", "stage": "run"}'])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    """What is not a manifest is refused by name, with the way out."""
    (tmp_path / MANIFEST).write_text(text)

    with pytest.raises(RunFolderError, match=r"manifest\.json: is not a manifest .*; run it again"):
        RunManifest.from_file(tmp_path / MANIFEST)


def test_another_schema(tmp_path: Path) -> None:
    """A manifest of another schema is told from a broken one."""
    (tmp_path / MANIFEST).write_bytes(replace(RUN, schema="windtunnel.manifest/9").to_bytes())

    with pytest.raises(RunFolderError, match=r"is of another schema; this reads windtunnel\.manifest/1"):
        RunManifest.from_file(tmp_path / MANIFEST)


def test_an_intact_run(run: Path) -> None:
    """Nothing is said of a run that is as it was sealed, locks and workplaces left out."""
    (run / ".work-third-abc").mkdir()

    assert verify(run) == []


def test_every_byte_of_a_run_counts(run: Path) -> None:
    """Whichever byte of whichever file of a run is changed, verify names that file."""
    for path in sorted(each for each in run.rglob("*") if each.is_file() and not each.name.startswith(".")):
        name, good = path.relative_to(run).as_posix(), path.read_bytes()
        for position in range(len(good)):
            path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])

            assert any(line.startswith(f"{name}: ") for line in verify(run)), (name, position)
        path.write_bytes(good)
    assert verify(run) == []


@pytest.mark.parametrize("name", ["report.html", "first/out.txt", "second/deep/more.txt", "first/manifest.json"])
def test_missing_files(run: Path, name: str) -> None:
    """A file that is gone is named."""
    (run / name).unlink()

    assert any(line.startswith(f"{name}: ") for line in verify(run))


def test_a_missing_stage(run: Path) -> None:
    """A whole stage that is gone is named by its manifest."""
    shutil.rmtree(run / "first")

    assert verify(run) == ["first/manifest.json: missing"]


@pytest.mark.parametrize("name", ["more.txt", "first/more.txt", "second/deep/yet/more.txt"])
def test_added_files(run: Path, name: str) -> None:
    """A file that no manifest knows is named."""
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text("hello")

    assert verify(run) == [f"{name}: in no manifest"]


def test_an_added_stage(run: Path) -> None:
    """A folder that no stage of this run wrote is named, whether or not it calls itself a stage."""
    (run / "third").mkdir()
    shutil.copytree(run / "first", run / "fourth")

    assert verify(run) == ["fourth/manifest.json: in no manifest", "third/manifest.json: is not there"]


def test_stages_that_changed_places(run: Path) -> None:
    """Each stage is sealed in its own place."""
    for old, new in (("first", "other"), ("second", "first"), ("other", "second")):
        (run / old).rename(run / new)

    assert verify(run) == ["first/manifest.json: changed", "second/manifest.json: changed"]


def test_verify_needs_a_run(tmp_path: Path) -> None:
    """A folder without a manifest is no run."""
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no manifest; give a folder"):
        verify(tmp_path)


def test_foreign_places(tmp_path: Path, run: Path) -> None:
    """A file, a folder with something else in it and another pipeline's run are refused and left alone."""
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.write_text("mine")
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")

    with pytest.raises(RunFolderError, match=r"`--out` .* is a file; choose a folder"):
        check_out(file, "rides")
    with (
        pytest.raises(RunFolderError, match=r"holds something that is not a run; choose another folder"),
        RunFolder.open(foreign, "rides"),
    ):
        pass
    with pytest.raises(RunFolderError, match=r"holds a run of `rides`, not of `flights`; choose another folder"):
        check_out(run, "flights")
    assert [each.name for each in foreign.iterdir()] == ["thesis.tex"]


def test_places_of_our_own(tmp_path: Path, run: Path) -> None:
    """A new folder, an empty one, one in which nothing but a lock was left, and a run of the same pipeline are taken."""
    empty, locked = tmp_path / "empty", tmp_path / "locked"
    empty.mkdir()
    locked.mkdir()
    (locked / ".lock").touch()

    for path in (tmp_path / "a" / "new", empty, locked, run):
        with RunFolder.open(path, "rides") as folder:
            assert folder.path == path


def test_one_process_at_a_time(run: Path) -> None:
    """While another process holds a run folder, it is refused; when that process dies, it is free."""
    program = (
        "import sys, pathlib\n"
        "from windtunnel.run_folder import RunFolder\n"
        "with RunFolder.open(pathlib.Path(sys.argv[1]), 'rides'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        with (
            pytest.raises(RunFolderError, match=r"is in use by another process; wait for it, or choose another --out"),
            RunFolder.open(run, "rides"),
        ):
            pass
        other.kill()
    with RunFolder.open(run, "rides"):
        pass


def test_a_finished_stage_is_known_by_its_key(run: Path) -> None:
    """A stage counts as done only with this very key and with every output intact."""
    folder = RunFolder(run, "rides")

    found = folder.finished("first", "first-key")
    assert found is not None
    assert found.outputs == {name: digest_file(run / "first" / name) for name in ("deep/more.txt", "out.txt")}
    assert folder.finished("first", "another-key") is None
    assert folder.finished("third", "first-key") is None

    (run / "first" / "out.txt").write_text("the result of firsT")
    assert folder.finished("first", "first-key") is None


def test_an_interrupted_stage_is_continued(tmp_path: Path) -> None:
    """What an interrupted stage left is there for the same key, and gone for another."""
    with RunFolder.open(tmp_path / "run", "rides") as folder:
        (folder.workplace("first", "key-a-000000") / "half").write_text("half done")

        assert (folder.workplace("first", "key-a-000000") / "half").read_text() == "half done"
        assert list(folder.workplace("first", "key-b-000000").iterdir()) == []
        assert list(folder.workplace("first", "key-a-000000").iterdir()) == []


def test_workplaces_of_other_stages_stay(tmp_path: Path) -> None:
    """Starting a stage drops no other stage's workplace."""
    with RunFolder.open(tmp_path / "run", "rides") as folder:
        (folder.workplace("first", "key") / "half").touch()
        folder.workplace("second", "key")

        assert (folder.workplace("first", "key") / "half").exists()


@pytest.mark.parametrize("last", [".old-first", "first"])
def test_a_crash_while_a_stage_is_replaced(run: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """Whichever of the two renames fails, the old stage is still in its place and the run is intact."""
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target.name == last and not self.name.startswith(".old-"):
            raise OSError("the disk is gone")
        return rename(self, target)

    with RunFolder.open(run, "rides") as folder, monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="the disk is gone"):
            _stage(folder, "first", "new-key", "another result")

    assert verify(run) == []
    assert (run / "first" / "out.txt").read_text() == "the result of first"


def test_a_process_killed_between_the_renames(run: Path) -> None:
    """A stage that was moved aside when the process died is put back when the folder is opened again."""
    (run / "first").rename(run / ".old-first")

    with RunFolder.open(run, "rides"):
        pass

    assert verify(run) == []


def test_a_stage_is_replaced_as_a_whole(run: Path) -> None:
    """A new result takes the place of the old one, and nothing of the old one or of the work is left."""
    with RunFolder.open(run, "rides") as folder:
        _stage(folder, "first", "new-key", "another result")
        (run / "first" / "deep" / "more.txt").write_text("more")
        folder.seal(RUN)

    assert (run / "first" / "out.txt").read_text() == "another result"
    assert verify(run) == []
    assert sorted(each.name for each in run.iterdir()) == [".lock", "first", MANIFEST, "report.html", "second"]


def test_hidden_files_are_no_outputs(tmp_path: Path) -> None:
    """Partial files that a killed writer left are not taken as results."""
    (tmp_path / ".half.123.partial").write_text("x")
    (tmp_path / "whole").write_text("x")

    assert list(digest_tree(tmp_path)) == ["whole"]


def test_the_environment_names_what_can_change_a_result() -> None:
    """The versions that a key is made of include Python's, the runtime's and the digest of our own source."""
    found = environment()

    assert {"python", "windtunnel", "onnxruntime", "numpy", "torch"} <= set(found)
    assert found["windtunnel"] == source_digest()
    assert json.loads(json.dumps(found)) == found
