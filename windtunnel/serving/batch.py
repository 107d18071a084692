"""Requests that share a batch: each gets its own rows back, and nobody pays for another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]
    Run = Callable[[Arrays], Arrays]


def run_together(run: Run, requests: Sequence[Arrays], *, stack: bool = True) -> list[Arrays | Exception]:
    """Run several requests as one batch and give each its own rows back, or the error that it alone caused.

    Those of other lengths go in a batch of their own. Where a batch fails, its members are run alone, so that only the
    culprit's answer is an error; so they are where the model gives other than a row for a row, which cannot be told apart.

    Args:
        run: the model.
        requests: arrays by input, each with rows on axis 0.
        stack: whether the model takes any number of rows; where not, each runs alone.

    Example:
        >>> feeds = [{"x": np.array([1.0])}, {"x": np.array([2.0, 3.0])}]
        >>> [answer["y"].tolist() for answer in run_together(lambda batch: {"y": batch["x"] * 10}, feeds)]
        [[10.0], [20.0, 30.0]]
    """
    if len(requests) == 1:
        return [_alone(run, requests[0])]
    answers: dict[int, Arrays | Exception] = {}
    for members in _alike(requests) if stack else [[index] for index in range(len(requests))]:
        answers |= zip(members, _as_one(run, [requests[index] for index in members]), strict=True)
    return [answers[index] for index in range(len(requests))]


def _alike(requests: Sequence[Arrays]) -> list[list[int]]:
    """Which requests have rows of the same shape."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, request in enumerate(requests):
        alike.setdefault(tuple([array.shape[1:] for array in request.values()]), []).append(index)
    return list(alike.values())


def _as_one(run: Run, requests: Sequence[Arrays]) -> Sequence[Arrays | Exception]:
    if len(requests) == 1:
        return [_alone(run, requests[0])]
    together = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    try:
        outputs = run(together)
    except Exception:  # noqa: BLE001  # whatever a runtime raises: its members are run alone, and whose it was gets it
        return [_alone(run, request) for request in requests]
    rows = [len(next(iter(request.values()))) for request in requests]
    if any(array.ndim == 0 or len(array) != sum(rows) for array in outputs.values()):
        return [_alone(run, request) for request in requests]
    return _split(outputs, rows)


def _split(outputs: Arrays, rows: Sequence[int]) -> list[Arrays]:
    parts, at = [], 0
    for count in rows:
        parts.append({name: array[at : at + count] for name, array in outputs.items()})
        at += count
    return parts


def _alone(run: Run, request: Arrays) -> Arrays | Exception:
    try:
        return run(request)  # whose outputs need not have rows
    except Exception as error:  # noqa: BLE001  # told to whoever asked
        return error
