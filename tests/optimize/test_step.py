from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from windtunnel.errors import ModelError
from windtunnel.onnx_file import save_model
from windtunnel.optimize.step import Step, keep, take_kept
from windtunnel.session import OnnxSession
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = Origin("copy", "a" * 64, {"bits": 8})


@dataclass(frozen=True)
class _Bits:
    """The settings of a step."""

    bits: int = 8

    def to_dict(self) -> dict[str, Any]:
        return {"bits": self.bits}


class _Copy:
    """A step that copies a model, and counts how often."""

    def __init__(self, source: Path) -> None:
        self.source, self.done = source, 0

    def __call__(self, path: Path) -> None:
        self.done += 1
        shutil.copyfile(self.source, path)


@pytest.fixture
def copy(tiny_model: Path) -> _Copy:
    return _Copy(tiny_model)


def test_done_once(copy: _Copy, tmp_path: Path) -> None:
    """The same step on the same parent is done once, and both times gives the same variant."""
    folder = tmp_path / "kept"
    first, second = (keep(folder, "child", "int8", ORIGIN, copy) for _ in range(2))

    assert copy.done == 1
    assert first == second == Variant.from_file(folder / "child.onnx", precision="int8", origin=ORIGIN)
    assert sorted(each.name for each in folder.iterdir()) == ["child.json", "child.onnx"]


@pytest.mark.parametrize(
    "origin",
    [
        Origin("other", "a" * 64, {"bits": 8}),
        Origin("copy", "b" * 64, {"bits": 8}),
        Origin("copy", "a" * 64, {"bits": 4}),
    ],
    ids=["step", "parent", "settings"],
)
def test_another_origin_is_done_again(copy: _Copy, tmp_path: Path, origin: Origin) -> None:
    """Another step, parent or setting makes another child under the same name."""
    keep(tmp_path, "child", "int8", ORIGIN, copy)

    assert keep(tmp_path, "child", "int8", origin, copy).origin == origin
    assert copy.done == 2


@pytest.mark.parametrize("name", ["child.onnx", "child.json"])
@pytest.mark.parametrize("damage", ["torn", "gone", "emptied"])
def test_damage_is_mended(copy: _Copy, tmp_path: Path, name: str, damage: str) -> None:
    """A file or record that was torn, emptied or removed is made again."""
    first, path = keep(tmp_path, "child", "int8", ORIGIN, copy), tmp_path / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3] if damage == "torn" else b"")

    assert keep(tmp_path, "child", "int8", ORIGIN, copy) == first
    assert copy.done == 2


def test_what_is_no_model_is_not_kept(tmp_path: Path) -> None:
    """A step that writes half a model leaves nothing behind."""
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        keep(tmp_path, "child", "int8", ORIGIN, lambda path: path.write_bytes(b"half"))

    assert list(tmp_path.iterdir()) == []


def test_a_failing_step_leaves_the_old_child(copy: _Copy, tmp_path: Path) -> None:
    """A step that raises half-way leaves what an earlier one made, and no scraps."""
    first = keep(tmp_path / "kept", "child", "int8", ORIGIN, copy)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("no memory left")

    with pytest.raises(RuntimeError, match="no memory left"):
        keep(tmp_path / "kept", "child", "int8", Origin("other"), fail)
    assert keep(tmp_path / "kept", "child", "int8", ORIGIN, copy) == first
    assert copy.done == 1


def _in_two_files(source: Path, path: Path) -> None:
    """Write a model with its weights in a file beside it."""
    model = onnx.load(str(source))
    wide = onnx.numpy_helper.from_array(np.tile(np.array([0.5, -0.25, 1.0, 2.0], np.float32), 256), "wide")
    model.graph.initializer.append(wide)
    save_model(model, path, largest_bytes=1000)


@pytest.fixture
def kept(tiny_model: Path, tmp_path: Path) -> Variant:
    """What a step kept that wrote two files."""
    return keep(tmp_path / "kept", "child", "int8", ORIGIN, lambda path: _in_two_files(tiny_model, path))


def test_companions_are_kept_beside(kept: Variant) -> None:
    """Weights in a file of their own are named after the model, belong to its digest and size, and no scraps are left."""
    folder = kept.path.parent

    assert kept.companions == ("child.onnx.data",)
    assert sorted(each.name for each in folder.iterdir()) == ["child.json", "child.onnx", "child.onnx.data"]
    assert kept.bytes == sum((folder / name).stat().st_size for name in ("child.onnx", "child.onnx.data"))
    assert OnnxSession(kept.path).run({"x": np.zeros((2, 4), np.float32)})["y"] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("damage", ["torn", "gone", "changed"])
def test_a_damaged_companion_is_mended(kept: Variant, tiny_model: Path, damage: str) -> None:
    """A model whose weights were torn, removed or changed is made again; one that is whole is not."""
    beside, done = kept.path.parent / "child.onnx.data", []

    def make(path: Path) -> None:
        done.append(path)
        _in_two_files(tiny_model, path)

    assert keep(kept.path.parent, "child", "int8", ORIGIN, make) == kept
    assert done == []

    whole = beside.read_bytes()
    beside.unlink()
    if damage != "gone":
        beside.write_bytes(whole[:-4] if damage == "torn" else bytes(len(whole)))
    assert keep(kept.path.parent, "child", "int8", ORIGIN, make) == kept
    assert (len(done), beside.read_bytes()) == (1, whole)


def test_an_earlier_run_is_taken_up(kept: Variant, tmp_path: Path) -> None:
    """What an earlier run kept, companions too, is what a later one has made already."""
    later = tmp_path / "later"
    later.mkdir()
    take_kept(kept.path.parent, later)

    def never(path: Path) -> None:
        raise AssertionError(path)

    again = keep(later, "child", "int8", ORIGIN, never)
    assert (again.sha256, again.path, again.companions) == (kept.sha256, later / "child.onnx", kept.companions)


def test_what_is_there_is_not_overwritten(copy: _Copy, tmp_path: Path) -> None:
    """A later run's own child stays, and an earlier one of the same name does not take its place."""
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    keep(earlier, "child", "int8", Origin("other"), copy)
    own = keep(later, "child", "int8", ORIGIN, copy)
    take_kept(earlier, later)

    assert keep(later, "child", "int8", ORIGIN, copy) == own
    assert copy.done == 2


def test_only_variants_are_taken(tmp_path: Path) -> None:
    """Of an earlier run's folder only records with their models are taken; a folder that is not there is no error."""
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    for folder in (earlier, later):
        folder.mkdir()
    (earlier / "result.json").write_text("{}")
    take_kept(earlier, later)
    take_kept(tmp_path / "nowhere", later)

    assert list(later.iterdir()) == []


def test_the_origin_of_a_step(tiny_model: Path) -> None:
    """An origin tells the kind, the parent, the settings, the rows and the versions: whatever could change the result."""
    parent = Variant.from_file(tiny_model)
    step = Step("int8-copy", "copy", "int8", _Bits(), shutil.copyfile)
    plain, learnt = step.origin(parent), step.origin(parent, "rows")

    assert (plain.step, plain.parent, plain.settings["bits"]) == ("copy", parent.sha256, 8)
    assert {"windtunnel", "onnx", "onnxruntime", "torch", "numpy"} <= set(plain.settings["versions"])
    assert set(learnt.settings) - set(plain.settings) == {"learnt_from"}
    assert len({plain.digest, learnt.digest, step.origin(parent, "others").digest}) == 3
    assert Step("int8-copy", "copy", "int8", _Bits(4), shutil.copyfile).origin(parent).digest != plain.digest
