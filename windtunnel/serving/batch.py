"""Requests that share a batch: each gets its own rows back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def run_together(
    run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]], requests: list[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """Run several requests as one batch and give each its own rows back; those of other lengths go in a batch of their own."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, request in enumerate(requests):
        alike.setdefault(tuple(request[name].shape[1:] for name in sorted(request)), []).append(index)
    answers: dict[int, dict[str, NDArray[Any]]] = {}
    for members in alike.values():
        answers |= dict(zip(members, _run_as_one(run, [requests[index] for index in members]), strict=True))
    return [answers[index] for index in range(len(requests))]


def _run_as_one(
    run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]], requests: list[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    if len(requests) == 1:
        return [run(requests[0])]  # whose outputs need not have rows
    together = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    outputs = run(together)
    ends = np.cumsum([len(next(iter(request.values()))) for request in requests])[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: split[index] for name, split in parts.items()} for index in range(len(requests))]
