"""scikit-learn → ONNX, preprocessing and all, verified against its source.

A pipeline that picks columns takes an input `[batch, 1]` for each that it uses, text as strings; any other takes one matrix
`[batch, n]` called `x`. A classifier answers with its probabilities first and the label second.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.model_names import ModelNames
from windtunnel.session import OnnxSession, first_line

from .columns import Column, Kind, draw_rows, read_columns
from .conversion import Conversion, check_conversion, compare_answers
from .extra import load_extra
from .forest import ML, ML_OPSET, OPSET, Width
from .sklearn_forest import OURS, parts_of, register_forests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    Row = list[NDArray[Any]]

ROWS, SEED = 4000, 20260
"""How many rows are made up to compare a conversion with its source, and the seed of their chance."""

ROW_BYTES = 2**28
"""What these rows may take."""

ANSWERS = {"predict_proba": "probabilities", "decision_function": "scores", "predict": "values", "transform": "values"}
"""What a model is asked, in this order, and what it answers with."""


def export_sklearn(model: Any, path: Path, *, source: str = "the model") -> Conversion:
    """Write a fitted estimator or pipeline as ONNX and compare the two.

    Floats are float32 where that gives the source's answers, else float64, in the inputs too: for numbers too large or too
    near a threshold for float32, and for trees behind a scaler.

    Args:
        model: fitted; it can `predict_proba`, `decision_function`, `predict` or `transform`.
        path: where the ONNX file goes.
        source: named in messages.

    Returns:
        How near the answers come, on `ROWS` rows (fewer of wide ones) made up from what the pipeline knows of its columns.

    Raises:
        ModelError: not fitted, a step that ONNX cannot express, or other answers.
        MissingError: skl2onnx is not installed.
    """
    register_forests()
    subject = _Subject.of(model, source)
    best: tuple[bytes, Conversion] | None = None
    refusals = []
    widths: tuple[Width, ...] = ("float32", "float64")
    for width in widths:
        try:
            made = subject.translate(width)
            if width == "float64":
                _widen(made.graph)
            content = _tidy(made, subject).SerializeToString(deterministic=True)
            path.write_bytes(content)
            found = subject.compare(OnnxSession(path), width)
        except ModelError as refusal:
            refusals.append(refusal)
            continue
        if best is None or found.differing < best[1].differing:
            best = content, found
        if found.differing == 0.0:
            break
    if best is None:
        path.unlink(missing_ok=True)
        raise refusals[0]
    path.write_bytes(best[0])
    return check_conversion(best[1], source)


def row_count(width: int) -> int:
    """How many rows of so many numbers are made up: fewer of wide ones, so that they take no more than `ROW_BYTES`.

    Example:
        >>> row_count(4), row_count(10_000), row_count(1_000_000)
        (4000, 3355, 33)
    """
    return max(1, min(ROWS, ROW_BYTES // (8 * max(1, width))))


class _Input(NamedTuple):
    """An input of the graph, and the places of the columns that it carries."""

    name: str
    kind: Kind
    places: tuple[int, ...]


@dataclass(frozen=True)
class _Subject:
    """A fitted model: what it takes, what it is asked, and what its columns and classes are called."""

    model: Any
    source: str
    columns: tuple[Column, ...]
    inputs: tuple[_Input, ...]
    method: str
    features: tuple[str, ...] = ()
    classes: tuple[int | str, ...] = ()
    framed: bool = field(default=False)

    @staticmethod
    def of(model: Any, source: str) -> _Subject:
        model = getattr(model, "best_estimator_", model)
        method = _method(model, source)
        columns = read_columns(model)
        inputs = _inputs(model, columns)
        framed = hasattr(model, "feature_names_in_")
        features = tuple(each.name for each in columns) if framed and len(inputs) < len(columns) else ()
        classes = np.asarray(getattr(model, "classes_", ())) if method != "predict" else np.array(())
        return _Subject(model, source, columns, inputs, method, features, tuple(classes.tolist()), framed)

    def translate(self, width: Width) -> onnx.ModelProto:
        """Let skl2onnx convert it."""
        skl2onnx = load_extra("skl2onnx", "sklearn")
        types = [(each.name, _type_of(each, width)) for each in self.inputs]
        last = _last_step(self.model)
        for options in _options(self.method):
            chosen = {id(last): options} if options else None
            try:
                with _suited(self.model):
                    made: onnx.ModelProto = skl2onnx.convert_sklearn(
                        self.model, "sklearn", types, target_opset={"": OPSET, ML: ML_OPSET}, options=chosen
                    )
                    return made
            except NameError as unknown:  # how skl2onnx says that a step has no such option
                reason = unknown
            except ModelError:
                raise
            except Exception as error:  # skl2onnx's errors share no base class; each is passed on with its words
                raise self._inexpressible(error) from error
        raise self._inexpressible(reason) from reason

    def _inexpressible(self, reason: Exception) -> ModelError:
        return ModelError(
            f"cannot be expressed in ONNX ({first_line(reason)})",
            field=self.source,
            fix="replace that step by one that skl2onnx knows, or do it before the model",
        )

    def compare(self, session: OnnxSession, width: Width) -> Conversion:
        """Ask both the same rows; calmer ones where the source refuses what is missing or was never seen."""
        for calm in (False, True):
            columns = [replace(each, missing=False, closed=True) if calm else each for each in self.columns]
            rows = draw_rows(columns, row_count(len(columns)), np.random.default_rng(SEED), width)
            try:
                expected = self._ask(rows)
            except Exception as error:  # noqa: BLE001  # whatever a step says to a row that it does not take; raised below
                reason = error
                continue
            actual = self._answer(session, rows)
            known = {"answers": ANSWERS[self.method], "features": self.features, "classes": self.classes}
            return compare_answers(expected, actual, width=width, **known)
        raise ModelError(
            f"refuses every row that was made up to check it ({first_line(reason)})",
            field=self.source,
            fix="leave out steps that check their input",
        ) from reason

    def _ask(self, rows: Row) -> NDArray[Any]:
        """What the source answers: to a frame where it was fitted on one, else to a matrix, in float64 as in a notebook."""
        given: Any = np.column_stack(rows)
        if self.framed:
            given = _frame(self.columns, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = getattr(self.model, self.method)(given)
        return np.asarray(answers.todense() if hasattr(answers, "todense") else answers)

    def _answer(self, session: OnnxSession, rows: Row) -> NDArray[Any]:
        """The converted model's first output."""
        taken = {tensor.name: np.dtype(tensor.dtype) for tensor in session.signature.inputs}
        feeds = {
            each.name: np.column_stack([_fed(rows[place]) for place in each.places]).astype(taken[each.name])
            for each in self.inputs
            if each.name in taken
        }
        try:
            return next(iter(session.run(feeds).values()))
        except ModelError as refusal:
            raise ModelError(
                f"does not run once converted: it {refusal.problem}", field=self.source, fix=refusal.fix
            ) from refusal


