"""The file that a converted forest was made from, as a variant that its own library's predictor runs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from windtunnel.digest import digest_file
from windtunnel.execution import Execution
from windtunnel.forest_file import read_forest_file
from windtunnel.runtime import find_runtime
from windtunnel.variant import Origin, Variant

from .judged import Skipped

if TYPE_CHECKING:
    from pathlib import Path

    from .goal import Goal

NAME = "source"
"""What it is called."""


def own_file(model: Path, folder: Path, parent: Variant) -> Variant:
    """Copy XGBoost's or LightGBM's own file to where variants are kept.

    Its weights are those of the ONNX file that was made of it, and it takes and gives the same: what differs is who walks
    the trees.

    Args:
        model: the library's own file.
        folder: where variants are kept.
        parent: the ONNX file that was made of it.

    Raises:
        ModelError: no whole forest of either library, or not what the parent was made from.
    """
    found = read_forest_file(model)
    found.check(parent.signature, model)
    path = folder / f"{NAME}.{found.form}"
    if not (path.is_file() and path.samefile(model)):
        shutil.copyfile(model, path)
    return Variant(
        NAME, path, digest_file(path), parent.precision, path.stat().st_size, parent.signature,
        Origin("source", "", {"form": f"{found.library} {found.form}"}), Execution(found.library),
    )  # fmt: skip


def ways_of_own(own: Variant, goal: Goal) -> tuple[list[Execution], list[Skipped]]:
    """The ways in which a library runs its own file, and what is left out where the library is not here.

    Args:
        own: as `own_file` makes it.
        goal: the numbers of threads to try.
    """
    library = own.execution.runtime
    missing = find_runtime(library).missing()
    if missing:
        return [], [Skipped(f"everything on {library}", missing)]
    return [Execution(library, threads) for threads in sorted(set(goal.threads))], []
