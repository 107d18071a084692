"""Servers that do nothing, for as long as a test runs."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.simulate.live import Bodies, Schedule, Target
from windtunnel.simulate.live.generators import Program
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray


@contextmanager
def null_server(**manner: Any) -> Iterator[str]:
    """The address of a null server that serves in that manner."""
    program = Program("null_server", json.dumps(manner))
    try:
        yield f"http://127.0.0.1:{program.hear()['port']}"
    finally:
        program.close()


@pytest.fixture
def nothing() -> Callable[..., AbstractContextManager[str]]:
    """Starts null servers."""
    return null_server


@pytest.fixture
def planned() -> Callable[[str, NDArray[np.float64]], tuple[Target, Schedule, Bodies]]:
    """What `drive` takes, from the address of a null server and times."""

    def plan(url: str, times_s: NDArray[np.float64]) -> tuple[Target, Schedule, Bodies]:
        target = Target.find(url, "null")
        bodies = Bodies.of(target, [{"x": np.zeros((3, 4), np.float32)}])
        return target, Schedule.of(Trace("t", times_s), bodies), bodies

    return plan
