"""A step makes one Variant from another; what it made is kept, so that the same step on the same parent is done once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from windtunnel.digest import canonical_json, digest_file, write_atomically
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def keep(folder: Path, name: str, precision: str, origin: Origin, make: Callable[[Path], object]) -> Variant:
    """Make `folder/name.onnx`, or take the one that the same step made before.

    The file is written under another name, checked, and renamed; the record of its origin beside it is written last, so
    a run that was killed in between does the step again.

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
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
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
    return variant if variant.origin.digest == origin.digest and variant.sha256 == digest_file(path) else None
