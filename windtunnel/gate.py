"""The gate: a run's verdict, believed only while every byte of the run is as it was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from windtunnel.run_folder import MANIFEST, RunManifest, verify
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "windtunnel.gate/1"


def judge(path: Path) -> tuple[dict[str, Any], Verdict]:
    """Read the verdict of a run folder and check the folder.

    Returns:
        The JSON document, and the verdict: the run's own; no-go where a byte was changed; inconclusive where the run is
        not finished.

    Raises:
        RunFolderError: no run folder.
    """
    problems = verify(path)
    if problems:
        verdict = Verdict("no-go", tuple(f"the run was changed: {line}" for line in problems), ("run it again",))
    else:
        told = RunManifest.from_file(path / MANIFEST).verdict
        unfinished = Verdict(
            "inconclusive", ("the run is not finished",), ("run it again: what is done is not done twice",)
        )
        verdict = Verdict.from_dict(told) if told is not None else unfinished
    head = {"schema": SCHEMA, "run": str(path), "verdict": verdict.outcome, "reasons": verdict.reasons}
    return json.loads(json.dumps({**head, "would_change": verdict.would_change, "intact": not problems})), verdict
