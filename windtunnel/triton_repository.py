"""A TritonRepository: the folder from which NVIDIA's Triton Inference Server serves one model.

Field names are those of Triton's `model_config.proto`; parameters are those that the backends read (onnxruntime_backend
`src/onnxruntime.cc`, openvino_backend `src/openvino.cc`, 2024):

- ONNX Runtime takes threads, and no other setting of a session.
- OpenVINO takes threads and bfloat16, and has no word for float32: where the processor has bfloat16, it computes in it.
- OpenVINO's batch is fixed at `max_batch_size`, and every smaller one is padded to it, which takes as long as the largest. So
  there the batch is one of the model's own axes: clients send batches of any size, and requests are not joined.
- XGBoost's and LightGBM's own files are run by the FIL backend (fil_backend `docs/model_config.md` and `docs/model_support.md`,
  2024), whose tensors have names of their own and are float32, and which has no word for threads.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from windtunnel.execution import FORESTS
from windtunnel.forest_file import read_forest_file
from windtunnel.onnx_file import copy_model
from windtunnel.serving.protocol import datatype, served_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.deployment import BatchPolicy
    from windtunnel.variant import Tensor, Variant


def write_triton(variant: Variant, folder: Path, policy: BatchPolicy, sizes: tuple[int, ...]) -> None:
    """Write the repository.

    The model's file is a hard link where there can be one, so that it takes no room twice and is a file of its own wherever
    the folder is copied, packed or mounted. External weights are copied: onnx refuses those with several links.

    Args:
        variant: the model.
        folder: the repository's.
        policy: when a batch leaves.
        sizes: the batch sizes at which it was proven.
    """
    home = folder / served_name(variant)
    model = home / "1" / _file_name(variant)
    model.parent.mkdir(parents=True)
    if variant.companions:
        copy_model(variant.path, model)
    else:
        _link(variant.path, model)
    (home / "config.pbtxt").write_text(config_pbtxt(variant, policy, sizes), encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # this file system has no hard links
        shutil.copyfile(source, target)


def _file_name(variant: Variant) -> str:
    """What the model's file is called in the repository."""
    return f"model{variant.path.suffix}" if variant.execution.own_file else "model.onnx"


def _backend(variant: Variant) -> str:
    runtime = variant.execution.runtime.partition("-")[0]
    return {"openvino": "openvino", **dict.fromkeys(FORESTS, "fil")}.get(runtime, "onnxruntime")


def config_pbtxt(variant: Variant, policy: BatchPolicy, sizes: tuple[int, ...]) -> str:
    """The model's configuration, as protobuf text.

    Args:
        variant: the model.
        policy: when a batch leaves.
        sizes: batch sizes worth waiting for.
    """
    backend = _backend(variant)
    batched = has_batch_axis(variant) and backend != "openvino"
    inputs, outputs = variant.signature.inputs, variant.signature.outputs
    if backend == "fil":
        inputs, outputs = (
            (replace(side[0], name=name, dtype="float32"),)
            for side, name in ((inputs, FIL_INPUT), (outputs, FIL_OUTPUT))
        )
    lines = [
        f"name: {_text(served_name(variant))}",
        f"backend: {_text(backend)}",
        f"default_model_filename: {_text(_file_name(variant))}",
        f"max_batch_size: {policy.max_batch if batched else 0}",
        *(line for tensor in inputs for line in _tensor("input", tensor, batched=batched)),
        *(line for tensor in outputs for line in _tensor("output", tensor, batched=batched)),
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        *(_parameter(*each) for each in _parameters(variant)),
        *(_batching(policy, sizes) if batched and policy.max_batch > 1 else ()),
        *(f"# {each}" for each in unsaid(variant)),
    ]
    return "\n".join(lines) + "\n"


def has_batch_axis(variant: Variant) -> bool:
    """Whether the first axis of everything that goes in and comes out is free."""
    tensors = (*variant.signature.inputs, *variant.signature.outputs)
    return all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)


