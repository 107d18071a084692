"""Which columns a fitted scikit-learn pipeline takes, of what kind, and rows of them that are worth a look.

A pipeline does not keep the dtypes that it was fitted on. Its parts do: an encoder knows its categories, an imputer what it
fills in, a scaler its means, a tree its thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .sklearn_forest import find_thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["number", "whole", "text"]

UNSEEN = "a text that was never seen"
"""Fed beside the categories of encoders that put up with it."""


@dataclass
class _Signs:
    """What the parts of a pipeline say of one column."""

    turns: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    whole: bool = False
    text: bool = False
    missing: bool = False
    closed: bool = False
    exact: bool = False


@dataclass(frozen=True)
class Column:
    """One column of a pipeline.

    Args:
        name: as it was fitted.
        kind: numbers, whole numbers (categories), or text.
        turns: values at which the answer may turn: thresholds, means, categories.
        texts: the categories of text.
        missing: whether NaN may stand there.
        closed: whether a value that was never seen is refused by the source.
        exact: whether thresholds may be values of float64 data, as in histogram boosting.
    """

    name: str
    kind: Kind
    turns: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    missing: bool = False
    closed: bool = False
    exact: bool = False


def read_columns(model: Any) -> tuple[Column, ...]:
    """Look through a fitted pipeline for what it says of its columns."""
    count = int(getattr(model, "n_features_in_", 1))
    names = [str(each) for each in getattr(model, "feature_names_in_", [f"x{place}" for place in range(count)])]
    signs = [_Signs() for _ in names]
    _walk(model, list(range(len(names))), names, signs)
    return tuple(_column(name, sign) for name, sign in zip(names, signs, strict=True))


def _column(name: str, sign: _Signs) -> Column:
    kind: Kind = "text" if sign.text else "whole" if sign.whole and not sign.missing else "number"
    turns = np.unique([turn for turn in sign.turns if np.isfinite(turn)])
    return Column(
        name, kind, tuple(turns.tolist()), tuple(sorted(set(sign.texts))), sign.missing, sign.closed, sign.exact
    )


def _walk(part: Any, columns: list[int], names: list[str], signs: list[_Signs]) -> bool:
    """Let a part speak of its columns; whether what leaves it still is those columns, one by one."""
    if isinstance(part, str):
        return part == "passthrough"
    if hasattr(part, "steps"):
        return all(_walk(step, columns, names, signs) for _, step in part.steps)
    inner = [(each, _places(chosen, columns, names)) for _, each, chosen in getattr(part, "transformers_", ())]
    inner += [(each, columns) for _, each in getattr(part, "transformer_list", ())]
    for each, chosen in inner:
        _walk(each, chosen, names, signs)
    if inner:
        return False
    for place, column in enumerate(columns):
        _listen(part, place, signs[column])
    for column, turns in zip(columns, find_thresholds(part), strict=False):
        signs[column].turns += turns.tolist()
    return type(part).__name__ == "SimpleImputer" and not part.add_indicator


def _places(chosen: Any, columns: list[int], names: list[str]) -> list[int]:
    """A ColumnTransformer's choice of columns, by name, place, slice or mask, as places in the whole."""
    if isinstance(chosen, str | int):
        chosen = [chosen]
    if isinstance(chosen, slice):
        return columns[chosen]
    picked = list(chosen)
    if picked and isinstance(picked[0], bool | np.bool_):
        return [column for column, wanted in zip(columns, picked, strict=True) if wanted]
    return [names.index(each) if isinstance(each, str) else columns[int(each)] for each in picked]


def _listen(part: Any, place: int, sign: _Signs) -> None:
    """Note what one part knows of its column `place`."""
    kind = type(part).__name__
    if kind in {"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"}:
        sign.text = True
        sign.texts += list(getattr(part, "vocabulary_", {}))[:50]
    if hasattr(part, "categories_") and place < len(part.categories_):
        _note_categories(part, np.asarray(part.categories_[place]), sign)
    for low, high in (("mean_", "scale_"), ("center_", "scale_")):
        middle, spread = getattr(part, low, None), getattr(part, high, None)
        if middle is not None and np.size(middle) > place:
            width = 1.0 if spread is None else float(np.ravel(spread)[place])
            sign.turns += [float(np.ravel(middle)[place]) + times * width for times in (-3.0, 0.0, 3.0)]
    for bound in ("data_min_", "data_max_"):
        if np.size(getattr(part, bound, ())) > place:
            sign.turns.append(float(getattr(part, bound)[place]))
    if hasattr(part, "statistics_"):
        _note_filling(part.statistics_[place], sign)
    sign.missing |= kind in _TAKE_NAN
    sign.exact |= kind.startswith("HistGradientBoosting")


