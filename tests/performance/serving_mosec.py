"""A worker of mosec with one ONNX model, in a module of its own: mosec imports it anew in the worker's process."""

# its packages are in an environment of their own
# mypy: ignore-errors

import os

from mosec import Worker
from serving_peers import Model


class Infer(Worker):
    """Raw bytes in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(os.environ["WINDTUNNEL_MODEL"])

    def deserialize(self, data: bytes) -> list:
        """One row of each input."""
        return self.model.read(data)

    def forward(self, data: list) -> list:
        """A batch."""
        return list(self.model.run(data))

    def serialize(self, data: object) -> bytes:
        """One row of the output."""
        return data.tobytes()
