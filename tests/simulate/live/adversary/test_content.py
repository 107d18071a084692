"""What conversations mean: what may be answered with 200, and with which answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.live.adversary.content import Bodies, Documents, Shapes, _tame
from windtunnel.simulate.live.adversary.conversation import MALFORMED, Material
from windtunnel.simulate.live.adversary.wire import Bombs, Lengths, Places

from .test_assault import ROWS, nobody

if TYPE_CHECKING:
    from windtunnel.simulate.live.adversary.conversation import Conversation
    from windtunnel.simulate.live.adversary.family import Family


def made(family: type[Family], name: str) -> list[Conversation]:
    """Some conversations of that name."""
    talks = family().conversations(Material(nobody(), ROWS), Seeds(1))
    return [each for each in (next(talks) for _ in range(200 if family is not Bombs else 20)) if each.name == name]


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (Documents, "a key twice"), (Documents, "an input twice"), (Places, "headers that are none"), (Bombs, "not packed at all"),
        (Bombs, "an honest request and a thousandfold"),
    ],
)  # fmt: skip
def test_what_some_servers_take_must_be_right(family: type[Family], name: str) -> None:
    """Where one server takes what another refuses, an answer is compared with the honest one."""
    found: list[Any] = [each.meant[0] for each in made(family, name)]

    assert found
    assert all(any(meant is row for row in ROWS) for meant in found)


def test_numbers_that_are_none_are_malformed() -> None:
    """What JSON has no number for may not be taken; what it has, and no dtype holds, is nobody's fault."""
    assert {each.meant for each in made(Documents, "numbers that are none")} == {(MALFORMED,)}
    assert {each.meant for each in made(Documents, "numbers beyond all")} == {(None,)}


def test_no_rows_may_be_answered() -> None:
    """No rows, and no data: a matter of taste; no rows before bytes of some is malformed."""
    assert {each.meant for each in made(Shapes, "empty")} == {(None,), (MALFORMED,)}


def test_a_second_request_is_there_to_be_smuggled() -> None:
    """Behind the chunks stands a whole request, which must not be answered."""
    found = made(Lengths, "chunks and a length")

    assert found
    assert all(each.steps[0].count(b"POST ") == 2 for each in found if isinstance(each.steps[0], bytes))
    assert all(len(each.meant) == 1 for each in found)


def test_numbers_without_measure_are_not_compared() -> None:
    """Where sums may overflow in one order and not in another there is no right answer."""
    tame, wild = ({"x": np.array([[1.0, value]], np.float32)} for value in (1e9, 1e38))

    assert _tame(tame) is tame
    assert _tame(wild) is None
    assert _tame(MALFORMED) is MALFORMED
    assert made(Bodies, "bits flipped")
