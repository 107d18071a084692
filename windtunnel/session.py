"""The one small door to an inference runtime, and the stand-in that does nothing."""

from __future__ import annotations

import abc
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor

    Feeds = Mapping[str, NDArray[Any]]


class Session(abc.ABC):
    """A loaded model: `run` takes arrays by input name, rows on axis 0, and gives arrays by output name."""

    signature: Signature

    @abc.abstractmethod
    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch; what it gives stays as it is when the next one runs.

        Raises:
            ModelError: the inputs do not fit the signature, or the runtime refuses them; the session can be used on.
        """

    def ready(self, feeds: Feeds) -> Callable[[], object]:
        """Make a call that runs one batch with as little of ours around the runtime's own as can be: what is timed."""
        return partial(self.run, feeds)


class DeviceSession(Session):
    """A session with memory of its own beside the host's, so that copies and computing can be timed apart.

    `run` is the whole way, as a server sees it: `place`, `run_placed`, `fetch`. One caller at a time.
    """

    device: str
    """Whose memory it is: `cuda`, or `cpu` for the same code on a machine without an accelerator."""

    placed_bytes: int = 0
    """What the last `place` copied to the device."""

    fetched_bytes: int = 0
    """What the last `fetch` copied back."""

    @abc.abstractmethod
    def place(self, feeds: Feeds) -> None:
        """Copy a batch to the device, and return when it is there."""

    @abc.abstractmethod
    def run_placed(self) -> None:
        """Compute on what was placed, and return when it is done; may be called again and again."""

    @abc.abstractmethod
    def fetch(self) -> dict[str, NDArray[Any]]:
        """Copy the answers to the host."""

    @property
    def copied_bytes(self) -> int:
        """What the last batch moved between host and device, there and back."""
        return self.placed_bytes + self.fetched_bytes

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch, copies included."""
        self.place(feeds)
        self.run_placed()
        return self.fetch()


class OnnxSession(Session):
    """ONNX Runtime behind the door.

    Args:
        path: the ONNX file.
        signature: what it takes and gives; read from the file where not known yet.
        threads: intra-op threads. One by default: replicas, not threads, are how small models fill a machine.
        providers: execution providers, tried in order.
        options: further settings of the session, by ONNX Runtime's names for them.

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
        options: tuple[tuple[str, str], ...] = (),
    ) -> None:
        import onnxruntime

        from windtunnel.variant import read_signature

        self.signature = signature if signature is not None else read_signature(path)
        self.threads = threads
        self._path = path
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), onnx_options(threads, options), providers=list(providers)
            )
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"cannot be loaded by ONNX Runtime ({first_line(error)})", file=path, fix="export it again"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch on the execution provider."""
        # the runtime checks what it is fed: only where it refuses do we look for the plain words, so that a good call pays nothing
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))
        except Exception as error:  # the runtime's errors share no base class
            raise refusal(error, feeds, self.signature, self._path) from error

    def ready(self, feeds: Feeds) -> Callable[[], object]:
        """Make the runtime's own call on one batch, which is checked here, once."""
        check_feeds(feeds, self.signature, self._path)
        run, outputs, rows = self._session.run, self._outputs, dict(feeds)
        return lambda: run(outputs, rows)  # as one would write it: a partial takes a tenth of a microsecond more


def onnx_options(threads: int, further: tuple[tuple[str, str], ...] = ()) -> Any:
    """The settings with which every session of ONNX Runtime is opened: so many threads, none spinning, no chatter; and further ones."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and need not be said on stderr too
    # a spinning thread steals the core that the next replica would use
    for key, value in {"session.intra_op.allow_spinning": "0", **dict(further)}.items():
        options.add_session_config_entry(key, value)
    return options


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


def check_feeds(feeds: Feeds, signature: Signature, file: Path | None = None) -> None:
    """Refuse inputs that a model does not take.

    Args:
        feeds: arrays by input name.
        signature: what the model takes.
        file: named in the refusal.

    Raises:
        ModelError: an input is missing, unknown, of another dtype, of another rank, or of another size on a fixed axis.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> check_feeds({"x": np.zeros((2, 5), np.float32)}, Signature((Tensor("x", "float32", ("n", 4)),), ()))
        Traceback (most recent call last):
        windtunnel.errors.ModelError: `x` (=(2, 5)) has the wrong shape; the model takes [n, 4]
    """
    wanted = {tensor.name: tensor for tensor in signature.inputs}
    for name in (*wanted, *feeds):
        if name not in feeds:
            raise ModelError("is an input of the model and was not given", file=file, field=name, fix="feed it")
        if name not in wanted:
            raise ModelError("is not an input of the model", file=file, field=name, fix=nearest(name, wanted))
        _check_tensor(feeds[name], wanted[name], file)


def _check_tensor(array: NDArray[Any], tensor: Tensor, file: Path | None) -> None:
    if not isinstance(array, np.ndarray):
        raise ModelError(  # a caller without types
            f"is a {type(array).__name__}, not an array", file=file, field=tensor.name, fix="feed a numpy array"
        )
    text = tensor.dtype == "object" and array.dtype.kind in "OUS"
    if not text and str(array.dtype) != tensor.dtype:
        raise ModelError(
            "has the wrong dtype", file=file, field=tensor.name, value=str(array.dtype),
            fix=f"the model takes {tensor.dtype}",
        )  # fmt: skip
    fits = all(isinstance(want, str) or have == want for have, want in zip(array.shape, tensor.shape, strict=False))
    if array.ndim != len(tensor.shape) or not fits:
        takes = ", ".join(str(size) for size in tensor.shape)
        raise ModelError(
            "has the wrong shape", file=file, field=tensor.name, value=array.shape, fix=f"the model takes [{takes}]"
        )


def refusal(error: Exception, feeds: Feeds, signature: Signature, file: Path | None = None) -> ModelError:
    """Say why a batch failed: what is wrong with its inputs if anything is, else what the runtime said."""
    try:
        check_feeds(feeds, signature, file)
    except ModelError as found:
        return found
    return ModelError(
        f"cannot run this batch ({first_line(error)})", file=file, fix="try other rows, or export the model again"
    )


def first_line(error: BaseException) -> str:
    r"""What an error says first; its type's name where it says nothing.

    Example:
        >>> first_line(ValueError("no rows\nin file.cc")), first_line(KeyError())
        ('no rows', 'KeyError')
    """
    if "Failed to serialize proto" in str(error):  # protobuf's words for more than its messages hold
        return "it holds more than 2 GiB in one piece"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def cut(feeds: Feeds, rows: int) -> dict[str, NDArray[Any]]:
    """Take the first rows of real inputs, from the top again where there are too few.

    Example:
        >>> cut({"x": np.array([1, 2])}, 3)["x"].tolist()
        [1, 2, 1]
    """
    have = len(next(iter(feeds.values())))
    index = np.arange(rows) % have
    return {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}


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
