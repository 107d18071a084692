"""LightGBM's and XGBoost's own model files → ONNX, verified against the library that wrote them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.forest_file import read_forest_file
from windtunnel.model_names import ModelNames
from windtunnel.session import OnnxSession, first_line

from .conversion import Conversion, check_conversion, compare_answers
from .extra import load_extra
from .forest import Forest, Width, forest_model
from .lightgbm_forest import read_lightgbm
from .sklearn_export import SEED, row_count
from .xgboost_forest import read_xgboost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Ask = Callable[[NDArray[np.float64]], NDArray[Any]]


def export_boosted(model: Path, path: Path) -> Conversion:
    """Write a boosted forest as ONNX: `x` `[batch, features]` → `answer` float32 `[batch, outputs]`.

    `x` is float32, or float64 where float32 cannot part what LightGBM parts. Missing values are NaN; categories are the whole numbers that stand for them; classes are answered with probabilities.

    Args:
        model: LightGBM's text, or XGBoost's JSON or UBJSON.
        path: where the ONNX file goes.

    Returns:
        How near the answers come, on rows that lie on the forest's thresholds, right beside them, and in between.

    Raises:
        ModelError: not a whole model of either, something that ONNX cannot express, or other answers.
        MissingError: the library that wrote the model is not installed.
    """
    forest, ask = _read(model)
    count = row_count(max(forest.features, forest.outputs))
    rows = boundary_rows(forest, count, np.random.default_rng(SEED))
    expected = ask(rows)
    found = _write(forest, "float32", path, rows, expected)
    if found.differing and forest.compares == "float64":
        found = _write(forest, "float64", path, rows, expected)
    return check_conversion(found, model.name)


def _write(forest: Forest, width: Width, path: Path, rows: NDArray[np.float64], expected: NDArray[Any]) -> Conversion:
    made = forest_model(forest, width)
    ModelNames(forest.names).write(made)
    path.write_bytes(made.SerializeToString(deterministic=True))
    actual = OnnxSession(path).run({"x": rows.astype(width)})["answer"]
    answers = "probabilities" if forest.link in {"logistic", "softmax"} else "values"
    return compare_answers(expected.reshape(actual.shape), actual, width=width, answers=answers, features=forest.names)


def boundary_rows(forest: Forest, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rows on which a conversion may go wrong: on a threshold as float32 has it, the float32 next to it, between, missing."""
    rows = np.empty((count, forest.features))
    for feature, turns in enumerate(forest.thresholds()):
        with np.errstate(over="ignore", under="ignore"):
            near = np.append(turns, 0.0 if not len(turns) else turns[0]).astype(np.float32)
        bounds = np.append(near[np.isfinite(near)], () if np.isfinite(near).any() else 0.0).astype(np.float64)
        spread = rng.uniform(bounds.min() - 1.0, bounds.max() + 1.0, len(near))
        low, high = (np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf))
        missing = np.full(max(1, len(near) // 2), np.nan)
        drawn = [near, low, high, spread, np.rint(spread), missing, np.zeros(1)]
        rows[:, feature] = rng.choice(np.concatenate([each.astype(np.float64) for each in drawn]), count)
    return rows


def _read(model: Path) -> tuple[Forest, Ask]:
    """The forest and its library's answers, by what the file starts with."""
    if not model.is_file():
        raise ModelError("does not exist", file=model, fix="give the path of the saved model")
    content = model.read_bytes()
    if content.startswith(b"tree"):
        return _read_lightgbm(model, content)
    if content.startswith(b"{"):
        return _read_xgboost(model, content)
    raise ModelError(
        "is neither LightGBM's text, which starts with `tree`, nor XGBoost's JSON or UBJSON",
        file=model, fix="save it with Booster.save_model",
    )  # fmt: skip


def _read_lightgbm(model: Path, content: bytes) -> tuple[Forest, Ask]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ModelError("is not text", file=model, fix="save it with Booster.save_model") from error
    forest = read_lightgbm(text, str(model))
    read_forest_file(model)  # what the library reads beyond that; it looks at nothing itself
    lightgbm = load_extra("lightgbm", "sklearn")
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(
            f"cannot be read by LightGBM ({first_line(error)})", file=model, fix="save it again"
        ) from error
    return forest, lambda rows: np.asarray(booster.predict(rows, num_threads=1))


def _read_xgboost(model: Path, content: bytes) -> tuple[Forest, Ask]:
    if content[1:2].isspace() or content[1:2] == b'"':
        read_xgboost(content, str(model))  # JSON: refused in plain words before the library sees it
    read_forest_file(model)
    xgboost = load_extra("xgboost", "sklearn")
    try:
        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(content))
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise ModelError(f"cannot be read by XGBoost ({first_line(error)})", file=model, fix="save it again") from error
    saved = bytes(booster.save_raw("json"))
    forest = read_xgboost(saved, str(model))
    return forest, _ask_xgboost(booster, json.loads(saved)["learner"], forest)


def _ask_xgboost(booster: Any, learner: Any, forest: Forest) -> Ask:
    import xgboost

    types = list(learner.get("feature_types", ())) or None
    best = learner.get("attributes", {}).get("best_iteration")
    kept = (0, int(best) + 1) if best is not None else (0, 0)

    def ask(rows: NDArray[np.float64]) -> NDArray[Any]:
        matrix = xgboost.DMatrix(
            rows, feature_names=list(forest.names) or None, feature_types=types, enable_categorical=True, nthread=1
        )
        if forest.link == "softmax":
            return _softmax(booster.predict(matrix, output_margin=True, iteration_range=kept))
        return np.asarray(booster.predict(matrix, iteration_range=kept))

    return ask


def _softmax(margins: NDArray[Any]) -> NDArray[np.float64]:
    raised = np.exp(margins.astype(np.float64) - margins.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
