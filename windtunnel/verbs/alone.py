"""One stage in a run folder of its own, named by its digest where no name is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import canonical_json, digest_value, write_atomically
from windtunnel.hardware import Hardware
from windtunnel.run_folder import RunFolder, RunManifest, check_out, environment
from windtunnel.stage import RESULT, Stage, run_stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.progress import Progress
    from windtunnel.stage import Produce
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Done:
    """One verb's result.

    Args:
        folder: the run folder.
        stage: the one stage in it.
    """

    folder: Path
    stage: Stage

    @property
    def verdict(self) -> Verdict:
        """What it ended in."""
        return self.stage.verdict

    def to_dict(self) -> dict[str, Any]:
        """The verb's JSON document."""
        head = {"schema": f"windtunnel.{self.stage.manifest.stage}/1", "run": str(self.folder)}
        return {**head, **self.stage.to_dict(), "would_change": self.verdict.would_change}


def run_alone(
    stage: str,
    out: Path | None,
    parameters: dict[str, Any],
    inputs: dict[str, str],
    produce: Produce,
    *,
    seed: int,
    progress: Progress,
    keep_inconclusive: bool = True,
    take_over: bool = False,
) -> Done:
    """Run one stage in a run folder of its own, named by its digest where no name is given.

    Args:
        stage: its name.
        out: the folder; named by the digest where None.
        parameters: what was asked for.
        inputs: digests of everything that is read.
        produce: does the work.
        seed: of all chance.
        progress: shown while it runs.
        keep_inconclusive: whether a result that told nothing is taken again; a measurement is better made anew.
        take_over: whether what an interrupted run of another key left may be used.
    """
    folder = out if out is not None else Path("runs") / f"{stage}-{digest_value([parameters, inputs, seed])[:12]}"
    check_out(folder, stage)
    hardware = Hardware.detect()
    with RunFolder.open(folder, stage) as opened:
        whole = RunManifest(
            "run", stage, "", parameters, seed, inputs, {}, environment(), hardware.to_dict(), "", 0.0, None
        )
        if not (folder / "manifest.json").exists():
            opened.seal(whole)
        elif RunManifest.from_file(folder / "manifest.json").inputs != inputs:
            progress.say(f"{folder} holds the {stage} of something else, which this one takes the place of")
        finished = run_stage(
            opened,
            stage,
            parameters,
            inputs,
            produce,
            seed=seed,
            hardware=hardware,
            progress=progress,
            keep_inconclusive=keep_inconclusive,
            take_over=take_over,
        )
        done = Done(folder, finished)
        write_atomically(folder / RESULT, canonical_json(done.to_dict()))
        manifest = finished.manifest
        opened.seal(replace(
            whole, key=manifest.key, started_at=manifest.started_at, seconds=manifest.seconds, verdict=manifest.verdict,
        ))  # fmt: skip
        progress.say(f"kept in {folder}")
        return done
