"""The study of how far projections are off, kept: it is about a machine and its libraries, not about a model.

It takes some twenty seconds, and what it finds holds until the machine, a library or windtunnel itself changes. So it is
kept in the user's cache folder under a key of these three, with the day on which it was made.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.digest import canonical_json, digest_value, write_atomically
from windtunnel.errors import DataError
from windtunnel.hardware import Hardware
from windtunnel.run_folder import environment

from .leave_one_out import leave_one_out
from .projection_error import HeldOut, ProjectionError

if TYPE_CHECKING:
    from collections.abc import Callable


def cache_folder() -> Path:
    """Where the user's cache is, by the XDG Base Directory Specification: `XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windtunnel"


def study(folder: Path | None = None, make: Callable[[], ProjectionError] = leave_one_out) -> ProjectionError:
    """The study of this machine: read where it was made before, else made and kept.

    Args:
        folder: where it is kept; the cache folder where None.
        make: makes it.
    """
    path = (folder if folder is not None else cache_folder()) / f"projection-{_key()[:16]}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    made = ProjectionError(make().held_out, datetime.now(UTC).date().isoformat())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, canonical_json(asdict(made)))
    return made


def _key() -> str:
    return digest_value({"hardware": Hardware.detect().fingerprint, "environment": environment()})


def _read(path: Path) -> ProjectionError | None:
    """What was kept; None where nothing was, or where something else lies there: the study is then made again."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return ProjectionError(tuple(HeldOut(**each) for each in value["held_out"]), value["made_on"])
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None
