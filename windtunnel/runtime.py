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
from windtunnel.execution import FORESTS, RUNTIME, Execution
from windtunnel.factory import make_module
from windtunnel.source import is_function
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.session import Session
    from windtunnel.variant import Signature

Takes = Literal["onnx", "torch", "forest"]

FILES = {"onnx": "ONNX files", "forest": "its own library's files"}
"""What the runtimes that take files run."""


@dataclass(frozen=True)
class Runtime:
    """One way of running a model.

    Args:
        name: as on the command line.
        takes: `onnx`: a file; `forest`: a file of the library that it is called after; `torch`: a function of the user's that
            returns `(module, {name: example tensor})`.
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
        """Load a model; see `open_session`. A variant's options are used where this is the runtime that they are of."""
        self.check()
        if self.takes == "torch":
            return self._open_torch(source, threads, home)
        if isinstance(source, Variant):
            options = source.execution.options if source.execution.runtime == self.name else ()
            return self._open_file(source.path, source.signature, threads, options)
        if isinstance(source, str) and is_function(source):
            raise ModelError(
                f"is a function, and {self.name} runs {FILES[self.takes]}",
                value=source,
                fix="export it first: windtunnel export",
            )
        return self._open_file(home / source, None, threads)

    def _open_file(
        self, path: Path, signature: Signature | None, threads: int, options: tuple[tuple[str, str], ...] = ()
    ) -> Session:
        if self.takes == "forest":
            return self._open_forest(path, signature, threads)
        return self._open_onnx(path, signature, threads, options)

    def _open_forest(self, path: Path, signature: Signature | None, threads: int) -> Session:
        if self.name == "xgboost":
            from windtunnel.xgboost_session import XgboostSession

            return XgboostSession(path, signature, threads=threads)
        from windtunnel.lightgbm_session import LightgbmSession

        return LightgbmSession(path, signature, threads=threads)

    def _open_onnx(
        self, path: Path, signature: Signature | None, threads: int, options: tuple[tuple[str, str], ...]
    ) -> Session:
        if self.name == RUNTIME:
            from windtunnel.session import OnnxSession

            return OnnxSession(path, signature, threads=threads, options=options)
        if self.name in OPENVINO:
            from windtunnel.openvino_session import OpenVinoSession

            return OpenVinoSession(path, signature, threads=threads, precision=OPENVINO[self.name], options=options)
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
        made = make_module(source, home)
        compiled = self.name.startswith("torch-compile")
        return TorchSession(
            made.module, dict(made.inputs), compiled=compiled, device=self.device, threads=threads, source=source
        )


BFLOAT16 = ("AVX512-BF16", "AMX-BF16")
"""The instructions that multiply in bfloat16; without them it is emulated, and slower than float32."""

PROVIDERS = {"onnxruntime-cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}
"""The execution provider of each runtime that computes on a device."""


OPENVINO = {"openvino": "f32", "openvino-bf16": "bf16"}
"""What each of OpenVINO's runtimes computes floats in."""


def open_session(source: Variant | Path | str, runtime: str = "", *, threads: int = 0, home: Path = Path()) -> Session:
    """Load a model into a runtime, by the runtime's name.

    Args:
        source: a variant or an ONNX file; for torch's runtimes `file.py:function`, which returns a module and its example
            inputs.
        runtime: one of `RUNTIMES`; where empty, a variant's own, or the usual one.
        threads: intra-op threads; where 0, a variant's own, or one.
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
    own = source.execution if isinstance(source, Variant) else Execution()
    return find_runtime(runtime or own.runtime).open(source, threads=threads or own.threads, home=home)


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


def _lacks_library(name: str) -> str:
    from windtunnel.forest_session import INSTALL

    return "" if importlib.util.find_spec(name) else f"{name} is not installed; {INSTALL}"


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


def _openvino(precision: str) -> str:
    return f"openvino {_version('openvino')} CPU {precision}"


def _forest(name: str) -> str:
    package, version = installed(name)
    return f"{package} {version} CPU"


def _lacks_bfloat16() -> str:
    from windtunnel.hardware import Hardware

    lacks = _lacks_openvino()
    if lacks or any(isa in BFLOAT16 for isa in Hardware.detect().isa):
        return lacks
    return f"this processor does not compute in bfloat16 (it has none of {', '.join(BFLOAT16)})"


def _torch(way: str, device: str) -> str:
    import torch

    if device == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch left this one untyped
        return f"torch {torch.__version__} {way} (CUDA {torch.version.cuda}, cuDNN {cudnn})"
    return f"torch {torch.__version__} {way} CPU ({torch.backends.cpu.get_cpu_capability()})"


STANDS_FOR = {"xgboost": ("xgboost", "xgboost-cpu")}
"""Packages of which each brings the same module."""


def installed(module: str) -> tuple[str, str]:
    """The package that a module came with, and its version.

    Example:
        >>> installed("numpy")[0]
        'numpy'
    """
    for package in STANDS_FOR.get(module, (module,)):
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return module, "of the system"


def _version(package: str) -> str:
    return installed(package)[1]


def _make() -> dict[str, Runtime]:
    made = [
        Runtime("onnxruntime-cpu", "onnx", "cpu", _nothing, partial(_onnxruntime, "CPUExecutionProvider")),
        Runtime("openvino", "onnx", "cpu", _lacks_openvino, partial(_openvino, "float32")),
        Runtime("openvino-bf16", "onnx", "cpu", _lacks_bfloat16, partial(_openvino, "bfloat16")),
        Runtime("torch-eager", "torch", "cpu", _nothing, partial(_torch, "eager", "cpu")),
        Runtime("torch-compile", "torch", "cpu", _lacks_compiler, partial(_torch, "compile", "cpu")),
    ]
    made += [Runtime(each, "forest", "cpu", partial(_lacks_library, each), partial(_forest, each)) for each in FORESTS]
    for name, provider in PROVIDERS.items():
        lacks, version = partial(_lacks_provider, provider), partial(_onnxruntime, provider)
        made.append(Runtime(name, "onnx", "cuda", lacks, version))
    for way in ("eager", "compile"):
        lacks = partial(_lacks_cuda_torch, compiled=way == "compile")
        made.append(Runtime(f"torch-{way}-cuda", "torch", "cuda", lacks, partial(_torch, way, "cuda")))
    return {each.name: each for each in made}


RUNTIMES: Mapping[str, Runtime] = _make()
"""Every runtime by its name on the command line."""
