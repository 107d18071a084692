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
from windtunnel.simulate.traffic import poisson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ray.cluster_utils import Cluster

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price

STORE_BYTES = 80 * 2**20


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Three nodes of one core each on this machine; all of them are gone afterwards."""
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**node)
    made.add_node(**node)
    started = [
        info.process
        for each in (made.head_node, *made.worker_nodes)
        for infos in each.all_processes.values()
        for info in infos
    ]
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
    on_ray: list[int] = []
    killed: list[int] = []

    def kill_half_way(_done: int) -> None:
        on_ray.extend([1] * ray.is_initialized())
        if len(on_ray) == 3 and not killed:
            killed.append(len(cluster.worker_nodes))
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    def planned(workers: Workers, report: Callable[[int], None] = lambda _done: None) -> Plan:
        return plan(traces, space, slo=Slo(0.99, 0.03), seeds=Seeds(1), repeats=3, workers=workers, report=report)

    here = planned(Workers(1))
    far = planned(Workers(ray_address=cluster.address), kill_half_way)
    eight = planned(Workers(8))

    assert (here.where, far.where, eight.where) == ("in-process", "ray", "ray")
    assert killed == [2]
    assert len(on_ray) >= 6
    assert canonical_json(here.to_dict()) == canonical_json(far.to_dict()) == canonical_json(eight.to_dict())
