from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from windtunnel.errors import DataError, ModelError
from windtunnel.optimize.material import Material
from windtunnel.optimize.step import Step
from windtunnel.optimize.workshop import Workshop, make_beside, portable
from windtunnel.seeds import Seeds
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Scaling:
    """By how much all weights are multiplied."""

    by: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return {"by": self.by}


def _scale(parent: Variant, path: Path, settings: _Scaling) -> None:
    """Multiply all weights."""
    _write(parent, path, settings.by)


def _scale_by_rows(parent: Variant, path: Path, settings: _Scaling, rows: Mapping[str, NDArray[Any]]) -> None:
    """Multiply all weights, by what the learning rows say too."""
    _write(parent, path, settings.by * float(rows["x"].sum()))


def _shrink(parent: Variant, path: Path, settings: _Scaling, accept: Callable[[Path], bool]) -> None:
    """Halve all weights until what comes out is good enough."""
    by = settings.by
    _write(parent, path, by)
    while not accept(path):
        by /= 2
        _write(parent, path, by)


def _refuse(parent: Variant, path: Path, settings: _Scaling) -> None:
    """Never make anything."""
    del path, settings
    raise ModelError("has no weights to scale", file=parent.path, fix="leave it as it is")


def _write(parent: Variant, path: Path, by: float) -> None:
    model = onnx.load(str(parent.path))
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array((array * by).astype(array.dtype), weight.name))
    onnx.save(model, str(path))


SCALED = Step("scaled", "scale", "fp32", _Scaling(0.5), _scale)
BY_ROWS = Step("by-rows", "scale", "fp32", _Scaling(), _scale_by_rows, rows=16)


@pytest.fixture
def workshop(rows: dict[str, NDArray[Any]], tmp_path: Path) -> Workshop:
    return Workshop(Material({"x": rows["x"]}), tmp_path / "kept", Seeds(1))


def _first_weight(variant: Variant) -> NDArray[Any]:
    return onnx.numpy_helper.to_array(onnx.load(str(variant.path)).graph.initializer[0])


def test_a_step_is_done(workshop: Workshop, mlp: Variant) -> None:
    """What a step makes is named, marked and explained by it, and its parent is left as it was."""
    made = workshop.make(SCALED, mlp)

    assert (made.name, made.precision, made.path) == ("scaled", "fp32", workshop.folder / "scaled.onnx")
    assert (made.origin.step, made.origin.parent) == ("scale", mlp.sha256)
    assert {"by", "versions"} == set(made.origin.settings)
    assert np.array_equal(_first_weight(made), _first_weight(mlp) / 2)
    assert Variant.from_file(mlp.path).sha256 == mlp.sha256


def test_it_is_done_once(workshop: Workshop, mlp: Variant) -> None:
    """The same step is taken from the folder; with other settings, rows or a seed it is done anew."""
    first = workshop.make(BY_ROWS, mlp)
    stamp = first.path.stat().st_mtime_ns

    assert workshop.make(BY_ROWS, mlp) == first
    assert first.path.stat().st_mtime_ns == stamp

    others = [
        workshop.make(replace(BY_ROWS, settings=_Scaling(0.5)), mlp),
        replace(workshop, material=Material({"x": workshop.material.feeds["x"] + 1})).make(BY_ROWS, mlp),
        replace(workshop, seeds=Seeds(2)).make(BY_ROWS, mlp),
    ]
    assert len({first.sha256, *(each.sha256 for each in others)}) == 4
    assert workshop.make(BY_ROWS, mlp) == first


def test_it_learns_from_as_many_rows_as_it_asks_for(workshop: Workshop, mlp: Variant) -> None:
    """A step is given so many of the rows to learn from, in their own order, the same ones each time."""
    given: list[Mapping[str, NDArray[Any]]] = []

    def watch(parent: Variant, path: Path, settings: _Scaling, rows: Mapping[str, NDArray[Any]]) -> None:
        given.append(rows)
        _write(parent, path, settings.by)

    for name in ("one", "two"):
        workshop.make(replace(BY_ROWS, name=name, make=watch), mlp)
    everything = workshop.material.feeds["x"]
    places = [int(np.flatnonzero((everything == row).all(axis=1))[0]) for row in given[0]["x"]]

    assert np.array_equal(given[0]["x"], given[1]["x"])
    assert len(places) == 16
    assert places == sorted(set(places))


def test_no_rows_no_ranges(workshop: Workshop, mlp: Variant) -> None:
    """A step that learns from rows is refused where there are none: nothing is made up."""
    empty = replace(workshop, material=Material({"x": np.empty((0, 16), np.float32)}))

    with pytest.raises(DataError, match="`learning rows` are needed and there are none; give more data"):
        empty.make(BY_ROWS, mlp)
    assert empty.make(SCALED, mlp).name == "scaled"


def test_it_stops_when_it_is_good_enough(workshop: Workshop, mlp: Variant) -> None:
    """A step that asks whether its result is good enough is given what answers, and goes on until it is."""
    asked: list[float] = []

    class Accept:
        def __call__(self, path: Path) -> bool:
            asked.append(float(abs(_first_weight(Variant.from_file(path))).max()))
            return len(asked) == 3

        def to_dict(self) -> dict[str, Any]:
            return {"times": 3}

    step = Step("shrunk", "shrink", "fp32", _Scaling(), _shrink, accepts=True)
    made = workshop.make(step, mlp, Accept())

    assert [each / asked[0] for each in asked] == pytest.approx([1.0, 0.5, 0.25])
    assert np.array_equal(_first_weight(made), _first_weight(mlp) / 4)


def test_what_was_made_is_found(workshop: Workshop, mlp: Variant) -> None:
    """What a step made is found by its name; what was never made, or whose record is torn, is not."""
    made = workshop.make(SCALED, mlp)

    assert workshop.find("scaled") == made
    assert workshop.find("other") is None

    record = workshop.folder / "scaled.json"
    record.write_text(record.read_text()[:40])
    assert workshop.find("scaled") is None


def test_beside_is_here(workshop: Workshop, mlp: Variant, tmp_path: Path) -> None:
    """A workshop that was sent to another process makes the same bytes there, and its file is taken here."""
    sent = pickle.loads(pickle.dumps((portable(workshop), mlp)))  # noqa: S301  # our own, of a moment ago
    there = replace(sent[0], folder=tmp_path / "there")

    assert make_beside((there, sent[1]), BY_ROWS) == ""
    assert (tmp_path / "there" / "by-rows.onnx").read_bytes() == workshop.make(BY_ROWS, mlp).path.read_bytes()


def test_a_refusal_beside_is_words(workshop: Workshop, mlp: Variant) -> None:
    """A step that cannot be done in another process says why there and ends nothing; nothing is left of it."""
    words = make_beside((workshop, mlp), Step("never", "refuse", "fp32", _Scaling(), _refuse))

    assert words.endswith("has no weights to scale; leave it as it is")
    assert workshop.find("never") is None
    assert not list(workshop.folder.iterdir())


def test_functions_stay_here(workshop: Workshop) -> None:
    """What holds a user's function or module is left behind when a workshop is sent; its rows go along."""
    label = np.ones(600)
    material = replace(workshop.material, label=label, student=lambda: None, module=lambda: None, students=True)  # type: ignore[arg-type,return-value]  # never called
    sent = portable(replace(workshop, material=material)).material

    assert (sent.student, sent.module) == (None, None)
    assert sent.feeds is workshop.material.feeds
    assert sent.label is label
