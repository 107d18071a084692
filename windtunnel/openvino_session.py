"""OpenVINO behind the door: the same ONNX file, compiled for the processor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from windtunnel.errors import MissingError, ModelError
from windtunnel.session import Session, check_feeds, first_line, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.session import Feeds
    from windtunnel.variant import Signature

INSTALL = "pip install 'windtunnel[openvino]'"


class OpenVinoSession(Session):
    """OpenVINO on the processor, one request at a time.

    It computes in float32, as the model says, unless told otherwise: left to itself, OpenVINO takes bfloat16 on processors
    that have it, and would be compared with runtimes that do more exact work.

    Args:
        path: the ONNX file.
        signature: what it takes and gives; read from the file where not known yet.
        threads: threads of one request.
        precision: what floats are computed in: `f32` or `bf16`.
        options: further properties of the compiled model, by OpenVINO's names for them.

    Raises:
        ModelError: OpenVINO cannot read or compile the file.
        MissingError: OpenVINO is not installed.
    """

    def __init__(
        self,
        path: Path,
        signature: Signature | None = None,
        *,
        threads: int = 1,
        precision: str = "f32",
        options: tuple[tuple[str, str], ...] = (),
    ) -> None:
        from windtunnel.variant import read_signature

        openvino = load_openvino()
        self.signature = signature if signature is not None else read_signature(path)
        self.threads = threads
        self._path = path
        self._tensor = openvino.Tensor
        settings = {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": precision, **dict(options),
        }  # fmt: skip
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        except Exception as error:  # the runtime raises bare RuntimeErrors; each is passed on with its words
            raise ModelError(
                f"cannot be loaded by OpenVINO ({_reason(error)})", file=path, fix="measure it on onnxruntime-cpu"
            ) from error
        self._request = self._compiled.create_infer_request()
        # a value that is only passed on has several names, of which ours is one
        ports = {name: port for port in self._compiled.inputs for name in port.get_names()}
        self._inputs = {tensor.name: ports[tensor.name] for tensor in self.signature.inputs if tensor.name in ports}
        self._outputs = [tensor.name for tensor in self.signature.outputs]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch; inputs are read where they lie, outputs are copied out."""
        if feeds.keys() != self._inputs.keys():
            check_feeds(feeds, self.signature, self._path)
        try:
            # set one by one: given as a whole, arrays of another dtype would be converted in silence
            for name, array in feeds.items():
                # memory can be shared only where it is in order and may, in principle, be written to
                plain = array if array.flags.carray else array.copy(order="C")
                self._request.set_tensor(self._inputs[name], self._tensor(plain, shared_memory=True))
            answers = self._request.infer(share_outputs=False)
        except Exception as error:  # as above
            raise refusal(error, feeds, self.signature, self._path) from error
        return dict(zip(self._outputs, answers.values(), strict=True))


def load_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would write to the home folder and call home while we measure.

    Raises:
        MissingError: OpenVINO is not installed.
    """
    blocked = "openvino_telemetry"
    hidden = blocked not in sys.modules
    if hidden:
        sys.modules[blocked] = None  # type: ignore[assignment]  # the import system's own way to say "not there"
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingError(f"OpenVINO is not installed; {INSTALL}") from error
    finally:
        if hidden:
            del sys.modules[blocked]
    return openvino


def _reason(error: BaseException) -> str:
    """The last line that says something: OpenVINO puts where it was raised before what is wrong."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else first_line(error)
