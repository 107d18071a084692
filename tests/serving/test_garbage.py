"""Garbage: what is there when a replica is ready is looked at no more."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from windtunnel.serving.garbage import SELDOM, look_seldom

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """This process collects afterwards as it did."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.ring = self


def test_what_is_there_is_left_alone_and_what_comes_is_found() -> None:
    """Whatever lives is out of every collection afterwards; a ring that is made later and lost is found as ever, while it is young."""
    kept = Ring()
    look_seldom()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[2] == SELDOM
    assert not any(each is kept for each in gc.get_objects())
    lost = weakref.ref(Ring())
    gc.collect(1)
    assert lost() is None
