"""Bodies: every row a request, in a bounded room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.serving.protocol import read_request
from windtunnel.simulate.live import Bodies, Target
from windtunnel.variant import Signature, Tensor


def target(*, binary: bool) -> Target:
    """One that only writes heads."""

    def head(length: int, headers: dict[str, str]) -> bytes:
        said = headers.get("Inference-Header-Content-Length", "-")
        return f"{length} {said}\n".encode()

    return cast("Target", SimpleNamespace(binary=binary, head=head))


@pytest.mark.parametrize("binary", [True, False])
def test_each_row_is_a_request_of_its_own(binary: bool) -> None:
    """What a server reads from the messages are the rows, as raw bytes or as JSON, class after class."""
    classes: list[dict[str, Any]] = [
        {"x": np.arange(6.0, dtype=np.float32).reshape(3, 2)}, {"x": np.ones((1, 5), np.float32)},
    ]  # fmt: skip
    bodies = Bodies.of(target(binary=binary), classes)
    signature = Signature((Tensor("x", "float32", ("n", "words")),), ())
    found = []
    for message in bodies.messages:
        head, _, body = message.partition(b"\n")
        length, said = head.decode().split()
        assert int(length) == len(body)
        found.append(read_request(body, None if said == "-" else said, signature).feeds["x"].tolist())

    assert bodies.first == (0, 3, 4)
    assert found == [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]], [[1.0] * 5]]
    flat, ends = bodies.flat()
    assert bytes(flat[ends[0] : ends[1]]) == bodies.messages[1]


def test_there_is_room_for_so_much_and_no_more() -> None:
    """As many rows as fit are kept; one that does not fit by itself is refused."""
    rows: list[dict[str, Any]] = [{"x": np.zeros((50, 100), np.float32)}]

    assert 5 <= len(Bodies.of(target(binary=True), rows, most_bytes=5_000).messages) <= 10
    with pytest.raises(DataError, match="at most 100 B are sent at once"):
        Bodies.of(target(binary=True), rows, most_bytes=100)
