"""Triton Inference Server, from the package nvidia-pytriton, with a model that gives back what it is given.

Started by `other_servers.py` with the Python of an environment of its own: the port, and the datatypes as JSON.
"""

# its packages are in an environment of their own
# mypy: ignore-errors

import json
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

PORT, DATATYPES = int(sys.argv[1]), json.loads(sys.argv[2])
DTYPES = {name: np.bytes_ if name == "BYTES" else np.dtype(dtype).type for name, dtype in DATATYPES.items()}


@batch
def every(**feeds: np.ndarray) -> dict[str, np.ndarray]:
    """Give back what came."""
    return {name.replace("in_", "out_"): array for name, array in feeds.items()}


def tensors(side: str) -> list[Tensor]:
    """One of each datatype."""
    return [Tensor(name=f"{side}_{name}", dtype=dtype, shape=(2,)) for name, dtype in DTYPES.items()]


config = TritonConfig(
    http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False, exit_timeout_secs=3
)
with Triton(config=config) as triton:
    batching = ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=1000))
    triton.bind("every", every, inputs=tensors("in"), outputs=tensors("out"), config=batching)
    triton.serve()
