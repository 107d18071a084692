"""Would a variant answer the same on other processors? Told from this one, a target at a time, with what is not known said.

What is known, and from where:

- x86-64 with VNNI (or AMX) adds four byte products into 32 bits: exact (Intel SDM, `VPDPBUSD`).
- x86-64 with AVX2 or AVX-512 but no VNNI multiplies unsigned activations with signed weights by `vpmaddubsw`, which clamps
  sums of two to 16 bits (`pair_sum`); ONNX Runtime says so where it defines `session.x64quantprecision`
  (`onnxruntime_session_options_config_keys.h`). Signed activations of Q/DQ graphs are made unsigned on x86
  (`QDQS8ToU8Transformer`), and clamped just so. OpenVINO documents the same for SSE, AVX2 and AVX-512 without VNNI
  ("Saturation issue", 2022.3; NNCF 3.4, `OverflowFix`).
- `session.x64quantprecision=1` turns weights beyond ±64 into unsigned ones (`Avx2WeightS8ToU8Transformer`), whose kernels
  widen first: exact, and slower. With weights within ±64 (`reduce_range`) no pair can overflow.
- arm64 multiplies in dot products of 32 bits (`MlasGemmU8X8DispatchUdot`, `…Ummla`): exact. With SME, ONNX Runtime's
  KleidiAI kernels give each row of a dynamically quantized product its own scale, which x86 does not: other answers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import MissingError, ModelError

from .compressed_weights import GROUP
from .invariance import TOLERANCE
from .saturation import Anatomy, Emulation
from .yardstick import Yardstick, largest_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Feeds = Mapping[str, NDArray[Any]]

PRECISE = ("session.x64quantprecision", "1")
"""ONNX Runtime's setting under which no pair is clamped."""

REMEDY = (
    "serve it with session.x64quantprecision=1 there (exact, slower), or quantize with reduce_range (weights of 7 bits)"
)
WITH_VNNI, WITHOUT_VNNI, ARM = "x86-64 with VNNI or AMX", "x86-64 with AVX2 or AVX-512, without VNNI", "arm64"