def _method(model: Any, source: str) -> str:
    if hasattr(model, "fit") and not hasattr(model, "n_features_in_"):
        raise ModelError(
            f"is a {type(model).__name__} that was not fitted", field=source, fix="fit it before it is saved"
        )
    found = [name for name in ANSWERS if hasattr(model, name)]
    if not found:
        raise ModelError(f"is a {type(model).__name__}, which cannot predict", field=source, fix="save the pipeline")
    return found[0]


def _fed(row: NDArray[Any]) -> NDArray[Any]:
    """A column as it is fed: missing text is empty text."""
    return np.array(["" if each is None else each for each in row], dtype=object) if row.dtype == object else row


def _frame(columns: Sequence[Column], rows: Row) -> Any:
    """A frame of pandas where it is installed, for imputers know its missing text, else of polars."""
    if importlib.util.find_spec("pandas") is None:
        import polars as pl

        return pl.DataFrame({each.name: row.tolist() for each, row in zip(columns, rows, strict=True)})
    pd = importlib.import_module("pandas")

    return pd.DataFrame(
        {
            each.name: pd.Series(row, dtype="str" if each.kind == "text" else None)
            for each, row in zip(columns, rows, strict=True)
        }
    )


def _inputs(model: Any, columns: Sequence[Column]) -> tuple[_Input, ...]:
    """One matrix where all columns are of one kind and none is picked, else an input for each."""
    kinds = {each.kind for each in columns}
    picks = hasattr(_first_step(model), "transformers_") and hasattr(model, "feature_names_in_")
    if len(kinds) == 1 and not picks:
        return (_Input("x", kinds.pop(), tuple(range(len(columns)))),)
    return tuple(_Input(each.name, each.kind, (place,)) for place, each in enumerate(columns))


