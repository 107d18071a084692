from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from windtunnel.errors import ModelError
from windtunnel.hardware import Hardware
from windtunnel.optimize.quantize import count_quantized, dynamic_int8, int8_settings, sample_rows, static_int8
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SETTINGS = {"activations": "uint8", "weights": "int8", "reduce_range": False, "per_channel": True}


def _make(kind: str, parent: Variant, path: Path, rows: dict[str, NDArray[Any]]) -> None:
    if kind == "dynamic":
        dynamic_int8(parent, path, SETTINGS)
    else:
        static_int8(parent, path, SETTINGS, rows)


@pytest.mark.parametrize(
    ("architecture", "isa", "activations", "reduce_range"),
    [
        ("x86_64", ("AVX2",), "uint8", True),
        ("x86_64", ("AVX2", "AVX-512"), "uint8", True),
        ("x86_64", ("AVX2", "AVX-VNNI"), "uint8", False),
        ("x86_64", ("AVX512-VNNI",), "uint8", False),
        ("x86_64", ("AMX-INT8",), "uint8", False),
        ("AMD64", (), "uint8", True),
        ("aarch64", ("NEON-DOT",), "int8", False),
        ("arm64", (), "int8", False),
    ],
)
def test_settings_by_processor(architecture: str, isa: tuple[str, ...], activations: str, reduce_range: bool) -> None:
    """x86 multiplies unsigned with signed, and gives a bit up where that saturates; ARM multiplies signed with signed."""
    settings = int8_settings(Hardware("a processor", architecture, isa, 2, 2**30))

    assert settings == {
        "activations": activations,
        "weights": "int8",
        "reduce_range": reduce_range,
        "per_channel": True,
    }


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_quantized_and_near(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path, kind: str) -> None:
    """Both multiplications become integer ones, and the answers stay near."""
    path = tmp_path / "int8.onnx"
    _make(kind, mlp, path, rows)
    before, after = (next(iter(OnnxSession(each).run(rows).values())) for each in (mlp.path, path))

    assert count_quantized(mlp.path) == (0, 2)
    assert count_quantized(path) == (2, 2)
    assert 0.0 < float(np.abs(before - after).max()) < 0.05
    assert OnnxSession(path).signature.dynamic_batch


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_same_bytes(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path, kind: str) -> None:
    """The same step on the same parent gives the same bytes."""
    for name in ("a.onnx", "b.onnx"):
        _make(kind, mlp, tmp_path / name, rows)

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_static_ranges_come_from_the_rows(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """Other calibration rows make other ranges; the rows' values beyond the first 256 count too."""
    wide = {"x": rows["x"].copy()}
    wide["x"][-1] *= 100
    static_int8(mlp, tmp_path / "a.onnx", SETTINGS, rows)
    static_int8(mlp, tmp_path / "b.onnx", SETTINGS, wide)

    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_nothing_to_quantize(tmp_path: Path, kind: str) -> None:
    """A model that multiplies no matrices is refused, not handed on as int8."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, str(tmp_path / "m.onnx"))

    with pytest.raises(ModelError, match=r"m\.onnx: has 0 heavy operators and none of them was quantized"):
        _make(kind, Variant.from_file(tmp_path / "m.onnx"), tmp_path / "int8.onnx", {"x": np.ones(8, np.float32)})


def test_rows_that_do_not_fit(mlp: Variant, tmp_path: Path) -> None:
    """What the runtime raises while it calibrates is a refusal with its words."""
    with pytest.raises(ModelError, match=r"mlp\.onnx: cannot be quantized \(.*INVALID_ARGUMENT.*\); leave it as it is"):
        static_int8(mlp, tmp_path / "int8.onnx", SETTINGS, {"x": np.ones((4, 7), np.float32)})


def test_sampled_rows() -> None:
    """A sample has rows of the data only, each once, in their own order, the same for every input."""
    feeds = {"a": np.arange(100), "b": np.arange(100) * 2.0}
    sample = sample_rows(feeds, 30, np.random.default_rng(1))

    assert len(sample["a"]) == 30
    assert np.all(np.diff(sample["a"]) > 0)
    assert np.array_equal(sample["b"], sample["a"] * 2.0)
    assert np.array_equal(sample_rows(feeds, 500, np.random.default_rng(1))["a"], np.arange(100))
    assert np.array_equal(sample["a"], sample_rows(feeds, 30, np.random.default_rng(1))["a"])
