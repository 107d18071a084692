from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.projection_error import HeldOut, ProjectionError
from windtunnel.benchmarks.study import cache_folder, study

if TYPE_CHECKING:
    from pathlib import Path

MODULE = importlib.import_module("windtunnel.benchmarks.study")  # the package's own `study` is the function
FOUND = ProjectionError((HeldOut("threads", "m", 1.1, 1.0), HeldOut("precision", "m", 0.8, 1.0)))


def _never() -> ProjectionError:
    raise AssertionError("made again")


def test_made_once(tmp_path: Path) -> None:
    """The study is made once, dated, and read from then on."""
    made = study(tmp_path / "cache", lambda: FOUND)
    again = study(tmp_path / "cache", _never)

    assert made == again
    assert made.held_out == FOUND.held_out
    assert made.made_on[:2] == "20"
    assert made.to_dict()["band"] == FOUND.band()
    assert made.made_on in str(made)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"held_out": [{"change": 1}], "made_on": ""}', '{"held_out": [], "made_on": ""}'])  # fmt: skip
def test_what_is_not_a_study_is_made_again(tmp_path: Path, text: str) -> None:
    """A file that was cut short or is something else is no study; it is replaced."""
    study(tmp_path, lambda: FOUND)
    (kept,) = tmp_path.iterdir()
    kept.write_text(text)

    assert study(tmp_path, lambda: FOUND).held_out == FOUND.held_out
    assert study(tmp_path, _never).held_out == FOUND.held_out


def test_another_machine_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found with other libraries is not taken for this one's."""
    study(tmp_path, lambda: FOUND)
    monkeypatch.setattr(MODULE, "environment", lambda: {"onnxruntime": "0"})
    other = ProjectionError(FOUND.held_out[:1])

    assert study(tmp_path, lambda: other).held_out == other.held_out
    assert len(list(tmp_path.iterdir())) == 2


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder is the user's, by the XDG rules."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "windtunnel"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "windtunnel"
