"""Heard: what a server answered to honest requests, each different answer once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Heard:
    """Answers, and whose they are.

    Args:
        message: int32 `[k]`, to which of the bodies each was the answer.
        json_bytes: int64 `[k]`, how much of it is JSON before raw tensors; −1 where all is.
        bodies: each as it came.
        answer: int32 `[n]`, which of them each request got; −1 where it was not answered, or there was no room to keep it.
    """

    message: NDArray[np.int32]
    json_bytes: NDArray[np.int64]
    bodies: tuple[bytes, ...]
    answer: NDArray[np.int32]

    @staticmethod
    def of(answer: Sequence[NDArray[np.int32]], kept: Sequence[Arrays], order: NDArray[np.int64]) -> Heard:
        """Join what generators kept.

        Args:
            answer: of each generator, which of its own answers its requests got.
            kept: of each its `message`, `json_bytes`, and `bodies` in one piece with their `ends`.
            order: in which the requests of all stand in the log.
        """
        firsts = np.cumsum([0, *(len(each["message"]) for each in kept)])
        joined = [np.where(own < 0, -1, own + first) for own, first in zip(answer, firsts[:-1], strict=True)]
        bodies: list[bytes] = []
        for each in kept:
            ends = each["ends"].tolist()
            bodies += [each["bodies"][start:end].tobytes() for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return Heard(
            np.concatenate([each["message"] for each in kept]), np.concatenate([each["json_bytes"] for each in kept]), tuple(bodies),
            np.concatenate(joined)[order].astype(np.int32),
        )  # fmt: skip

    def headers(self, at: int) -> dict[str, str]:
        """What tells how to read an answer."""
        from windtunnel.serving.protocol import HEADER_LENGTH

        length = int(self.json_bytes[at])
        return {} if length < 0 else {HEADER_LENGTH: str(length)}
