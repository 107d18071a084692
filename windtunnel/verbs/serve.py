"""`windtunnel serve`: a model behind Ray Serve, until it is told to stop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.errors import ConfigError
from windtunnel.progress import SILENT, Progress

from .company import Beside

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.serving.server import Options


def serve(
    model: Path,
    options: Options,
    *,
    replicas: int | None = None,
    most: int | None = None,
    max_batch: int | None = None,
    max_wait_s: float | None = None,
    beside: Beside = Beside(),  # noqa: B008  # frozen
    progress: Progress = SILENT,
) -> None:
    """Serve a model until Ctrl-C or SIGTERM; what is not said is as planned.

    Args:
        model: a run folder, a bundle or an ONNX file.
        options: where, and what is taken.
        replicas: sessions; where they scale, never fewer.
        most: never more; their number stays where None.
        max_batch: requests a batch.
        max_wait_s: how long a batch waits.
        beside: a canary, a shadow, a log.
        progress: hears the address once requests are answered.

    Raises:
        ConfigError: fewer at most than at least, an option that cannot be heeded.
        ModelError: no model.
    """
    from windtunnel.run import open_variant
    from windtunnel.serving.server import serve_until_interrupted

    variant = open_variant(model)
    deployment = deployment_of(model, variant.name, replicas, max_batch, max_wait_s)
    if most is not None and most < deployment.replicas:
        raise ConfigError(
            "is fewer than there are at least", field="--most", value=most, fix=f"give {deployment.replicas} or more"
        )
    company = beside.build(variant)

    def ready(url: str, notes: tuple[str, ...]) -> None:
        progress.say(f"ready: {url}" + (f" ({'; '.join(notes)})" if notes else ""))

    left = serve_until_interrupted(
        variant, replace(deployment, most=most or 0), options, ready=ready, company=company, say=progress.say
    )
    progress.say(
        "stopped; " + (f"{left} requests got no answer in time" if left else "what was in flight was answered")
    )


def deployment_of(
    model: Path, name: str, replicas: int | None, max_batch: int | None, max_wait_s: float | None
) -> Deployment:
    """What was said, and for the rest what was planned."""
    from windtunnel.run import planned

    if replicas is not None and max_batch is not None and max_wait_s is not None:
        return Deployment(name, replicas, BatchPolicy(max_batch, max_wait_s), machines=1, usd_per_hour=0.0)
    policy, count = planned(model)
    wait_s = policy.max_wait_s if max_wait_s is None else max_wait_s
    return Deployment(
        name, replicas or count, BatchPolicy(max_batch or policy.max_batch, wait_s), machines=1, usd_per_hour=0.0
    )
