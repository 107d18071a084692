from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan
from windtunnel.simulate.planning import Offer, Space
from windtunnel.simulate.planning.search import SCOUTS
from windtunnel.simulate.traffic import poisson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ray.cluster_utils import Cluster

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price

STORE_BYTES = 80 * 2**20
WORKERS = (2, 3, 3)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Three nodes with eight workers in all on this machine, connected to; all of them are gone afterwards."""
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": WORKERS[0]})
    for count in WORKERS[1:]:
        made.add_node(**node, num_cpus=count)
    started = [
        info.process
        for each in (made.head_node, *made.worker_nodes)
        for infos in each.all_processes.values()
        for info in infos
    ]
    # connected once: the workers of the first plan serve the second
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()  # type: ignore[no-untyped-call]  # Ray's own
    for process in started:
        process.wait(timeout=30)  # Ray kills them and does not look back


def test_same_plan_with_eight_workers_and_on_a_cluster_that_loses_a_node(
    cluster: Cluster, profile: LatencyProfile, price: Price
) -> None:
    """One process, eight workers, three nodes of which one is killed half-way: the same plan, byte for byte."""
    import ray

    traces = {"recorded": poisson(1200.0, 6000, np.random.default_rng(0))}
    space = Space((Offer(profile, price),), (1, 2, 3, 4, 6), (1, 2, 4, 8), (0.0, 0.001, 0.002, 0.003))
    reported: list[int] = []
    killed: list[int] = []

    def kill_half_way(done: int) -> None:
        reported.append(done)
        # the scouts before were flown here; of the nine lines that were asked at once, three are done
        if len(reported) == SCOUTS + 3:
            killed.append(len(cluster.worker_nodes))
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    def planned(workers: Workers, report: Callable[[int], None] = lambda _done: None) -> Plan:
        return plan(traces, space, slo=Slo(0.99, 0.03), seeds=Seeds(1), repeats=3, workers=workers, report=report)

    workers = round(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]  # Ray's own
    here = planned(Workers(1))
    eight = planned(Workers(ray_address=cluster.address))
    less = planned(Workers(ray_address=cluster.address), kill_half_way)

    assert (here.where, eight.where, less.where) == ("in-process", "ray", "ray")
    assert (workers, killed, len(cluster.worker_nodes)) == (8, [2], 1)
    assert len(reported) >= SCOUTS + 9
    assert canonical_json(here.to_dict()) == canonical_json(eight.to_dict()) == canonical_json(less.to_dict())
