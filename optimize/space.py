"""The space of variants: the steps that a model can have, in the order of their promise, and the ways a file can be run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.execution import RUNTIME, Execution
from windtunnel.runtime import OPENVINO, find_runtime
from windtunnel.variant import Variant

from .clean import Cleaning, cleaned
from .clipping import METHODS
from .compressed_weights import GROUP, compressed_weights
from .denormals import denormals_scrubbed
from .draft import attribute
from .dynamic_int8 import DynamicInt8, dynamic_int8
from .fuse import Fusion, fused
from .half import half
from .int8 import HEAVY, int8_settings
from .judged import Skipped
from .nncf_int8 import NncfInt8, nncf_int8
from .ort_offline import OrtOffline, ort_optimized
from .sensitivity import MixedInt8, mixed_int8
from .smooth_quant import smooth
from .static_int8 import StaticInt8, static_int8, suited
from .step import Nothing, Step
from .weight_only import WeightOnly, weight_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.hardware import Hardware

    from .goal import Goal

CALIBRATION_ROWS = 512
"""So many learning rows set ranges: more hardly move them, and each is run through the whole model."""

SPINNING = ("session.intra_op.allow_spinning", "1")
"""Several threads that wait for each other by spinning answer sooner, and burn a core doing nothing."""


@dataclass(frozen=True)
class Branch:
    """One file that can be made, and what to try where it is fast and not good enough.

    Args:
        step: makes it.
        of: the name of the file that it is made from; empty for the parent.
        repairs: steps from the same file that change its numbers and little of its speed.
        taught: whether it is, or is made from, a student: the rows that it was taught say little of it.
        options: settings of OpenVINO with which the file is run there, by their own names.
    """

    step: Step
    of: str = ""
    repairs: tuple[Step, ...] = ()
    taught: bool = False
    options: tuple[tuple[str, str], ...] = ()

    def way(self, usual: Execution) -> Execution:
        """How its file is run where others are run in the usual way: with its own options in OpenVINO, elsewhere as they are."""
        if usual.runtime not in OPENVINO:
            return usual
        return replace(usual, options=tuple(sorted({**dict(usual.options), **dict(self.options)}.items())))


@dataclass(frozen=True)
class Facts:
    """What a graph holds, as far as it decides which steps make sense.

    Args:
        kinds: of its operators, those of inner graphs too.
        domains: of its operators.
        widths: of its products with weights of their own: how many inputs each sums over.
    """

    kinds: frozenset[str]
    domains: frozenset[str]
    widths: frozenset[int] = frozenset()

    @staticmethod
    def of(variant: Variant) -> Facts:
        """Look at a file."""
        import onnx

        graph = onnx.load(str(variant.path), load_external_data=False).graph
        nodes = list(_nodes(graph))
        kinds, domains = (frozenset(getattr(each, of) for each in nodes) for of in ("op_type", "domain"))
        return Facts(kinds, domains, frozenset(_widths(graph)))

    @property
    def multiplies(self) -> bool:
        """Whether there is anything worth quantizing."""
        return any(kind in self.kinds for kind in HEAVY)

    @property
    def attends(self) -> bool:
        """Whether it may be a transformer."""
        return {"Softmax", "MatMul"} <= self.kinds

    @property
    def portable(self) -> bool:
        """Whether runtimes other than ONNX Runtime can know all of its operators: trees and its own kinds they do not."""
        return self.domains <= {"", "ai.onnx"}


def _nodes(graph: Any) -> Any:
    """Every node of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for each in node.attribute:
            for inner in (each.g, *each.graphs):
                yield from _nodes(inner)


def _widths(graph: Any) -> Any:
    """How many inputs each product with weights of its own sums over."""
    shapes = {each.name: each.dims for each in graph.initializer if len(each.dims) == 2}
    for node in graph.node:
        if node.op_type in {"MatMul", "Gemm"} and node.input[1] in shapes:
            yield shapes[node.input[1]][int(attribute(node, "transB", 0))]


