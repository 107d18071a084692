"""What a body means, read by other means than the server's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import InputError
from windtunnel.serving.protocol import HEADER_LENGTH, read_request, write_request
from windtunnel.simulate.live.adversary.conversation import MALFORMED
from windtunnel.simulate.live.adversary.sense import sense
from windtunnel.variant import Signature, Tensor

SIGNATURE = Signature((Tensor("x", "float32", ("n", 2)), Tensor("k", "int64", ("n",))), ())


def _body(*, binary: bool) -> tuple[bytes, int | None]:
    body, headers = write_request({"x": np.array([[1.5, 2.0]], np.float32), "k": np.array([7])}, binary=binary)
    return body, int(headers[HEADER_LENGTH]) if HEADER_LENGTH in headers else None


def test_honest_bodies() -> None:
    """Both forms mean the arrays that were written."""
    for binary in (False, True):
        found: Any = sense(*_body(binary=binary), SIGNATURE)
        assert found["x"].tolist() == [[1.5, 2.0]]
        assert found["k"].tolist() == [7]


def test_malformed_and_unsure() -> None:
    """What cannot be read is malformed; what some take and others not is neither."""
    body = json.loads(_body(binary=False)[0])
    half = json.dumps({"inputs": body["inputs"][:1]}).encode()
    float_key = json.dumps(body).replace("[7]", "[7.0]").encode()

    assert sense(b"{", None, SIGNATURE) is MALFORMED
    assert sense(half, None, SIGNATURE) is MALFORMED
    assert sense(float_key, None, SIGNATURE) is None
    assert sense(json.dumps(body).replace('"shape": [1]', '"shape": [2]').encode(), None, SIGNATURE) is MALFORMED
    body["inputs"][0]["parameters"] = 7
    assert sense(json.dumps(body).encode(), None, SIGNATURE) is MALFORMED


def test_no_rows() -> None:
    """Nothing may be answered with nothing, or refused."""
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [0, 2], "data": []},
        {"name": "k", "datatype": "INT64", "shape": [0], "data": []},
    ]

    assert sense(json.dumps({"inputs": inputs}).encode(), None, SIGNATURE) is None


@settings(deadline=None, max_examples=300)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), min_size=1, max_size=4))
def test_it_agrees_with_the_server(binary: bool, flips: list[tuple[int, int]]) -> None:
    """Whatever bits are flipped: what the server's reader takes is not malformed, and means the same where both are sure."""
    body, length = _body(binary=binary)
    changed = bytearray(body)
    for at, bit in flips:
        changed[at % len(changed)] ^= 1 << bit
    found: Any = sense(bytes(changed), length, SIGNATURE)
    try:
        feeds = read_request(bytes(changed), None if length is None else str(length), SIGNATURE).feeds
    except InputError:
        return

    assert found is not MALFORMED
    if found is not None:
        for name, array in feeds.items():
            np.testing.assert_array_equal(found[name], array)
