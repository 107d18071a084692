"""A bundle: one chosen model with what someone else needs to run it, to serve it, and to see that it runs right.

model.onnx        the variant, with external weights beside it; model.json, .ubj or .txt where a library runs its own file of trees
bundle.json       what it is, how it is run, what was proven of it, and the digests of all files (schema `windtunnel.bundle/2`)
samples.npz       some inputs (`in.NAME`) and the outputs expected for them (`out.NAME`)
check.py          runs the inputs and compares; needs numpy and the runtime only
requirements.txt  these two, in the versions with which it was proven
triton/           a model repository of Triton Inference Server
serve/            an application of Ray Serve and its configuration
kserve/           a service of KServe, and the model's metadata in the Open Inference Protocol
MODEL_CARD.md     the same for people
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.check_script import allowed, check_script, requirements, run_check
from windtunnel.deployment import BatchPolicy
from windtunnel.digest import canonical_json, digest_file, digest_value, write_atomically
from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.forest_file import read_forest_file
from windtunnel.hardware import Hardware
from windtunnel.model_card import OWN_WORDS, model_card
from windtunnel.onnx_file import companions, copy_model
from windtunnel.serving.bundle_app import app_config, app_source, inference_service
from windtunnel.serving.protocol import metadata
from windtunnel.table import write_arrays
from windtunnel.triton_repository import has_batch_axis, write_triton
from windtunnel.variant import Variant, digest_files, read_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

RECORD, MODEL = "bundle.json", "model.onnx"
OWN_MODELS = ("model.json", "model.ubj", "model.txt")
"""What the model is called where it is no ONNX."""

SCHEMA = "windtunnel.bundle/2"
SAMPLE_ROWS = 8
USUAL_WAIT_S = 0.001
"""How long a batch waits where no service time is known."""

AGAIN = "write it again with --bundle"


def facts_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimizing stage's result tells of the chosen variant, with `made_of`: its parents, the nearest first."""
    known: dict[str, Any] = {}
    for each in result["frontier"]:
        # a file that is run in several ways has several entries: the first, which was judged, stands for it
        known.setdefault(each.get("sha256"), each)
    made_of: list[dict[str, Any]] = []
    parent = result["chosen"]["origin"]["parent"]
    while parent in known and len(made_of) < len(known):
        each = known[parent]
        made_of.append({key: each[key] for key in ("name", "sha256", "origin")})
        if each["origin"]["parent"] == parent:
            break  # a copy of the file that was given
        parent = each["origin"]["parent"]
    return {**result["chosen"], "made_of": made_of}