def unsaid(variant: Variant) -> tuple[str, ...]:
    """How the model was proven, as far as Triton cannot be told: a sentence each."""
    execution = variant.execution
    if execution.own_file:
        return tuple(_unsaid_of_fil(variant))
    if execution.runtime.startswith("openvino"):
        float32 = "It was proven in float32; Triton's OpenVINO backend computes in bfloat16 where the processor has it."
        batch = "Requests are not joined: Triton's OpenVINO backend would pad every batch to the largest."
        said = [float32] if execution.precision == "f32" else []
        said += [batch] if has_batch_axis(variant) else []
        settings = dict(execution.options)
    else:
        # a session of one thread has nobody to spin
        said = []
        settings = ({"session.intra_op.allow_spinning": "0"} if execution.threads > 1 else {}) | dict(execution.options)
    return (
        *said,
        *(f"It was proven with {key}={value}, which Triton cannot be told." for key, value in settings.items()),
    )


def _unsaid_of_fil(variant: Variant) -> Iterator[str]:
    (x,), (answer,) = variant.signature.inputs, variant.signature.outputs
    yield (
        f"Triton's FIL backend walks the trees with code of its own: that was not run here. Ask it the rows in samples.npz first; "
        f"there `{x.name}` is `{FIL_INPUT}` and `{answer.name}` is `{FIL_OUTPUT}`."
    )
    yield "FIL reads XGBoost's files from Triton 24.03 on, and of versions that its Treelite knows."
    if variant.execution.runtime == "lightgbm" or x.dtype != "float32":
        yield "FIL rounds thresholds and inputs to float32: a row right beside a threshold may go the other way."
    file = read_forest_file(variant.path)
    if file.kept:
        yield f"FIL uses all trees: keep only the first {file.kept} rounds, which are those that are used here (`booster[:{file.kept}].save_model`)."
    if file.objective == "multi:softmax":
        yield "Its objective asks for the likeliest class, which FIL may answer in place of probabilities."
    yield f"It was proven with {variant.execution.threads} threads a call, which FIL cannot be told."


def _tensor(side: str, tensor: Tensor, *, batched: bool) -> list[str]:
    kind = datatype(tensor).replace("BYTES", "STRING")
    dims = [axis if isinstance(axis, int) else -1 for axis in tensor.shape[1 if batched else 0 :]]
    # one number a row: Triton wants an axis of its own for it
    shape = f"dims: {dims}" if dims else "dims: [1] reshape: { shape: [] }"
    return [f"{side} [ {{ name: {_text(tensor.name)} data_type: TYPE_{kind} {shape} }} ]"]


def _parameters(variant: Variant) -> list[tuple[str, str]]:
    threads = str(variant.execution.threads)
    if variant.execution.own_file:
        return _parameters_of_fil(variant)
    if not variant.execution.runtime.startswith("openvino"):
        return [("intra_op_thread_count", threads), ("inter_op_thread_count", "1")]
    bfloat16 = [("HINT_BF16", "YES")] if variant.execution.precision == "bf16" else []
    return [("INFERENCE_NUM_THREADS", threads), ("NUM_STREAMS", "1"), *bfloat16]


FIL_INPUT, FIL_OUTPUT = "input__0", "output__0"
"""What the FIL backend's tensors are called, whatever the model's are."""

MODEL_TYPES = {".json": "xgboost_json", ".ubj": "xgboost_ubj", ".txt": "lightgbm"}


def _parameters_of_fil(variant: Variant) -> list[tuple[str, str]]:
    """The kind of file, and where there are classes that probabilities are wanted; of two classes FIL gives the second's alone."""
    classes = read_forest_file(variant.path).classifies
    asked = [("output_class", "true"), ("predict_proba", "true")] if classes else [("output_class", "false")]
    return [("model_type", MODEL_TYPES[variant.path.suffix]), *asked]


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_text(key)} value: {{ string_value: {_text(value)} }} }}"


def _batching(policy: BatchPolicy, sizes: tuple[int, ...]) -> list[str]:
    preferred = sorted(size for size in set(sizes) if 1 < size <= policy.max_batch)
    wait_us = round(policy.max_wait_s * 1e6)
    return [f"dynamic_batching {{ preferred_batch_size: {preferred} max_queue_delay_microseconds: {wait_us} }}"]


def _text(value: str) -> str:
    """A string as protobuf text: JSON's escapes are a part of its own."""
    return json.dumps(value, ensure_ascii=False)
