"""Does a row's answer depend on who shares its batch?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .export import relative_difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.session import Session

TOLERANCE = 1e-4
"""Kernels for other batch sizes add in another order; a change beyond this is not rounding."""


def batch_dependence(session: Session, feeds: Mapping[str, NDArray[Any]], rows: int = 48) -> float:
    """The largest change of an answer between a row alone, in a batch, and in a batch among strangers.

    Args:
        session: what is checked.
        feeds: real rows; the first `rows` are the subjects, the rest the strangers.
        rows: how many subjects.

    Returns:
        The largest difference, relative to the largest answer.
    """
    have = len(next(iter(feeds.values())))
    subjects = min(rows, have)
    alone = _join([_run(session, feeds, np.array([row])) for row in range(subjects)])
    together = _run(session, feeds, np.arange(subjects))
    crowd = np.concatenate([np.arange(subjects), np.arange(have - min(have, 3 * subjects), have)])
    among = {name: array[:subjects] for name, array in _run(session, feeds, crowd).items()}
    return max(relative_difference(alone[name], other[name]) for other in (together, among) for name in alone)


def _run(session: Session, feeds: Mapping[str, NDArray[Any]], index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return session.run({name: np.ascontiguousarray(array[index]) for name, array in feeds.items()})


def _join(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
