from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.execution import Execution
from windtunnel.optimize.cross_isa import ARM, PRECISE, WITH_VNNI, WITHOUT_VNNI, TargetRisk, cross_isa
from windtunnel.optimize.int8 import hushed
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]


def _risks(variant: Variant, rows: Rows) -> dict[str, TargetRisk]:
    return {risk.target: risk for risk in cross_isa(variant, rows)}


@pytest.fixture(scope="module")
def dynamic(mlp: Variant, tmp_path_factory: pytest.TempPathFactory) -> tuple[Variant, Variant]:
    """Dynamic int8 with weights of 8 bits, and with weights of 7."""
    from onnxruntime.quantization import quantize_dynamic

    made, folder = [], tmp_path_factory.mktemp("cross_isa")
    for reduce_range in (False, True):
        path: Path = folder / f"int8-{reduce_range}.onnx"
        with hushed():
            quantize_dynamic(mlp.path, path, per_channel=True, reduce_range=reduce_range)
        made.append(Variant.from_file(path, precision="int8"))
    return made[0], made[1]


def test_floats_are_the_same_everywhere(mlp: Variant, rows: Rows) -> None:
    """A model of floats multiplies no integers: all processors give its answers."""
    assert {risk.outcome for risk in cross_isa(mlp, rows)} == {"same"}


def test_overflow_is_found(dynamic: tuple[Variant, Variant], rows: Rows) -> None:
    """Weights of 8 bits overflow without VNNI: by how much is said, and where; with VNNI nothing does."""
    wild = {"x": np.abs(rows["x"]) + 1}
    risks = _risks(dynamic[0], wild)
    risk = risks[WITHOUT_VNNI]

    assert risks[WITH_VNNI].outcome == "same"
    assert risk.outcome == "differs"
    assert risk.largest is not None
    assert risk.largest > 1e-3
    assert risk.clamped > 0.0
    assert risk.rows == 16
    assert len(risk.layers) >= 1
    assert "session.x64quantprecision=1" in risk.describe()
    assert risk.to_dict()["layers"] == list(risk.layers)


def test_seven_bits_are_safe(dynamic: tuple[Variant, Variant], rows: Rows) -> None:
    """With `reduce_range` nothing overflows, which the weights alone tell: no row is run."""
    risk = _risks(dynamic[1], rows)[WITHOUT_VNNI]

    assert (risk.outcome, risk.rows, risk.remedy) == ("same", 0, "")


def test_the_remedy_is_seen(dynamic: tuple[Variant, Variant], rows: Rows) -> None:
    """A variant that is run with the runtime's exact sums is the same without VNNI; OpenVINO does not know the setting."""
    precise = replace(dynamic[0], execution=Execution(options=(PRECISE,)))
    openvino = replace(dynamic[0], execution=Execution("openvino"))

    assert _risks(precise, rows)[WITHOUT_VNNI].outcome == "same"
    assert "were not emulated" in _risks(openvino, rows)[WITHOUT_VNNI].why
    assert "reduce_range" in _risks(openvino, {"x": np.abs(rows["x"]) + 1})[WITHOUT_VNNI].remedy


def test_the_remedy_changes_nothing_where_it_is_not_needed(dynamic: tuple[Variant, Variant], rows: Rows) -> None:
    """On a processor with VNNI the runtime's exact sums are the sums it had: the setting is safe to ship."""
    from windtunnel.hardware import Hardware
    from windtunnel.optimize.int8 import VNNI
    from windtunnel.runtime import open_session

    if not set(VNNI) & set(Hardware.detect().isa):
        pytest.skip("this processor has no VNNI")
    usual, precise = (
        open_session(replace(dynamic[0], execution=Execution(options=options))).run(rows)["y"]
        for options in ((), (PRECISE,))
    )

    assert usual == pytest.approx(precise, rel=1e-6)


def test_what_is_not_known_is_said(dynamic: tuple[Variant, Variant], rows: Rows) -> None:
    """How arm64 scales a dynamically quantized product depends on the processor: unknown is not the same."""
    risk = _risks(dynamic[0], rows)[ARM]

    assert (risk.outcome, risk.largest, risk.decisions) == ("unknown", None, None)
    assert "are not known" in risk.describe()


def test_products_that_are_not_seen_are_unknown(tmp_path: Path, rows: Rows) -> None:
    """A kind that multiplies integers inside, out of our sight, is named, and nothing is promised."""
    weights = {"w": np.full((16, 48), 127, np.int8), "b": np.zeros(48, np.float32), "s": np.float32(0.1)}
    node = helper.make_node(
        "QAttention", ["x", "w", "b", "s", "s"], ["y"], name="heads", domain="com.microsoft", num_heads=2
    )
    graph = helper.make_graph(
        [node], "planted", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 3, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 16])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "heads.onnx")
    risk = _risks(Variant.from_file(tmp_path / "heads.onnx"), rows)[WITHOUT_VNNI]

    assert risk.outcome == "unknown"
    assert "heads multiply integers inside" in risk.describe()


def test_bfloat16_falls_back_to_float32(mlp: Variant, rows: Rows) -> None:
    """Where a processor has no bfloat16, OpenVINO computes in float32: the answers there are shown, and differ or not."""
    pytest.importorskip("openvino")
    risk = cross_isa(replace(mlp, execution=Execution("openvino-bf16")), rows)[-1]

    assert risk.target == "x86-64 without AVX512-BF16 or AMX"
    assert risk.outcome in {"same", "differs"}
    assert risk.rows == 16