def ways_to_run(goal: Goal, facts: Facts | None = None) -> tuple[list[Execution], list[Skipped]]:
    """The ways in which files may be run, and the runtimes that are left out, with the reason.

    Args:
        goal: the runtimes and numbers of threads to try.
        facts: of the model; where it is not portable, only ONNX Runtime's are tried.

    Example:
        >>> from windtunnel.optimize.goal import Goal
        >>> [each.label for each in ways_to_run(Goal(runtimes=("onnxruntime-cpu",), threads=(1, 2)))[0]]
        ['ort', 'ort-2t', 'ort-2t-allow_spinning=1']
    """
    ways: list[Execution] = []
    skipped: list[Skipped] = []
    for runtime in goal.runtimes:
        missing = find_runtime(runtime).missing()
        if not missing and runtime != RUNTIME and facts is not None and not facts.portable:
            missing = (
                f"the model has operators of {', '.join(sorted(facts.domains - {''}))}, which only ONNX Runtime knows"
            )
        if missing:
            skipped.append(Skipped(f"everything on {runtime}", missing))
            continue
        for threads in sorted(set(goal.threads)):
            ways.append(Execution(runtime, threads))
            if runtime == RUNTIME and threads > 1:
                ways.append(Execution(runtime, threads, (SPINNING,)))
    return ways, skipped


def propose(facts: Facts, hardware: Hardware, students: Sequence[Step] = ()) -> tuple[list[Branch], list[Skipped]]:
    """Every file that may be worth making, the most promising first, and what is not, with the reason.

    What is likely to be best comes first, because the budget may end before the last: integers where there are products of
    matrices, fused attention before plain, students after what needs no training, and the ways of other processors last.

    Args:
        facts: of the model.
        hardware: whose integer types are fast.
        students: steps that make students.
    """
    if not facts.multiplies:
        reason = (
            "the model multiplies no matrices: there is nothing to quantize, and what can be chosen is how it is run"
        )
        return [Branch(each, taught=True) for each in students], [
            Skipped("int8, half precision and fused variants", reason)
        ]
    types = int8_settings(hardware)
    branches = [Branch(Step("denormals-scrubbed", "scrub-denormals", "fp32", Nothing(), denormals_scrubbed))]
    branches += [*_fused(facts, types), *_integers(facts, types)]
    branches += [Branch(each, taught=True) for each in students]
    branches += [branch for each in students for branch in _of_student(each, facts, types)]
    branches += [*_others(facts, types)]
    return branches, []


def _fused(facts: Facts, types: Mapping[str, Any]) -> list[Branch]:
    if not facts.attends:
        return []
    found = []
    for packed, name in ((False, "fused"), (True, "packed")):
        found.append(Branch(Step(name, "fuse", "fp32", Fusion(packed), fused)))
        found.append(
            Branch(_dynamic(f"{name}-int8-dynamic", types), name, _dynamic_repairs(f"{name}-int8-dynamic", types))
        )
    return found


def _integers(facts: Facts, types: Mapping[str, Any]) -> list[Branch]:
    """int8 by ONNX Runtime's tools and by NNCF, ahead and as batches come."""
    plain = suited(set(facts.kinds), types)
    static = Branch(_static("int8-static", plain), "", _static_repairs("int8-static", plain))
    by_nncf = NncfInt8(model_type="transformer" if facts.attends else "")
    nncf = Branch(_nncf("int8-nncf", by_nncf), "", (_mixed("int8-nncf", by_nncf),))
    dynamic = Branch(_dynamic("int8-dynamic", types), "", _dynamic_repairs("int8-dynamic", types))
    if facts.attends:
        return [*_compressed(facts), nncf, dynamic, static]
    # where there are convolutions NNCF is often the fastest; elsewhere what takes a second comes before what takes ten
    return [static, nncf, dynamic] if "Conv" in facts.kinds else [static, dynamic, *_compressed(facts), nncf]


def _compressed(facts: Facts) -> list[Branch]:
    """Weights as bytes, with one scale for many activations of a row and with one for few: faster, and nearer."""
    if not ("MatMul" in facts.kinds or ("Gemm" in facts.kinds and "Conv" not in facts.kinds)):
        return []  # the one product behind many convolutions is not what takes their time
    # groups that do not fill a width are slower than smaller ones that do: 128 than 64 by a seventh at 192 inputs
    coarse = 128 if all(width % 128 == 0 for width in facts.widths) else 64
    return [
        Branch(Step(name, "compressed-weights", "int8", Nothing(), compressed_weights), options=((GROUP, str(size)),))
        for name, size in (("int8-weights", coarse), ("int8-weights-fine", 32))
    ]


