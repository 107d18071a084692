"""Clients on the road have the luck that they have in the tunnel."""

from __future__ import annotations

import json
import math

import numpy as np

from windtunnel.request_log import LEFT
from windtunnel.seeds import Seeds
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.client import Client
from windtunnel.simulate.flight import fly
from windtunnel.simulate.live import Bodies, Schedule
from windtunnel.simulate.live.clients import manners_of, whims
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


def test_the_same_seed_makes_the_same_clients_leave() -> None:
    """A server that never answers: each client of the tunnel leaves when that of the road would."""
    trace, client = Trace("t", np.arange(0.0, 4.95, 0.1)), Client(patience_s=1.0)
    table = np.array([[0.0], [1e6]])
    flight = fly(System(table, batcher=IdealBatching(1, 0.0), client=client), trace, Seeds(5), log=True)
    schedule = Schedule.of(trace, Bodies((b"",), (0, 1)))
    leaves_s = whims(schedule, client, None, Seeds(5))["leaves_s"]

    assert flight.log is not None
    assert set(flight.log.status.tolist()) == {LEFT}
    assert np.allclose(leaves_s, flight.log.finished_s)


def test_back_offs_are_shares_of_the_whole() -> None:
    """Without jitter nothing is left to chance; with all of it every share is as likely as any other."""
    schedule = Schedule.of(Trace("t", np.arange(2000.0)), Bodies((b"",), (0, 1)))
    plain = whims(schedule, Client(timeout_s=1.0, retries=2), None, Seeds(1))["back_off"]
    shares = whims(schedule, Client(timeout_s=1.0, retries=2, jitter=1.0), None, Seeds(1))["back_off"]

    assert (plain == 1.0).all()
    assert shares.shape == (2000, 2)
    assert 0.45 < shares.mean() < 0.55
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.1


def test_manners_are_json() -> None:
    """What has no bound is null, for JSON has no word for it."""
    told = manners_of(Client(), None, 3.0)

    assert Client().budget_burst == math.inf
    assert json.loads(json.dumps(told))["budget_burst"] is None
