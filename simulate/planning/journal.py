"""A Journal: every flight of a search as it ends, so that a search that was interrupted goes on from what it had flown."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes

from .course import Evaluation, Replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.deployment import Deployment
    from windtunnel.seeds import Seeds

    from .course import Course


NAME = ".flights"
"""What the file is called in a workplace."""


class Journal:
    """What was flown, by what it was; one line of JSON each, appended as soon as it is known.

    A journal belongs to one question: whoever opens it sees to it that traces, profiles, promise, assumptions, seed and source
    are those with which it was written (the workplace of a stage is named by a digest of all of them). A line that was cut off
    in the middle, or that does not hold what it says, is as good as none. Floats are written so that the very same bits are read.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = _lines(path) if path is not None and path.exists() else {}
        self.found = len(self._known)
        """How many entries an earlier search left."""
        self.taken = 0
        """How many of them were used."""

    @staticmethod
    def in_workplace(work: Path, say: Callable[[str], None]) -> Journal:
        """The journal of a stage, whose workplace is named by the digest of all that matters; what it holds is said.

        Args:
            work: the workplace.
            say: takes a sentence.
        """
        journal = Journal(work / NAME)
        if journal.found:
            say(f"  taking up {journal.found} results that an interrupted run left")
        return journal

    def get(self, what: str) -> Any:
        """What became of something; None where nobody knows."""
        value = self._known.get(_name(what))
        self.taken += value is not None
        return value

    def put(self, what: str, value: Any) -> None:
        """Write down what became of something."""
        if self._path is None:
            return
        text = json.dumps(value)
        line = json.dumps({"of": _name(what), "value": value, "sha256": digest_bytes(text.encode())})
        with self._path.open("a", encoding="utf-8") as file:
            # the line before may have been cut off: then this one begins on a line of its own all the same
            file.write(f"\n{line}\n")

    def flight(self, course: Course, deployment: Deployment, seeds: Seeds, what: str = "") -> Evaluation:
        """Fly a deployment, unless that was done already.

        Args:
            course: the traces.
            deployment: what to fly.
            seeds: the luck.
            what: else tells this flight from another of the same deployment and luck, such as a factor on the load.
        """
        of = f"flight {what} {seeds!r} {deployment!r}"
        value = self.get(of)
        if value is not None:
            return read(value, deployment)
        flown = course.fly(deployment, seeds)
        self.put(of, written(flown))
        return flown

    def close(self) -> None:
        """What was asked is answered: the journal is of no use any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def written(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation in one run, as JSON values, without its deployment but for what it costs."""
    replays = [asdict(replay) for replay in evaluation.replays]
    return {"usd_per_hour": evaluation.deployment.usd_per_hour, "replays": replays, "keeps": evaluation.keeps}


def read(value: dict[str, Any], deployment: Deployment) -> Evaluation:
    """The very evaluation again.

    Args:
        value: of `written`.
        deployment: that was flown.
    """
    paid = replace(deployment, usd_per_hour=value["usd_per_hour"])
    return Evaluation(paid, tuple(Replay(**each) for each in value["replays"]), value["keeps"])


def _name(what: str) -> str:
    return digest_bytes(what.encode())


def _lines(path: Path) -> dict[str, Any]:
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        text = json.dumps(entry.get("value")) if isinstance(entry, dict) else ""
        if text and entry.get("sha256") == digest_bytes(text.encode()):
            found[entry["of"]] = entry["value"]
    return found
