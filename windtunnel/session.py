"""The one small door to an inference runtime, and the stand-in that does nothing."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Signature

    Feeds = Mapping[str, NDArray[Any]]


class Session(abc.ABC):
    """A loaded model: `run` takes arrays by input name, rows on axis 0, and gives arrays by output name."""

    signature: Signature

    @abc.abstractmethod
    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch."""


class OnnxSession(Session):
    """ONNX Runtime behind the door.

    Args:
        path: the ONNX file.
        signature: what it takes and gives; read from the file where not known yet.
        threads: intra-op threads. One by default: replicas, not threads, are how small models fill a machine.
        providers: execution providers, tried in order.

    Raises:
        ModelError: the runtime cannot load the file.
    """

    def __init__(
        self,
        path: Path,
        signature: Signature | None = None,
        *,
        threads: int = 1,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        import onnxruntime

        from windtunnel.variant import read_signature

        self.signature = signature if signature is not None else read_signature(path)
        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, and need not be said on stderr too
        # a spinning thread steals the core that the next replica would use
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"cannot be loaded by ONNX Runtime ({reason})", file=path, fix="export it again"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch on the execution provider."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))


class NullSession(Session):
    """Does nothing: answers zeros of the right shape, so that timing it times the harness.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> x, y = Tensor("x", "float32", ("batch", 4)), Tensor("y", "float32", ("batch",))
        >>> NullSession(Signature((x,), (y,))).run({"x": np.zeros((2, 4), np.float32)})
        {'y': array([0., 0.], dtype=float32)}
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._answers: dict[int, dict[str, NDArray[Any]]] = {}

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Answer zeros, made once per batch size."""
        rows = len(next(iter(feeds.values())))
        if rows not in self._answers:
            self._answers[rows] = {
                tensor.name: np.zeros([rows, *(n if isinstance(n, int) else 1 for n in tensor.shape[1:])], tensor.dtype)
                for tensor in self.signature.outputs
            }
        return self._answers[rows]


def run_in_batches(session: Session, feeds: Feeds, batch: int = 4096) -> dict[str, NDArray[Any]]:
    """Run many rows in batches of at most `batch` and join the answers, so that memory stays bounded."""
    rows = len(next(iter(feeds.values())))
    if rows == 0:
        return NullSession(session.signature).run(feeds)
    parts = [
        session.run({name: array[start : start + batch] for name, array in feeds.items()})
        for start in range(0, rows, batch)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
