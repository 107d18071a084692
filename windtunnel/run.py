"""A Run: a finished run folder, opened again to be reported, loaded or served."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import write_atomically
from windtunnel.errors import ModelError, RunFolderError
from windtunnel.hardware import Hardware
from windtunnel.run_folder import MANIFEST, RunFolder, RunManifest, verify
from windtunnel.stage import RESULT, Stage
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from windtunnel.deployment import BatchPolicy
    from windtunnel.session import Session
    from windtunnel.variant import Variant

SCHEMA = "windtunnel.run/1"
STAGES = ("optimize", "benchmark", "simulate", "backtest")
"""The stages that end in a verdict, in the order of the street; `recording` comes before them."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: the run folder.
        stages: by name, `recording` first.
        verdict: of the whole.
    """

    folder: Path
    stages: dict[str, Stage]
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The run's JSON document."""
        return {
            "schema": SCHEMA, "verdict": self.verdict.outcome, "reasons": self.verdict.reasons,
            "would_change": self.verdict.would_change, "run": str(self.folder),
            "recording": {**self.stages["recording"].result, "cached": self.stages["recording"].cached},
            "stages": {name: self.stages[name].to_dict() for name in STAGES},
        }  # fmt: skip


def read_run(path: Path) -> tuple[dict[str, Any], dict[str, Stage]]:
    """Open a finished run folder: its JSON document and its stages.

    Raises:
        RunFolderError: no run folder, or one that is not finished.
    """
    RunManifest.from_file(path / MANIFEST)
    if not (path / RESULT).is_file():
        raise RunFolderError("is not finished", file=path, fix="run it again: what is done is not done twice")
    document = json.loads((path / RESULT).read_text())
    names = [
        name
        for name in ("recording", *STAGES, "plan", "compare", "live", "agree")
        if (path / name / MANIFEST).is_file()
    ]
    return document, {
        name: Stage(RunManifest.from_file(path / name / MANIFEST), path / name, cached=True) for name in names
    }


def verdict_of(document: dict[str, Any]) -> Verdict:
    """The verdict that a run's JSON document carries."""
    return Verdict(document["verdict"], tuple(document["reasons"]), tuple(document["would_change"]))


def write_report(path: Path) -> Path:
    """Write `report.html` of a run from what its stages drew."""
    from windtunnel.report.html import render_html

    document, stages = read_run(path)
    verdict = verdict_of(document)
    last = list(stages.values())[-1].manifest
    facts = {
        "run": last.name,
        "seed": str(last.seed),
        "measured": stages["benchmark"].manifest.started_at if "benchmark" in stages else last.started_at,
        "on": str(Hardware.from_dict(last.hardware)),
        "python": last.environment["python"],
    }
    page = render_html(f"windtunnel: {last.name}", verdict, [stage.section for stage in stages.values()], facts)
    write_atomically(path / "report.html", page)
    return path / "report.html"


def report(path: Path) -> Path:
    """Write a run's report again and seal the folder over it.

    Raises:
        RunFolderError: no run folder, or one that is not intact.
    """
    from dataclasses import replace

    changed = [line for line in verify(path) if not line.startswith("report.html")]
    if changed:
        raise RunFolderError(f"was changed since it was sealed: {changed[0]}", file=path, fix="run it again")
    manifest = RunManifest.from_file(path / MANIFEST)
    with RunFolder.open(path, manifest.name) as folder:
        page = write_report(path)
        folder.seal(replace(manifest, outputs={}))
    return page


def open_variant(path: str | Path) -> Variant:
    """Find the model: the chosen variant of a run folder, a bundle, or a bare ONNX file.

    Raises:
        ModelError: none of these, or not a whole model.
        RunFolderError: the chosen variant is missing or was changed.
    """
    from windtunnel.bundle import RECORD, read_bundle
    from windtunnel.variant import Variant

    place = Path(path)
    if not place.is_dir():
        return Variant.from_file(place)
    return read_bundle(place) if (place / RECORD).exists() else _chosen(place)


def load(path: str | Path, *, threads: int = 0) -> Session:
    """Open the chosen variant of a run folder, a bundle, or a bare ONNX file (see `windtunnel.load`)."""
    from windtunnel.runtime import open_session

    return open_session(open_variant(path), threads=threads)


def planned(path: Path) -> tuple[BatchPolicy, int]:
    """The batching and the number of replicas that a run's plan found cheapest; without a plan one replica, which batches as a bundle does.

    Raises:
        RunFolderError: a run folder whose plan found no deployment that keeps the promise.
    """
    from windtunnel.bundle import RECORD, bundled_policy
    from windtunnel.deployment import BatchPolicy

    if (path / RECORD).is_file():
        return bundled_policy(path), 1
    if (path / MANIFEST).is_file() and not (path / RESULT).is_file():
        # an interrupted run may hold a new model beside the plan of an old one
        raise RunFolderError("is not finished", file=path, fix="run it again: what is done is not done twice")
    result = path / "simulate" / RESULT
    if not result.is_file():
        return BatchPolicy(), 1
    cheapest = json.loads(result.read_text())["cheapest"]
    if cheapest is None:
        raise RunFolderError(
            "found no deployment that keeps the promise", file=result, fix="say --replicas, --max-batch, --max-wait"
        )
    return BatchPolicy(cheapest["max_batch"], cheapest["max_wait_s"]), cheapest["replicas"]


def _chosen(place: Path) -> Variant:
    from windtunnel.variant import Variant, digest_files

    stage = place / "optimize" if (place / "optimize").is_dir() else place
    if not (stage / RESULT).is_file():
        raise ModelError(
            "is neither a run folder with a chosen variant nor a bundle",
            file=place,
            fix="give a run folder or an ONNX file",
        )
    variant = Variant.from_dict(json.loads((stage / RESULT).read_text())["chosen"], stage)
    if (
        not all(each.is_file() for each in variant.files)
        or digest_files(variant.path, variant.companions) != variant.sha256
    ):
        raise RunFolderError(
            "is missing or was changed since it was chosen", file=variant.path, fix="run `windtunnel verify`"
        )
    return variant