_TAKE_NAN = {
    "SimpleImputer", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor",
    "LGBMClassifier", "LGBMRegressor", "LGBMRanker", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier",
    "XGBRFRegressor",
}  # fmt: skip
"""Parts that take NaN for a missing value."""


def _note_categories(part: Any, categories: NDArray[Any], sign: _Signs) -> None:
    sign.closed |= getattr(part, "handle_unknown", "ignore") == "error"
    if categories.dtype.kind in "OUS":
        sign.text = True
        sign.texts += [str(each) for each in categories if isinstance(each, str)]
        return
    sign.turns += [float(each) for each in categories]
    sign.whole |= categories.dtype.kind in "iub"


def _note_filling(value: Any, sign: _Signs) -> None:
    if isinstance(value, str):
        sign.text = True
        sign.texts.append(value)
    elif np.isfinite(float(value)):
        sign.turns.append(float(value))


def draw_rows(columns: Sequence[Column], count: int, rng: np.random.Generator, dtype: str) -> list[NDArray[Any]]:
    """Make rows on which a conversion may go wrong: on thresholds, right beside them, far off, missing, never seen.

    Args:
        columns: of the pipeline.
        count: how many rows.
        rng: where chance comes from.
        dtype: of the numbers that the converted model takes. Those on thresholds are exact in it, the others are float64, as
            in a notebook, and rounded at the model's door.

    Returns:
        An array for each column, float64, int64 or object `[count]`.
    """
    return [_draw(column, count, rng, np.dtype(dtype)) for column in columns]


def _draw(column: Column, count: int, rng: np.random.Generator, dtype: np.dtype[Any]) -> NDArray[Any]:
    if column.kind == "text":
        texts = [*column.texts] + ([] if column.closed and column.texts else [UNSEEN])
        return rng.choice(np.array([*texts, *([None] * column.missing)], dtype=object), count)
    turns = np.array(column.turns, dtype=np.float64)
    if column.closed and len(turns):
        return rng.choice(turns, count).astype(np.int64 if column.kind == "whole" else np.float64)
    low, high = (turns.min(), turns.max()) if len(turns) else (-2.0, 2.0)
    reach = high - low or max(1e-3 * abs(high), 1e-6)
    if column.kind == "whole":
        between = rng.integers(int(low) - 1, int(high) + 2, count)
        return np.where(rng.random(count) < 0.5, between, rng.choice(turns, count)).astype(np.int64)
    spread = rng.uniform(low - reach / 4, high + reach / 4, count)
    beside = _beside(turns, count, rng, dtype, exact=column.exact) if len(turns) else spread
    drawn = np.where(rng.random(count) < 0.5, spread, beside)
    drawn[rng.random(count) < (0.1 if column.missing else 0.0)] = np.nan
    return drawn


def _beside(
    turns: NDArray[np.float64], count: int, rng: np.random.Generator, dtype: np.dtype[Any], *, exact: bool
) -> NDArray[np.float64]:
    """Turns, as near as `dtype` has them or exactly, and the next numbers of `dtype` to either side."""
    chosen = rng.choice(turns, count)
    with np.errstate(over="ignore", under="ignore"):
        near = chosen.astype(dtype)
    towards = rng.choice(np.array([-np.inf, 0.0, np.inf]), count)
    step = np.nextafter(near, towards.astype(dtype)).astype(np.float64)
    # halfway between two numbers of `dtype` nobody can say which is meant, and no value of the data lies there
    low, high = (np.nextafter(near, np.array(end, dtype)).astype(np.float64) for end in (-np.inf, np.inf))
    clear = (np.abs(chosen - near) < np.abs(chosen - low)) & (np.abs(chosen - near) < np.abs(chosen - high))
    return np.where(towards == 0.0, np.where(exact & clear, chosen, near.astype(np.float64)), step)
