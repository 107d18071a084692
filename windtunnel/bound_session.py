"""ONNX Runtime with inputs and outputs in a device's memory; the same code on `cpu`, where contract tests reach it."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from windtunnel.errors import MissingError, ModelError
from windtunnel.session import DeviceSession, check_feeds, first_line, onnx_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.session import Feeds
    from windtunnel.variant import Signature

    Key = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]

CAPTURE = {
    "CUDAExecutionProvider": {"enable_cuda_graph": "1"},
    "TensorrtExecutionProvider": {"trt_cuda_graph_enable": "1"},
}
"""The option by which each provider records its kernels once and replays them (ONNX Runtime 1.32 documentation)."""

FALLBACKS = {"TensorrtExecutionProvider": ("CUDAExecutionProvider",)}
"""Providers that may take the nodes which the first cannot; the CPU's is always the last, added by the runtime itself."""

NO_CAPTURE = "-1"
"""The graph id that tells the runtime to leave one run uncaptured."""

INSTALL = "pip uninstall --yes onnxruntime && pip install 'windtunnel[gpu]'"
"""onnxruntime-gpu takes the place of onnxruntime: both are the module `onnxruntime`."""

MAX_SHAPES = 32
"""Sets of input shapes whose buffers, and captured graphs, are kept; further ones get buffers for one batch only."""


class BoundSession(DeviceSession):
    """ONNX Runtime on a device, through IO binding.

    For each set of input shapes the input buffers are made once. With `graphs`, output buffers stay in place as well and
    CUDA records the kernels once a set of shapes, where that is valid: the runtime refuses it for models with control
    flow or with computing nodes on the CPU, and an output whose size depends on the data has no fixed place. Then the
    session works without, and `graphs_note` says why.

    Args:
        path: the ONNX file.
        signature: what it takes and gives; read from the file where not known yet.
        threads: intra-op threads of the nodes that stay on the host.
        provider: the execution provider that must run the model.
        device: the provider's memory, as the runtime calls it.
        device_id: which device.
        graphs: keep every buffer in place and capture CUDA graphs, where valid.

    Raises:
        ModelError: the runtime cannot load the file, the model takes or gives text, or no node of it runs on the provider.
        MissingError: the provider is not in this build, or could not start: it would have fallen back to the CPU.
    """

    def __init__(
        self,
        path: Path,
        signature: Signature | None = None,
        *,
        threads: int = 1,
        provider: str = "CUDAExecutionProvider",
        device: str = "cuda",
        device_id: int = 0,
        graphs: bool = True,
    ) -> None:
        from windtunnel.variant import read_signature

        self.signature = signature if signature is not None else read_signature(path)
        self.threads, self.provider, self.device, self.device_id = threads, provider, device, device_id
        self._path = path
        _check_text(self.signature, path)
        self.graphs_note = _unfixed(self.signature) if graphs else "not asked for"
        self._session = self._open()
        self.nodes = _placement(self._session)
        if self.nodes and not self.nodes.get(provider):
            raise ModelError(
                f"would run on {', '.join(self.nodes)} alone: {provider} takes none of its nodes",
                file=path,
                fix="measure it on onnxruntime-cpu",
            )
        self._kept: dict[Key, _Buffers] = {}
        self._numbers = itertools.count()
        self._current: _Buffers | None = None

    @property
    def graphs(self) -> bool:
        """Whether every buffer stays in place (and, on CUDA, kernels are captured)."""
        return not self.graphs_note

    def _open(self) -> Any:
        """Open with capture where that is asked for; where the runtime refuses it, without."""
        options = CAPTURE.get(self.provider, {})
        if not options or self.graphs_note:
            return self._create({})
        try:
            return self._create(options)
        except ModelError as error:
            if "graph" not in error.problem.lower():
                raise
            self.graphs_note = error.problem
            return self._create({})

    def _create(self, options: Mapping[str, str]) -> Any:
        import onnxruntime

        if self.provider not in onnxruntime.get_available_providers():
            raise MissingError(f"this ONNX Runtime has no {self.provider}; {INSTALL}")
        if self.device == "cuda":
            _load_cuda()
        settings = onnx_options(self.threads)
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        own = {} if self.device == "cpu" else {"device_id": str(self.device_id)}
        providers = [(self.provider, {**own, **options}), *((each, own) for each in FALLBACKS.get(self.provider, ()))]
        try:
            session = onnxruntime.InferenceSession(str(self._path), settings, providers=providers)
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"cannot be loaded by ONNX Runtime on {self.provider} ({first_line(error)})",
                file=self._path,
                fix="export it again, or measure it on onnxruntime-cpu",
            ) from error
        _refuse_fallback(session, self.provider)
        return session

    def place(self, feeds: Feeds) -> None:
        """Copy a batch to the device; shapes met for the first time are checked and get buffers."""
        key = tuple((name, array.dtype, array.shape) for name, array in feeds.items())
        buffers = self._kept.get(key)
        if buffers is None:
            check_feeds(feeds, self.signature, self._path)
            buffers = self._buffers(key, feeds)
        self._current = None
        self.placed_bytes = buffers.fill(feeds)
        self._current = buffers

    def _buffers(self, key: Key, feeds: Feeds) -> _Buffers:
        keep = len(self._kept) < MAX_SHAPES
        # never the same number twice: buffers made after a failed run must not replay another shape's kernels
        graph = next(self._numbers) if self.graphs and keep else None
        buffers = _Buffers(self._session, feeds, self.device, self.device_id, graph)
        if keep:
            self._kept[key] = buffers
        return buffers

    def run_placed(self) -> None:
        """Compute on what was placed; the runtime returns when the device is done."""
        buffers = self._placed()
        try:
            buffers.run()
        except Exception as error:  # the runtime's errors share no base class
            self._forget(buffers)
            raise ModelError(
                f"cannot run this batch on {self.provider} ({first_line(error)})",
                file=self._path,
                fix="try other rows, or open the session without graphs",
            ) from error

    def fetch(self) -> dict[str, NDArray[Any]]:
        """Copy the answers to the host, into arrays of their own."""
        buffers = self._placed()
        if not buffers.done:
            raise ModelError("was placed but not run", field="the batch", fix="call run_placed() before fetch()")
        names = [tensor.name for tensor in self.signature.outputs]
        answers = dict(zip(names, buffers.binding.copy_outputs_to_cpu(), strict=True))
        self.fetched_bytes = sum(array.nbytes for array in answers.values())
        return answers

    def _placed(self) -> _Buffers:
        if self._current is None:
            raise ModelError("was not placed", field="the batch", fix="call place(feeds) first")
        return self._current

    def _forget(self, buffers: _Buffers) -> None:
        """Drop buffers whose run failed: the next batch of their shape starts from nothing."""
        self._kept = {key: each for key, each in self._kept.items() if each is not buffers}
        self._current = None


