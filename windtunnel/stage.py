"""A stage of a run: done once for the same inputs, and kept with its result, its section of the report and its verdict."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.digest import canonical_json, digest_value, write_atomically
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section
from windtunnel.run_folder import RunManifest, environment
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.hardware import Hardware
    from windtunnel.run_folder import RunFolder

RESULT, SECTION = "result.json", "section.json"


class Produce(Protocol):
    """Does a stage's work: writes its files into a folder and returns its result, its section and its verdict."""

    def __call__(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        """Do it; what an interrupted run left in the folder may be used."""
        ...


@dataclass(frozen=True)
class Stage:
    """One stage of a run as it stands in the run folder.

    Args:
        manifest: what ran.
        folder: where its files are.
        cached: whether an earlier run had done it already.
    """

    manifest: RunManifest
    folder: Path
    cached: bool

    @property
    def result(self) -> dict[str, Any]:
        """The stage's result, as JSON values."""
        result: dict[str, Any] = json.loads((self.folder / RESULT).read_text())
        return result

    @property
    def section(self) -> Section:
        """The stage's part of the report."""
        return Section.from_dict(json.loads((self.folder / SECTION).read_text()))

    @property
    def verdict(self) -> Verdict:
        """What it ended in."""
        assert self.manifest.verdict is not None
        return Verdict.from_dict(self.manifest.verdict)

    def to_dict(self) -> dict[str, Any]:
        """The stage's entry in the run's JSON document."""
        verdict = self.verdict
        head = {
            "verdict": verdict.outcome,
            "reasons": verdict.reasons,
            "seconds": self.manifest.seconds,
            "cached": self.cached,
        }
        return {**self.result, **head}


def run_stage(
    folder: RunFolder,
    name: str,
    parameters: dict[str, Any],
    inputs: dict[str, str],
    produce: Produce,
    *,
    seed: int,
    hardware: Hardware,
    progress: Progress = SILENT,
    keep_inconclusive: bool = True,
    take_over: bool = False,
) -> Stage:
    """Run one stage, or take what an earlier run with the same key left.

    Args:
        folder: where the run is kept.
        name: of the stage.
        parameters: what was asked for; with the inputs, the seed and the environment it makes the key.
        inputs: digests of everything the stage reads, by name.
        produce: does the work.
        seed: the root of all streams of chance.
        hardware: what it runs on.
        progress: a line at the start and at the end.
        keep_inconclusive: whether an earlier result that told nothing is taken.
        take_over: whether what an interrupted run of another key left may be used, see `RunFolder.workplace`.
    """
    key = digest_value(
        {"stage": name, "parameters": parameters, "inputs": inputs, "seed": seed, "environment": environment()}
    )
    kept = folder.finished(name, key)
    if kept is not None and not keep_inconclusive and (kept.verdict or {}).get("outcome") == "inconclusive":
        kept = None
    if kept is not None and Stage(kept, folder.path / name, cached=True).result.get("interrupted"):
        kept = None  # it ended before its end: what it finished is used, and it goes on
    if kept is not None:
        progress.say(f"{name}: nothing changed, taken from {folder.path / name}")
        return Stage(kept, folder.path / name, cached=True)
    progress.say(f"{name} …")
    started, clock = datetime.now(UTC), time.perf_counter()
    work = folder.workplace(name, key, take_over=take_over)
    result, section, verdict = produce(work)
    write_atomically(work / RESULT, canonical_json(result))
    write_atomically(work / SECTION, canonical_json(section.to_dict()))
    seconds = time.perf_counter() - clock
    manifest = folder.finish(
        RunManifest(
            name,
            folder.name,
            key,
            parameters,
            seed,
            inputs,
            {},
            environment(),
            hardware.to_dict(),
            started.isoformat(timespec="seconds"),
            seconds,
            verdict.to_dict(),
        )
    )
    progress.say(f"{name}: {verdict.outcome} after {seconds:.1f} s")
    return Stage(manifest, folder.path / name, cached=False)
