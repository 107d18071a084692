"""Other batching servers with one ONNX model, at the settings of `serving.py`: started by it, each with the Python of its environment.

    python serving_peers.py mosec|litserve|triton|serve|lean MODEL.onnx PORT [HAPROXY_FOLDER]

A request is one row of each input. mosec and bare Ray Serve take the inputs' bytes one after the other and give the output's;
Triton speaks the Open Inference Protocol with binary tensors; LitServe takes JSON, which is what it speaks.
"""

# its packages are in environments of their own
# mypy: ignore-errors

import os
import sys
from functools import partial

import numpy as np
import onnxruntime

MAX_BATCH, MAX_WAIT_S = 32, 0.005
LENGTH = 32
"""Of a free axis other than the batch."""


class Model:
    """A session of one thread."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [(each.name, *shape_of(each)) for each in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name

    def read(self, body: bytes) -> list[np.ndarray]:
        """One row of each input."""
        arrays, at = [], 0
        for _, shape, dtype in self.inputs:
            arrays.append(np.frombuffer(body, dtype, int(np.prod(shape)), at).reshape(shape))
            at += arrays[-1].nbytes
        return arrays

    def run(self, rows: list[list[np.ndarray]]) -> np.ndarray:
        """A batch."""
        feeds = {name: np.stack([row[index] for row in rows]) for index, (name, *_) in enumerate(self.inputs)}
        return self.session.run([self.output], feeds)[0]


def shape_of(tensor: object) -> tuple[tuple[int, ...], np.dtype]:
    """Of one row of an input."""
    dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64}[tensor.type]
    return tuple(axis if isinstance(axis, int) else LENGTH for axis in tensor.shape[1:]), np.dtype(dtype)


def mosec(path: str, port: int) -> None:
    """Rust in front, a Python worker behind."""
    os.environ["WINDTUNNEL_MODEL"] = path
    sys.argv = [sys.argv[0], "--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    from mosec import Server

    server = Server()
    server.append_worker(mosec_worker(), num=1, max_batch_size=MAX_BATCH, max_wait_time=int(MAX_WAIT_S * 1e3))
    server.run()


def mosec_worker() -> type:
    """The worker, which mosec makes anew in a process of its own."""
    from serving_mosec import Infer

    return Infer


def litserve(path: str, port: int) -> None:
    """FastAPI in front, a Python worker behind."""
    import litserve
    from serving_litserve import Api

    api = Api(max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_S)
    api.path = path
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


def triton(path: str, port: int) -> None:
    """Triton in front, Python behind."""
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    model = Model(path)

    @batch
    def infer(**feeds: np.ndarray) -> list[np.ndarray]:
        return [model.session.run([model.output], feeds)[0]]

    given = model.session.get_outputs()[0]
    inputs = [Tensor(name=name, dtype=dtype.type, shape=shape) for name, shape, dtype in model.inputs]
    output = Tensor(
        name=model.output, dtype=np.float32, shape=tuple(a if isinstance(a, int) else -1 for a in given.shape[1:])
    )
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, exit_timeout_secs=3
    )
    with Triton(config=config) as server:
        batching = ModelConfig(
            max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=int(MAX_WAIT_S * 1e6))
        )
        server.bind("model", infer, inputs=inputs, outputs=[output], config=batching)
        server.serve()


def serve(path: str, port: int, folder: str, lean: bool = False) -> None:
    """Ray Serve as its documentation writes a batching deployment, with our settings of Ray and HAProxy; where `lean`, with our rules for each request too."""
    from pathlib import Path

    from windtunnel.serving.ingress import RULES, prepare

    settings, why_not = prepare(Path(folder), 30.0, rules=RULES if lean else ())
    if why_not:
        sys.exit(f"no HAProxy: {why_not}")
    os.environ.update(settings)
    import threading

    import ray
    from ray import serve
    from starlette.responses import Response

    @serve.deployment(num_replicas=1, max_ongoing_requests=2 * MAX_BATCH)
    class Bare:
        def __init__(self) -> None:
            sys.path.insert(0, str(Path(__file__).parent))
            from serving_peers import Model

            self.model = Model(path)

        @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_WAIT_S)
        async def batched(self, rows: list) -> list:
            return list(self.model.run(rows))

        async def __call__(self, request: object) -> Response:
            answer = await self.batched(self.model.read(await request.body()))
            return Response(answer.tobytes(), media_type="application/octet-stream")

    ray.init("local", include_dashboard=False, log_to_driver=False, num_cpus=3, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
    try:
        serve.run(
            Bare.bind(),
            name="model",
            route_prefix="/",
            logging_config={"log_level": "ERROR", "enable_access_log": False},
        )
        threading.Event().wait()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    {"mosec": mosec, "litserve": litserve, "triton": triton, "serve": serve, "lean": partial(serve, lean=True)}[
        sys.argv[1]
    ](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
