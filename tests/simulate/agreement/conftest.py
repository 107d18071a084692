"""A synthetic road: known stations, driven by the slow reference loop, seen as answers of a real server would tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.hardware import Hardware
from windtunnel.road import IDLE_S, Loaded, Road
from windtunnel.simulate.agreement import Observed, calibrate
from windtunnel.simulate.batching import RayServeBatching
from windtunnel.simulate.reference.road import Course, drive_slowly

if TYPE_CHECKING:
    from numpy.typing import NDArray

MACHINE = Hardware("a CPU", "x86_64", (), 2.0, 2**32)

SERVICE_S = np.concatenate([[0.0], 0.0012 + 0.0034 * np.arange(1, 9)])

BATCH = BatchPolicy(8, 0.005)

Drive = Callable[..., Observed]


def drive(
    scheduled_s: NDArray[np.float64],
    seed: int,
    *,
    stretch: Any = 1.0,
    batch: BatchPolicy = BATCH,
    warmth: Callable[[float], float] = lambda _: 1.0,
    service_s: NDArray[np.float64] = SERVICE_S,
    knock_s: float = 0.0002,
    loop: NDArray[np.float64] | None = None,
) -> Observed:
    """Send requests down a road that nobody calibrated: gamma ways, lognormal service (`stretch` of it, or of each batch), timers a little late.

    `loop` is by how much longer the loop takes after each batch, so that its answers leave further apart.
    """
    rng = np.random.default_rng(seed)
    count = len(scheduled_s)
    way_s = rng.gamma(6.0, 0.0002, count)
    factor, late_s = stretch * rng.lognormal(0.0, 0.08, count), rng.gamma(3.0, 0.0001, count + 8)
    slow = np.ones(count) if loop is None else loop
    course = Course(
        lambda each: (way_s[each] / 3.0, way_s[each] * 2.0 / 3.0),
        lambda at, size, _first, idle_s: float(service_s[size] * factor[at]) * warmth(idle_s),
        lambda at: float(late_s[at]),
        entry_s=0.0001, dispatch_s=0.0001, join_s=0.00005, ongoing=batch.ongoing, resume_s=lambda size: 0.0006 + 0.0001 * size, knock_s=knock_s, company_s=0.00015, rank_s=0.0001, loop=lambda at, _first: float(slow[at]),
    )  # fmt: skip
    batching = RayServeBatching(batch.max_batch, batch.max_wait_s, blocking=True, python=(3, 11))
    steps = drive_slowly(scheduled_s.tolist(), batching, 1, course)
    columns = {name: np.array([getattr(step, name) for step in steps]) for name in steps[0]._fields}
    _, of = np.unique(columns["started_s"], return_inverse=True)
    rank = np.arange(count) - np.searchsorted(
        np.sort(of), of
    )  # one replica serves them in the order in which they came in
    columns["finished_s"] += 0.0001 * rank * (slow[of] - 1.0)
    queue_s, model_s = columns["started_s"] - columns["entered_s"], columns["ended_s"] - columns["started_s"]
    return Observed(
        scheduled_s, columns["finished_s"], queue_s, model_s, columns["batch_size"], columns["replica"],
        np.arange(count), count,
    )  # fmt: skip


def poisson(rate_per_s: float, count: int, seed: int) -> NDArray[np.float64]:
    """Arrivals."""
    return np.asarray(np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate_per_s, count)))


@pytest.fixture(scope="package")
def runs() -> list[Observed]:
    """The synthetic road at three loads of its 240 requests a second; more at work, batches take longer."""
    loads = ((50.0, 800, 1.0), (110.0, 1600, 1.04), (165.0, 2400, 1.1))
    return [
        drive(poisson(rate, count, 10 + at), 20 + at, stretch=stretch)
        for at, (rate, count, stretch) in enumerate(loads)
    ]


@pytest.fixture(scope="package")
def road(runs: list[Observed]) -> Road:
    """What is read off the synthetic road."""
    return calibrate(
        list(reversed(runs)), variant="m", sha256="", hardware=MACHINE, ray="2.60.0", ingress="HAProxy", batch=BATCH, replicas=1,
        capacity_per_s=240.0,
    )  # fmt: skip


@pytest.fixture(scope="package")
def made_up() -> Road:
    """A road of which every number is known."""
    rng = np.random.default_rng(4)
    loads = tuple(
        Loaded(
            rate,
            stretch,
            rng.lognormal(0.0, 0.08, 400),
            rng.gamma(6.0, 0.0002, 500),
            rng.gamma(3.0, 0.0001, 200),
            rng.lognormal(-0.02, 0.2, 100),
        )
        for rate, stretch in ((50.0, 1.0), (165.0, 1.1))
    )
    return Road(
        "m", "", MACHINE, "2.60.0", "HAProxy", BATCH, 1, 240.0, SERVICE_S, np.ones(len(IDLE_S)), loads, entry_s=1e-4, dispatch_s=1e-4, join_s=5e-5,
        resume_s=np.concatenate([[0.0], 6e-4 + 1e-4 * np.arange(1, 9)]), knock_s=2e-4, company_s=1.5e-4, rank_s=1e-4,
    )  # fmt: skip
