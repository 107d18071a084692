"""A step makes one Variant from another; what it made is kept, so that the same step on the same parent is done once."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.digest import canonical_json, write_atomically
from windtunnel.errors import ModelError
from windtunnel.onnx_file import copy_model, move_model
from windtunnel.run_folder import environment
from windtunnel.variant import Origin, Variant, digest_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

VERSIONS = ("windtunnel", "onnxruntime", "onnx", "onnxscript", "torch", "openvino", "nncf", "numpy")
"""Packages whose version can change what a step makes."""


class NeedlessError(ModelError):
    """A step would change nothing, so nothing is lost by not doing it."""


class Settings(Protocol):
    """How a step is done: a frozen value that says itself as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        ...


class Accept(Protocol):
    """Says whether a file is good enough, and what decides that."""

    def __call__(self, path: Path) -> bool:
        """Whether the file is."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What decides it, as JSON values: a file that was made for another question is made again."""
        ...


@dataclass(frozen=True)
class Nothing:
    """The settings of a step that has none."""

    def to_dict(self) -> dict[str, Any]:
        """No JSON values."""
        return {}


@dataclass(frozen=True)
class Step:
    """One way of making a variant from another.

    Args:
        name: of what it makes.
        kind: what is done, as the origin says it.
        precision: of what it makes.
        settings: how.
        make: writes the file: takes the parent, the path, the settings where it has some, then rows where it learns from some, then what
            says whether a file is good enough where it stops at that.
        rows: how many learning rows it takes; 0 where it needs none.
        accepts: whether it asks if its result is good enough.
        travels: whether it can be done in another process: what holds a user's module stays here.
    """

    name: str
    kind: str
    precision: str
    settings: Settings
    make: Callable[..., object]
    rows: int = 0
    accepts: bool = False
    travels: bool = True

    def origin(self, parent: Variant, rows: str = "", accepted: Mapping[str, Any] | None = None) -> Origin:
        """What explains its result, and the key under which that is kept.

        Args:
            parent: what it is made from.
            rows: the digest of the rows it learns from.
            accepted: what decides whether its result is good enough, where it asks.
        """
        known = environment()
        versions = {package: known[package] for package in VERSIONS if package in known}
        learnt = {"learnt_from": rows} if rows else {}
        return Origin(
            self.kind, parent.sha256, {**self.settings.to_dict(), **learnt, **(accepted or {}), "versions": versions}
        )


def keep(folder: Path, name: str, precision: str, origin: Origin, make: Callable[[Path], object]) -> Variant:
    """Make `folder/name.onnx`, or take the one that the same step made before.

    The file is written under another name, checked, and renamed; the record of its origin beside it is written last, so
    a run that was killed in between does the step again. Weights too large for one file lie in `name.onnx.data`.

    Args:
        folder: where variants are kept.
        name: the variant's name.
        precision: such as `fp32` or `int8`.
        origin: the step, its parent and settings: the key under which the result is kept.
        make: writes the ONNX file to the path it is given.

    Raises:
        ModelError: what was made is not a whole model.
    """
    path, record = folder / f"{name}.onnx", folder / f"{name}.json"
    kept = _kept(record, path, origin, folder)
    if kept is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial.onnx"
    try:
        make(partial)
        Variant.from_file(partial)
        move_model(partial, path)
    finally:
        for left in folder.glob(f".{name}.partial.onnx*"):
            left.unlink()
    variant = Variant.from_file(path, name=name, precision=precision, origin=origin)
    write_atomically(record, canonical_json(variant.to_dict(folder)))
    return variant


def _kept(record: Path, path: Path, origin: Origin, folder: Path) -> Variant | None:
    if not (record.is_file() and path.is_file()):
        return None
    try:
        variant = Variant.from_dict(json.loads(record.read_text()), folder)
    except (ValueError, KeyError, TypeError):
        return None  # a torn or older record: the step is done again
    whole = all(each.is_file() for each in variant.files)
    known = whole and variant.sha256 == digest_files(path, variant.companions)
    return variant if known and variant.origin.digest == origin.digest else None


def take_kept(source: Path, folder: Path) -> None:
    """Start from the variants of an earlier run: a step whose parent and settings are the same is not done again.

    Args:
        source: the folder in which they were kept; it need not be there.
        folder: where this run keeps its own.
    """
    for record in sorted(source.glob("*.json")):
        model = record.with_suffix(".onnx")
        if model.is_file() and not (folder / record.name).exists():
            copy_model(model, folder / model.name)
            shutil.copyfile(record, folder / record.name)


def drop_strays(folder: Path, names: set[str]) -> None:
    """Remove the files of variants that a run has not made itself.

    Args:
        folder: where variants are kept.
        names: of the files that stay.
    """
    for record in folder.glob("*.json"):
        model = record.with_suffix(".onnx")
        if model.is_file() and record.stem not in names:
            for path in (*folder.glob(f"{record.stem}.onnx*"), record):
                path.unlink()
