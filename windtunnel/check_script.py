"""A CheckScript: the short program in a bundle that runs its samples and compares, without windtunnel.

What may differ from what was expected, and what may not: the same file in the same runtime on the same kind of processor
answers alike. On another, sums are taken in another order, which moves float32 by rounding, and int8 or bfloat16 by more:
there a number may move by a sixty-fourth of the largest, and one decision in eight (a label, a text, a bool) may fall
otherwise. In float32 no decision may. What moves more was not proven: int8 that saturates where there is no VNNI, for one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from windtunnel.errors import ModelError
from windtunnel.runtime import installed

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.execution import Execution
    from windtunnel.variant import Variant

START = '''\
"""Run the samples through the model as it was proven: exit 0 where it answers as expected. Needs numpy and {package} only."""

import hashlib
import json
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
again = "copy the whole bundle again"
try:
    import numpy
{imports}

    record = json.loads((here / "bundle.json").read_text(encoding="utf-8"))
    for name in ("{model}", *record["companions"], "samples.npz"):
        with (here / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != record["files"][name]:
                sys.exit(f"{{name}} was changed after the bundle was written: {{again}}")
    execution, allowed = record["execution"], record["allowed"]
    proven = "it was proven with " + ", ".join(record["requirements"]) + " on " + record["made_on"]["cpu"]
except ImportError as error:
    sys.exit(f"{{error}}: pip install -r requirements.txt")
except OSError as error:
    sys.exit(f"{{error.filename}} cannot be read ({{error.strerror}}): {{again}}")
except (ValueError, LookupError, TypeError) as error:
    sys.exit(f"bundle.json is not whole ({{error}}): {{again}}")
samples = numpy.load(here / "samples.npz", allow_pickle=False)
inputs = {{name[3:]: samples[name] for name in samples.files if name.startswith("in.")}}
try:
'''

RUN_ONNXRUNTIME = """\
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = execution["threads"], 1
    for key, value in {"session.intra_op.allow_spinning": "0", **execution["options"]}.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(here / "model.onnx"), options, providers=["CPUExecutionProvider"])
    answers = session.run([each["name"] for each in record["signature"]["outputs"]], inputs)
