from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel.digest import canonical_json
from windtunnel.errors import DataError, ModelError
from windtunnel.execution import Execution
from windtunnel.optimize.judged import Failure, Judged, Raced, Skipped, head, reason_of
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

PROMISED = {
    "name", "path", "runtime", "settings", "p50_s", "speedup", "speedup_low", "speedup_high", "quality", "quality_drop",
    "quality_drop_high", "bytes", "status", "reason",
}  # fmt: skip
"""What every entry of the frontier has."""


def test_every_entry_has_the_same_keys(judged_as: Callable[..., Judged], mlp: Variant) -> None:
    """Judged, raced or failed, an entry has every promised key; what is not known of it is null."""
    folder = mlp.path.parent
    judged, raced, failed = (
        judged_as("int8", speed=2.0, drop=0.25).to_dict(folder),
        Raced(mlp, "slower", "0.50 × as fast", 0.5, {"1": 2e-3}).to_dict(folder),
        Failure("fused", "has no attention").to_dict(),
    )

    assert all(set(entry) >= PROMISED for entry in (judged, raced, failed))
    assert {name for name in PROMISED if judged[name] is None} == set()
    assert {name for name in PROMISED if raced[name] is None} == {
        "speedup_low", "speedup_high", "quality", "quality_drop", "quality_drop_high",
    }  # fmt: skip
    assert {name for name in PROMISED if failed[name] is not None} == {"name", "status", "reason"}


def test_the_judgement_in_figures(judged_as: Callable[..., Judged], mlp: Variant) -> None:
    """Quality, drop and speed stand in the entry with their intervals, a time for each cell, and what was looked at."""
    entry = judged_as(
        "int8",
        speed=2.0,
        drop=0.25,
        checks={"attribution": {"ndcg": 1.0}},
        warnings=("mind",),
        notes=("told",),
        memory_bytes=7,
    ).to_dict(mlp.path.parent)

    assert (entry["quality"], entry["quality_drop"], entry["quality_drop_high"]) == (0.75, 0.25, 0.255)
    assert (entry["speedup_low"], entry["speedup"], entry["speedup_high"]) == (1.9, 2.0, 2.1)
    assert entry["p50_s"] == {"1": 0.5e-3, "8": 1e-3}
    assert (entry["quantized_operators"], entry["heavy_operators"], entry["rows"]) == (1, 2, 400)
    assert (entry["checks"], entry["warnings"], entry["notes"]) == ({"attribution": {"ndcg": 1.0}}, ["mind"], ["told"])
    assert (entry["batch_dependence"]["rows"], entry["memory_bytes"]) == (48, 7)
    assert json.loads(canonical_json(entry))["path"] == "mlp.onnx"


def test_settings_say_what_made_it_and_how_it_is_run(mlp: Variant) -> None:
    """The step, its settings, threads and options stand in one place; versions belong to the origin only."""
    origin = Origin("static-int8", mlp.sha256, {"calibrator": "entropy", "versions": {"onnx": "1.23"}})
    variant = replace(mlp, origin=origin, execution=Execution("openvino", 2, (("NUM_STREAMS", "1"),)))
    told = head(variant, mlp.path.parent)

    assert told["runtime"] == "openvino"
    assert told["settings"] == {
        "step": "static-int8", "calibrator": "entropy", "threads": 2, "options": {"NUM_STREAMS": "1"},
    }  # fmt: skip
    assert told["origin"]["settings"]["versions"] == {"onnx": "1.23"}


def test_a_variant_is_read_back_from_its_entry(judged_as: Callable[..., Judged], mlp: Variant) -> None:
    """What was judged can be opened again from its entry, as it was run."""
    judged = judged_as("int8")
    judged = replace(judged, variant=replace(judged.variant, execution=Execution("openvino-bf16", 2)))

    assert Variant.from_dict(judged.to_dict(mlp.path.parent), mlp.path.parent) == judged.variant


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("has no attention", file="work/fp32.onnx", fix="leave it"), "has no attention; leave it"),
        (DataError("are needed", field="rows"), "are needed"),
        (ValueError("no kernel\n  at node 7"), "no kernel"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_reasons_are_one_line(error: Exception, reason: str) -> None:
    """A reason is one line without the names of files; an error without words is called by its name."""
    assert reason_of(error) == reason


def test_what_was_not_made() -> None:
    """A variant that was not made has a name and a reason."""
    assert Skipped("float16", "the time for making was over").to_dict() == {
        "name": "float16", "reason": "the time for making was over",
    }  # fmt: skip
