"""Which reactions are right."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from windtunnel.simulate.live.adversary.assault import Outcome
from windtunnel.simulate.live.adversary.conversation import MALFORMED, Conversation
from windtunnel.simulate.live.adversary.judgement import judge, tally
from windtunnel.simulate.live.adversary.oracle import Oracle
from windtunnel.simulate.live.adversary.replies import Reply, read_replies

X = {"x": np.ones((1, 2))}


def _says(value: float) -> Reply:
    told = {"outputs": [{"name": "y", "datatype": "FP64", "shape": [1], "data": [value]}]}
    return Reply(200, {}, json.dumps(told).encode())


BAD, BUSY = Reply(400, {}, b"{}"), Reply(503, {}, b"{}")


@pytest.mark.parametrize(
    ("meant", "must", "end", "replies", "fault"),
    [
        ((MALFORMED,), False, "answered", (BAD,), ""), ((MALFORMED,), False, "closed", (), ""),
        ((MALFORMED,), False, "answered", (_says(2.0),), "taken"), ((MALFORMED,), False, "hung", (), "hung"),
        ((MALFORMED,), False, "refused", (), "gone"), ((MALFORMED,), False, "garbled", (), "garbled"),
        ((MALFORMED,), False, "left", (), ""), ((MALFORMED,), False, "cut", (), ""), ((), False, "held", (), ""),
        ((X,), False, "answered", (_says(2.0),), ""), ((X,), False, "answered", (_says(3.0),), "wrong"),
        ((X,), False, "answered", (_says(2.0), _says(2.0)), "taken"), ((X,), False, "answered", (BAD,), ""),
        ((X,), True, "answered", (BAD,), "unanswered"), ((X,), True, "answered", (BUSY,), ""),
        ((X, X), True, "closed", (_says(2.0),), "unanswered"), ((X, MALFORMED, X), False, "answered", (_says(2.0), BAD, _says(2.0)), ""),
        ((None,), False, "answered", (_says(7.0),), ""),
    ],
)  # fmt: skip
def test_reactions(meant: Any, must: bool, end: Any, replies: tuple[Reply, ...], fault: str) -> None:
    """Refusals and closed connections are right, 200 only where it is asked for and is the model's own."""
    outcome = Outcome("f", 0, Conversation("c", (b"x",), meant, must=must), end, replies, 0.1)
    oracle = Oracle.of(lambda feeds: {"y": feeds["x"].sum(axis=1)}, [X], stack=True)

    assert judge(outcome, oracle)[0] == fault
    assert judge(outcome, None)[0] == ("" if fault == "wrong" else fault)


def test_who_says_that_he_closes_may() -> None:
    """Requests behind an answer that ends the connection need not be answered (RFC 9112, section 9.6)."""
    talk = Conversation("c", (b"x",), (X, X), must=True)
    replies = [Reply(200, {}, _says(2.0).body, closes) for closes in (True, False)]

    assert [judge(Outcome("f", 0, talk, "closed", (each,), 0.1), None)[0] for each in replies] == ["", "unanswered"]


def test_what_is_no_http_may_be_answered_alike() -> None:
    """A server that speaks HTTP/2 or TLS may say so to who begins with it."""
    talks = [Conversation("c", (b"x",), other=other) for other in (True, False)]

    assert [judge(Outcome("f", 0, each, "garbled", (), 0.1), None)[0] for each in talks] == ["", "garbled"]


def test_an_answer_of_any_kind_can_be_judged() -> None:
    """Names that are lists, shapes that no array has and text for numbers are wrong answers, and raise nothing."""
    oracle = Oracle.of(lambda feeds: {"y": feeds["x"].sum(axis=1)}, [X], stack=True)
    good = {"name": "y", "datatype": "FP64", "shape": [1], "data": [2.0]}
    kinds: list[dict[str, Any]] = [
        {"name": []}, {"shape": [0, 10**30], "data": []}, {"datatype": "BYTES", "data": ["2.0"]},
        {"name": {}, "parameters": {"binary_data_size": 0}},
    ]  # fmt: skip
    for ill in kinds:
        reply = Reply(200, {}, json.dumps({"outputs": [good | ill]}).encode())
        assert judge(Outcome("f", 0, Conversation("c", (b"x",), (X,)), "answered", (reply,), 0.1), oracle)[0] == "wrong"


def test_tally_counts_each_once() -> None:
    """What was tried is what was answered, dropped, left, held, cut or hung."""
    talk = Conversation("c", (b"x",))
    ends: list[Any] = ["answered", "closed", "closed", "left", "held", "cut", "hung", "garbled"]
    replies = [(Reply(500),), (), (BAD,), (), (), (), (), ()]
    found = tally("f", [Outcome("f", 0, talk, end, said, 0.0) for end, said in zip(ends, replies, strict=True)], [])

    assert (found.tried, found.answered, found.dropped) == (8, 2, 1)
    assert (found.left, found.held, found.cut, found.hung) == (1, 1, 1, 1)
    assert (found.failures, found.bare, found.codes) == (1, 1, {"400": 1, "500": 1})


def test_replies_in_pieces() -> None:
    """An answer counts when it is whole, in chunks or by its length, after an interim one or to the end of the connection."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    sized = b"HTTP/1.1 400 X\r\nContent-Length: 3\r\n\r\nbad"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    endless = b"HTTP/1.0 500 X\r\n\r\noops"

    def statuses(heard: bytes, *, ended: bool = False) -> Any:
        found = read_replies(heard, ended=ended)
        return None if found is None else [(each.status, each.body) for each in found]

    assert statuses(chunked + sized) == [(200, b"hi"), (400, b"bad")]
    assert [
        len(statuses((chunked + sized)[:at])) for at in (10, len(chunked) - 6, len(chunked), len(chunked) + 39)
    ] == [0, 0, 1, 1]
    assert statuses(interim + sized) == [(400, b"bad")]
    assert (statuses(endless), statuses(endless, ended=True)) == ([], [(500, b"oops")])
    assert statuses(b"SSH-2.0-x") is None
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert [statuses((interim + hints + sized)[:at]) for at in (len(interim), len(interim) + 9, -1)] == [[], [], []]
    assert statuses(interim + hints + sized) == [(400, b"bad")]
    assert statuses(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\0\0\x12\4\0") == [(101, b"")]
