"""A ServeApp: a bundle as an application of Ray Serve, and as a service of KServe."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from windtunnel.serving.protocol import served_name

if TYPE_CHECKING:
    from windtunnel.deployment import BatchPolicy
    from windtunnel.variant import Variant

APP = '''\
"""This bundle behind Ray Serve, in the Open Inference Protocol. Needs windtunnel, and {runtime}.

In the bundle's folder: `serve run serve.app:app`, or `serve run serve/config.yaml`.
"""

from pathlib import Path

from windtunnel.bundle import read_bundle
from windtunnel.deployment import BatchPolicy
from windtunnel.serving.app import build_app

policy = BatchPolicy(max_batch={max_batch}, max_wait_s={max_wait_s})
app = build_app(read_bundle(Path(__file__).resolve().parent.parent), policy, replicas=1)
'''

CONFIG = """\
# In the bundle's folder: serve run serve/config.yaml
# A replica takes as many cores as its session has threads; more replicas answer more requests.
http_options:
  host: 127.0.0.1
  port: 8000
applications:
  - name: {name}
    route_prefix: /
    import_path: serve.app:app
    deployments:
      - name: {name}
        num_replicas: 1
        ray_actor_options:
          num_cpus: {threads}
"""

SERVICE = """\
# Copy the folder `triton` to where the cluster can read it, and write its address in storageUri.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
        version: "2"
      runtime: kserve-tritonserver
      protocolVersion: v2
      storageUri: pvc://models/triton
      resources:
        requests:
          cpu: "{threads}"
"""


def app_source(variant: Variant, policy: BatchPolicy) -> str:
    """The module whose `app` is `serve run`."""
    runtime = variant.execution.runtime.partition("-")[0]
    return APP.format(runtime=runtime, max_batch=policy.max_batch, max_wait_s=policy.max_wait_s)


def app_config(variant: Variant) -> str:
    """The application's configuration, as YAML."""
    return CONFIG.format(name=json.dumps(served_name(variant)), threads=variant.execution.threads)


def inference_service(variant: Variant) -> str:
    """What tells KServe to serve the Triton repository, as YAML."""
    return SERVICE.format(name=json.dumps(cluster_name(variant)), threads=variant.execution.threads)


def cluster_name(variant: Variant) -> str:
    """A name that Kubernetes takes: small letters, digits and hyphens, a letter first, at most 50 (KServe adds its own).

    Example:
        >>> from types import SimpleNamespace
        >>> cluster_name(SimpleNamespace(name="fp32-on-ort-2t-allow_spinning=1")), cluster_name(SimpleNamespace(name="8B"))
        ('fp32-on-ort-2t-allow-spinning-1', 'm-8b')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", variant.name.lower()).strip("-")
    named = plain if plain[:1].isalpha() else f"m-{plain}"
    return named[:50].strip("-")
