from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from windtunnel.deployment import BatchPolicy
from windtunnel.execution import Execution
from windtunnel.forest_file import read_forest_file
from windtunnel.triton_repository import config_pbtxt, unsaid, write_triton
from windtunnel.variant import Origin, Signature, Tensor, Variant

TYPES = ["INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "STRING", "BF16"]  # fmt: skip
KINDS = ["AUTO", "GPU", "CPU", "MODEL"]
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Reshape": {"shape": (1, "int64*")},
    "Input": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "int64*"), "reshape": (5, "Reshape")},
    "Output": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "int64*"), "reshape": (5, "Reshape")},
    "InstanceGroup": {"count": (2, "int32"), "kind": (4, "Kind")},
    "DynamicBatching": {"preferred_batch_size": (1, "int32*"), "max_queue_delay_microseconds": (2, "uint64")},
    "Parameter": {"string_value": (1, "string")},
    "ParametersEntry": {"key": (1, "string"), "value": (2, "Parameter")},
    "ModelConfig": {
        "name": (1, "string"), "max_batch_size": (4, "int32"), "input": (5, "Input*"), "output": (6, "Output*"),
        "instance_group": (7, "InstanceGroup*"), "default_model_filename": (8, "string"),
        "dynamic_batching": (11, "DynamicBatching"), "parameters": (14, "ParametersEntry*"), "backend": (17, "string"),
    },
}  # fmt: skip
"""The part of Triton's `model_config.proto` that we write: names, numbers and types of fields (a star: repeated)."""


@pytest.fixture(scope="module")
def model_config() -> Any:
    """Protobuf's own class for a configuration, so that protobuf's own parser says whether it is one."""
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="t", syntax="proto3")
    for name, prefix, values in (("DataType", "TYPE", TYPES), ("Kind", "KIND", KINDS)):
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=f"{prefix}_{value}", number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            plain, label = kind.rstrip("*"), 3 if kind.endswith("*") else 1
            added = message.field.add(name=field, number=number, label=label)
            if plain in {"int32", "int64", "uint64", "string"}:
                added.type = getattr(added, f"TYPE_{plain.upper()}")
            else:
                added.type_name = f".t.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.ModelConfig"))


ROWS, USUAL = Tensor("x", "float32", ("batch", 3, "width")), Execution()


def _variant(*inputs: Tensor, execution: Execution = USUAL, outputs: tuple[Tensor, ...] = ()) -> Variant:
    signature = Signature(inputs, outputs or (Tensor("y", "float32", ("batch",)),))
    return Variant("m=1", Path("m.onnx"), "0" * 64, "fp32", 1, signature, Origin("file"), execution)


def test_a_model_that_takes_batches(model_config: Any) -> None:
    """Triton adds the batch axis itself, joins requests up to the largest size, and one number a row has an axis of its own."""
    variant = _variant(ROWS, Tensor('a "word"', "object", ("batch", 1)), execution=Execution(threads=2))
    told = text_format.Parse(config_pbtxt(variant, BatchPolicy(32, 0.0025), (1, 8, 32)), model_config())

    assert (told.name, told.backend, told.max_batch_size) == ("m-1", "onnxruntime", 32)
    assert [(each.name, each.data_type, list(each.dims)) for each in told.input] == [
        ("x", TYPES.index("FP32"), [3, -1]),
        ('a "word"', TYPES.index("STRING"), [1]),
    ]
    assert (list(told.output[0].dims), told.output[0].HasField("reshape"), list(told.output[0].reshape.shape)) == (
        [1], True, [],
    )  # fmt: skip
    assert (told.instance_group[0].kind, told.instance_group[0].count) == (KINDS.index("CPU"), 1)
    assert list(told.dynamic_batching.preferred_batch_size) == [8, 32]
    assert told.dynamic_batching.max_queue_delay_microseconds == 2500
    assert _parameters(told) == {"intra_op_thread_count": "2", "inter_op_thread_count": "1"}


@pytest.mark.parametrize(
    ("tensor", "output"),
    [
        (Tensor("x", "int64", (4, 3)), Tensor("y", "float32", (4,))),
        (Tensor("x", "int64", ("batch", 3)), Tensor("y", "float32", ())),
        (Tensor("x", "int64", ()), Tensor("y", "float32", ())),
    ],
)
def test_a_model_without_a_free_batch(model_config: Any, tensor: Tensor, output: Tensor) -> None:
    """Where an axis of an input or output is no batch, all axes are told, and nothing is joined."""
    variant = _variant(tensor, outputs=(output,))
    told = text_format.Parse(config_pbtxt(variant, BatchPolicy(8, 0.001), (8,)), model_config())

    assert (told.max_batch_size, told.HasField("dynamic_batching")) == (0, False)
    wanted = [axis if isinstance(axis, int) else -1 for axis in tensor.shape] or [1]
    assert list(told.input[0].dims) == wanted