"""

IMPORT_OPENVINO = """\
    sys.modules["openvino_telemetry"] = None  # which would write to the home folder and call home
    import openvino"""

RUN_OPENVINO = """\
    precision = "bf16" if execution["runtime"].endswith("-bf16") else "f32"
    usual = {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": precision}
    settings = {"INFERENCE_NUM_THREADS": execution["threads"], **usual, **execution["options"]}
    answers = list(openvino.Core().compile_model(str(here / "model.onnx"), "CPU", settings)(inputs).values())
"""

RUN_XGBOOST = """\
    booster = xgboost.Booster({"nthread": execution["threads"]}, model_file=bytearray((here / "{model}").read_bytes()))
    (x,), kept = inputs.values(), int(booster.attr("best_iteration") or -1) + 1  # 0 stands for all
    kind = "margin" if '"multi:softmax"' in booster.save_config() else "value"  # of sums, probabilities are made here
    answer = booster.inplace_predict(x, iteration_range=(0, kept), predict_type=kind, strict_shape=True)
    raised = numpy.exp(answer - answer.max(axis=1, keepdims=True))
    answers = [raised / raised.sum(axis=1, keepdims=True) if kind == "margin" else answer]
"""

RUN_LIGHTGBM = """\
    booster = lightgbm.Booster(model_str=(here / "{model}").read_text(encoding="utf-8"))
    (x,) = inputs.values()
    answer = booster.predict(x, num_threads=execution["threads"])
    answers = [numpy.asarray(answer, "float32").reshape(len(x), booster.num_model_per_iteration())]
"""

COMPARE = """\
except Exception as error:  # the runtime's errors share no base class
    sys.exit(f"{model} cannot be run ({str(error).splitlines()[0]}): {proven}")
for tensor, answer in zip(record["signature"]["outputs"], answers, strict=True):
    name, expected = tensor["name"], samples["out." + tensor["name"]]
    if answer.shape != expected.shape:
        sys.exit(f"{name} has the shape {answer.shape}, not {expected.shape}: another runtime? {proven}")
    if expected.dtype.kind == "f":
        limit, largest = allowed["numbers"], abs(expected).max(initial=0.0) or 1.0
        off = abs(answer.astype("float64") - expected).max(initial=0.0) / largest
    else:
        limit, off = allowed["decisions"], numpy.mean(answer != expected) if expected.size else 0.0
    print(f"{name}: {list(answer.shape)}, off by {off:.2g} where {limit:.2g} is allowed")
    if not off <= limit:
        sys.exit(f"{name} differs from what was expected: another processor or runtime? {proven}")
"""

NUMBERS, DECISIONS = 1e-3, 0.0
"""What may differ of float32: of the largest number of an output, and of its decisions."""

REDUCED_NUMBERS, REDUCED_DECISIONS = 2.0**-6, 0.125
"""What may differ of anything less precise."""

EXACT = frozenset({"fp32", "fp64"})
"""Precisions of which only the order of sums may move the answers."""

TIMEOUT_S = 600
"""A check that takes longer has failed."""

ALONE = "import runpy, sys; sys.modules['windtunnel'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Runs a script where windtunnel cannot be imported, though it may be installed."""


def check_script(execution: Execution, model: str = "model.onnx") -> str:
    """The program for a way of running.

    Args:
        execution: the way.
        model: what the model's file is called.

    Example:
        >>> from windtunnel.execution import Execution
        >>> "import onnxruntime" in check_script(Execution()), "import openvino" in check_script(Execution("openvino"))
        (True, True)
    """
    package = _package(execution)
    imports = IMPORT_OPENVINO if package == "openvino" else f"    import {package}"
    return START.format(package=package, imports=imports, model=model) + (RUN[package] + COMPARE).replace(
        "{model}", model
    )


RUN = {
    "onnxruntime": RUN_ONNXRUNTIME, "openvino": RUN_OPENVINO, "xgboost": RUN_XGBOOST, "lightgbm": RUN_LIGHTGBM,
}  # fmt: skip
"""How a package runs the samples."""


def _package(execution: Execution) -> str:
    """The module that runs it; OpenVINO's and ONNX Runtime's runtimes are several."""
    return execution.runtime.partition("-")[0]


def allowed(variant: Variant) -> dict[str, float]:
    """How far the program lets answers be off: numbers by a share of the largest, decisions by a share of all."""
    if variant.precision in EXACT and variant.execution.precision == "f32":
        return {"numbers": NUMBERS, "decisions": DECISIONS}
    return {"numbers": REDUCED_NUMBERS, "decisions": REDUCED_DECISIONS}


def requirements(execution: Execution) -> list[str]:
    """The packages that the program needs, in the versions that are here."""
    package, version = _installed(_package(execution))
    return [f"numpy=={metadata.version('numpy')}", f"{package}=={version}"]


def _installed(module: str) -> tuple[str, str]:
    """ONNX Runtime is installed under several names, and says its version itself."""
    if module == "onnxruntime":
        import onnxruntime

        return module, str(onnxruntime.__version__)
    return installed(module)


def run_check(folder: Path) -> str:
    """Run a bundle's program in a clean process that knows nothing of windtunnel, of `PYTHONPATH` or of the user's packages.

    Returns:
        What it printed.

    Raises:
        ModelError: it did not exit with 0; with its last words.
    """
    command = [sys.executable, "-I", "-c", ALONE, "check.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the bundle took longer than {TIMEOUT_S} s to check itself") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ModelError(f"the bundle does not pass its own check ({words[-1]})", fix="nothing was written")
    return done.stdout
