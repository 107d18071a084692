from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ModelError
from windtunnel.optimize.step import keep
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = Origin("copy", "a" * 64, {"bits": 8})


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
