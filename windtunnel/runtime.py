"""The inference runtimes by name: what each is, whether it can run here, and how a session of it is opened."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from windtunnel.errors import ConfigError, MissingError, ModelError, nearest
from windtunnel.source import call, is_function, load_function
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.session import Session
    from windtunnel.variant import Signature

Takes = Literal["onnx", "torch"]


@dataclass(frozen=True)
class Runtime:
    """One way of running a model.

    Args:
        name: as on the command line.
        takes: `onnx`: a file; `torch`: a function of the user's that returns `(module, {name: example tensor})`.
        device: whose memory it computes in.
        lacks: looks for what is missing here and names the way to it; empty where nothing is.
        version: what a profile says it was measured with.
    """

    name: str
    takes: Takes
    device: Literal["cpu", "cuda"]
    lacks: Callable[[], str]
    version: Callable[[], str]

    def missing(self) -> str:
        """What this runtime lacks here and the command or driver that brings it; empty where it can run.

        Example:
            >>> RUNTIMES["onnxruntime-cpu"].missing()
            ''
        """
        return self.lacks()

    def check(self) -> None:
        """Refuse to go on where something is missing.

        Raises:
            MissingError: with the way out.
        """
        reason = self.missing()
        if reason:
            raise MissingError(f"the runtime {self.name} cannot run here: {reason}")

    def describe(self) -> str:
        """The runtime with the versions that decide its speed, such as `onnxruntime 1.32.0 CPUExecutionProvider`."""
        return self.version()

    def open(self, source: Variant | Path | str, *, threads: int = 1, home: Path = Path()) -> Session:
        """Load a model; see `open_session`."""
        self.check()
        if self.takes == "torch":
            return self._open_torch(source, threads, home)
        if isinstance(source, Variant):
            return self._open_onnx(source.path, source.signature, threads)
        if isinstance(source, str) and is_function(source):
            raise ModelError(
                f"is a function, and {self.name} runs ONNX files",
                value=source,
                fix="export it first: windtunnel export",
            )
        return self._open_onnx(home / source, None, threads)

    def _open_onnx(self, path: Path, signature: Signature | None, threads: int) -> Session:
        if self.name == "onnxruntime-cpu":
            from windtunnel.session import OnnxSession

            return OnnxSession(path, signature, threads=threads)
        if self.name == "openvino":
            from windtunnel.openvino_session import OpenVinoSession

            return OpenVinoSession(path, signature, threads=threads)
        from windtunnel.bound_session import BoundSession

        return BoundSession(path, signature, threads=threads, provider=PROVIDERS[self.name])

    def _open_torch(self, source: Variant | Path | str, threads: int, home: Path) -> Session:
        from windtunnel.torch_session import TorchSession

        if not isinstance(source, str) or not is_function(source):
            name = source.path if isinstance(source, Variant) else source
            raise ModelError(
                f"is a file, and {self.name} runs the module that a function returns",
                value=str(name),
                fix="write file.py:function",
            )
        made = call(load_function(source, home), name=source)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
            raise ModelError(
                "did not return a module and its example inputs", field=source, fix="return (module, {name: tensor})"
            )
        compiled = self.name.startswith("torch-compile")
        return TorchSession(*made, compiled=compiled, device=self.device, threads=threads, source=source)


PROVIDERS = {"onnxruntime-cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}
"""The execution provider of each runtime that computes on a device."""


def open_session(
    source: Variant | Path | str, runtime: str = "onnxruntime-cpu", *, threads: int = 1, home: Path = Path()
) -> Session:
    """Load a model into a runtime, by the runtime's name.

    Args:
        source: a variant or an ONNX file; for torch's runtimes `file.py:function`, which returns a module and its example
            inputs.
        runtime: one of `RUNTIMES`.
        threads: intra-op threads.
        home: the folder that a path or function is relative to.

    Raises:
        ConfigError: there is no such runtime.
        ModelError: the source is not what the runtime takes, or cannot be loaded.
        MissingError: the runtime cannot run here.
        UserCodeError: the user's function raised.

    Example:
        >>> open_session("model.onnx", "onnxruntime")
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `runtime` (='onnxruntime') is not known; did you mean `onnxruntime-cpu` or ...
    """
    return find_runtime(runtime).open(source, threads=threads, home=home)


def find_runtime(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        ConfigError: there is none; the nearest names are listed.
    """
    if name not in RUNTIMES:
        raise ConfigError("is not known", field="runtime", value=name, fix=nearest(name, RUNTIMES))
    return RUNTIMES[name]


