"""The server: Ray Serve on loopback, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from windtunnel.serving.app import build_app
from windtunnel.serving.protocol import served_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.deployment import BatchPolicy
    from windtunnel.variant import Variant


def serve_until_interrupted(
    variant: Variant, batch: BatchPolicy, *, replicas: int, port: int, ready: Callable[[str], None]
) -> None:
    """Serve a model on loopback until Ctrl-C; then leave nothing running.

    Args:
        variant: the model.
        batch: when a batch leaves.
        replicas: how many sessions serve.
        port: on 127.0.0.1.
        ready: called with the address once requests are answered.

    Raises:
        KeyboardInterrupt: when it was told to stop (SIGINT or SIGTERM).
        MissingError: Ray cannot be started.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray import serve

    # its news (started, connecting, ready) is ours to tell, or not
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=replicas + 2)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
        serve.run(
            build_app(variant, batch, replicas),
            name=served_name(variant),
            route_prefix="/",
            logging_config={"log_level": "ERROR"},
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to leave, as by Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ready(f"http://127.0.0.1:{port}/v2/models/{served_name(variant)}")
        threading.Event().wait()
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]  # ray
        ray.shutdown()
