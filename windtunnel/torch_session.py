"""torch behind the door, eager or compiled, on the processor or on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import MissingError, ModelError
from windtunnel.session import DeviceSession, check_feeds, refusal
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Feeds


class TorchSession(DeviceSession):
    """A module of torch in evaluation mode, with gradients off.

    The number of threads is torch's own and holds for the whole process, so it is set before each run: sessions with
    different numbers can be measured in turns, but not at the same moment.

    Args:
        module: what runs.
        inputs: example tensors by argument name, rows on axis 0: they tell dtypes and shapes.
        compiled: through `torch.compile` with its defaults; the first batches then take seconds.
        device: `cpu` or `cuda`.
        threads: intra-op threads on the processor.
        source: named in messages.

    Raises:
        ModelError: the example inputs do not run.
        MissingError: torch sees no CUDA device.

    Example:
        >>> import numpy as np, torch
        >>> session = TorchSession(torch.nn.ReLU(), {"input": torch.zeros(2, 3)})
        >>> session.run({"input": np.array([[-1.0, 0.0, 2.0]], np.float32)})
        {'output': array([[0., 0., 2.]], dtype=float32)}
    """

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        *,
        compiled: bool = False,
        device: str = "cpu",
        threads: int = 1,
        source: str = "the module",
    ) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise MissingError("torch sees no CUDA device; install a CUDA build of torch and the NVIDIA driver")
        self.threads, self.device, self._source = threads, device, source
        self._module: Any = module.eval().to(device)
        self.signature = Signature(tuple(_described(name, tensor) for name, tensor in inputs.items()), ())
        self._checked: set[tuple[Any, ...]] = set()
        self._inputs: dict[str, torch.Tensor] = {}
        self._answers: dict[str, torch.Tensor] | None = None
        self._learn_outputs({name: tensor.detach().cpu().numpy() for name, tensor in inputs.items()})
        # after the plain module has shown its outputs: what fails above is the module, not the compiler
        if compiled:
            self._module = torch.compile(self._module)

    def _learn_outputs(self, feeds: Feeds) -> None:
        self.run(feeds)
        assert self._answers is not None
        outputs = tuple(_described(name, tensor) for name, tensor in self._answers.items())
        self.signature = Signature(self.signature.inputs, outputs)
        self._inputs, self._answers = {}, None
        self.placed_bytes = self.fetched_bytes = 0

    def place(self, feeds: Feeds) -> None:
        """Hand a batch to torch; on CUDA it is copied, on the processor it is read where it lies."""
        import torch

        self._inputs, self._answers = {}, None
        key = tuple((name, array.dtype, array.shape) for name, array in feeds.items())
        if key not in self._checked:
            check_feeds(feeds, self.signature)
            self._checked.add(key)
        self._inputs = {name: _tensor(array).to(self.device) for name, array in feeds.items()}
        self.placed_bytes = 0 if self.device == "cpu" else sum(array.nbytes for array in feeds.values())
        if self.device == "cuda":
            torch.cuda.synchronize()

    def run_placed(self) -> None:
        """Compute on what was placed, and wait for the device."""
        import torch

        if not self._inputs:
            raise ModelError("was not placed", field="the batch", fix="call place(feeds) first")
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                self._answers = _named(self._module(**self._inputs))
            if self.device == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # the user's module and torch's compiler raise what they like
            self._answers = None
            feeds = {name: tensor.cpu().numpy() for name, tensor in self._inputs.items()}
            found = refusal(error, feeds, self.signature)
            raise ModelError(found.problem, field=self._source, fix="try other rows, or mend the module") from error

    def fetch(self) -> dict[str, NDArray[Any]]:
        """Copy the answers to the host, into arrays of their own."""
        if self._answers is None:
            raise ModelError("was not run", field="the batch", fix="call place(feeds) and run_placed() before fetch()")
        lent = {tensor.untyped_storage().data_ptr() for tensor in self._inputs.values()}
        fetched = {name: _array(tensor, lent) for name, tensor in self._answers.items()}
        self.fetched_bytes = 0 if self.device == "cpu" else sum(array.nbytes for array in fetched.values())
        return fetched

    def ready(self, feeds: Feeds) -> Callable[[], object]:
        """Make a call from arrays to arrays with nothing around the module but what any server must do."""
        import torch

        check_feeds(feeds, self.signature)
        arrays = {name: _tensor(array).numpy() for name, array in feeds.items()}
        module, threads, device = self._module, self.threads, self.device
        from_numpy, inference_mode = torch.from_numpy, torch.inference_mode

        def call() -> object:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with inference_mode():
                given = {name: from_numpy(array) for name, array in arrays.items()}
                if device != "cpu":
                    given = {name: tensor.to(device) for name, tensor in given.items()}
                # the copy to the host waits for the device
                return [tensor.cpu().numpy() for tensor in _flat(module(**given))]

        return call


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    import torch

    # torch would warn that it might write to what must not be written
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _array(tensor: torch.Tensor, lent: set[int]) -> NDArray[Any]:
    """A tensor as an array that nobody else writes to: an answer that is an input, or a part of one, is copied."""
    if tensor.untyped_storage().data_ptr() in lent:
        tensor = tensor.clone()
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _described(name: str, tensor: torch.Tensor) -> Tensor:
    return Tensor(name, str(tensor.dtype).removeprefix("torch."), ("batch", *tensor.shape[1:]))


def _named(outputs: Any) -> dict[str, torch.Tensor]:
    """Call a module's outputs `output`, `output_1`, … as the exporter does, so that they can be compared with ONNX's."""
    return {"output" if at == 0 else f"output_{at}": each for at, each in enumerate(_flat(outputs))}


def _flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]