def _nothing() -> str:
    return ""


def _lacks_provider(provider: str) -> str:
    import onnxruntime

    from windtunnel.bound_session import INSTALL
    from windtunnel.gpu import lacks_gpu

    if provider not in onnxruntime.get_available_providers():
        return f"this ONNX Runtime was built without {provider}; {INSTALL}"
    if provider == "TensorrtExecutionProvider" and importlib.util.find_spec("tensorrt_libs") is None:
        return "TensorRT is not installed; pip install tensorrt"
    return lacks_gpu()


def _lacks_openvino() -> str:
    from windtunnel.openvino_session import INSTALL

    return "" if importlib.util.find_spec("openvino") else f"OpenVINO is not installed; {INSTALL}"


def _lacks_compiler() -> str:
    named = os.environ.get("CXX", "")
    if any(shutil.which(each) for each in (named, "g++", "clang++") if each):
        return ""
    return "torch.compile needs a C++ compiler; apt-get install g++, or set CXX"


def _lacks_cuda_torch(*, compiled: bool) -> str:
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA; install torch's CUDA build in its place"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device; install the NVIDIA driver (nvidia-smi shows it)"
    if compiled and importlib.util.find_spec("triton") is None:
        return "torch.compile on CUDA needs Triton; pip install triton"
    return ""


def _onnxruntime(provider: str) -> str:
    import onnxruntime

    cuda = getattr(onnxruntime, "cuda_version", "") if provider != "CPUExecutionProvider" else ""
    tensorrt = f", TensorRT {_version('tensorrt')}" if provider == "TensorrtExecutionProvider" else ""
    return f"onnxruntime {onnxruntime.__version__} {provider}" + (f" (CUDA {cuda}{tensorrt})" if cuda else "")


def _openvino() -> str:
    return f"openvino {_version('openvino')} CPU float32"


def _torch(way: str, device: str) -> str:
    import torch

    if device == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch left this one untyped
        return f"torch {torch.__version__} {way} (CUDA {torch.version.cuda}, cuDNN {cudnn})"
    return f"torch {torch.__version__} {way} CPU ({torch.backends.cpu.get_cpu_capability()})"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of the system"


def _make() -> dict[str, Runtime]:
    made = [
        Runtime("onnxruntime-cpu", "onnx", "cpu", _nothing, partial(_onnxruntime, "CPUExecutionProvider")),
        Runtime("openvino", "onnx", "cpu", _lacks_openvino, _openvino),
        Runtime("torch-eager", "torch", "cpu", _nothing, partial(_torch, "eager", "cpu")),
        Runtime("torch-compile", "torch", "cpu", _lacks_compiler, partial(_torch, "compile", "cpu")),
    ]
    for name, provider in PROVIDERS.items():
        lacks, version = partial(_lacks_provider, provider), partial(_onnxruntime, provider)
        made.append(Runtime(name, "onnx", "cuda", lacks, version))
    for way in ("eager", "compile"):
        lacks = partial(_lacks_cuda_torch, compiled=way == "compile")
        made.append(Runtime(f"torch-{way}-cuda", "torch", "cuda", lacks, partial(_torch, way, "cuda")))
    return {each.name: each for each in made}


RUNTIMES: Mapping[str, Runtime] = _make()
"""Every runtime by its name on the command line."""
