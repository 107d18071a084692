from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from windtunnel import openvino_session
from windtunnel.errors import ConfigError, MissingError, ModelError, UserCodeError
from windtunnel.runtime import PROVIDERS, RUNTIMES, Runtime, find_runtime, open_session
from windtunnel.session import OnnxSession
from windtunnel.torch_session import TorchSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _rows(n: int) -> dict[str, NDArray[np.float32]]:
    return {"x": np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)}


def test_names() -> None:
    """The runtimes that the documentation names are there, each under its own name."""
    assert set(RUNTIMES) == {
        "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "openvino-bf16", "xgboost", "lightgbm",
        "torch-eager", "torch-compile", "torch-eager-cuda", "torch-compile-cuda",
    }  # fmt: skip
    assert all(name == each.name for name, each in RUNTIMES.items())
    assert set(PROVIDERS) <= set(RUNTIMES)


def test_unknown_name() -> None:
    """A name that is not known is refused with the nearest."""
    with pytest.raises(ConfigError, match=r"`runtime` .*did you mean `openvino`"):
        find_runtime("open-vino")


def test_default(tiny_model: Path) -> None:
    """A variant and the path of its file open the same session: ONNX Runtime on the processor."""
    variant = Variant.from_file(tiny_model)
    by_variant, by_path = open_session(variant), open_session(tiny_model)

    assert isinstance(by_variant, OnnxSession)
    assert by_variant.signature is variant.signature
    assert by_variant.run(_rows(3))["y"].tolist() == by_path.run(_rows(3))["y"].tolist()


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino"])
def test_function_for_a_file(tiny_model: Path, name: str) -> None:
    """A runtime of ONNX files refuses a function and says how to make a file of it; torch's refuse a file."""
    if RUNTIMES[name].missing():
        pytest.skip(RUNTIMES[name].missing())
    with pytest.raises(ModelError, match=r"is a function.*windtunnel export"):
        open_session("model.py:make", name)
    with pytest.raises(ModelError, match=r"is a file, and torch-eager runs the module.*write file\.py:function"):
        open_session(Variant.from_file(tiny_model), "torch-eager")


def test_functions_that_return_something_else(tmp_path: Path) -> None:
    """A function that does not return a module with its inputs, or that raises, is refused as the user's."""
    (tmp_path / "wrong.py").write_text("def make():\n    return 1\n\ndef fail():\n    raise KeyError('weights')\n")
    with pytest.raises(ModelError, match=r"`wrong\.py:make` did not return a module and its example inputs"):
        open_session("wrong.py:make", "torch-eager", home=tmp_path)
    with pytest.raises(UserCodeError, match="raised KeyError"):
        open_session("wrong.py:fail", "torch-eager", home=tmp_path)


def test_missing_is_refused_before_work(tiny_model: Path) -> None:
    """A runtime that lacks something here is refused with exit code 4 and the way out."""
    lacking = Runtime("onnxruntime-cuda", "onnx", "cuda", lambda: "no device; pip install it", lambda: "")
    with pytest.raises(
        MissingError, match="the runtime onnxruntime-cuda cannot run here: no device; pip install it"
    ) as e:
        lacking.open(tiny_model)

    assert e.value.exit_code == 4


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_missing_names_a_way_out(name: str) -> None:
    """What is missing is nothing, or something with a way to get it; opening agrees with it."""
    reason = RUNTIMES[name].missing()

    assert reason == "" or any(word in reason for word in ("install", "nvidia-smi", "set CXX"))


def test_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler torch.compile is not there; CXX may name one by another name."""
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/c++" if name == "my-c++" else None)
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in RUNTIMES["torch-compile"].missing()
    monkeypatch.setenv("CXX", "my-c++")
    assert RUNTIMES["torch-compile"].missing() == ""


def test_describe() -> None:
    """A profile is told what it was measured with: runtime, version, provider."""
    import onnxruntime

    assert RUNTIMES["onnxruntime-cpu"].describe() == f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"
    assert RUNTIMES["torch-eager"].describe().startswith(f"torch {torch.__version__} eager CPU (")


class _Asking(torch.nn.Module):
    """Keeps how many threads torch had while it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        return x


def test_threads_of_torch() -> None:
    """Each session runs with its own number of threads, though torch has one number for the process."""
    before = torch.get_num_threads()
    one, two = _Asking(), _Asking()
    sessions = [TorchSession(module, {"x": torch.zeros(2, 1)}, threads=n) for module, n in ((one, 1), (two, 2))]
    for _ in range(3):
        for session in sessions:
            session.run({"x": np.zeros((2, 1), np.float32)})
    torch.set_num_threads(before)

    assert (set(one.threads), set(two.threads)) == ({1}, {2})


def test_threads_of_the_others(tiny_model: Path) -> None:
    """ONNX Runtime and OpenVINO are opened with the number of threads that was asked for."""
    session: Any = open_session(tiny_model, threads=2)
    assert session._session.get_session_options().intra_op_num_threads == 2
    if not RUNTIMES["openvino"].missing():
        session = open_session(tiny_model, "openvino", threads=2)
        assert session._compiled.get_property("INFERENCE_NUM_THREADS") == 2


def test_openvino_computes_in_float32(tiny_model: Path) -> None:
    """OpenVINO is held to the model's own precision, also on processors with bfloat16."""
    if RUNTIMES["openvino"].missing():
        pytest.skip(RUNTIMES["openvino"].missing())
    session: Any = open_session(tiny_model, "openvino")

    assert session._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_openvino_does_not_call_home(tiny_model: Path) -> None:
    """Opening OpenVINO does not load its telemetry, in a process where nothing else has."""
    if RUNTIMES["openvino"].missing():
        pytest.skip(RUNTIMES["openvino"].missing())
    told = (
        "import sys; from windtunnel.runtime import open_session; "
        f"open_session({str(tiny_model)!r}, 'openvino'); print('openvino_telemetry' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "False"


def test_openvino_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenVINO the message says the command that installs it."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingError, match=r"OpenVINO is not installed; pip install 'windtunnel\[openvino\]'"):
        openvino_session.load_openvino()


def test_outputs_of_torch() -> None:
    """A module's outputs are called as the exporter calls them, whether it gives one, several or a dict."""

    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": x + 1, "hidden": x[:, :1]}

    session = TorchSession(Two(), {"x": torch.zeros(2, 3)})
    answers = session.run({"x": np.ones((4, 3), np.float32)})

    assert {name: a.shape for name, a in answers.items()} == {"output": (4, 3), "output_1": (4, 1)}
    assert [each.name for each in session.signature.outputs] == ["output", "output_1"]


def test_torch_answers_are_not_the_inputs() -> None:
    """A module that gives its input back, or a view of it, gives an array that the caller's writing does not change."""
    session = TorchSession(torch.nn.Identity(), {"input": torch.zeros(2, 3)})
    feeds = {"input": np.ones((2, 3), np.float32)}
    answers = session.run(feeds)
    feeds["input"][:] = 5.0

    assert answers["output"].tolist() == [[1.0] * 3] * 2


def test_torch_module_that_fails() -> None:
    """What the module raises on a batch is passed on in its words, and the next batch is answered."""

    class Picky(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] == 3:
                raise IndexError("three is too many")
            return x * 2

    session = TorchSession(Picky(), {"x": torch.zeros(2, 1)}, source="picky.py:make")
    with pytest.raises(ModelError, match=r"`picky\.py:make` cannot run this batch \(three is too many\)"):
        session.run({"x": np.zeros((3, 1), np.float32)})

    assert session.run({"x": np.ones((2, 1), np.float32)})["output"].tolist() == [[2.0], [2.0]]
