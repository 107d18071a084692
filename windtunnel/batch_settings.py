"""A BatchPolicy in the words of the servers that batch: Ray Serve, Triton and KServe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.deployment import BatchPolicy

RAY_SERVE = '''\
"""Dynamic batching as it was tuned, in the words of Ray Serve 2.60 (`serve/batching.py: batch`)."""

from ray import serve


# a replica takes on no more than max_ongoing_requests (5 where nothing is said): a batch and the next one must fit
@serve.deployment(num_replicas={replicas}, max_ongoing_requests={ongoing})
class Model:
    @serve.batch(max_batch_size={max_batch}, batch_wait_timeout_s={wait_s!r})
    async def __call__(self, requests: list) -> list:
        raise NotImplementedError("run the model on the whole list, and return one answer a request")
'''

TRITON = """\
# Dynamic batching as it was tuned, in the words of Triton (model_config.proto): lines of config.pbtxt.
max_batch_size: {max_batch}
instance_group [ {{ kind: KIND_CPU count: {replicas} }} ]
{batching}"""

KSERVE = """\
# Dynamic batching as it was tuned, in the words of KServe (serving.kserve.io/v1beta1): parts of an InferenceService.
# Its batcher counts whole milliseconds, takes 0 for 5000, and knows the V1 protocol over HTTP only.
spec:
  predictor:
    minReplicas: {replicas}
    maxReplicas: {replicas}
{batching}"""


def batch_settings(policy: BatchPolicy, replicas: int, sizes: Sequence[int] = ()) -> Mapping[str, str]:
    """What tells each server to batch like this, as text by file name.

    Args:
        policy: when a batch leaves.
        replicas: how many serve.
        sizes: batch sizes that were measured; Triton leaves early where one of them is reached.

    Example:
        >>> from windtunnel.deployment import BatchPolicy
        >>> print(batch_settings(BatchPolicy(8, 0.002), 4)["triton.pbtxt"].splitlines()[-1])
        dynamic_batching { max_queue_delay_microseconds: 2000 }
    """
    return {
        "ray_serve.py": RAY_SERVE.format(
            replicas=replicas, ongoing=2 * policy.max_batch, max_batch=policy.max_batch, wait_s=policy.max_wait_s
        ),
        "triton.pbtxt": TRITON.format(replicas=replicas, max_batch=policy.max_batch, batching=_triton(policy, sizes)),
        "kserve.yaml": KSERVE.format(replicas=replicas, batching=_kserve(policy)),
    }


def _triton(policy: BatchPolicy, sizes: Sequence[int]) -> str:
    if policy.max_batch == 1:
        return ""
    preferred = [size for size in sorted(set(sizes)) if 1 < size <= policy.max_batch]
    told = f"preferred_batch_size: {preferred} " if preferred else ""
    return f"dynamic_batching {{ {told}max_queue_delay_microseconds: {round(policy.max_wait_s * 1e6)} }}\n"


def _kserve(policy: BatchPolicy) -> str:
    if policy.max_batch == 1:
        return ""
    latency_ms = max(1, math.ceil(policy.max_wait_s * 1e3))
    return f"    batcher:\n      maxBatchSize: {policy.max_batch}\n      maxLatency: {latency_ms}\n"