def _first_step(model: Any) -> Any:
    return _first_step(model.steps[0][1]) if hasattr(model, "steps") else model


def _last_step(model: Any) -> Any:
    return _last_step(model.steps[-1][1]) if hasattr(model, "steps") else model


@contextlib.contextmanager
def _suited(model: Any) -> Iterator[None]:
    """Set for a while what skl2onnx insists on and what changes no answer.

    Voting's `flatten_transform` matters to `transform` only. Text has no NaN in ONNX: what is missing comes in as empty text.
    """
    changed: list[tuple[Any, str, Any]] = []
    for part in parts_of(model):
        if getattr(part, "flatten_transform", False):
            changed.append((part, "flatten_transform", part.flatten_transform))
            part.flatten_transform = False
        if type(part).__name__ == "SimpleImputer" and np.asarray(part.statistics_).dtype.kind == "O":
            changed.append((part, "missing_values", part.missing_values))
            part.missing_values = ""
    try:
        yield
    finally:
        for part, name, value in changed:
            setattr(part, name, value)


def _type_of(given: _Input, width: Width) -> Any:
    types = load_extra("skl2onnx.common.data_types", "sklearn")
    number = types.FloatTensorType if width == "float32" else types.DoubleTensorType
    kind = {"number": number, "whole": types.Int64TensorType, "text": types.StringTensorType}[given.kind]
    return kind([None, len(given.places)])


def _options(method: str) -> list[dict[str, bool]]:
    """What skl2onnx is asked of the last step, the most first: not every step knows every option."""
    if method == "predict_proba":
        return [{"zipmap": False}, {}]
    return [{"zipmap": False, "raw_scores": True}, {"raw_scores": True}, {}] if method == "decision_function" else [{}]


def _tidy(model: onnx.ModelProto, subject: _Subject) -> onnx.ModelProto:
    """Probabilities first, a label only as a number, no input that nothing asks for, and names for what has none."""
    graph = model.graph
    outputs = sorted(graph.output, key=lambda each: each.name == graph.output[0].name and len(graph.output) > 1)
    numbered = all(isinstance(each, int) for each in subject.classes)
    kept = outputs if numbered else outputs[:1]
    del graph.output[:]
    graph.output.extend(kept)
    if subject.method == "decision_function" and len(subject.classes) == 2:
        _last_column(graph)
    for each in model.opset_import:
        # skl2onnx says the least that its operators need, which may be older than what is taken here
        each.version = max(each.version, OPSET) if each.domain == "" else each.version
    _prune(graph)
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if len(axes):
            axes[0].dim_param = "batch"
    ModelNames(subject.features, subject.classes).write(model)
    return model


def _widen(graph: onnx.GraphProto) -> None:
    """Cast what trees answer, which is float32 always, to the float64 that skl2onnx declares in their place."""
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type.startswith("TreeEnsemble") and not node.name.startswith(OURS):
            wide, node.output[-1] = node.output[-1], f"{node.output[-1]}_float32"
            nodes.append(helper.make_node("Cast", [node.output[-1]], [wide], to=TensorProto.DOUBLE))
    graph.ClearField("node")
    graph.node.extend(nodes)


def _last_column(graph: onnx.GraphProto) -> None:
    """Of two classes scikit-learn scores the second; its converters score both."""
    from onnx import helper, numpy_helper

    answer = graph.output[0]
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last_column"))
    graph.node.append(helper.make_node("Gather", [answer.name, "last_column"], ["scores"], axis=1))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", answer.type.tensor_type.elem_type, ["batch", 1]))


def _prune(graph: onnx.GraphProto) -> None:
    """Take away nodes and inputs from which no way leads to an output."""
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input) | {name for inner in node.attribute for name in _read_inside(inner)}
    inputs = [value for value in graph.input if value.name in needed]
    weights = [weight for weight in graph.initializer if weight.name in needed]
    for kept, field_name in ((nodes[::-1], "node"), (inputs, "input"), (weights, "initializer")):
        graph.ClearField(field_name)
        getattr(graph, field_name).extend(kept)


def _read_inside(attribute: Any) -> list[str]:
    """What a subgraph may read from around it."""
    graphs = [attribute.g, *attribute.graphs]
    return [name for graph in graphs for node in graph.node for name in node.input]
