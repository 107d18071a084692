"""A bundle: one chosen model with what someone else needs to run it and to see that it runs right.

model.onnx      the variant
bundle.json     its name, sha256, precision, signature and origin
samples.npz     some inputs (`in.NAME`) and the outputs expected for them (`out.NAME`)
check.py        runs the inputs and compares; needs numpy and onnxruntime only
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from windtunnel.digest import canonical_json, digest_file, write_atomically
from windtunnel.errors import ModelError
from windtunnel.table import write_arrays
from windtunnel.variant import Origin, Signature, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

RECORD = "bundle.json"

CHECK = '''\
"""Run the sample inputs through model.onnx and compare with the outputs expected: exit 0 where they agree."""

import pathlib
import sys

import numpy
import onnxruntime

here = pathlib.Path(__file__).parent
samples = numpy.load(here / "samples.npz", allow_pickle=False)
inputs = {name[3:]: samples[name] for name in samples.files if name.startswith("in.")}
session = onnxruntime.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
answers = dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))
for name, answer in answers.items():
    off = float(numpy.max(numpy.abs(answer.astype("float64") - samples["out." + name].astype("float64"))))
    print(f"{name}: {len(answer)} rows, largest difference {off:.2g}")
    if not off <= 1e-3:
        sys.exit(f"{name} differs from what was expected: another processor or runtime?")
'''


def write_bundle(
    variant: Variant, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], folder: Path
) -> None:
    """Write a bundle into a folder of its own.

    Args:
        variant: the model.
        inputs: sample inputs by name.
        outputs: what the variant answered to them.
        folder: where it goes; what an earlier bundle left there is replaced.

    Raises:
        ModelError: the folder holds something that is not a bundle.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.onnx", variant.path.read_bytes())
    samples = {f"in.{name}": array for name, array in inputs.items()} | {
        f"out.{name}": a for name, a in outputs.items()
    }
    write_arrays(folder / "samples.npz", samples)
    write_atomically(folder / "check.py", CHECK)
    record = {**variant.to_dict(variant.path.parent), "path": "model.onnx"}
    write_atomically(folder / RECORD, canonical_json(record))


def check_folder(folder: Path) -> None:
    """Refuse a place where no bundle can be written.

    Raises:
        ModelError: a file, or a folder that holds something that is not a bundle.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECORD).exists())):
        raise ModelError("holds something that is not a bundle", file=folder, fix="choose another folder")


def read_bundle(folder: Path) -> Variant:
    """Open a bundle.

    Raises:
        ModelError: not a bundle, or its model was changed.
    """
    record = folder / RECORD
    try:
        value = json.loads(record.read_text())
        path = folder / "model.onnx"
        variant = Variant(
            value["name"], path, value["sha256"], value["precision"], value["bytes"],
            Signature.from_dict(value["signature"]), Origin(**value["origin"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"is not a bundle ({error})", file=record, fix="write it again with --bundle") from error
    if not path.is_file() or digest_file(path) != variant.sha256:
        raise ModelError(
            "is missing or was changed after the bundle was written", file=path, fix="write it again with --bundle"
        )
    return variant