class _Buffers:
    """Device memory for one set of input shapes, bound to the session.

    Args:
        session: ONNX Runtime's.
        feeds: a batch of those shapes.
        device: whose memory.
        device_id: which device.
        graph: the number under which its graph is captured; None: outputs are allocated anew in every run.
    """

    def __init__(self, session: Any, feeds: Feeds, device: str, device_id: int, graph: int | None) -> None:
        import onnxruntime

        self._session, self._device, self._device_id, self.graph = session, device, device_id, graph
        self._outputs = [output.name for output in session.get_outputs()]
        self.binding = session.io_binding()
        self.inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, device_id)
            for name, array in feeds.items()
        }
        for name, value in self.inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        self._fixed = False
        self._plain, self._captured = _run_options(NO_CAPTURE), _run_options(str(graph))
        self.done = False

    def fill(self, feeds: Feeds) -> int:
        """Copy a batch in; how many bytes that was."""
        self.done = False
        for name, array in feeds.items():
            if array.size:
                self.inputs[name].update_inplace(array)
        self.binding.synchronize_inputs()
        return sum(array.nbytes for array in feeds.values())

    def run(self) -> None:
        """Compute; the first time, also learn how large the outputs are and put them in place."""
        if self.graph is not None and not self._fixed:
            self._run_free()
            self._fix_outputs()
        if self._fixed:
            self._session.run_with_iobinding(self.binding, self._captured)
        else:
            self._run_free()
        self.binding.synchronize_outputs()
        self.done = True

    def _run_free(self) -> None:
        """Run with outputs allocated by the runtime: bound anew, because what it allocated before stays bound."""
        for name in self._outputs:
            self.binding.bind_output(name, self._device, self._device_id)
        self._session.run_with_iobinding(self.binding, self._plain)

    def _fix_outputs(self) -> None:
        import onnxruntime

        for name, seen in zip(self._outputs, self.binding.get_outputs(), strict=True):
            place = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                seen.shape(), seen.element_type(), self._device, self._device_id
            )
            self.binding.bind_ortvalue_output(name, place)
        self._fixed = True


def _run_options(graph: str) -> Any:
    """The settings of one run: under which number its kernels are captured, and no chatter."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


def _check_text(signature: Signature, path: Path) -> None:
    """Refuse text: a device holds numbers only."""
    for tensor in (*signature.inputs, *signature.outputs):
        if tensor.dtype == "object":
            raise ModelError(
                "is text, which a device cannot hold", file=path, field=tensor.name, fix="measure it on onnxruntime-cpu"
            )


def _unfixed(signature: Signature) -> str:
    """Why an output cannot have a fixed place: an axis of it is named after no axis of an input; empty if it can."""
    known = {size for tensor in signature.inputs for size in tensor.shape}
    for tensor in signature.outputs:
        for size in tensor.shape:
            if isinstance(size, str) and size not in known:
                return f"the size `{size}` of output `{tensor.name}` is that of no input: it may depend on the data"
    return ""


def _refuse_fallback(session: Any, provider: str) -> None:
    """Refuse a session that quietly went to the CPU, which the runtime does when a provider cannot start."""
    if provider not in session.get_providers():
        raise MissingError(
            f"ONNX Runtime could not start {provider} and would have measured {session.get_providers()[0]}; "
            "check the NVIDIA driver (nvidia-smi) and install the CUDA and cuDNN that this build asks for: "
            "pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )


def _placement(session: Any) -> dict[str, int]:
    """How many nodes each provider took; empty where this ONNX Runtime (before 1.24) does not tell."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    if ask is None:
        return {}
    return dict(Counter({part.ep_name: 0 for part in ask()}) + Counter(p.ep_name for p in ask() for _ in p.get_nodes()))


def _load_cuda() -> None:
    """Let the runtime find the CUDA libraries that came with pip packages; a system's own are found without."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        # it prints what it does not find; stdout is the result's
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