def _of_student(student: Step, facts: Facts, types: Mapping[str, Any]) -> list[Branch]:
    name, settings = student.name, suited(set(facts.kinds), types)
    return [
        Branch(_static(f"{name}-int8-static", settings), name, taught=True),
        Branch(_dynamic(f"{name}-int8-dynamic", types), name, taught=True),
    ]


def _others(facts: Facts, types: Mapping[str, Any]) -> list[Branch]:
    """What seldom wins on this kind of processor, and is cheap to race."""
    signed = replace(suited(set(facts.kinds), types), activations="int8")
    found = [
        Branch(_static("int8-static-s8s8", signed)),
        Branch(_dynamic("int8-dynamic-per-tensor", {**types, "per_channel": False})),
        Branch(Step("cleaned", "clean", "fp32", Cleaning(), cleaned)),
        Branch(Step("float16", "half", "fp16", Nothing(), half, CALIBRATION_ROWS)),
    ]
    if "MatMul" in facts.kinds:
        found += [_weights(8, "rtn"), _weights(4, "hqq"), _weights(4, "gptq")]
    offline = Branch(Step("ort-optimized", "ort-optimize", "fp32", OrtOffline(), ort_optimized))
    return [*found, offline]


def _weights(bits: Literal[4, 8], method: Literal["rtn", "hqq", "gptq"]) -> Branch:
    name, rows = f"int{bits}-weights-{method}", CALIBRATION_ROWS if method == "gptq" else 0
    settings = WeightOnly(bits=bits, block=128 if bits == 8 else 32, method=method)
    return Branch(Step(name, "weight-only", f"int{bits}", settings, weight_only, rows))


def _dynamic(name: str, types: Mapping[str, Any]) -> Step:
    return Step(name, "dynamic-int8", "int8", _of_types(types), dynamic_int8)


def _of_types(types: Mapping[str, Any]) -> DynamicInt8:
    return DynamicInt8(per_channel=types["per_channel"], reduce_range=types["reduce_range"], weights=types["weights"])


def _dynamic_repairs(name: str, types: Mapping[str, Any]) -> tuple[Step, ...]:
    return (_smoothed(name, _of_types(types)),)


def _smoothed(name: str, then: StaticInt8 | DynamicInt8) -> Step:
    settings = Smoothed(then)
    return Step(f"{name}-smooth", "smooth-int8", "int8", settings, smooth_int8, CALIBRATION_ROWS)


def _static(name: str, settings: StaticInt8) -> Step:
    return Step(name, "static-int8", "int8", settings, static_int8, CALIBRATION_ROWS)


def _nncf(name: str, settings: NncfInt8) -> Step:
    return Step(name, "nncf-int8", "int8", settings, nncf_int8, CALIBRATION_ROWS)


def _static_repairs(name: str, settings: StaticInt8) -> tuple[Step, ...]:
    """Other ranges, smoothed activations, and at last the layers that do the damage in floats again."""
    others = [method for method in METHODS if method != settings.calibrator]
    ranges = [_static(f"{name}-{method}", replace(settings, calibrator=method)) for method in others]
    return (*ranges, _smoothed(name, settings), _mixed(name, settings))


def _mixed(name: str, of: StaticInt8 | NncfInt8) -> Step:
    settings = MixedInt8(of)
    # what is good enough is asked of a session that lives here
    return Step(
        f"{name}-mixed", "mixed-int8", "int8", settings, mixed_int8, CALIBRATION_ROWS, accepts=True, travels=False
    )


@dataclass(frozen=True)
class Smoothed:
    """int8 of a model whose activations were smoothed before."""

    then: StaticInt8 | DynamicInt8

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return {"smoothed": True, **self.then.to_dict()}


def smooth_int8(parent: Variant, path: Path, settings: Smoothed, rows: Mapping[str, NDArray[Any]]) -> None:
    """Smooth a model and quantize it, in one step: the smoothed model is no variant of its own."""
    with tempfile.TemporaryDirectory() as folder:
        smooth(parent, Path(folder) / "smooth.onnx", rows)
        between = Variant.from_file(Path(folder) / "smooth.onnx")
        if isinstance(settings.then, StaticInt8):
            static_int8(between, path, settings.then, rows)
        else:
            dynamic_int8(between, path, settings.then)
