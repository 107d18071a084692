"""Overload: by how much the queue grew, and what would have to change."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.flight import fly
from windtunnel.simulate.overload import Overload, best_batch, busiest_per_s
from windtunnel.simulate.system import System
from windtunnel.trace import Trace

SECOND = np.array([[0.0], [1.0]])


def test_replicas_that_the_load_needs() -> None:
    """1.8 clocked requests a second, a second each: one server is behind by 0.8 a second, and two are needed."""
    system = System(SECOND)
    flight = fly(system, Trace("t", np.arange(450) / 1.8), Seeds(1))
    found = Overload.of(flight, system)

    assert found is not None
    assert found.behind == pytest.approx(200, abs=2)
    assert found.drift_per_s == pytest.approx(0.8, abs=0.02)
    assert (found.needed, found.replicas) == (2, 1)
    assert "200 attempts had still to be served" in str(found)
    assert found.ways_out()[0].startswith(
        "at least 2 replicas: in the busiest tenth of the time 1.83 requests a second come"
    )


def test_no_overload() -> None:
    """A queue that is worked off as it grows is none."""
    system = System(SECOND, executors=4)

    assert Overload.of(fly(system, Trace("t", np.arange(400) / 2.0), Seeds(1)), system) is None


def test_batches_that_are_not_full() -> None:
    """Batches that would carry the load and are not made are what is to be changed, not the number of replicas."""
    found = Overload(10.0, 100, 800.0, 1000.0, 8, 1, 1.2, 1.0, np.inf, ended=False)

    assert found.ways_out() == (
        "fuller batches: they held 1.2 requests on average; in batches of 8 a replica serves 1000 a second, and 1 of them could do",
    )


def test_proxy_and_clients() -> None:
    """A proxy that takes on less than comes is named first, and clients that ask again and again at last."""
    found = Overload(10.0, 100, 800.0, 100.0, 1, 4, 1.0, 2.0, 500.0, ended=True)
    first, second, third = found.ways_out()

    assert first == "a faster proxy: it takes on 500 a second, and 1600 come"
    assert second.startswith("at least 8 replicas")
    assert third == "clients that ask less often: each request was sent 2 times"
    assert "at which the flight was ended" in str(found)


def test_best_batch_of_several_sizes() -> None:
    """Each class is served at its own best: 0.5 s a short one in pairs, 2 s a long one alone."""
    table = np.array([[[0.0], [1.0], [1.0]], [[0.0], [2.0], [6.0]]])
    batch, per_item_s = best_batch(System(table, batcher=IdealBatching(2)), (0.5, 0.5))

    assert (batch, per_item_s) == (1, 0.5 * 0.5 + 0.5 * 2.0)


def test_the_busiest_tenth() -> None:
    """Nine tenths of the time one a second, in the last ten a second."""
    calm, busy = np.arange(90.0), 90.0 + np.arange(101) / 10.0
    flight = fly(System(SECOND, executors=20), Trace("t", np.concatenate([calm, busy])), Seeds(1))

    assert busiest_per_s(flight) == pytest.approx(10.0, rel=0.02)
