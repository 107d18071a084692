"""LitServe's interface to one ONNX model, in a module of its own: LitServe imports it anew in the worker's process."""

# its packages are in an environment of their own
# mypy: ignore-errors

import litserve
import numpy as np
from serving_peers import Model


class Api(litserve.LitAPI):
    """JSON in and out, which is what LitServe reads."""

    path = ""

    def setup(self, _device: str) -> None:
        """Open the model."""
        self.model = Model(self.path)

    def decode_request(self, request: dict) -> list:
        """One row of each input."""
        return [np.array(request[name], dtype) for name, _, dtype in self.model.inputs]

    def batch(self, inputs: list) -> list:
        """Rows stay apart until they run."""
        return inputs

    def predict(self, x: list) -> np.ndarray:
        """A batch."""
        return self.model.run(x)

    def unbatch(self, output: np.ndarray) -> list:
        """One row each."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict:
        """As JSON."""
        return {"y": output.tolist()}
