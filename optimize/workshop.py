"""The Workshop: where steps are done: in this process, or in others beside it, and each once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError
from windtunnel.execution import Execution
from windtunnel.variant import Variant

from .int8 import sample_rows
from .material import digest_arrays
from .step import Nothing, keep

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.seeds import Seeds

    from .material import Material
    from .step import Accept, Step


@dataclass(frozen=True)
class Workshop:
    """Where steps are done.

    Args:
        material: what they learn from.
        folder: where what they make is kept.
        seeds: of the choice of rows.
    """

    material: Material
    folder: Path
    seeds: Seeds

    def make(self, step: Step, source: Variant, accept: Accept | None = None) -> Variant:
        """Do a step, or take what it made before.

        Args:
            step: what is done.
            source: the variant that it is done to.
            accept: for a step that stops when its result is good enough: says whether a file is.

        Raises:
            ModelError: this model cannot have it.
            DataError: it needs rows, and there are none.
        """
        rows = self._rows(step)
        settings = [] if isinstance(step.settings, Nothing) else [step.settings]
        arguments = [*settings, *([rows] if rows is not None else []), *([accept] if step.accepts else [])]
        # a file is made alike however its source is run: that is what a race has chosen, and races differ
        source = replace(source, execution=Execution())
        origin = step.origin(
            source, digest_arrays(rows) if rows is not None else "", accept.to_dict() if accept else {}
        )
        return keep(self.folder, step.name, step.precision, origin, lambda path: step.make(source, path, *arguments))

    def find(self, name: str) -> Variant | None:
        """What an earlier step of that name made; None where there is nothing whole."""
        try:
            return Variant.from_dict(json.loads((self.folder / f"{name}.json").read_text()), self.folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # nothing, or a torn or older record: the step is done again when its turn comes

    def _rows(self, step: Step) -> dict[str, Any] | None:
        if not step.rows:
            return None
        if not any(len(array) for array in self.material.feeds.values()):
            # numbers made up would give ranges that no request has
            raise DataError("are needed and there are none", field="learning rows", fix="give more data")
        return sample_rows(self.material.feeds, step.rows, self.seeds.stream("calibration"))


def make_beside(shared: tuple[Workshop, Variant], step: Step) -> str:
    """Do a step in a process of its own; what it makes is found in the folder. Says why where it cannot."""
    workshop, source = shared
    try:
        workshop.make(step, source)
    except Exception as error:  # noqa: BLE001  # as below
        return str(error)  # it is tried again, and reported, where its result is looked for
    return ""


def portable(workshop: Workshop) -> Workshop:
    """The workshop as it can be sent to another process: user's functions and modules stay here."""
    material = replace(workshop.material, student=None, module=None)
    return replace(workshop, material=material, folder=workshop.folder.resolve())