def sample_rows(variant: Variant, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """The first rows: a handful, or as many as the model takes at once where it takes no other number."""
    rows = variant.signature.fixed_batch or SAMPLE_ROWS
    return {name: np.ascontiguousarray(array[:rows]) for name, array in feeds.items()}


def write_bundle(
    variant: Variant,
    inputs: Arrays,
    outputs: Arrays,
    folder: Path,
    *,
    facts: Mapping[str, Any] | None = None,
    batch: tuple[int, ...] = (1,),
) -> None:
    """Write a bundle into a folder of its own; it is there only once it has passed its own check in a clean process.

    Args:
        variant: the model.
        inputs: sample inputs by name, see `sample_rows`.
        outputs: what the variant answered to them, on this machine.
        folder: where it goes; an earlier bundle is replaced, but what people put beside its files is kept.
        facts: what was found about the variant on this machine: see `facts_of`.
        batch: the batch sizes that it was proven for; the largest is the most that a server joins.

    Raises:
        ModelError: the folder holds something that is not a bundle, the outputs hold NaN or infinity, or the bundle does
            not pass its own check.
    """
    check_folder(folder)
    _check_samples(variant, outputs)
    folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _write(variant, {"in": inputs, "out": outputs}, partial, dict(facts or {}), batch)
        run_check(partial)
        _replace(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_samples(variant: Variant, outputs: Arrays) -> None:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"answers NaN or infinity in `{name}` to a sample, so nothing could be expected of it",
                field=variant.name,
                fix="give other rows",
            )


def _write(
    variant: Variant, samples: Mapping[str, Arrays], folder: Path, facts: dict[str, Any], batch: tuple[int, ...]
) -> None:
    """Write all files; the record comes last, for it knows the others."""
    variant = _carry(variant, folder)
    arrays = {f"{side}.{name}": _plain(a) for side, each in samples.items() for name, a in each.items()}
    write_arrays(folder / "samples.npz", arrays)
    record = _record(variant, folder, facts, batch)
    policy = _policy(variant, facts, batch)
    for name, text in _texts(variant, record, policy).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    write_triton(variant, folder / "triton", policy, batch)
    record["files"] = {name: digest_file(folder / name) for name in _files(folder)}
    write_atomically(folder / RECORD, canonical_json({**record, "seal": digest_value(record)}))


def _carry(variant: Variant, folder: Path) -> Variant:
    """Copy the model; external weights are called after the new file, so its digest may be another."""
    if variant.execution.own_file:
        path = folder / f"model{variant.path.suffix}"
        shutil.copyfile(variant.path, path)
        return replace(variant, path=path)
    path = folder / MODEL
    copy_model(variant.path, path)
    beside = companions(path)
    return replace(variant, path=path, companions=beside, sha256=digest_files(path, beside))


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """An array that can be written without pickling: text in numpy's own kind."""
    return array.astype(np.str_) if array.dtype == object else array


def _record(variant: Variant, folder: Path, facts: dict[str, Any], batch: tuple[int, ...]) -> dict[str, Any]:
    own = variant.to_dict(folder)
    # what a variant is stands in the record already; where it lay, and what it was chosen for, stays with the run
    found = {key: value for key, value in facts.items() if key not in own and key not in {"runtime", "settings"}}
    return {
        "schema": SCHEMA, **own, "requirements": requirements(variant.execution), "allowed": allowed(variant),
        "batch": list(batch), "made_on": Hardware.detect().to_dict(), "facts": found,
    }  # fmt: skip


def bundled_policy(folder: Path) -> BatchPolicy:
    """How a bundle batches: as its own `serve/app.py` does, up to what it was proven for."""
    record = json.loads((folder / RECORD).read_text())
    return _policy(read_bundle(folder), record["facts"], tuple(record["batch"]))


def _policy(variant: Variant, facts: Mapping[str, Any], batch: tuple[int, ...]) -> BatchPolicy:
    """Join as many requests as were proven; the first waits no longer than a call takes."""
    most = max(batch) if has_batch_axis(variant) else 1
    if most == 1:
        return BatchPolicy()
    wait_s = min(facts.get("p50_s", {"": USUAL_WAIT_S}).values())
    return BatchPolicy(most, round(wait_s, 6))


def _texts(variant: Variant, record: Mapping[str, Any], policy: BatchPolicy) -> dict[str, str]:
    return {
        "check.py": check_script(variant.execution, variant.path.name),
        "requirements.txt": "".join(f"{each}\n" for each in record["requirements"]),
        "serve/app.py": app_source(variant, policy),
        "serve/config.yaml": app_config(variant),
        "kserve/inference-service.yaml": inference_service(variant),
        "kserve/metadata.json": canonical_json(metadata(variant)),
        "MODEL_CARD.md": model_card(variant, record),
    }


def _files(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


def _replace(folder: Path, partial: Path) -> None:
    """Move a bundle into its place, with what people put beside the one that was there."""
    if not folder.exists():
        partial.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    for name in _beside(folder):
        if not (partial / name).exists():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, partial / name)
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _beside(folder: Path) -> list[str]:
    """The files in a bundle's folder that are not the bundle's: such as what people wrote of its use."""
    try:
        own = set(json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        own = set(_files(folder)) - {OWN_WORDS}  # a bundle of an older kind, or a torn one, does not say
    return [name for name in _files(folder) if name not in own and "__pycache__" not in name]


def check_folder(folder: Path) -> None:
    """Refuse a place where no bundle can be written.

    Raises:
        ModelError: a file, or a folder that holds something that is not a bundle.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECORD).exists())):
        raise ModelError("holds something that is not a bundle", file=folder, fix="choose another folder")


def read_bundle(folder: Path) -> Variant:
    """Open a bundle and see that it is as it was written.

    Digests tell of accidents; whoever changes a bundle on purpose can write them anew.

    Raises:
        ModelError: not a bundle, a file of it is missing or was changed, or its model is not to be trusted.
    """
    record = folder / RECORD
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
        schema, files, seal = value["schema"], dict(value["files"]), value.pop("seal")
        variant = Variant.from_dict({**value, "path": _model(value)}, folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"is not a bundle ({error})", file=record, fix=AGAIN) from error
    if schema != SCHEMA:
        raise ModelError(
            "is of another kind", file=record, field="schema", value=schema, fix=f"this windtunnel reads {SCHEMA}"
        )
    wrong = [folder / name for name, digest in files.items() if not _is(folder / name, digest)]
    wrong += [record] if digest_value(value) != seal else []
    if wrong:
        raise ModelError("is missing or was changed after the bundle was written", file=wrong[0], fix=AGAIN)
    _check_model(variant)
    return variant


def _model(record: Mapping[str, Any]) -> str:
    """What the model's file is called: one of few names, whatever a record says."""
    own = Execution.from_dict(record["execution"]).own_file
    return next((name for name in OWN_MODELS if own and record["path"] == name), MODEL)


def _check_model(variant: Variant) -> None:
    if variant.execution.own_file:
        read_forest_file(variant.path).check(variant.signature, variant.path)
    elif (read_signature(variant.path), companions(variant.path)) != (variant.signature, variant.companions):
        raise ModelError("is not the model that the record describes", file=variant.path, fix=AGAIN)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and digest_file(path) == digest
