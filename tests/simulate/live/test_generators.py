"""Generators: alike here and on a cluster, and nothing of them is left."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from windtunnel.errors import MeasurementError
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.live import drive
from windtunnel.simulate.live.generators import Program


def test_on_ray_the_same_requests_leave(nothing: Any, planned: Any) -> None:
    """On Ray each generator sends its share, as it does without, after it has shown how fast it is."""
    with nothing(service_s=0.001) as url:
        target, schedule, bodies = planned(url, np.sort(np.random.default_rng(1).uniform(0.0, 1.0, 100)))
        run = drive(target, schedule, bodies, generators=2, ray_address="local")

    assert run.processes == 2
    assert run.request.tolist() == list(range(100))
    assert (run.log.scheduled_s == schedule.scheduled_s).all()
    assert (run.log.status == COMPLETED).all()
    assert (run.log.sent_s >= run.log.scheduled_s).all()
    assert run.generator_capacity_per_s > 100.0


def test_a_program_that_cannot_start_says_why() -> None:
    """What it said at last is in the message."""
    program = Program("generator", "/nowhere")
    try:
        with pytest.raises(
            MeasurementError, match=r"the generator ended with exit code 1 \(FileNotFoundError.*orders.json"
        ):
            program.hear()
    finally:
        program.close()


def test_locust_stays_in_its_own_processes() -> None:
    """What drives imports no Locust, which would patch the sockets of this process."""
    code = "import sys, windtunnel.verbs.live, windtunnel.simulate.live, windtunnel.driving.generator as g; print('locust' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "False"