def test_batches_of_one(model_config: Any) -> None:
    """A model that was proven alone is served alone: a batch of one row, no dynamic batching."""
    told = text_format.Parse(config_pbtxt(_variant(ROWS), BatchPolicy(), (1,)), model_config())

    assert (told.max_batch_size, told.HasField("dynamic_batching")) == (1, False)


def test_openvino(model_config: Any) -> None:
    """OpenVINO's backend pads batches, so it is given none to join; it is told threads and bfloat16."""
    variant = _variant(ROWS, execution=Execution("openvino-bf16", 2))
    told = text_format.Parse(config_pbtxt(variant, BatchPolicy(32, 0.001), (32,)), model_config())

    assert (told.backend, told.default_model_filename, told.max_batch_size) == ("openvino", "model.onnx", 0)
    assert list(told.input[0].dims) == [-1, 3, -1]
    assert _parameters(told) == {"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "1", "HINT_BF16": "YES"}


def test_what_triton_cannot_be_told() -> None:
    """Float32 in OpenVINO, and settings of a session, are said in words: in the configuration and to whoever asks."""
    spinning = (("session.intra_op.allow_spinning", "1"),)
    cases = {
        Execution(): [],
        Execution(threads=2): ["allow_spinning=0"],
        Execution(threads=2, options=spinning): ["allow_spinning=1"],
        Execution("openvino-bf16"): ["not joined"],
        Execution("openvino", options=(("KEY", "v"),)): ["proven in float32", "not joined", "KEY=v"],
    }
    for execution, needles in cases.items():
        variant = _variant(ROWS, execution=execution)
        said = unsaid(variant)
        assert len(said) == len(needles)
        assert all(needle in sentence for needle, sentence in zip(needles, said, strict=True))
        assert all(f"\n# {each}\n" in config_pbtxt(variant, BatchPolicy(), (1,)) for each in said)


@pytest.mark.parametrize(
    ("form", "objective", "kept", "asked", "said"),
    [
        ("json", "binary:logistic", False, {"output_class": "true", "predict_proba": "true"}, []),
        ("ubj", "reg:squarederror", True, {"output_class": "false"}, ["booster[:2]"]),
    ],
)
def test_trees_in_their_own_file(
    model_config: Any, form: str, objective: str, kept: bool, asked: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    """The FIL backend is told the kind of file and whether there are classes; its tensors have its own names; the rest is said."""
    xgboost = pytest.importorskip("xgboost")
    x = np.random.default_rng(0).normal(size=(40, 3))
    booster = xgboost.train({"objective": objective, "nthread": 1}, xgboost.DMatrix(x, x[:, 0] > 0), 4)
    if kept:
        booster.set_attr(best_iteration="1")
    booster.save_model(tmp_path / f"m.{form}")
    file = read_forest_file(tmp_path / f"m.{form}")
    execution = Execution("xgboost", 2)
    variant = Variant("m", tmp_path / f"m.{form}", "0" * 64, "fp32", 1, file.signature, Origin("source"), execution)
    told = text_format.Parse(config_pbtxt(variant, BatchPolicy(64, 0.001), (64,)), model_config())

    assert (told.backend, told.default_model_filename, told.max_batch_size) == ("fil", f"model.{form}", 64)
    assert [(each.name, each.data_type, list(each.dims)) for each in (*told.input, *told.output)] == [
        ("input__0", TYPES.index("FP32"), [3]), ("output__0", TYPES.index("FP32"), [1]),
    ]  # fmt: skip
    assert _parameters(told) == {"model_type": f"xgboost_{form}", **asked}
    sentences = " ".join(unsaid(variant))
    assert all(each in sentences for each in ("not run here", "`x` is `input__0`", "2 threads", *said))
    assert ("booster[:" in sentences) == kept
    write_triton(variant, tmp_path / "triton", BatchPolicy(), (1,))
    copied = tmp_path / "triton" / "m" / "1" / f"model.{form}"
    assert copied.read_bytes() == variant.path.read_bytes()


def test_the_file_takes_no_room_twice(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository's model is the same file under another name, or a copy where there are no hard links."""
    variant = Variant.from_file(tiny_model, name="m")
    write_triton(variant, tmp_path / "linked", BatchPolicy(), (1,))

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    write_triton(variant, tmp_path / "copied", BatchPolicy(), (1,))
    linked, copied = (tmp_path / each / "m" / "1" / "model.onnx" for each in ("linked", "copied"))

    assert (linked.samefile(tiny_model), copied.samefile(tiny_model)) == (True, False)
    assert copied.read_bytes() == tiny_model.read_bytes()


def _parameters(told: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in told.parameters}