@dataclass(frozen=True)
class TargetRisk:
    """What becomes of a variant's answers on one kind of processor.

    Args:
        target: the kind of processor.
        outcome: `same` up to rounding; `differs`, shown on real rows; `unknown`, which is no leave.
        largest: the largest change of an answer, relative to the largest; None where unknown.
        decisions: the share of rows that are decided otherwise; None where unknown, or where nothing is decided.
        clamped: of the sums of two products in the layers at risk, the share that was clamped.
        layers: the layers in which some were, the worst first.
        rows: how many rows were run; 0 where no row was needed to tell.
        why: in a clause.
        remedy: what to do, in a clause; empty where there is nothing to do.
    """

    target: str
    outcome: Literal["same", "differs", "unknown"]
    largest: float | None
    decisions: float | None
    clamped: float
    layers: tuple[str, ...]
    rows: int
    why: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The risk as JSON values."""
        return asdict(self) | {"layers": list(self.layers)}

    def describe(self) -> str:
        """One sentence for a report.

        Example:
            >>> _same(ARM, "it multiplies no integers").describe()
            'On arm64 the answers are the same up to rounding: it multiplies no integers.'
        """
        remedy = f"; {self.remedy}" if self.remedy else ""
        if self.outcome == "same":
            return f"On {self.target} the answers are the same up to rounding: {self.why}{remedy}."
        if self.outcome == "unknown":
            return f"On {self.target} the answers are not known: {self.why}{remedy}."
        decided = (
            f" and {self.decisions:.1%} of {self.rows} rows are decided otherwise" if self.decisions is not None else ""
        )
        return f"On {self.target} an answer moves by up to {self.largest:.2g}{decided}: {self.why}{remedy}."


def cross_isa(variant: Variant, feeds: Feeds, rows: int = 16) -> tuple[TargetRisk, ...]:
    """Tell what other processors would answer.

    Args:
        variant: an ONNX file and how it is run.
        feeds: real rows by input name; the first `rows` of them are run where the weights alone do not tell.
        rows: at most so many. MiniLM-L6 at 32 tokens takes 0.3 s a row, ResNet-18 0.9 s.

    Returns:
        A risk for each kind of processor.

    Raises:
        ModelError: the file cannot be read.
    """
    if variant.execution.own_file:
        return tuple(_same(target, "it compares and adds floats") for target in (WITH_VNNI, WITHOUT_VNNI, ARM))
    anatomy = Anatomy(variant.path)
    openvino = variant.execution.runtime.startswith("openvino")
    some = _some(variant, feeds, rows)
    told = [
        _with_vnni(),
        _without_vnni(variant, anatomy, some, openvino=openvino),
        _on_arm(anatomy, openvino=openvino),
    ]
    if variant.execution.precision == "bf16":
        told.append(_without_bf16(variant, some))
    return tuple(told)


def _some(variant: Variant, feeds: Feeds, rows: int) -> Feeds:
    """The first rows; as many as the model takes at once, where it takes no other number."""
    rows = variant.signature.fixed_batch or rows
    return {name: np.ascontiguousarray(array[:rows]) for name, array in feeds.items()}


def _same(target: str, why: str) -> TargetRisk:
    return TargetRisk(target, "same", 0.0, 0.0, 0.0, (), 0, why)


def _unknown(target: str, why: str, remedy: str) -> TargetRisk:
    return TargetRisk(target, "unknown", None, None, 0.0, (), 0, why, remedy)


def _with_vnni() -> TargetRisk:
    return _same(WITH_VNNI, "products of bytes are added in 32 bits, and floats differ by the order of sums alone")


def _without_vnni(variant: Variant, anatomy: Anatomy, feeds: Feeds, *, openvino: bool) -> TargetRisk:
    if anatomy.unread:
        names = ", ".join(anatomy.unread[:3]) + (", …" if len(anatomy.unread) > 3 else "")
        return _unknown(WITHOUT_VNNI, f"{names} multiply integers inside, which is not emulated", REMEDY)
    if openvino and dict(variant.execution.options).get(GROUP, "0") != "0":
        why = "whether OpenVINO quantizes activations as they come there, or leaves them floats, was not looked at"
        return _unknown(WITHOUT_VNNI, why, "run it there")
    if not anatomy.products:
        return _same(WITHOUT_VNNI, "it multiplies no unsigned with signed integers")
    if not any(product.at_risk for product in anatomy.products):
        return _same(WITHOUT_VNNI, "no two of its weights are large enough to overflow 16 bits")
    if not openvino and PRECISE in variant.execution.options:
        return _same(WITHOUT_VNNI, "session.x64quantprecision keeps its sums in 32 bits, more slowly")
    try:
        found = anatomy.emulate(feeds)
    except ModelError as error:
        return _unknown(WITHOUT_VNNI, error.problem, REMEDY)
    return _shown(found, len(next(iter(feeds.values()))), openvino=openvino)


def _shown(found: Emulation, rows: int, *, openvino: bool) -> TargetRisk:
    stick = Yardstick.of(found.exact)
    largest = largest_change(found.exact, found.clamped)
    decisions = float(np.mean(stick.departures(found.exact, found.clamped) > 0.0)) if stick.kind != "none" else None
    same = largest <= TOLERANCE and not decisions
    why = f"{found.share:.2g} of its sums of two products overflow 16 bits, in {len(found.layers)} layers" if found.layers else (
        "large weights met no activations large enough to overflow 16 bits on these rows"
    )  # fmt: skip
    remedy = "" if same else ("quantize with nncf.OverflowFix.ENABLE, or with reduce_range" if openvino else REMEDY)
    emulated = " (as ONNX Runtime pairs them; OpenVINO’s own kernels were not emulated)" if openvino else ""
    names = tuple(name for name, _ in found.layers)
    return TargetRisk(
        WITHOUT_VNNI,
        "same" if same else "differs",
        largest,
        decisions,
        found.share,
        names,
        rows,
        why + emulated,
        remedy,
    )


def _on_arm(anatomy: Anatomy, *, openvino: bool) -> TargetRisk:
    if not (anatomy.products or anatomy.unread or anatomy.dynamic):
        return _same(ARM, "it multiplies no integers")
    if openvino:
        return _unknown(ARM, "how OpenVINO multiplies integers there is not known to us", "measure it there")
    if anatomy.dynamic:
        why = "with SME, ONNX Runtime gives each row of a dynamically quantized product a scale of its own; without, sums are of 32 bits"
        return _unknown(ARM, why, "check its answers on the processor that will serve it")
    return _same(ARM, "products of bytes are added in 32 bits; signed activations are the faster ones there")


def _without_bf16(variant: Variant, feeds: Feeds) -> TargetRisk:
    """OpenVINO falls back to float32 where the processor has no bfloat16: asked for here, and compared."""
    from windtunnel.runtime import open_session

    target = "x86-64 without AVX512-BF16 or AMX"
    try:
        there = open_session(variant.path, "openvino").run(feeds)
        here = open_session(variant).run(feeds)
    except (ModelError, MissingError) as error:
        return _unknown(target, str(error), "check its answers there")
    stick, rows = Yardstick.of(there), len(next(iter(feeds.values())))
    decisions = float(np.mean(stick.departures(there, here) > 0.0)) if stick.kind != "none" else None
    largest = largest_change(there, here)
    why = "it is computed in float32 there: more exact than here, and slower"
    return TargetRisk(target, "differs" if largest > TOLERANCE else "same", largest, decisions, 0.0, (), rows, why)
